//! Rules by class of client: those of the first `[[class]]` that fits, else those of everybody.

use std::sync::Arc;

pub use crate::config::matches;
use crate::config::{self, Class, Config, Ingress, Retry, Shaping};
use crate::shape::Shaper;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::topic::TopicFilter;

/// What holds for the clients of a class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    name: Arc<str>,
    shaping: Shaping,
    queue: config::QueueConfig,
    ingress: Ingress,
    retry: Retry,
}

/// A client that is to be put into a class. An unknown field fits no condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// The name of the listener that accepted it.
    pub listener: Option<&'a str>,
    /// Its user name.
    pub user: Option<&'a str>,
    /// Its Client Identifier.
    pub client_id: &'a str,
    /// The identity in its certificate.
    pub certificate: Option<&'a str>,
}

/// The classes in force.
#[derive(Debug)]
pub(super) struct Classes {
    inner: Mutex<ClassTable>,
    /// There are no classes, and no client is limited: clients need not be classified.
    plain: AtomicBool,
}

#[derive(Debug)]
struct ClassTable {
    classes: Vec<(Class, Arc<Rules>)>,
    everybody: Arc<Rules>,
}

impl Classes {
    pub fn new(config: &Config) -> Classes {
        let (classes, everybody) = rules(config);
        let inner = ClassTable { classes, everybody };
        let plain = AtomicBool::new(inner.is_plain());
        Classes { inner: Mutex::new(inner), plain }
    }

    /// Puts other rules in force.
    pub fn set(&self, config: &Config) {
        let inner = &mut *self.lock();
        (inner.classes, inner.everybody) = rules(config);
        self.plain.store(inner.is_plain(), Ordering::Relaxed);
    }

    /// Whether there are no classes, and no client is limited in what it sends or is sent.
    pub fn are_plain(&self) -> bool {
        self.plain.load(Ordering::Relaxed)
    }

    /// The rules for a client that is connected.
    pub fn of(&self, who: Who<'_>) -> Arc<Rules> {
        let inner = &*self.lock();
        let class = inner.classes.iter().find(|(class, _)| fits(class, &who));
        class.map_or(&inner.everybody, |(_, rules)| rules).clone()
    }

    /// The rules for a client that is not there: its class is the one it was in, as far as what is
    /// still known of it fits.
    pub fn of_absent(&self, class: &str, who: Who<'_>) -> Arc<Rules> {
        let inner = &*self.lock();
        let same = |found: &Class| {
            // The name first: this is asked of every parked Session at a start and at a reload.
            found.name == class && {
                let known = Class { listener: None, certificate: None, ..found.clone() };
                fits(&known, &who)
            }
        };
        let class = inner.classes.iter().find(|(class, _)| fits(class, &who) || same(class));
        class.map_or(&inner.everybody, |(_, rules)| rules).clone()
    }

    fn lock(&self) -> MutexGuard<'_, ClassTable> {
        whole(self.inner.lock())
    }
}

impl Rules {
    /// The class's name; empty for the clients of no class.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How fast messages leave.
    pub fn shaping(&self) -> &Shaping {
        &self.shaping
    }

    /// What waits for each client.
    #[inline]
    pub fn queue(&self) -> &config::QueueConfig {
        &self.queue
    }

    /// How much of what a client sends is looked at.
    pub fn ingress(&self) -> &Ingress {
        &self.ingress
    }
}

impl Rules {
    /// Of a named queue of the whole filter `filter`: how it keeps what waits, and how often that is tried.
    pub fn of_queue(filter: &TopicFilter, queue: config::QueueConfig, retry: Retry) -> Rules {
        Rules { name: filter.as_str().into(), queue, retry, ..Rules::default() }
    }

    /// How often messages of a named queue are tried.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl ClassTable {
    fn is_plain(&self) -> bool {
        let Rules { shaping, ingress, .. } = &*self.everybody;
        self.classes.is_empty() && Shaper::new(shaping).is_none() && ingress.is_free()
    }
}

/// The rules of each class, and those of everybody else.
fn rules(config: &Config) -> (Vec<(Class, Arc<Rules>)>, Arc<Rules>) {
    let queue = &config.queue;
    let everybody = Rules {
        name: Arc::default(),
        shaping: config.shaping.clone(),
        queue: queue.clone(),
        ingress: config.limits.client.clone(),
        retry: Retry::default(),
    };
    let of = |class: &Class| Rules {
        name: class.name.as_str().into(),
        shaping: class.shaping.clone().unwrap_or_else(|| everybody.shaping.clone()),
        queue: class.queue.as_ref().map_or_else(|| queue.clone(), |class| class.over(queue)),
        ingress: class.ingress.clone().unwrap_or_else(|| everybody.ingress.clone()),
        retry: everybody.retry,
    };
    let classes = config.class.iter().map(|class| (class.clone(), Arc::new(of(class)))).collect();
    (classes, Arc::new(everybody))
}

fn fits(class: &Class, who: &Who<'_>) -> bool {
    let conditions = [
        (&class.listener, who.listener),
        (&class.user, who.user),
        (&class.client_id, Some(who.client_id)),
        (&class.certificate, who.certificate),
    ];
    conditions.into_iter().all(|(pattern, text)| match (pattern, text) {
        (None, _) => true,
        (Some(pattern), Some(text)) => matches(pattern.as_bytes(), text),
        (Some(_), None) => false,
    })
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_counts() {
        let config: Config = toml::from_str(
            r#"
            shaping.messages_rate = 1
            [[class]]
            name = "meters"
            client_id = "meter-*"
            listener = "radio"
            shaping = { messages_rate = 2 }
            [[class]]
            name = "certified"
            certificate = "*"
            [[class]]
            name = "users"
            user = "u?"
            shaping = { bytes_rate = "1KiB" }
            "#,
        )
        .unwrap();
        let classes = Classes::new(&config);
        let (radio, other) = ("radio", "x");
        let who =
            |client_id, user, certificate| Who { client_id, user, certificate, listener: None };
        for (listener, who, name, messages, bytes) in [
            (Some(radio), who("meter-1", None, None), "meters", 2, 0),
            (Some(other), who("meter-1", None, None), "", 1, 0),
            (None, who("meter-1", None, None), "", 1, 0),
            (Some(other), who("meter-1", Some("u1"), Some("c")), "certified", 1, 0),
            (Some(radio), who("m", Some("u1"), None), "users", 0, 1024),
            (Some(radio), who("m", Some("u12"), None), "", 1, 0),
        ] {
            let rules = classes.of(Who { listener, ..who });
            let shaping = &rules.shaping;
            let found = (&*rules.name, shaping.messages_rate, shaping.bytes_rate.0);
            assert_eq!(found, (name, messages, bytes), "{who:?}");
        }
        classes.set(&Config::default());
        assert_eq!(*classes.of(who("meter-1", None, None)), Rules::default());
    }
}
