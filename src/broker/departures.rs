//! Sessions that have ended lately: so that it can be told of a client that is not there whether it ever was. They are
//! noted while the broker is watched.
//!
//! Only hashes of Client Identifiers are kept, in a ring of fixed size: strangers choose them, and may be many.

use std::collections::VecDeque;

use super::Broker;
use crate::message::ClientId;
use crate::sync::{Mutex, whole};
use crate::time::Time;
use crate::topic::TextHash;

/// The Sessions that have ended lately.
#[derive(Debug)]
pub(super) struct Departures {
    ring: Mutex<VecDeque<(u64, Departure)>>,
    hash: TextHash,
}

/// The end of a Session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Departure {
    /// When it ended.
    pub at: Time,
    /// It ended with its connection: it was not to outlive that. Else it had waited for its client.
    pub with_connection: bool,
}

/// Sessions that are remembered.
const DEPARTURES_MAX: usize = 1024;

impl Departures {
    /// None yet; `seed` feeds the hash.
    pub fn new(seed: u64) -> Departures {
        Departures { ring: Mutex::default(), hash: TextHash::new(seed) }
    }

    #[cold]
    fn note(&self, client_id: &ClientId, departure: Departure) {
        let number = self.number(client_id);
        let mut ring = whole(self.ring.lock());
        if ring.len() == DEPARTURES_MAX {
            ring.pop_front();
        }
        ring.push_back((number, departure));
    }

    /// The last end of a Session of this client, if it is remembered.
    pub fn last(&self, client_id: &ClientId) -> Option<Departure> {
        let number = self.number(client_id);
        let ring = whole(self.ring.lock());
        ring.iter().rev().find(|(other, _)| *other == number).map(|(_, departure)| *departure)
    }

    fn number(&self, client_id: &ClientId) -> u64 {
        self.hash.of(client_id.as_str().as_bytes())
    }
}

impl Broker {
    /// A Session has ended, and no other takes its place.
    #[inline]
    pub(super) fn note_departure(&self, client_id: &ClientId, departure: Departure) {
        if self.is_watched() {
            self.0.departures.note(client_id, departure);
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    #[test]
    fn the_latest_ends_are_remembered_and_no_more_than_those() {
        let departures = Departures::new(7);
        let id = |n: usize| ClientId::new(&format!("c{n}"));
        let departure =
            |n: usize| Departure { at: Time::from_secs(n as u64), with_connection: n < 9 };
        for n in 0..=DEPARTURES_MAX {
            departures.note(&id(n), departure(n));
        }
        assert_eq!(departures.last(&id(0)), None, "it had to make room");
        assert_eq!(departures.last(&id(1)), Some(departure(1)));
        departures.note(&id(7), departure(9000));
        assert_eq!(departures.last(&id(7)), Some(departure(9000)), "the last one counts");
        assert_eq!(whole(departures.ring.lock()).len(), DEPARTURES_MAX);
    }
}
