//! How many file descriptors the connections of all listeners may take together, so that the store and
//! the process itself always find one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::{info, warn};

/// The sockets of all connections.
#[derive(Debug)]
pub struct Sockets {
    open: AtomicU32,
    /// Most at once, those of refused connections included.
    max: AtomicU32,
    /// Connections have been refused for want of descriptors, and that was logged.
    short: AtomicU32,
}

/// Most descriptors for connections that are answered with a refusal.
const REFUSALS_MAX: u32 = 256;

impl Default for Sockets {
    fn default() -> Sockets {
        Sockets { open: AtomicU32::new(0), max: AtomicU32::new(u32::MAX), short: AtomicU32::new(0) }
    }
}

/// A socket that is not of MQTT, counted until it is dropped.
#[derive(Debug)]
pub struct OtherSocket(Arc<Sockets>);

impl Drop for OtherSocket {
    fn drop(&mut self) {
        self.0.discount();
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SocketRoom {
    /// It is served.
    Enough,
    /// Its CONNECT is answered with a refusal.
    Refuse,
    /// It is closed at once.
    None,
}

impl Sockets {
    /// From now on there are at most `max`.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts one more, and says what there is room for.
    pub(super) fn count(&self) -> SocketRoom {
        let number = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let max = self.max.load(Ordering::Relaxed);
        let refusals = REFUSALS_MAX.min(max / 8);
        if number > max {
            SocketRoom::None
        } else if number > max - refusals {
            self.say_short(number);
            SocketRoom::Refuse
        } else {
            SocketRoom::Enough
        }
    }

    /// How many there may be, and how many there are.
    pub(super) fn figures(&self) -> (u64, u64) {
        let (max, open) = (&self.max, &self.open);
        (max.load(Ordering::Relaxed).into(), open.load(Ordering::Relaxed).into())
    }

    /// Counts one that is not of MQTT, until the result is dropped; none: there is no room for it.
    pub fn count_other(self: &Arc<Self>) -> Option<OtherSocket> {
        let counted = OtherSocket(self.clone());
        let room = self.count();
        (room == SocketRoom::Enough).then_some(counted)
    }

    /// One is closed.
    pub(super) fn discount(&self) {
        let left = self.open.fetch_sub(1, Ordering::Relaxed) - 1;
        if self.short.load(Ordering::Relaxed) > 0
            && left < self.max.load(Ordering::Relaxed) / 4 * 3
            && self.short.swap(0, Ordering::Relaxed) > 0
        {
            info!(connections = left, "there are file descriptors for connections again");
        }
    }

    fn say_short(&self, number: u32) {
        if self.short.swap(1, Ordering::Relaxed) == 0 {
            warn!(
                connections = number,
                "connections are refused: the open files that the system permits are used up, but for \
                 those of the store; raise LimitNOFILE= of the unit, or ulimit -n"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_for_refusals_and_then_there_is_none() {
        let sockets = Sockets::default();
        sockets.set_max(32);
        let said: Vec<_> = (0..40).map(|_| sockets.count()).collect();
        assert!(said[..28].iter().all(|room| *room == SocketRoom::Enough));
        assert!(said[28..32].iter().all(|room| *room == SocketRoom::Refuse));
        assert!(said[32..].iter().all(|room| *room == SocketRoom::None));
        (0..40).for_each(|_| sockets.discount());
        assert_eq!(sockets.count(), SocketRoom::Enough);
    }
}
