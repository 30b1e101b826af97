//! A store on a disk that is slow, refuses, and fails: it writes when the simulation says so, and
//! knows what it has written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::task::Waker;

use sluicemq::broker::ports::{Batch, Fetch, Progress, Receipt, Refused, Store};
use sluicemq::message::{DelayKey, DelayedMessage, Message, Meter, SessionId};
use sluicemq::session::Op;

use super::random::Random;

/// What a fact is about. A fact belongs to a Session.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Key {
    Session,
    Subscription(String),
    Outgoing(u16),
    Incoming(u16),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fact {
    Expiry(u32),
    Granted(u8),
    /// A message in flight, by its number.
    Sent(Option<u64>),
    Released,
    Received,
}

/// Facts and messages at one moment.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub facts: BTreeMap<(SessionId, Key), Fact>,
    pub messages: BTreeSet<u64>,
}

enum Change {
    Set(SessionId, Key, Fact),
    Unset(SessionId, Key),
    Message(u64),
}

pub struct SimStore {
    inner: Mutex<Inner>,
}

struct Inner {
    random: Random,
    /// Of a hundred requests for room so many are refused.
    full_percent: usize,
    failed: bool,
    last: u64,
    durable: u64,
    pending: VecDeque<(u64, Vec<Change>)>,
    waiting: Vec<(u64, Waker)>,
    /// Why nothing is admitted for a while, if so, and the wakers for the end of it.
    shut: Option<Refused>,
    paused: Vec<Waker>,
    /// Requests for room that were told to wait, because it is slow and because it is full.
    waits: [u64; 2],
    submitted: Table,
    written: Table,
    sessions: Vec<SessionId>,
    refusals: u64,
    delayed: BTreeMap<DelayKey, DelayedMessage>,
}

/// The number in the payload of a message of the simulation: `client:message:number:`.
pub fn number_of(payload: &[u8]) -> Option<u64> {
    let text = payload.split(|byte| *byte == b':').nth(2)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl SimStore {
    pub fn new(seed: u64, full_percent: usize) -> SimStore {
        let inner = Inner {
            random: Random::new(seed),
            full_percent,
            failed: false,
            last: 0,
            durable: 0,
            pending: VecDeque::new(),
            waiting: Vec::new(),
            shut: None,
            paused: Vec::new(),
            waits: [0, 0],
            submitted: Table::default(),
            written: Table::default(),
            sessions: Vec::new(),
            refusals: 0,
            delayed: BTreeMap::new(),
        };
        SimStore { inner: Mutex::new(inner) }
    }

    /// Writes up to `batches`, in order; wakes what waited for them.
    pub fn write(&self, batches: usize) -> bool {
        let mut woken = Vec::new();
        let mut wrote = false;
        {
            let inner = &mut *self.inner.lock().unwrap();
            if inner.failed {
                return false;
            }
            for _ in 0..batches {
                let Some((number, changes)) = inner.pending.pop_front() else { break };
                inner.written.apply(changes.iter());
                inner.durable = number;
                wrote = true;
            }
            let durable = inner.durable;
            inner.waiting.retain(|(number, waker)| {
                if *number <= durable {
                    woken.push(waker.clone());
                }
                *number > durable
            });
        }
        for waker in woken {
            waker.wake();
        }
        wrote
    }

    /// The disk is gone for good.
    pub fn fail(&self) {
        let (waiting, paused) = {
            let inner = &mut *self.inner.lock().unwrap();
            inner.failed = true;
            (std::mem::take(&mut inner.waiting), std::mem::take(&mut inner.paused))
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        paused.into_iter().for_each(Waker::wake);
    }

    /// From now on nothing is admitted, for this reason; without one, everything is again.
    pub fn shut(&self, why: Option<Refused>) {
        let paused = {
            let inner = &mut *self.inner.lock().unwrap();
            inner.shut = why;
            std::mem::take(&mut inner.paused)
        };
        paused.into_iter().for_each(Waker::wake);
    }

    /// Requests for room that were told to wait, because it was slow and because it was full.
    pub fn waits(&self) -> [u64; 2] {
        self.inner.lock().unwrap().waits
    }

    pub fn failed(&self) -> bool {
        self.inner.lock().unwrap().failed
    }

    /// How often room was refused.
    pub fn refusals(&self) -> u64 {
        self.inner.lock().unwrap().refusals
    }

    /// Sessions made lasting since the last call.
    pub fn new_sessions(&self) -> Vec<SessionId> {
        std::mem::take(&mut self.inner.lock().unwrap().sessions)
    }

    /// What is on the disk.
    pub fn written<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.inner.lock().unwrap().written)
    }

    /// What will be on the disk when everything submitted is.
    pub fn submitted<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.inner.lock().unwrap().submitted)
    }
}

impl Table {
    fn apply<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        for change in changes {
            match change {
                Change::Set(session, key, fact) => {
                    self.facts.insert((*session, key.clone()), fact.clone());
                }
                Change::Unset(session, key) => {
                    self.facts.remove(&(*session, key.clone()));
                }
                Change::Message(number) => {
                    self.messages.insert(*number);
                }
            }
        }
    }
}

impl Store for SimStore {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        let inner = &mut *self.inner.lock().unwrap();
        if inner.failed {
            return Err(Refused::Failed);
        }
        if let Some(why) = inner.shut {
            inner.waits[usize::from(why == Refused::Full)] += 1;
            return Err(why);
        }
        if inner.full_percent > 0 && inner.random.percent(inner.full_percent) {
            inner.refusals += 1;
            return Err(Refused::Full);
        }
        Ok(())
    }

    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        let inner = &mut *self.inner.lock().unwrap();
        if inner.failed {
            return Err(Refused::Failed);
        }
        let Some(why) = inner.shut else { return Ok(()) };
        inner.paused.push(waker.clone());
        Err(why)
    }

    fn fetch_delayed(
        &self,
        want: Vec<DelayKey>,
        _meter: &'static Meter,
        _waker: &Waker,
    ) -> Fetch<DelayKey, DelayedMessage> {
        let delayed = &self.inner.lock().unwrap().delayed;
        Fetch::ready(want.into_iter().map(|place| (place, delayed.get(&place).cloned())).collect())
    }

    fn submit(&self, batch: Batch) -> Receipt {
        let inner = &mut *self.inner.lock().unwrap();
        assert!(!batch.is_empty(), "an empty batch was submitted");
        let mut changes = Vec::new();
        for publication in &batch.publishes {
            let number = |message: &Message| number_of(message.payload());
            changes.extend(number(&publication.message).map(Change::Message));
        }
        for (place, delayed) in batch.rare.into_iter().flat_map(|rare| rare.delayed) {
            let message = delayed.as_ref().and_then(|delayed| number_of(delayed.message.payload()));
            changes.extend(message.map(Change::Message));
            match delayed {
                Some(delayed) => inner.delayed.insert(place, delayed),
                None => inner.delayed.remove(&place),
            };
        }
        for (session, op) in batch.ops {
            if let Op::Session { .. } = op {
                inner.sessions.push(session);
            }
            changes.extend(change(session, &op));
        }
        inner.submitted.apply(changes.iter());
        inner.last += 1;
        inner.pending.push_back((inner.last, changes));
        Receipt(inner.last)
    }

    fn state(&self, receipt: Receipt, waker: &Waker) -> Progress {
        let inner = &mut *self.inner.lock().unwrap();
        if receipt.0 <= inner.durable {
            return Progress::Durable;
        }
        if inner.failed {
            return Progress::Failed;
        }
        assert!(receipt.0 <= inner.last, "a receipt nobody was given");
        inner.waiting.push((receipt.0, waker.clone()));
        Progress::Pending
    }
}

fn change(session: SessionId, op: &Op) -> Option<Change> {
    Some(match op {
        Op::Session { expiry, .. } => Change::Set(session, Key::Session, Fact::Expiry(*expiry)),
        Op::Subscribed { filter, options, .. } => {
            let key = Key::Subscription(filter.as_str().to_owned());
            Change::Set(session, key, Fact::Granted(options.qos as u8))
        }
        Op::Unsubscribed { filter } => {
            Change::Unset(session, Key::Subscription(filter.as_str().to_owned()))
        }
        Op::Sent { packet_id, delivery } => {
            let fact = Fact::Sent(number_of(delivery.message.payload()));
            Change::Set(session, Key::Outgoing(packet_id.get()), fact)
        }
        Op::Released { packet_id, .. } => {
            Change::Set(session, Key::Outgoing(packet_id.get()), Fact::Released)
        }
        Op::Done { packet_id } => Change::Unset(session, Key::Outgoing(packet_id.get())),
        Op::Received { packet_id } => {
            Change::Set(session, Key::Incoming(packet_id.get()), Fact::Received)
        }
        Op::Forgotten { packet_id } => Change::Unset(session, Key::Incoming(packet_id.get())),
        Op::Will(..) | Op::WillGone | Op::Ended | Op::Parked { .. } | Op::Attached => return None,
    })
}
