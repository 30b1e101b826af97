//! What the store remembers, told at the start: all but the messages that wait is read while the
//! engine opens; those are read again one by one when their receivers are there.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::{DurableShared, Rows};
use crate::broker::ports::{Fact, Marker};
use crate::message::{GroupId, Message, Meter, Mid, ReceiverId, SessionId};
use crate::store::engine::{Blob, RowBatch};
use crate::store::facts::{
    self, GROUPS, KINDS, Line, Noted, Replay, RowKey, RowKind, SESSIONS, Source, Tell, Torn, Unread,
};
use crate::sync::whole;

/// Rows that were read when the engine opened.
#[derive(Debug, Default)]
pub struct KeptRows {
    /// Keys and values of the facts that are told first, in the order of keys.
    rows: Vec<(Blob, Blob)>,
    /// What was noted of all rows.
    pub noted: Noted,
}

impl KeptRows {
    /// Looks at a row.
    pub fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), Torn> {
        let line = Line::of(key)?;
        (line.note)(&mut self.noted, key, value)?;
        if !matches!(line.replay, Replay::Apart) {
            self.rows.push((key.into(), value.into()));
        }
        Ok(())
    }

    /// Takes out what belongs to Sessions that are not there: their keys go to `stray`.
    fn forget_strangers(&mut self, stray: &mut RowBatch) {
        let sessions = self.of(RowKind::Session).iter();
        let sessions: BTreeSet<Vec<u8>> = sessions.map(|(key, _)| key[1..].to_vec()).collect();
        self.rows.retain(|(key, _)| {
            let belongs = Line::of(key).is_ok_and(|line| line.of_session);
            let stays = !belongs || key.get(1..9).is_some_and(|id| sessions.contains(id));
            if !stays {
                stray.delete(key);
            }
            stays
        });
    }

    /// Tells every fact, kind after kind. The keys of what is of no use go to `stray`.
    fn tell(
        &self,
        source: &Source<'_>,
        stray: &mut RowBatch,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let mut told = |tell: Tell, key: &[u8], value: &[u8]| match tell(key, value, source) {
            Ok(fact) => {
                visit(fact);
                Ok(())
            }
            Err(Unread::Stray) => {
                stray.delete(key);
                Ok(())
            }
            Err(Unread::Torn) => Err(wrong(key, value)),
            Err(Unread::Missing(mid)) => {
                Err(format!("{}, for message {mid} is not there", damaged(key)))
            }
            Err(Unread::Other(what)) => Err(what),
        };
        for line in &KINDS {
            let rows = self.of(line.kind);
            match line.replay {
                Replay::Told(tell) => rows.iter().try_for_each(|(k, v)| told(tell, k, v))?,
                Replay::InOrder(tell) => {
                    let mut ordered = Vec::with_capacity(rows.len());
                    for (key, value) in rows {
                        let order = facts::order_of(value).map_err(|Torn| wrong(key, value))?;
                        ordered.push((order, key, value));
                    }
                    ordered.sort_by_key(|(order, ..)| *order);
                    ordered.iter().try_for_each(|(_, key, value)| told(tell, key, value))?;
                }
                Replay::Apart => {}
            }
        }
        Ok(())
    }

    /// The rows of one kind.
    fn of(&self, kind: RowKind) -> &[(Blob, Blob)] {
        let first = self.rows.partition_point(|(key, _)| key[0] < kind as u8);
        let rows = &self.rows[first..];
        &rows[..rows.partition_point(|(key, _)| key[0] == kind as u8)]
    }
}

/// A row that says what it cannot mean, in words.
fn damaged(key: &[u8]) -> String {
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
        None => damaged(key),
    }
}

impl<R: Rows> DurableShared<R> {
    pub fn replay(
        &self,
        meter: &'static Meter,
        mark: &Marker<'_>,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let mut kept = std::mem::take(&mut *whole(self.kept.lock()));
        // What a crash left between the end of a Session or a message and the ends of its parts.
        let mut stray = RowBatch::new();
        kept.forget_strangers(&mut stray);
        let message = |mid| self.message(mid, meter);
        kept.tell(&Source { meter, message: &message }, &mut stray, visit)?;
        let numbers = kept.noted.numbers;
        let unfit = || damaged(RowKey::of(RowKind::Numbers).as_bytes());
        let session = SessionId::checked(numbers[SESSIONS]).ok_or_else(unfit)?;
        let group = GroupId::checked(numbers[GROUPS]).ok_or_else(unfit)?;
        visit(Fact::Last(session, group));
        self.replay_delayed(visit)?;
        self.replay_messages(kept.noted.done, mark, &mut stray, visit)?;
        self.rows.submit(&mut stray);
        Ok(())
    }

    /// A message that waits.
    fn message(&self, mid: Mid, meter: &'static Meter) -> Result<Message, Unread> {
        let key = RowKey::message(mid);
        let value =
            self.rows.get(key.as_bytes()).map_err(|error| Unread::Other(error.to_string()))?;
        let value = value.ok_or(Unread::Missing(mid))?;
        let unfit = |Torn| Unread::Other(damaged(key.as_bytes()));
        facts::read_message(&value, meter).map_err(unfit)
    }

    /// Where the delayed messages stand: they stay in the store.
    fn replay_delayed(&self, visit: &mut dyn FnMut(Fact)) -> Result<(), String> {
        let mut bad = None;
        let scanned = self.rows.scan(&[RowKind::Delayed as u8], &mut |key, value| match (
            facts::delayed_of(key),
            facts::read_delayed_owner(value),
        ) {
            (Ok(place), Ok((owner, bytes))) => {
                visit(Fact::Delayed(place, owner, bytes));
                ControlFlow::Continue(())
            }
            _ => {
                bad = Some(wrong(key, value));
                ControlFlow::Break(())
            }
        });
        scanned.map_err(|error| error.to_string())?;
        bad.map_or(Ok(()), Err)
    }

    fn replay_messages(
        &self,
        mut done: HashMap<Mid, Vec<ReceiverId>>,
        mark: &Marker<'_>,
        stray: &mut RowBatch,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let mut bad = None;
        let scanned = self.rows.scan(&[RowKind::Message as u8], &mut |key, value| {
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
                done.iter().for_each(|who| stray.delete(RowKey::done(queued.mid, *who).as_bytes()));
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
                stray.delete(RowKey::done(mid, receiver).as_bytes());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Loader;

    /// A key of each kind that is as long as its longest.
    fn key(kind: RowKind) -> Vec<u8> {
        let mut key = vec![kind as u8];
        key.extend_from_slice(&1_u64.to_be_bytes());
        match kind {
            RowKind::Done | RowKind::Delayed => key.extend_from_slice(&1_u64.to_be_bytes()),
            RowKind::Flight | RowKind::Received => key.extend_from_slice(&[0, 1]),
            RowKind::Subscription | RowKind::Retained => key.push(b'a'),
            RowKind::Numbers | RowKind::LogMark => key.truncate(1),
            _ => {}
        }
        key
    }

    #[test]
    fn a_value_of_an_unknown_form_is_refused_by_name() {
        for kind in [RowKind::Message, RowKind::Numbers, RowKind::Parked, RowKind::Flight] {
            let key = key(kind);
            let value = [vec![9], vec![0; 40]].concat();
            let mut loader = Loader::default();
            loader.visit(&key, &value);
            let said = wrong(&key, &value);
            assert!(said.contains("is of form 9, which this program does not know"), "{said}");
            assert!(said.contains(facts::row_name(kind as u8)), "{said}");
            assert_eq!(loader.wrong.as_deref(), Some(&*said));
        }
    }
}
