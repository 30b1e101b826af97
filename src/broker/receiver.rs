//! Receiving messages inside the process, without a Network Connection: for bridges, tails, tests and
//! programs that embed a broker.

use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;

use super::Broker;
use super::mailbox::{Ask, Mailbox};
use super::peer_log::{Peer, RefusalNote};
use super::router::{RouteChange, Subscriber};
use super::turn::{Scratch, Turn};
use crate::codec::{QoS, Reason, SubscribeOptions};
use crate::message::{ClientId, Delivery, Grounds, Identity, Loss, RefusalKind, SessionId};
use crate::session::{Access, Asked, CopyEnd, EndedCopy, Room, Subscription};
use crate::time::Time;
use crate::topic::TopicFilter;

/// A receiver of messages inside the process. It has a queue like a client's, with the limits and the
/// policy of `[queue]`, or of its `[[class]]` as that was when it was opened. The same rights are asked
/// for; a Subscription that a reload has revoked ends at the next [`Receiver::take`]. It lives until it is
/// dropped: nothing waits for it in the store.
///
/// What is taken is in flight until it is settled; how much may be in flight is the caller's choice.
/// See `examples/embed.rs`.
pub struct Receiver {
    broker: Broker,
    id: SessionId,
    mailbox: Arc<Mailbox>,
    filters: Vec<(TopicFilter, QoS)>,
    /// The number of the settings under which its Subscriptions were allowed.
    reviewed: u64,
    /// A Subscription was revoked: what waits may be there because of that alone.
    has_revoked: bool,
    /// Taken and not settled, `QoS` 0 and above.
    unsettled: [u64; 2],
    /// The last moment it was told.
    now: Time,
}

/// What has become of a message that a [`Receiver`] took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryOutcome {
    /// It was handled.
    Completed,
    /// It was refused: it is counted as a client's refusal is, and has a dead letter where those are
    /// wanted.
    Refused,
}

/// Copies taken in one go.
const TAKE_MAX: usize = 256;

impl Broker {
    /// An identity for a [`Receiver`] or a [`PublishHandle`]; its messages are counted by this broker.
    ///
    /// [`PublishHandle`]: super::PublishHandle
    pub fn identity(&self, client_id: &str, user_name: Option<&str>) -> Arc<Identity> {
        let user_name = user_name.map(Arc::from);
        Arc::new(Identity::new(ClientId::new(client_id), user_name, self.0.meter))
    }
}

impl Receiver {
    /// Subscribes to `filters`. What is published from now on waits for it; retained messages are not
    /// sent.
    ///
    /// # Errors
    ///
    /// The Reason Code that a client would find in SUBACK: rights, or the broker has as many
    /// Subscriptions as it may. A Receiver is no member of a group, and has no exclusive
    /// filter: those are refused.
    pub fn open(
        broker: &Broker,
        identity: &Arc<Identity>,
        filters: &[(TopicFilter, SubscribeOptions)],
        now: Time,
        scratch: &mut Scratch,
    ) -> Result<Receiver, Reason> {
        let cx = broker.context_to_subscribe(identity, now);
        if filters.len() > cx.subscriptions_free {
            return Err(Reason::QuotaExceeded);
        }
        for (filter, options) in filters {
            if filter.is_shared() || filter.is_exclusive() {
                return Err(Reason::SharedSubscriptionsNotSupported);
            }
            let asked = Asked::Subscribe { filter, qos: options.qos };
            if !cx.access.may(identity, &asked).is_allowed() {
                return Err(Reason::NotAuthorized);
            }
        }
        let id = broker.0.registry.next_session();
        let mailbox = Arc::new(Mailbox::for_session(id, identity.clone()));
        broker.classify_absent(&mailbox);
        mailbox.attach(false);
        let receiver = Receiver {
            broker: broker.clone(),
            id,
            mailbox,
            filters: filters
                .iter()
                .map(|(filter, options)| (filter.clone(), options.qos))
                .collect(),
            reviewed: broker.0.queue_settings.number(),
            has_revoked: false,
            unsettled: [0, 0],
            now,
        };
        let subscribe = |(filter, options): &(TopicFilter, SubscribeOptions)| {
            let subscription = Subscription { options: *options, id: 0 };
            RouteChange::subscribe(filter.clone(), subscription)
        };
        let mut turn = broker.turn(scratch, now);
        receiver.change(&filters.iter().map(subscribe).collect::<Vec<_>>(), &mut turn);
        turn.finish();
        Ok(receiver)
    }

    /// Takes what waits and `room` allows, in order, at most 256 messages; each is to be given back to
    /// [`Receiver::settle`]. When it returns none, `waker` is woken once there is more; with a full
    /// window, call again after settling.
    pub fn take(
        &mut self,
        room: Room,
        waker: &Waker,
        now: Time,
        scratch: &mut Scratch,
    ) -> Vec<Delivery> {
        self.now = now;
        self.review(scratch);
        let broker = &self.broker;
        let mut turn = broker.turn(scratch, now);
        let access = &broker.0.ports.access;
        let mut taken = Vec::new();
        loop {
            let Scratch { settings, wakers, .. } = &mut *turn.scratch;
            let ask = Ask { room, max: TAKE_MAX, ..Ask::nothing(waker, settings.queue()) };
            let more = self.mailbox.take(&ask, &mut [0, 0], &mut taken, wakers).more();
            let found = taken.len();
            taken.retain(|delivery| {
                let loss = if delivery.message.expired(now) {
                    Loss::Expired // [MQTT5-3.3.2-5]
                } else if !self.may_receive(&**access, delivery) {
                    Loss::NotAuthorized
                } else {
                    return true;
                };
                let (copy, end) = (EndedCopy::new(delivery), CopyEnd::Lost(loss));
                broker.end_copy(&self.mailbox, &copy, end, &mut turn);
                false
            });
            // Again only if all that came had ended: with no room for bytes nothing comes, though more
            // waits.
            if !more || found == 0 || !taken.is_empty() {
                break;
            }
        }
        if turn.traced.is_on() {
            taken.iter().for_each(|delivery| self.trace_taken(delivery, &mut turn));
        }
        turn.finish();
        for delivery in &taken {
            self.unsettled[usize::from(delivery.counts_above_qos0())] += 1;
        }
        taken
    }

    /// Says what has become of a message that was taken from this Receiver.
    pub fn settle(
        &mut self,
        delivery: Delivery,
        outcome: DeliveryOutcome,
        now: Time,
        scratch: &mut Scratch,
    ) {
        self.now = now;
        let copy = EndedCopy::new(&delivery);
        let unsettled = &mut self.unsettled[usize::from(copy.above_qos0())];
        assert!(*unsettled > 0, "it was taken from this Receiver");
        *unsettled -= 1;
        let broker = &self.broker;
        let mut turn = broker.turn(scratch, now);
        let end = match outcome {
            DeliveryOutcome::Completed => CopyEnd::Completed,
            DeliveryOutcome::Refused => CopyEnd::Lost(Loss::RefusedByReceiver),
        };
        broker.end_copy(&self.mailbox, &copy, end, &mut turn);
        turn.finish();
    }

    /// Messages that wait, and their bytes.
    pub fn waiting(&self) -> (usize, u64) {
        self.mailbox.depth()
    }

    #[cold]
    fn trace_taken(&self, delivery: &Delivery, turn: &mut Turn<'_>) {
        let Some(client) = self.mailbox.owner().identity() else { return };
        let traced = &mut turn.scratch.traced;
        self.broker.trace_in_hand(&self.mailbox, delivery, traced);
        self.broker.trace_sent(client, None, (delivery.qos, false), (traced, turn.now));
    }

    fn may_receive(&self, access: &dyn Access, delivery: &Delivery) -> bool {
        let (asked, topic) = (Asked::receive(delivery), delivery.message.topic());
        let identity = self.mailbox.owner().identity();
        identity.is_some_and(|identity| access.may(identity, &asked).is_allowed())
            && (!self.has_revoked || self.filters.iter().any(|(filter, _)| filter.matches(topic)))
    }

    /// Ends the Subscriptions that it may not have any more, if other rules may be in force.
    fn review(&mut self, scratch: &mut Scratch) {
        let broker = &self.broker;
        let number = broker.0.queue_settings.number();
        if std::mem::replace(&mut self.reviewed, number) == number {
            return;
        }
        let Some(identity) = self.mailbox.owner().identity() else { return };
        let mut grounds = Grounds::new(RefusalKind::SubscriptionRevoked);
        let (kept, revoked): (Vec<_>, Vec<_>) =
            self.filters.drain(..).partition(|(filter, qos)| {
                let asked = Asked::Subscribe { filter, qos: *qos };
                let decision = broker.0.ports.access.may(identity, &asked);
                if !decision.is_allowed() {
                    grounds = grounds.by_rule(decision.rule());
                }
                decision.is_allowed()
            });
        self.filters = kept;
        let Some((first, _)) = revoked.first() else { return };
        self.has_revoked = true;
        let note = RefusalNote::new(grounds).topic(first.as_str()).count(revoked.len() as u64);
        let user = identity.user_name.as_deref();
        let peer = Peer::default().client(identity.client_id.as_str()).user(user);
        broker.note_refusal(&note, &peer, self.now);
        let changes: Vec<_> =
            revoked.into_iter().map(|(filter, _)| RouteChange::Unsubscribe(filter)).collect();
        let mut turn = broker.turn(scratch, self.now);
        self.change(&changes, &mut turn);
        turn.finish();
    }

    /// Carries out what it asks of the tree, in one moment.
    fn change(&self, changes: &[RouteChange], turn: &mut Turn<'_>) {
        let subscriber = Subscriber::new(self.id, &self.mailbox).connected(true);
        let broker = &self.broker;
        broker.change_routes(&subscriber, changes, &mut ThinVec::new(), turn);
    }
}

/// Leaves the tree. What waits, and what was taken and not settled, goes to the ledger.
impl Drop for Receiver {
    fn drop(&mut self) {
        let filters = std::mem::take(&mut self.filters);
        let (mut scratch, loss) = (Scratch::default(), Loss::SessionEnded);
        let mut turn = self.broker.turn(&mut scratch, self.now);
        let changes: Vec<_> =
            filters.into_iter().map(|(filter, _)| RouteChange::Unsubscribe(filter)).collect();
        self.change(&changes, &mut turn);
        turn.commit();
        let (wakers, fallen) = self.mailbox.detach(&mut [0, 0], true);
        turn.wakers.extend(wakers);
        self.broker.lose_all(fallen, &mut turn);
        for (class, count) in self.unsettled.into_iter().enumerate() {
            for _ in 0..count {
                let copy = EndedCopy::unknown(class > 0);
                self.broker.end_copy(&self.mailbox, &copy, CopyEnd::Lost(loss), &mut turn);
            }
        }
        self.broker.lose_all(self.mailbox.close(loss, &mut [0, 0]), &mut turn);
        turn.finish();
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("id", &self.id).finish_non_exhaustive()
    }
}
