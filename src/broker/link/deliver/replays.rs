//! Feeding a client from logs of kept messages: what is there, then what comes, from the same log and in its
//! order.

use super::{Pass, TAKE_MAX};
use crate::broker::link::live::Live;
use crate::broker::link::queue::ReplayFetch;
use crate::broker::mailbox::{LogPage, Mailbox};
use crate::broker::metrics::Counter;
use crate::broker::orphans::OnTheWay;
use crate::broker::turn::{COPIES_MAX, Turn};
use crate::codec::{QoS, Reason};
use crate::fault;
use crate::message::{Delivery, Lane, Message, SubscriptionIds};
use crate::session::{Action, Input, LogPlace, LogStart, Replay, ReplayPlace, Room};
use crate::time::Time;

/// Messages of a log that come next; `None` for one that was trimmed meanwhile.
type FetchedPage = (LogPage, Vec<Option<Message>>);

impl Live {
    /// The readers of logs that have just been subscribed to begin where the logs are at this moment.
    pub(in crate::broker::link) fn begin_replays(&mut self, turn: &mut Turn<'_>) {
        for replay in self.session.replays_mut() {
            if let Some(mailbox) = turn.broker.0.router.group_of(&replay.log()) {
                place_in(replay, &mailbox);
            }
        }
        self.note_replays(turn);
    }

    /// Sends what the readers have not read. `None`: nothing came of it; else whether there may be more.
    #[inline]
    pub(super) fn take_replays(
        &mut self,
        pass: &mut Pass<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<bool> {
        if self.session.replays().is_empty() { None } else { self.take_some(pass, turn) }
    }

    #[cold]
    fn take_some(&mut self, pass: &mut Pass<'_>, turn: &mut Turn<'_>) -> Option<bool> {
        let mut moved = false;
        for index in 0..self.session.replays().len() {
            moved |= self.take_replay(index, pass, turn);
        }
        moved.then(|| self.session.replays().iter().any(|replay| replay.is_behind))
    }

    /// Sends what comes next for one of them; returns whether it has moved.
    fn take_replay(&mut self, index: usize, pass: &mut Pass<'_>, turn: &mut Turn<'_>) -> bool {
        let replay = &mut self.session.replays_mut()[index];
        let Some(mailbox) = turn.broker.0.router.group_of(&replay.log()) else {
            replay.is_behind = false;
            return false;
        };
        let Some(place) = place_in(replay, &mailbox) else { return false };
        let granted = replay.qos;
        let reader = (self.attachment.id(), pass.waker);
        let is_behind = mailbox.is_log_behind(place, reader);
        self.session.replays_mut()[index].is_behind = is_behind;
        let allowance = self.attachment.allowance(turn.now);
        let bytes = pass.room_left(turn).min(allowance.bytes);
        let room = self.session.room(pass.cx, turn.pressure.level(), bytes);
        let window = if granted == QoS::AtMostOnce { usize::MAX } else { room.window };
        let max = TAKE_MAX.min(allowance.messages).min(window);
        if !is_behind || bytes == 0 || max == 0 || pass.copies >= COPIES_MAX {
            return false;
        }
        let Some(page) = self.page_of(index, (&mailbox, place, (max, bytes)), pass, turn) else {
            return false;
        };
        self.send_page(index, (page, Room { window, bytes }), pass, turn);
        true
    }

    /// The messages that come next, once they are there; `None`: they are on their way.
    fn page_of(
        &mut self,
        index: usize,
        (mailbox, place, most): (&Mailbox, LogPlace, (usize, usize)),
        pass: &Pass<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<FetchedPage> {
        let queue = self.attachment.queue.get_or_insert_default();
        let Replay { filter, at, .. } = &self.session.replays()[index];
        if let Some(known) = &queue.replay {
            if (&known.filter, known.at) == (filter, *at) {
                if known.fetch.has_failed() {
                    self.attachment.closing = Some(Reason::UnspecifiedError);
                    return None;
                }
                let found = known.fetch.take()?;
                let page = queue.replay.take()?.page;
                return Some((page, found.into_iter().map(|(_, message)| message).collect()));
            }
            // Another reader's, for which it waits; unless that is gone.
            let waits = |replay: &Replay| replay.filter == known.filter && replay.filter != *filter;
            if self.session.replays().iter().any(waits) {
                return None;
            }
            queue.replay = None;
        }
        let mut page = mailbox.read_log(place, most)?;
        if !page.here.is_empty() {
            let messages = std::mem::take(&mut page.here).into_iter().map(Some).collect();
            return Some((page, messages));
        }
        let shared = &*turn.broker.0;
        let want = page.wanted();
        let fetch = shared.ports.store.fetch(want, shared.meter, pass.waker);
        if let Some(found) = fetch.take() {
            return Some((page, found.into_iter().map(|(_, message)| message).collect()));
        }
        let (filter, at) = (filter.clone(), *at);
        queue.replay = Some(Box::new(ReplayFetch { filter, at, page, fetch }));
        None
    }

    /// Sends what `room` allows of a page, and moves the reader behind it.
    fn send_page(
        &mut self,
        index: usize,
        (page, room): (FetchedPage, Room),
        pass: &mut Pass<'_>,
        turn: &mut Turn<'_>,
    ) {
        let ReplayPlace::In(log, before) = self.session.replays()[index].at else { return };
        let mut missed = page.0.place.next.saturating_sub(before.next);
        let mut drained = std::mem::take(&mut turn.drained);
        let out = (&mut drained, &mut missed);
        let place = self.choose(index, (page, room), turn.now, out);
        self.session.replays_mut()[index].move_to(log, place);
        if missed > 0 {
            self.note_missed(index, missed, turn);
        }
        pass.copies += drained.len();
        turn.tally.add(Counter::Routed, drained.len() as u64);
        turn.tally.add(Counter::Replayed, drained.len() as u64);
        for delivery in &drained {
            // Routed here and now: the account of the receiver knows of it.
            let above = usize::from(delivery.qos > QoS::AtMostOnce);
            self.attachment.mailbox.count_routed(above);
        }
        let mut rest = OnTheWay(drained.drain(..));
        // The store has the place with what is in flight, or neither.
        self.note_replays(turn);
        for delivery in rest.0.by_ref() {
            self.trace_in_hand(&delivery, turn);
            self.run(Input::Deliver(delivery), pass.cx, turn);
            fault::reach("replay");
        }
        drop(rest);
        turn.drained = drained;
    }

    /// Puts what `room` allows of a page into `out`, and returns the place behind it. What has expired, and
    /// what the client has published itself with No Local, is passed over; what was trimmed meanwhile is
    /// `missed`.
    fn choose(
        &self,
        index: usize,
        ((page, messages), mut room): (FetchedPage, Room),
        now: Time,
        (out, missed): (&mut Vec<Delivery>, &mut u64),
    ) -> LogPlace {
        let Replay { qos: granted, id, no_local, .. } = self.session.replays()[index];
        let client_id = self.client_id().as_str();
        let mut place = page.place;
        for (mid, message) in page.mids.into_iter().zip(messages) {
            if room.window == 0 || room.bytes == 0 {
                break;
            }
            place = LogPlace { next: place.next + 1, behind: mid };
            let Some(message) = message else {
                *missed += 1;
                continue;
            };
            if message.expired(now) || (no_local && message.publisher() == client_id) {
                continue;
            }
            let qos = message.qos.min(granted);
            room.window -= usize::from(qos > QoS::AtMostOnce);
            room.bytes = room.bytes.saturating_sub(message.bytes());
            let (ids, lane) = (SubscriptionIds::new(id), Lane::NONE);
            out.push(Delivery {
                message,
                qos,
                retain: false,
                ids,
                group: None,
                stored: false,
                lane,
            });
        }
        place
    }

    /// Messages were trimmed before the reader came to them.
    fn note_missed(&self, index: usize, missed: u64, turn: &mut Turn<'_>) {
        turn.tally.add(Counter::ReplayMissed, missed);
        let filter = &self.session.replays()[index].filter;
        turn.broker.say_missed(self.client_id(), filter, missed, turn.now);
    }

    fn note_replays(&mut self, turn: &mut Turn<'_>) {
        let cx = turn.context();
        let Live { session, attachment } = self;
        session.note_replays(&cx, &mut |action: Action<'_>| attachment.carry_out(action, turn));
    }
}

/// The place of a reader in its log. One that has none there yet, or had one in another log of that name,
/// gets one.
fn place_in(replay: &mut Replay, mailbox: &Mailbox) -> Option<LogPlace> {
    let log = mailbox.owner().group()?;
    let start = match replay.at {
        ReplayPlace::In(known, place) if known == log => return Some(place),
        ReplayPlace::In(..) => LogStart::All,
        ReplayPlace::Start(start) => start,
    };
    let place = mailbox.log_start(start)?;
    replay.move_to(log, place);
    Some(place)
}
