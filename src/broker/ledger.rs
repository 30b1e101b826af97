//! The ledger: where the end of a copy is carried out.
//!
//! A copy that was routed to a receiver ends once: completed, or lost for a reason. Four things are due
//! then, and they are done together here: the receiver's account, the counters, the row in the store, and
//! what is reported of a loss (the log and a dead letter). A mailbox counts in its account what it refuses
//! or drops itself; such copies come here at the end of the turn.
//!
//! A loss cannot be counted without the proof that its row has ended: see [`RowsEnded`]. Where only the
//! store knows the topic of what was lost, it is asked, if there are classes of topics.

use super::Broker;
use super::dropped::{FreshLoss, Gone, Letter, LossCause, RowsEnded, Tries, is_dead};
use super::mailbox::{DroppedCopies, Mailbox, Refusal};
use super::metrics::Counter;
use super::peer_log::{Peer, RefusalNote};
use super::record::Record;
use super::retry::Judged;
use super::topic_ledger::{TopicClass, Unrouted};
use super::turn::Turn;

use crate::codec::QoS;
use crate::message::{Delivery, GroupId, Lane, Loss, Message, Mid, ReceiverId};
use crate::session::{CopyEnd, EndedCopy};
use crate::topic::TopicName;

impl Broker {
    /// A copy has come to its end that a Session had taken: from `own`, its mailbox, or from a group's.
    pub(super) fn end_copy(
        &self,
        own: &Mailbox,
        copy: &EndedCopy<'_>,
        end: CopyEnd,
        turn: &mut Turn<'_>,
    ) {
        let group = copy.group().map(|id| (id, self.0.router.group(id)));
        let (receiver, mailbox) = match &group {
            None => (own.receiver(), Some(own)),
            // A group that has ended has no account any more.
            Some((id, mailbox)) => (ReceiverId::group(*id), mailbox.as_deref()),
        };
        let judged = match (end.loss(), mailbox.filter(|_| group.is_some())) {
            (None, _) => Judged::Completed,
            (Some(loss), Some(queue)) => self.judge((own, queue), copy, (end, loss), turn),
            (Some(loss), None) => Judged::Over(loss, None),
        };
        match judged {
            Judged::Again => {}
            Judged::Over(loss, tries) => {
                self.lose_copy((receiver, mailbox), copy, (loss, tries), turn);
            }
            Judged::Completed => {
                if let Some(mailbox) = mailbox {
                    turn.wakers.extend(mailbox.settle(copy, None));
                }
                turn.tally.add(Counter::Completed, 1);
                turn.batch.settled.extend(copy.mid().map(|mid| (receiver, mid)));
            }
        }
    }

    /// A copy that a Session had taken is lost.
    fn lose_copy(
        &self,
        (receiver, mailbox): (ReceiverId, Option<&Mailbox>),
        copy: &EndedCopy<'_>,
        (loss, tries): (Loss, Option<Box<Tries>>),
        turn: &mut Turn<'_>,
    ) {
        if let Some(mailbox) = mailbox {
            turn.wakers.extend(mailbox.settle(copy, Some(loss)));
        }
        let topic = copy.delivery().map(|delivery| delivery.message.topic());
        self.note_loss(&mut turn.gone, mailbox.map(Mailbox::owner), topic, loss);
        let named = mailbox.map(|mailbox| mailbox.owner().name()).unwrap_or_default();
        let message = copy.delivery().map(|delivery| &delivery.message);
        self.trace_loss((receiver, &named), (message, copy.mid()), loss, turn.now);
        let label = mailbox.filter(|_| loss.is_drop());
        let label = label.map(|mailbox| mailbox.drop_label(turn.settings.queue()));
        let (name, wanted) = label.unwrap_or_default();
        let wanted = wanted || tries.is_some();
        let delivery = copy.delivery();
        let qos = delivery.map(|delivery| delivery.qos).unwrap_or_default();
        let message = delivery.filter(|_| wanted).map(|delivery| delivery.message.clone());
        let lost = Letter::new(receiver, loss, copy.mid());
        let lost = lost.with_copy(qos, message).with_name(name, wanted).with_tries(tries);
        // Of one that was released the topic is not asked for: the client had it.
        self.lose(self.class_of(topic), lost, turn);
    }

    /// A copy of `QoS` 2 has reached its client: the lane that it came from need not wait for it.
    pub(super) fn free_lane(&self, group: GroupId, lane: Lane, turn: &mut Turn<'_>) {
        let group = self.0.router.group(group);
        turn.wakers.extend(group.and_then(|group| group.free_lane(lane)));
    }

    /// A copy was not admitted: its mailbox has counted it.
    #[cold]
    pub(super) fn refuse_copy(
        &self,
        refusal: Refusal,
        (mailbox, qos): (&Mailbox, QoS),
        record: &mut Record<'_>,
        gone: &mut Gone,
    ) {
        let (loss, topic) = (refusal.loss(), record.topic());
        let class = self.class_of(Some(topic));
        self.0.metrics.lose(class, loss, RowsEnded::never_stored());
        self.note_loss(gone, Some(mailbox.owner()), Some(topic), loss);
        if record.is_followed() {
            let (named, message) = (mailbox.owner().name(), record.share());
            let copy = (Some(&message), None);
            self.trace_loss((mailbox.receiver(), &named), copy, loss, record.received());
        }
        let wanted = refusal.wants_dead_letter() && !is_dead(topic);
        let Some(name) = refusal.into_name() else { return };
        gone.tell(&name, class, loss);
        if wanted {
            let letter = Letter::new(mailbox.receiver(), loss, None);
            let letter = letter.with_copy(qos, Some(record.share()));
            gone.want_letter(letter.with_name(name, true));
        }
    }

    /// A message is delivered and not retained. Its publisher is not told, so the copy that would have been
    /// retained counts as routed and lost: what was acknowledged and lost adds up.
    #[cold]
    pub(super) fn lose_retained(&self, topic: TopicName<'_>, gone: &mut Gone) {
        let metrics = &self.0.metrics;
        metrics.add(Counter::RetainedRefused, 1);
        metrics.add(Counter::Routed, 1);
        let class = self.class_of(Some(topic));
        metrics.lose(class, Loss::NotRetained, RowsEnded::never_stored());
        self.note_loss(gone, None, Some(topic), Loss::NotRetained);
    }

    /// Copies were lost all at once, with their receiver or with its connection: their mailbox has
    /// counted them.
    #[inline]
    pub(super) fn lose_all(&self, dropped: Option<DroppedCopies>, turn: &mut Turn<'_>) {
        if let Some(dropped) = dropped {
            self.lose_some(&dropped, turn);
        }
    }

    #[cold]
    pub(super) fn lose_some(&self, dropped: &DroppedCopies, turn: &mut Turn<'_>) {
        let (loss, receiver) = (dropped.loss(), dropped.receiver());
        self.note_all_lost(dropped, &mut turn.gone);
        let now = turn.now;
        if self.0.traces.is_on() {
            let name = dropped.name();
            let named = (receiver, &**name);
            dropped.visit(|message, mid| self.trace_loss(named, (message, mid), loss, now));
        }
        if !self.0.metrics.topics().is_kept() {
            let mut rows = RowsEnded::default();
            dropped.visit(|_, mid| rows.settle(&mut turn.batch, receiver, mid));
            self.0.metrics.lose(TopicClass::OTHER, loss, rows);
            return;
        }
        dropped.visit(|message, mid| {
            let topic = message.map(Message::topic);
            let class = self.class_of_copy(topic, mid);
            self.lose(class, Letter::new(receiver, loss, mid), turn);
        });
    }

    /// The store has no readable message for this copy. The mailbox has counted the loss. The row is
    /// settled here, so that the copy is not restored and lost again at each start. If the store cannot be
    /// read at all, the fetch fails and nothing is settled.
    pub(super) fn lose_unreadable(&self, mailbox: &Mailbox, mid: Mid, turn: &mut Turn<'_>) {
        self.note_loss(&mut turn.gone, Some(mailbox.owner()), None, Loss::Unreadable);
        let named = (mailbox.receiver(), &*mailbox.owner().name());
        self.trace_loss(named, (None, Some(mid)), Loss::Unreadable, turn.now);
        let copy = Letter::new(mailbox.receiver(), Loss::Unreadable, Some(mid));
        self.lose(TopicClass::OTHER, copy, turn);
    }

    /// Copies of a member that has left were to go back to their group, which has ended meanwhile.
    pub(super) fn lose_returned(&self, group: GroupId, copies: &[Delivery], turn: &mut Turn<'_>) {
        for copy in copies {
            let topic = Some(copy.message.topic());
            self.note_loss(&mut turn.gone, None, topic, Loss::GroupGone);
            let named = (ReceiverId::group(group), "");
            self.trace_loss(named, (Some(&copy.message), None), Loss::GroupGone, turn.now);
            let class = self.class_of(topic);
            let lost = Letter::new(ReceiverId::group(group), Loss::GroupGone, copy.mid());
            self.lose(class, lost, turn);
        }
    }

    /// A PUBLISH of `QoS` 0 or a Will was dropped before it was routed; its topic may be unknown.
    pub(super) fn note_unrouted(&self, topic: Option<TopicName<'_>>, why: Unrouted) {
        self.0.metrics.drop_unrouted(self.class_of(topic), why);
    }

    /// Counts what mailboxes have dropped in this turn, and publishes its dead letters within the turn.
    pub(super) fn report_drops(&self, turn: &mut Turn<'_>) {
        self.count_drops(turn);
        for letter in turn.gone.take_letters() {
            if turn.work.is_enough() {
                self.put_aside(letter, turn);
            } else {
                self.publish_letter(&letter, turn);
            }
        }
    }

    /// The same, but the dead letters wait for a tick.
    pub(super) fn report_drops_later(&self, turn: &mut Turn<'_>) {
        self.count_drops(turn);
        for letter in turn.gone.take_letters() {
            self.put_aside(letter, turn);
        }
    }

    /// The class of a topic, which may be unknown.
    pub(super) fn class_of(&self, topic: Option<TopicName<'_>>) -> TopicClass {
        topic.map_or(TopicClass::OTHER, |topic| self.0.metrics.topics().class_of(topic))
    }

    /// The class of a copy; its message may be with the store alone.
    fn class_of_copy(&self, topic: Option<TopicName<'_>>, mid: Option<Mid>) -> TopicClass {
        match (topic, mid) {
            (None, Some(_)) if self.0.metrics.topics().is_kept() => TopicClass::UNREAD,
            _ => self.class_of(topic),
        }
    }

    fn count_drops(&self, turn: &mut Turn<'_>) {
        let (trimmed, rows) = turn.gone.take_trimmed();
        turn.tally.add(Counter::Completed, trimmed);
        turn.batch.settled.extend(rows);
        for copy in turn.gone.take_fallen() {
            let topic = copy.message().map(Message::topic);
            if self.is_watched() {
                let cause = LossCause::Copy(copy.loss());
                turn.gone.remember(FreshLoss::new(copy.name().clone(), topic, cause));
            }
            let named = (copy.receiver(), &**copy.name());
            self.trace_loss(named, (copy.message(), copy.mid()), copy.loss(), turn.now);
            let class = self.class_of_copy(topic, copy.mid());
            self.lose(class, copy, turn);
        }
        self.0.drop_log.note(turn.gone.take_told());
        self.remember_losses(turn);
        for (receiver, grounds) in turn.gone.take_full() {
            let peer = Peer::default().client(&receiver);
            self.note_refusal(
                &RefusalNote::new(grounds).why(&"what waits for it"),
                &peer,
                turn.now,
            );
        }
    }

    /// A copy is lost, and in its receiver's account: all the rest. Its row ends now or, if a dead letter
    /// is due or its topic is still to be asked for, with that.
    fn lose(&self, class: TopicClass, copy: Letter, turn: &mut Turn<'_>) {
        let loss = copy.loss();
        let is_unread = class == TopicClass::UNREAD;
        if loss.is_drop() && !is_unread && !copy.name().is_empty() {
            turn.gone.tell(copy.name(), class, loss);
        }
        if !is_unread && !copy.is_to_be_published() {
            let mut rows = RowsEnded::default();
            rows.settle(&mut turn.batch, copy.receiver(), copy.mid());
            self.0.metrics.lose(class, loss, rows);
            return;
        }
        self.0.metrics.lose(class, loss, RowsEnded::with_letter(&copy));
        match copy.message() {
            Some(_) => turn.gone.want_letter(copy),
            None => self.put_aside(copy, turn),
        }
    }
}
