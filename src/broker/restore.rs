//! The start: what a store remembers becomes the state of a broker, before anybody connects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thin_vec::ThinVec;

use super::cluster_log::WillLeft;
use super::mailbox::{Mailbox, Setting};
use super::metrics::Counter;
use super::ports::{Batch, Fact, Mark, Queued};
use super::registry::{InFlight, Parked};
use super::router::{RouteChange, Subscriber};
use super::turn::{Scratch, Turn};
use super::{Broker, Op};
use crate::codec::{Properties, QoS};
use crate::config::NamedQueue;
use crate::message::{
    Attempt, Delivery, GroupId, Holdings, Identity, KeyChange, Loss, Message, MessageKey, Mid,
    Network, OwnerName, ReceiverId, ReceiverKind, SessionId,
};
use crate::session::window::FlightStage;
use crate::session::{Record, Session, WillMessage};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};

/// What a broker took over from its store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Restored {
    sessions: usize,
    subscriptions: usize,
    messages: usize,
    retained: usize,
    wills: usize,
    delayed: usize,
}

impl Restored {
    /// Sessions.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Their Subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Copies that wait, in flight or not.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Retained messages.
    pub fn retained(&self) -> usize {
        self.retained
    }

    /// Delayed messages.
    pub fn delayed(&self) -> usize {
        self.delayed
    }

    /// Wills of connections that ended with the broker.
    pub fn wills(&self) -> usize {
        self.wills
    }
}

/// All that the store told.
#[derive(Debug, Default)]
struct Remembered {
    sessions: BTreeMap<SessionId, Record>,
    /// Of connections with Sessions that did not last.
    wills: Vec<(SessionId, Arc<Identity>, Arc<WillMessage>)>,
    groups: Vec<(GroupId, TopicFilter)>,
    attempts: BTreeMap<(ReceiverId, Mid), (Attempt, Message)>,
    last: (SessionId, GroupId),
    keys: Vec<(u64, MessageKey)>,
    queues: Vec<NamedQueue>,
}

/// What was made of it, for the messages that wait.
#[derive(Debug, Default)]
struct Revived {
    mailboxes: BTreeMap<SessionId, Arc<Mailbox>>,
    in_flight: BTreeSet<(ReceiverId, Mid)>,
    /// Copies that have failed, and are not in flight.
    attempts: BTreeMap<(ReceiverId, Mid), (Attempt, Message)>,
    /// Something waits in another band than that of its topic now.
    moved: bool,
    /// Keys that are remembered no longer.
    keys_gone: Vec<KeyChange>,
    /// Sessions that do not outlast the broker.
    ended: Vec<Parked>,
    wills: Vec<(SessionId, Arc<Identity>, Arc<WillMessage>)>,
}

impl Broker {
    /// Takes over what the store remembers, at `now`, before the first connection. Sessions are
    /// routable from then on; those that were connected at the end are parked since the first start
    /// after it, and their Wills are due after their delay.
    ///
    /// # Errors
    ///
    /// What the store says, if it cannot read something; or the named queues that it and the configuration both
    /// define.
    pub fn restore(&self, now: Time, scratch: &mut Scratch) -> Result<Restored, String> {
        let mut turn = self.turn(scratch, now);
        let shared = &*self.0;
        let mut remembered = Remembered::default();
        let mut revived = None;
        let mut restored = Restored::default();
        let settings = turn.settings.clone();
        let named = shared.ports.authenticator.checks_names();
        let mark = |topic: TopicName<'_>| Mark {
            hash: shared.router.topic_hash().of(topic.as_str().as_bytes()),
            band: settings.band(topic, &Properties::EMPTY),
        };
        shared.ports.store.replay(shared.meter, &mark, &mut |fact| match fact {
            Fact::Retained(message) => {
                restored.retained += usize::from(!message.expired(now));
                let owner = self.owner_of_retained(&message, named);
                shared.router.retained().restore(message, owner);
            }
            Fact::Delayed(place, owner, bytes) => {
                restored.delayed += 1;
                self.restore_delayed(place, owner, bytes);
            }
            Fact::Queued(message) => {
                let revived = revived.get_or_insert_with(|| {
                    self.revive_all(std::mem::take(&mut remembered), &mut restored, &mut turn)
                });
                self.restore_queued(&message, revived, &mut restored, &mut turn);
            }
            Fact::Session(id, Op::Session { identity, expiry }) if !named => {
                let identity = Arc::new(identity.without_user());
                remembered.note(Fact::Session(id, Op::Session { identity, expiry }));
            }
            Fact::Session(id, Op::Will(will, identity)) => {
                let will = Op::Will(self.count_restored(will, &identity), identity);
                remembered.note(Fact::Session(id, will));
            }
            Fact::LogMark(mark) => drop(shared.log_mark.set(mark)),
            Fact::Home(client_id, home) => shared.moving.restore_home(client_id, home),
            fact => remembered.note(fact),
        })?;
        let revived =
            revived.unwrap_or_else(|| self.revive_all(remembered, &mut restored, &mut turn));
        self.finish_if_defined(turn)?;
        if revived.moved {
            shared.queue_settings.keep_lanes();
        }
        // It sees that what waits may be of other bands.
        let mut turn = self.turn(scratch, now);
        turn.batch.add_keys(revived.keys_gone);
        // They were routed to their receivers before.
        shared.metrics.add(Counter::Routed, restored.messages as u64);
        restored.wills += revived.wills.len();
        let is_behind = self.end_what_is_over(revived.wills, revived.ended, &mut turn);
        self.forget_lonely_groups(&mut turn);
        turn.finish();
        if !is_behind {
            self.tick_all(now, scratch);
        }
        Ok(restored)
    }

    /// Ends the turn; a start that is refused, because something is defined twice, changes nothing in the store.
    fn finish_if_defined(&self, mut turn: Turn<'_>) -> Result<(), String> {
        let defined = self.check_definitions();
        if defined.is_err() {
            turn.batch = Batch::default();
        }
        turn.finish();
        defined
    }

    /// Ends Sessions that do not outlast the broker, and publishes the Wills of those that had ended. Returns whether this
    /// node is to come to the end of its log first.
    fn end_what_is_over(
        &self,
        mut wills: Vec<WillLeft>,
        mut ended: Vec<Parked>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let is_behind = self.keep_wills_left(&mut wills, &mut ended, turn);
        for parked in ended {
            self.end_session(parked, Loss::SessionEnded, turn);
        }
        self.publish_wills_left(wills, turn);
        is_behind
    }

    /// What is due is done: a client with a Will at the crash may connect at once, and a Will that is due was due before.
    pub(super) fn tick_all(&self, now: Time, scratch: &mut Scratch) {
        while self.tick(now, scratch).is_some_and(|next| next <= now) {}
    }

    /// Wills of Sessions that ended with their connections: no delay outlasts them [MQTT5-3.1.3-9].
    pub(super) fn publish_wills_left(
        &self,
        wills: Vec<(SessionId, Arc<Identity>, Arc<WillMessage>)>,
        turn: &mut Turn<'_>,
    ) {
        for (id, identity, will) in &wills {
            if self.publish_will(*id, identity, will, turn) {
                turn.batch.ops.push((*id, Op::WillGone));
            }
        }
    }

    /// Where a client without a user name was when it published is not known.
    fn owner_of_retained(&self, message: &Message, named: bool) -> Arc<Holdings> {
        let user = message.user_name().filter(|_| named).map(Into::into);
        self.0.owners.of(OwnerName::of(user, Network::default()))
    }

    /// A Will that the store told of, which it has just made: what it says stays there.
    fn count_restored(&self, will: Arc<WillMessage>, client: &Identity) -> Arc<WillMessage> {
        let Some(will) = Arc::into_inner(will) else { unreachable!("nothing else has it yet") };
        let will = will.counted(self.0.wills, self.0.owners.of_client(client).clone());
        Arc::new(if will.is_worth_storing() { will.stored() } else { will })
    }

    /// Everything but the messages that wait.
    fn revive_all(&self, all: Remembered, restored: &mut Restored, turn: &mut Turn<'_>) -> Revived {
        let now = turn.now;
        let shared = &*self.0;
        let attempts = all.attempts;
        let mut revived = Revived { wills: all.wills, attempts, ..Revived::default() };
        shared.router.restore_groups(all.groups, all.last.1);
        self.restore_definitions(all.queues);
        self.define_queues(turn);
        shared.dedup.restore(all.keys, shared.owners.all().verifies(), &mut revived.keys_gone);
        self.define_logs(turn);
        let newest: BTreeMap<_, _> = all
            .sessions
            .iter()
            .map(|(id, record)| (record.identity().client_id.clone(), *id))
            .collect();
        for (id, mut record) in all.sessions {
            let back = record.take_back(|delivery| self.waits_again(delivery)).into_iter();
            turn.batch.ops.extend(back.map(|packet_id| (id, Op::Done { packet_id })));
            record.note_attempts(|group, mid| {
                let copy = (ReceiverId::group(group), mid);
                revived.attempts.get(&copy).map(|(attempt, _)| attempt.attempts)
            });
            let replaced = newest.get(&record.identity().client_id) != Some(&id);
            restored.sessions += 1;
            restored.subscriptions += record.subscriptions().len();
            let lost =
                |state: &FlightStage| matches!(state, FlightStage::Released { lost: true, .. });
            let flights = record.flights().iter().filter(|(_, state)| !lost(state));
            restored.messages += flights.count();
            restored.wills += usize::from(record.parked().is_none() && record.will().is_some());
            let stays = record.expiry() > 0 && !replaced;
            if stays && record.parked().or(record.crashed()).is_none() {
                // Its expiry goes on from here at the next start too.
                turn.batch.ops.push((id, Op::Parked { since: now, crashed: true }));
            }
            let (parked, mailbox) = self.revive((id, stays), record, now, &mut revived);
            revived.mailboxes.insert(id, mailbox);
            if stays {
                shared.registry.restore(parked);
            } else {
                revived.ended.push(parked);
            }
        }
        shared.registry.restore_last(all.last.0);
        revived
    }

    /// It was in flight when the broker stopped, and another member can take it before its Session is back: a
    /// lane would wait for that.
    fn waits_again(&self, delivery: &Delivery) -> bool {
        let group = delivery.group.filter(|_| delivery.qos == QoS::AtLeastOnce);
        let group = group.filter(|_| delivery.mid().is_some());
        group.and_then(|group| self.0.router.group(group)).is_some_and(|group| group.takes_back())
    }

    /// Makes a Session that has come from another node; what waits is to be put into its mailbox.
    pub(super) fn revive_arrived(
        &self,
        id: SessionId,
        record: Record,
        now: Time,
    ) -> (Parked, Arc<Mailbox>) {
        self.revive((id, true), record, now, &mut Revived::default())
    }

    /// Makes the Session and its mailbox, and puts its Subscriptions into the tree.
    fn revive(
        &self,
        (id, stays): (SessionId, bool),
        mut record: Record,
        now: Time,
        revived: &mut Revived,
    ) -> (Parked, Arc<Mailbox>) {
        let expiry = record.expiry();
        let mailbox = Arc::new(Mailbox::for_session(id, record.identity().clone()));
        mailbox.attach(expiry > 0);
        let (_, nothing) = mailbox.detach(&mut [0, 0], true);
        debug_assert!(nothing.is_none(), "nothing waits yet");
        self.classify_absent(&mailbox);
        for (_, state) in record.flights_mut() {
            let (group, mid) = match state {
                FlightStage::Sent(delivery) => (delivery.group, delivery.mid()),
                FlightStage::Released { group, mid, .. } => (*group, *mid),
                FlightStage::GivenAway(..) => continue,
            };
            let receiver = ReceiverId::of(id, group);
            revived.in_flight.extend(mid.map(|mid| (receiver, mid)));
            let own = || Some(mailbox.clone());
            let mailbox = group.map_or_else(own, |group| self.0.router.group(group));
            let Some(mailbox) = mailbox else { continue };
            match state {
                FlightStage::Sent(delivery) => mailbox.restore_flight(id, delivery),
                FlightStage::Released { lost: false, .. } => mailbox.count_routed(1),
                FlightStage::Released { lost: true, .. } | FlightStage::GivenAway(..) => {}
            }
        }
        let since = record.parked().or(record.crashed()).unwrap_or(now);
        // Two that have it are two ends of a crash: the other one finds out when its client returns.
        let enters = |filter: &TopicFilter| {
            let router = &self.0.router;
            !filter.is_exclusive()
                || (stays && router.restore_exclusive(filter, (id, record.identity()), since))
        };
        let changes = record.subscriptions().iter().filter(|(filter, _)| enters(filter));
        let changes = changes.map(|(filter, s)| RouteChange::subscribe(filter.clone(), *s));
        let changes: Vec<_> = changes.collect();
        let subscriber = Subscriber::new(id, &mailbox).lasting(expiry > 0);
        self.0.owners.of_client(record.identity());
        let changed = self.0.router.change(&subscriber, &changes, ThinVec::new());
        debug_assert!(!changed.loses_or_wakes(), "nothing waits yet");
        let delay = record.will().map(|will| will.delay.min(expiry));
        let session = Session::restore(record);
        let seconds = |seconds: u32| std::time::Duration::from_secs(seconds.into());
        let parked = Parked {
            id,
            session,
            mailbox: mailbox.clone(),
            will_due: delay.map_or(Time::NEVER, |delay| since.after(seconds(delay))),
            expires: if expiry == u32::MAX { Time::NEVER } else { since.after(seconds(expiry)) },
            newest: None,
            in_flight: InFlight::default(),
        };
        (parked, mailbox)
    }

    /// Puts what waits into its mailboxes; the message itself stays in the store.
    fn restore_queued(
        &self,
        message: &Queued,
        revived: &mut Revived,
        restored: &mut Restored,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now;
        let Scratch { settings, batch, .. } = &mut *turn.scratch;
        let lanes = settings.has_priorities();
        let setting = Setting { lanes, ..settings.setting(self.0.router.topic_hash(), now) };
        for copy in &message.copies {
            if revived.in_flight.contains(&(copy.receiver, message.mid)) {
                continue;
            }
            let mailbox = match copy.receiver.kind() {
                ReceiverKind::Session(id) => revived.mailboxes.get(&id).cloned(),
                ReceiverKind::Group(id) => self.0.router.group(id),
            };
            let attempt = revived.attempts.remove(&(copy.receiver, message.mid));
            match (mailbox, attempt) {
                (Some(mailbox), Some((attempt, message))) => {
                    self.restore_attempt(&mailbox, &message, &attempt);
                    restored.messages += 1;
                }
                (Some(mailbox), None) => {
                    let band = mailbox.restore(message, copy, &setting);
                    revived.moved |= band != message.mark.band;
                    restored.messages += 1;
                }
                // Its receiver ended, and the store was told so last.
                (None, _) => batch.settled.push((copy.receiver, message.mid)),
            }
        }
    }
}

impl Remembered {
    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Session(id, Op::Session { identity, expiry }) => {
                self.sessions.insert(id, Record::new(identity, expiry));
            }
            Fact::Session(id, op) => match (self.sessions.get_mut(&id), op) {
                (Some(record), op) => record.add(op),
                (None, Op::Will(will, identity)) => self.wills.push((id, identity, will)),
                // What a Session left that ended.
                (None, _) => {}
            },
            Fact::Group(id, filter) => self.groups.push((id, filter)),
            Fact::Queue(queue) => self.queues.push(*queue),
            Fact::Key(rule, key) => self.keys.push((rule, key)),
            Fact::Attempt(attempt, message) => {
                let copy = (attempt.receiver, attempt.mid);
                self.attempts.insert(copy, (attempt, message));
            }
            Fact::Last(session, group) => self.last = (session, group),
            Fact::Retained(_)
            | Fact::Queued(_)
            | Fact::Delayed(..)
            | Fact::LogMark(_)
            | Fact::Home(..) => {}
        }
    }
}
