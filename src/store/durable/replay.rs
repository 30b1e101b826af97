//! What the store remembers, told at the start: all but the messages that wait is read while the
//! engine opens; those are read again one by one when their receivers are there.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::{GROUPS, MESSAGES, Rows, SESSIONS, Shared};
use crate::broker::ports::{Fact, FlightState, Marker};
use crate::codec::PacketId;
use crate::message::{GroupId, Meter, Mid, ReceiverId, SessionId};
use crate::store::engine::{Blob, RowBatch};
use crate::store::facts::{self, Key, Kind, Torn};
use crate::time::Time;

/// Tells the fact of a row.
type Tell<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Torn> + 'a;

/// Rows that were read when the engine opened.
#[derive(Debug, Default)]
pub struct Kept {
    rows: Vec<(Blob, Blob)>,
    /// Who is done with messages that others still wait for.
    done: HashMap<Mid, Vec<ReceiverId>>,
    /// Numbers that may have been used.
    pub numbers: [u64; 3],
    /// Highest order of what is in flight.
    pub order: u64,
    /// Latest moment in any row.
    pub newest: Time,
}

impl Kept {
    /// Looks at a row.
    pub fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), Torn> {
        match Kind::of(key)? {
            Kind::Message => {
                self.uses(MESSAGES, facts::message_of(key)?.get());
                self.newest = self.newest.max(facts::read_received(value)?);
                return Ok(());
            }
            Kind::Done => {
                let (mid, receiver) = facts::done_of(key)?;
                self.done.entry(mid).or_default().push(receiver);
                return Ok(());
            }
            Kind::Numbers => {
                for (which, number) in facts::read_numbers(value)?.into_iter().enumerate() {
                    self.uses(which, number);
                }
                return Ok(());
            }
            Kind::Session | Kind::Will => self.uses(SESSIONS, facts::session_of(key)?.0.get()),
            Kind::Group => self.uses(GROUPS, facts::group_of(key)?.get()),
            Kind::Parked => self.newest = self.newest.max(facts::read_time(value)?),
            Kind::Flight => self.order = self.order.max(facts::read_order(value)?),
            Kind::Subscription | Kind::Received | Kind::Retained => {}
        }
        self.rows.push((key.into(), value.into()));
        Ok(())
    }

    fn uses(&mut self, which: usize, number: u64) {
        self.numbers[which] = self.numbers[which].max(number);
    }

    /// Takes out what belongs to Sessions that are not there: their keys go to `stray`.
    fn forget_strangers(&mut self, stray: &mut RowBatch) {
        let own = [Kind::Parked, Kind::Subscription, Kind::Flight, Kind::Received];
        let sessions = self.rows.iter().take_while(|(key, _)| key[0] == Kind::Session as u8);
        let sessions: BTreeSet<Vec<u8>> = sessions.map(|(key, _)| key[1..].to_vec()).collect();
        self.rows.retain(|(key, _)| {
            let belongs = own.iter().any(|kind| *kind as u8 == key[0]);
            let stays = !belongs || key.get(1..9).is_some_and(|id| sessions.contains(id));
            if !stays {
                stray.delete(key);
            }
            stays
        });
    }

    /// Tells the facts of one kind.
    fn tell(&self, kind: Kind, tell: &mut Tell<'_>) -> Result<(), String> {
        let first = self.rows.partition_point(|(key, _)| key[0] < kind as u8);
        let rows = self.rows[first..].iter().take_while(|(key, _)| key[0] == kind as u8);
        for (key, value) in rows {
            tell(key, value).map_err(|Torn| wrong(key, value))?;
        }
        Ok(())
    }
}

/// A row that says what it cannot mean, in words.
pub fn name(key: &[u8]) -> String {
    format!("the row {} is damaged: it says what it cannot mean", hexadecimal(key))
}

fn hexadecimal(key: &[u8]) -> String {
    key.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
}

/// The same; or that it is of a form that is not known here.
pub fn wrong(key: &[u8], value: &[u8]) -> String {
    match facts::other_form(key, value) {
        Some(form) => {
            let (row, kind) = (hexadecimal(key), facts::row_name(key[0]));
            format!(
                "the row {row} ({kind}) is of form {form}, which this program does not know: use the \
                 one that wrote it"
            )
        }
        None => name(key),
    }
}

impl<R: Rows> Shared<R> {
    pub fn replay(
        &self,
        meter: &'static Meter,
        mark: &Marker<'_>,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let mut kept = std::mem::take(&mut *self.kept.lock().expect("no code panics with it"));
        // What a crash left between the end of a Session or a message and the ends of its parts.
        let mut stray = RowBatch::new();
        kept.forget_strangers(&mut stray);
        kept.tell(Kind::Session, &mut |key, value| {
            let (identity, expiry) = facts::read_session(value, meter)?;
            visit(Fact::Session { id: facts::session_of(key)?.0, identity, expiry });
            Ok(())
        })?;
        kept.tell(Kind::Parked, &mut |key, value| {
            visit(Fact::Parked(facts::session_of(key)?.0, facts::read_time(value)?));
            Ok(())
        })?;
        kept.tell(Kind::Subscription, &mut |key, value| {
            let (id, filter) = facts::session_of(key)?;
            let subscription = facts::read_subscription(value)?;
            visit(Fact::Subscribed(id, facts::filter_of(filter)?, subscription));
            Ok(())
        })?;
        kept.tell(Kind::Will, &mut |key, value| {
            let (identity, will) = facts::read_will(value, meter)?;
            visit(Fact::Will(facts::session_of(key)?.0, identity, will));
            Ok(())
        })?;
        kept.tell(Kind::Received, &mut |key, _| {
            let (id, packet_id) = facts::packet_of(key)?;
            visit(Fact::Received(id, packet_id));
            Ok(())
        })?;
        kept.tell(Kind::Group, &mut |key, value| {
            visit(Fact::Group(facts::group_of(key)?, facts::read_filter(value)?));
            Ok(())
        })?;
        kept.tell(Kind::Retained, &mut |_, value| {
            visit(Fact::Retained(facts::read_retained(value, meter)?));
            Ok(())
        })?;
        for (id, packet_id, state) in self.flights(&kept, meter)? {
            visit(Fact::Flight(id, packet_id, state));
        }
        let damaged = || name(Key::of(Kind::Numbers).as_bytes());
        let session = SessionId::checked(kept.numbers[SESSIONS]).ok_or_else(damaged)?;
        let group = GroupId::checked(kept.numbers[GROUPS]).ok_or_else(damaged)?;
        visit(Fact::Last(session, group));
        self.replay_messages(kept.done, mark, &mut stray, visit)?;
        self.rows.submit(&mut stray);
        Ok(())
    }

    /// What is in flight, for each Session in the order of sending.
    fn flights(
        &self,
        kept: &Kept,
        meter: &'static Meter,
    ) -> Result<Vec<(SessionId, PacketId, FlightState)>, String> {
        let mut flights = Vec::new();
        let mut wrong = Ok(());
        kept.tell(Kind::Flight, &mut |key, value| {
            let (id, packet_id) = facts::packet_of(key)?;
            let fetch = |mid| match self.rows.get(Key::message(mid).as_bytes()) {
                Ok(Some(value)) => facts::read_message(&value, meter)
                    .map_err(|Torn| name(Key::message(mid).as_bytes())),
                Ok(None) => Err(format!("{}, for message {mid} is not there", name(key))),
                Err(error) => Err(error.to_string()),
            };
            match facts::read_flight(value, meter, fetch) {
                Ok((order, state)) => flights.push((id, order, packet_id, state)),
                Err(error) => wrong = Err(error),
            }
            Ok(())
        })?;
        wrong?;
        flights.sort_by_key(|(id, order, ..)| (*id, *order));
        let flights = flights.into_iter();
        Ok(flights.map(|(id, _, packet_id, state)| (id, packet_id, state)).collect())
    }

    fn replay_messages(
        &self,
        mut done: HashMap<Mid, Vec<ReceiverId>>,
        mark: &Marker<'_>,
        stray: &mut RowBatch,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let mut bad = None;
        let scanned = self.rows.scan(&[Kind::Message as u8], &mut |key, value| {
            let queued = facts::message_of(key);
            let queued = queued.and_then(|mid| facts::read_queued(mid, value, mark));
            let Ok(mut queued) = queued else {
                bad = Some(wrong(key, value));
                return ControlFlow::Break(());
            };
            let done = done.remove(&queued.mid).unwrap_or_default();
            let all = queued.copies.len();
            queued.copies.retain(|copy| !done.contains(&copy.receiver));
            if queued.copies.is_empty() {
                stray.delete(key);
                done.iter().for_each(|who| stray.delete(Key::done(queued.mid, *who).as_bytes()));
                return ControlFlow::Continue(());
            }
            if all > 1 {
                self.note_many(queued.mid, queued.copies.len(), done.into_iter().collect());
            }
            visit(Fact::Queued(queued));
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| error.to_string())?;
        if let Some(bad) = bad {
            return Err(bad);
        }
        for (mid, receivers) in done {
            for receiver in receivers {
                stray.delete(Key::done(mid, receiver).as_bytes());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Opening;

    /// A key of each kind that is as long as its longest.
    fn key(kind: Kind) -> Vec<u8> {
        let mut key = vec![kind as u8];
        key.extend_from_slice(&1_u64.to_be_bytes());
        match kind {
            Kind::Done => key.extend_from_slice(&1_u64.to_be_bytes()),
            Kind::Flight | Kind::Received => key.extend_from_slice(&[0, 1]),
            Kind::Subscription | Kind::Retained => key.push(b'a'),
            Kind::Numbers => key.truncate(1),
            _ => {}
        }
        key
    }

    #[test]
    fn a_value_of_an_unknown_form_is_refused_by_name() {
        for kind in [Kind::Message, Kind::Numbers, Kind::Parked, Kind::Flight] {
            let key = key(kind);
            let value = [vec![9], vec![0; 40]].concat();
            let mut opening = Opening::default();
            opening.visit(&key, &value);
            let said = wrong(&key, &value);
            assert!(said.contains("is of form 9, which this program does not know"), "{said}");
            assert!(said.contains(facts::row_name(kind as u8)), "{said}");
            assert_eq!(opening.wrong.as_deref(), Some(&*said));
        }
    }
}
