//! The listeners of a broker: one identity and two names for each, and what has come to it.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::{Mutex, MutexGuard, whole};

/// A listener of one broker, from [`Broker::open_listener`](super::Broker::open_listener). Two
/// bytes, in an `Option` too: every connection holds one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(NonZeroU16);

/// What has come to a listener: its transport counts, on the way of no packet.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    opened: AtomicU64,
    closed: AtomicU64,
    /// TLS handshakes: those that failed, those that did not.
    handshakes: [AtomicU64; 2],
    /// When its certificate ends, in seconds since 1970.
    certificate_ends: OnceLock<Arc<AtomicU64>>,
}

/// One listener at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerView {
    /// Its name in the configuration, else its address with the real port.
    pub name: String,
    /// Connections that were accepted, those that were refused among them.
    pub opened: u64,
    /// Those that are open.
    pub connections: u64,
    /// TLS handshakes that failed, and those that did not. A peer that leaves without a word has made none.
    pub handshakes: [u64; 2],
    /// When its certificate ends, in seconds since 1970; none without TLS.
    pub certificate_ends: Option<u64>,
}

impl ListenerCounts {
    /// A connection was accepted.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// It is closed.
    pub fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake was made, or failed.
    pub fn shake_hands(&self, made: bool) {
        self.handshakes[usize::from(made)].fetch_add(1, Ordering::Relaxed);
    }

    /// Where to read when its certificate ends, in seconds since 1970. Only the first call counts.
    pub fn set_certificate_ends(&self, at: Arc<AtomicU64>) {
        let _ = self.certificate_ends.set(at);
    }

    fn view(&self, name: &str) -> ListenerView {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let closed = load(&self.closed);
        let opened = load(&self.opened);
        ListenerView {
            name: name.to_owned(),
            opened,
            connections: opened.saturating_sub(closed),
            handshakes: self.handshakes.each_ref().map(load),
            certificate_ends: self.certificate_ends.get().map(|at| load(at)),
        }
    }
}

/// What a listener is called.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ListenerNames {
    /// Its name in the configuration, else its address with the real port.
    name: Box<str>,
    /// Its name in the configuration, else its address there.
    configured: Box<str>,
}

impl ListenerNames {
    /// What logs, the ready line and the conditions of classes call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the configuration calls it; its limits are found by that.
    pub fn configured(&self) -> &str {
        &self.configured
    }
}

/// The listeners that were opened, in that order.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    opened: Mutex<Vec<Opened>>,
}

type Opened = (Arc<ListenerNames>, Arc<ListenerCounts>);

impl Listeners {
    /// Enters a listener; one of the same names is entered once.
    pub fn open(&self, configured: &str, name: &str) -> ListenerId {
        let opened = &mut *self.lock();
        let names = ListenerNames { name: name.into(), configured: configured.into() };
        let known = opened.iter().position(|(known, _)| **known == names);
        let index = known.unwrap_or_else(|| {
            opened.push((Arc::new(names), Arc::default()));
            opened.len() - 1
        });
        let number = u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        ListenerId(number.expect("fewer than 65,536 listeners"))
    }

    /// What a listener of this broker is called.
    pub fn names(&self, id: ListenerId) -> Option<Arc<ListenerNames>> {
        self.entry(id).map(|(names, _)| names)
    }

    /// What has come to a listener of this broker.
    pub fn counts(&self, id: ListenerId) -> Option<Arc<ListenerCounts>> {
        self.entry(id).map(|(_, counts)| counts)
    }

    /// All of them, in the order in which they were opened.
    pub fn views(&self) -> Vec<ListenerView> {
        self.lock().iter().map(|(names, counts)| counts.view(names.name())).collect()
    }

    fn entry(&self, id: ListenerId) -> Option<Opened> {
        self.lock().get(usize::from(id.0.get()) - 1).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Opened>> {
        whole(self.opened.lock())
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_entered_once_and_keeps_both_its_names() {
        let listeners = Listeners::default();
        let nameless = listeners.open("127.0.0.1:0", "127.0.0.1:40000");
        let radio = listeners.open("radio", "radio");
        assert_eq!(listeners.open("radio", "radio"), radio);
        assert_ne!(nameless, radio);
        let names = listeners.names(nameless).unwrap();
        assert_eq!((names.name(), names.configured()), ("127.0.0.1:40000", "127.0.0.1:0"));
        assert_eq!(size_of::<Option<ListenerId>>(), 2);
    }

    #[test]
    fn what_comes_to_a_listener_is_counted_there() {
        let listeners = Listeners::default();
        let [radio, other] = ["radio", "other"].map(|name| listeners.open(name, name));
        let counts = listeners.counts(radio).unwrap();
        (0..3).for_each(|_| counts.open());
        counts.close();
        [true, false, true].into_iter().for_each(|made| counts.shake_hands(made));
        let ends = Arc::new(AtomicU64::new(7));
        counts.set_certificate_ends(ends.clone());
        // A reload brings another certificate.
        ends.store(8, Ordering::Relaxed);
        let views = listeners.views();
        let name = "radio".to_owned();
        let (connections, handshakes) = (2, [1, 2]);
        let certificate_ends = Some(8);
        let wanted = ListenerView { name, opened: 3, connections, handshakes, certificate_ends };
        assert_eq!(views[0], wanted);
        assert_eq!((views.len(), views[1].opened, views[1].certificate_ends), (2, 0, None));
        assert_eq!(listeners.counts(other).unwrap().view("other"), views[1]);
    }
}
