//! The listeners of a broker: one identity and two names for each.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard, whole};

/// A listener of one broker, from [`Broker::open_listener`](super::Broker::open_listener). Two
/// bytes, in an `Option` too: every connection holds one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(NonZeroU16);

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
    opened: Mutex<Vec<Arc<ListenerNames>>>,
}

impl Listeners {
    /// Enters a listener; one of the same names is entered once.
    pub fn open(&self, configured: &str, name: &str) -> ListenerId {
        let opened = &mut *self.lock();
        let names = ListenerNames { name: name.into(), configured: configured.into() };
        let known = opened.iter().position(|known| **known == names);
        let index = known.unwrap_or_else(|| {
            opened.push(Arc::new(names));
            opened.len() - 1
        });
        let number = u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        ListenerId(number.expect("fewer than 65,536 listeners"))
    }

    /// What a listener of this broker is called.
    pub fn names(&self, id: ListenerId) -> Option<Arc<ListenerNames>> {
        self.lock().get(usize::from(id.0.get()) - 1).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ListenerNames>>> {
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
}
