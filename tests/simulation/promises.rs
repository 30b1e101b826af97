//! What delayed messages, keys of deduplication and logs of kept messages promise, each told as a history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluicemq::codec::QoS;
use sluicemq::message::SessionId;
use sluicemq::time::Time;

use super::check::Verdict;

/// A delayed message is published so soon after it is due.
const GRAIN: Duration = Duration::from_millis(100);

/// When messages are due.
#[derive(Debug, Default)]
pub struct Delays(BTreeMap<u64, Time>);

impl Delays {
    /// It came, and is due then.
    pub fn asked(&mut self, number: u64, due: Time) {
        self.0.entry(number).or_insert(due);
    }

    /// It leaves for a receiver.
    pub fn sent(&self, number: u64, now: Time) -> Verdict {
        let due = self.0.get(&number).ok_or_else(|| format!("{number} was never delayed"))?;
        if *due <= now { Ok(()) } else { Err(format!("{number} comes at {now:?}, due at {due:?}")) }
    }

    /// All that can be done is done, and the first that waits is due then.
    pub fn waits(first: Time, now: Time) -> Verdict {
        let late = first.after(GRAIN) < now;
        if late {
            Err(format!("it is {now:?}, and what is due at {first:?} waits"))
        } else {
            Ok(())
        }
    }

    /// Its place in the order in which they are due.
    pub fn rank(&self, number: u64) -> u64 {
        let due = self.0.get(&number).copied().unwrap_or_default();
        due.as_nanos() / 1_000_000 * 100_000 + number
    }
}

/// How often each message of one publisher may come: once for each time that it was sent when its key was not
/// remembered.
#[derive(Debug, Default)]
pub struct Keys {
    window: Duration,
    known: BTreeMap<u64, (Time, u32)>,
    /// By Session: how often it left, since the broker has started.
    sent: BTreeMap<(SessionId, u64), u32>,
}

impl Keys {
    /// They are remembered for so long.
    pub fn new(window: Duration) -> Keys {
        Keys { window, ..Keys::default() }
    }

    /// It has come with a key, under the same number each time.
    pub fn knows(&self, number: u64) -> bool {
        self.known.contains_key(&number)
    }

    /// A message with that number has come.
    pub fn asked(&mut self, number: u64, now: Time) {
        let (since, times) = self.known.entry(number).or_insert((now, 1));
        if since.after(self.window) <= now {
            (*since, *times) = (now, *times + 1);
        }
    }

    /// It leaves for a receiver, for the first time.
    pub fn sent(&mut self, session: SessionId, number: u64) -> Verdict {
        let sent = self.sent.entry((session, number)).or_default();
        *sent += 1;
        let sent = *sent;
        self.allows(number, sent)
    }

    /// So often it came.
    pub fn allows(&self, number: u64, times: u32) -> Verdict {
        let allowed = self.known.get(&number).map_or(0, |(_, times)| *times);
        if times <= allowed {
            return Ok(());
        }
        Err(format!("{number} came {times} times, its key was new {allowed} times"))
    }

    /// The broker has died: what had just left may leave again.
    pub fn crashed(&mut self) {
        self.sent.clear();
    }
}

/// What a log has, and what its readers were sent of it.
#[derive(Debug, Default)]
pub struct History {
    /// The place of each sending.
    places: BTreeMap<u64, u64>,
    /// Messages that were accepted, whichever sending that was.
    accepted: BTreeSet<u64>,
    readers: BTreeMap<SessionId, Reading>,
}

/// From one SUBSCRIBE to the next.
#[derive(Debug, Default)]
struct Reading {
    /// By `QoS`: what is of 2 waits for the store, and others pass it.
    newest: [u64; 3],
    sent: [BTreeSet<u64>; 3],
    /// What the reader before it was to be sent at `QoS` 2 may still leave in front of its own.
    is_next: bool,
    messages: BTreeSet<u64>,
    /// It was granted, and takes messages of all sizes.
    granted: bool,
    /// The broker has died since.
    repeats: bool,
}

impl History {
    /// A message has come.
    pub fn asked(&mut self, number: u64) {
        let place = self.places.len() as u64 + 1;
        self.places.entry(number).or_insert(place);
    }

    /// Its publisher was told that it is accepted.
    pub fn accepted(&mut self, message: u64) {
        self.accepted.insert(message);
    }

    /// A SUBSCRIBE has come: it begins anew.
    pub fn begins(&mut self, session: SessionId) {
        let is_next = self.readers.contains_key(&session);
        self.readers.insert(session, Reading { is_next, ..Reading::default() });
    }

    /// It was granted or refused.
    pub fn granted(&mut self, session: SessionId, granted: bool) {
        self.readers.entry(session).or_default().granted = granted;
    }

    /// A message leaves for a reader, for the first time.
    pub fn sent(&mut self, session: SessionId, sent: (u64, u64, QoS)) -> Verdict {
        let (message, number, qos) = sent;
        let Some(place) = self.places.get(&number) else {
            return Err(format!("{number} was never kept"));
        };
        let reading = self.readers.entry(session).or_default();
        reading.messages.insert(message);
        let (sent, newest) = (&mut reading.sent[qos as usize], &mut reading.newest[qos as usize]);
        let is_first = sent.insert(number);
        if !is_first && reading.repeats {
            return Ok(());
        }
        if *place <= *newest {
            if !reading.is_next || qos < QoS::ExactlyOnce {
                return Err(format!("{number} comes twice, or behind what came after it"));
            }
            // From here on it is its own.
            reading.is_next = false;
            *sent = BTreeSet::from([number]);
        }
        *newest = *place;
        Ok(())
    }

    /// It leaves again, or was to leave before its reader's connection ended: for this SUBSCRIBE or the one before.
    pub fn sent_again(&mut self, session: SessionId, message: u64) {
        self.readers.entry(session).or_default().messages.insert(message);
    }

    /// The broker has died: what had just left may leave again.
    pub fn crashed(&mut self) {
        self.readers.values_mut().for_each(|reading| reading.repeats = true);
    }

    /// Accepted messages that this reader was never sent, if it is one.
    pub fn missing(&self, session: SessionId) -> Vec<u64> {
        let reading = self.readers.get(&session).filter(|reading| reading.granted);
        let missing = reading.map(|reading| self.accepted.difference(&reading.messages).copied());
        missing.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId::new(1);

    fn at(seconds: u64) -> Time {
        Time::from_secs(1_000 + seconds)
    }

    #[test]
    fn what_comes_early_or_waits_for_too_long_is_seen() {
        let mut delays = Delays::default();
        delays.asked(3, at(5));
        delays.asked(4, at(2));
        assert!(delays.sent(3, at(4)).is_err());
        assert!(delays.sent(3, at(5)).is_ok());
        assert!(delays.sent(9, at(5)).is_err(), "never delayed");
        assert!(delays.rank(4) < delays.rank(3));
        assert!(Delays::waits(at(5), at(5).after(GRAIN)).is_ok());
        assert!(Delays::waits(at(5), at(6)).is_err());
    }

    #[test]
    fn a_forgotten_key_is_seen() {
        let mut keys = Keys::new(Duration::from_secs(10));
        for (asked, allowed) in [(0, 1), (9, 1), (10, 2), (19, 2)] {
            keys.asked(3, at(asked));
            assert!(keys.allows(3, allowed).is_ok());
            assert!(keys.allows(3, allowed + 1).is_err());
        }
        assert!(keys.sent(ONE, 3).is_ok());
        assert!(keys.sent(ONE, 3).is_ok());
        assert!(keys.sent(ONE, 3).is_err());
        assert!(keys.sent(ONE, 4).is_err(), "it never came");
    }

    #[test]
    fn a_reader_that_misses_one_or_is_sent_one_twice_or_out_of_order_is_seen() {
        let mut history = History::default();
        (1..=4).for_each(|number| history.asked(number));
        (1..=3).for_each(|number| history.accepted(number));
        history.begins(ONE);
        assert!(history.missing(ONE).is_empty(), "no reader yet");
        history.granted(ONE, true);
        for number in [1, 3] {
            assert!(history.sent(ONE, (number, number, QoS::AtLeastOnce)).is_ok());
        }
        assert_eq!(history.missing(ONE), [2]);
        assert!(history.sent(ONE, (2, 2, QoS::AtLeastOnce)).is_err(), "behind a newer one");
        assert!(history.sent(ONE, (3, 3, QoS::AtLeastOnce)).is_err(), "twice");
        assert!(history.sent(ONE, (9, 9, QoS::AtLeastOnce)).is_err(), "never kept");
        history.crashed();
        assert!(history.sent(ONE, (3, 3, QoS::AtLeastOnce)).is_ok());
        history.begins(ONE);
        assert!(history.sent(ONE, (1, 1, QoS::AtLeastOnce)).is_ok());
    }
}
