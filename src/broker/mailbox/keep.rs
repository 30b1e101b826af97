//! The mailbox of a log of kept messages: what is routed here is kept, and readers look at it. It ends as
//! completed when it is trimmed.

use std::task::Waker;

use super::ask::{Offer, Setting};
use super::dropped::Refusal;
use super::grant::Grant;
use super::keep_log::{KeepLog, LogPage, LogState};
use super::overflow::{Effects, Full};
use super::{Copy, Gone, Mailbox};
use crate::broker::ports::Queued;
use crate::codec::QoS;
use crate::config::KeepLimits;
use crate::message::{Loss, SessionId};
use crate::session::{LogPlace, LogStart};
use crate::time::Time;

/// Room promised in one go.
const GRANT_MESSAGES: u32 = 64;
const GRANT_BYTES: u64 = 64 * 1024;
/// Messages trimmed in one go, where a limit has become much lower.
const TRIM_MAX: usize = 1024;

impl Mailbox {
    /// It becomes the mailbox of a log.
    pub(super) fn keep_all(&self) {
        self.lock().rare.get_or_insert_default().log = Some(Box::default());
    }

    /// How long what is kept stays; `None`: its definition is gone, and all stays.
    pub fn set_keep_limits(&self, limits: Option<KeepLimits>) {
        self.with_log(|log| log.set_limits(limits));
    }

    /// Trims what is over its limits, as much as is done in one go. Returns whether there may be more.
    pub fn trim_log(&self, now: Time, gone: &mut Gone) -> bool {
        self.trim(now, (0, 0), gone)
    }

    /// The place where a reader begins; `None`: it is no log's.
    pub fn log_start(&self, start: LogStart) -> Option<LogPlace> {
        self.with_log(|log| log.start(start))
    }

    /// Whether a reader at `place` has not read all. If it has, it is woken once when a message comes.
    pub fn is_log_behind(&self, place: LogPlace, reader: (SessionId, &Waker)) -> bool {
        self.with_log(|log| log.note_reader(place, reader)).unwrap_or_default()
    }

    /// The reader is gone: it is not woken any more.
    pub fn leave_log(&self, reader: SessionId) {
        self.with_log(|log| log.leave(reader));
    }

    /// The messages from `place` on: at most `max`, and about `bytes_max` bytes.
    pub fn read_log(&self, place: LogPlace, (max, bytes_max): (usize, usize)) -> Option<LogPage> {
        self.with_log(|log| log.page(place, max, bytes_max))
    }

    /// What it has, if it is a log.
    pub fn log_state(&self) -> Option<LogState> {
        self.look().log().map(|log| log.state())
    }

    /// Drops all that is kept, unless that is more than `max` messages: then their number is the error.
    pub fn drop_kept(&self, max: usize, gone: &mut Gone) -> Result<usize, usize> {
        let inner = &mut *self.look();
        let count = inner.log().map_or(0, |log| log.len());
        if count > max {
            return Err(count);
        }
        while let Some(trimmed) = inner.log().and_then(KeepLog::pop_first) {
            inner.completed[trimmed.class] += 1;
            gone.note_trimmed(self.receiver(), trimmed.mid);
        }
        Ok(count)
    }

    /// What [`Mailbox::reserve`] is of a log: older messages make room, within the same turn.
    #[cold]
    pub(super) fn reserve_kept(
        &self,
        offer: Offer<'_>,
        setting: &Setting<'_>,
        grant: &mut Grant,
        gone: &mut Gone,
    ) -> Result<(), Refusal> {
        let bytes = offer.bytes as u64;
        let closed = self.look().closed;
        if let Some(loss) = closed {
            let full = &Full { owner: &self.owner, queue: setting.queue, gone };
            return Err(self.look().refuse(offer.qos, loss, full));
        }
        self.trim(setting.now, (1, bytes), gone);
        grant.add(GRANT_MESSAGES, bytes + GRANT_BYTES, (0, 0));
        grant.set_kinds(true, true);
        Ok(())
    }

    /// What [`Mailbox::push`] is of a log.
    #[cold]
    pub(super) fn push_kept(
        &self,
        copies: &mut Vec<Copy>,
        setting: &Setting<'_>,
        grant: &mut Grant,
        effects: &mut Effects<'_>,
    ) {
        grant.end();
        {
            let Effects { wakers, gone } = effects;
            let inner = &mut *self.look();
            let full = &mut Full { owner: &self.owner, queue: setting.queue, gone };
            for copy in copies.drain(..) {
                inner.routed[usize::from(copy.qos > QoS::AtMostOnce)] += 1;
                match (inner.closed, inner.log()) {
                    (None, Some(log)) => log.push(copy.message, copy.stored),
                    (loss, _) => inner.lose_late(copy, loss.unwrap_or(Loss::GroupGone), full),
                }
            }
            wakers.extend(inner.log().into_iter().flat_map(KeepLog::take_waiting));
        }
        self.trim(setting.now, (0, 0), effects.gone);
    }

    /// What [`Mailbox::restore`] is of a log.
    pub(super) fn restore_kept(&self, queued: &Queued) {
        self.look().routed[1] += 1;
        self.with_log(|log| log.restore(queued.mid, queued.bytes, queued.received));
    }

    fn trim(&self, now: Time, more: (u64, u64), gone: &mut Gone) -> bool {
        let inner = &mut *self.look();
        for _ in 0..TRIM_MAX {
            let Some(trimmed) = inner.log().and_then(|log| log.trim(now, more)) else {
                return false;
            };
            inner.completed[trimmed.class] += 1;
            gone.note_trimmed(self.receiver(), trimmed.mid);
        }
        true
    }

    fn with_log<R>(&self, look: impl FnOnce(&mut KeepLog) -> R) -> Option<R> {
        self.look().log().map(look)
    }
}
