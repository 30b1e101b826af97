//! Where deliveries wait: one for each Session, one for each group of Shared Subscriptions.
//!
//! Two lists, `QoS` 0 and above, joined by an arrival number: with a full window `QoS` 0 goes on
//! alone. Both are bounded by messages and bytes; a copy is admitted or refused at routing time,
//! before any acknowledgement.

mod above;
mod bands;
mod lasting;
mod lists;
mod notice;
mod overflow;
mod told;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering};
use bands::Lists;
pub use bands::{BANDS, ORDINARY};
use lists::{Entry, GROUP_START, Inner, Members, Waiting};
pub use notice::{Notice, Notices};
use overflow::Full;
pub use told::{Account, Ask, Fallen, Pace, Refusal, Taken};

use super::classes::Rules;
use super::dropped::{Gone, Letter};
use crate::codec::QoS;
use crate::config::{self, QueuePolicy};
use crate::message::{
    Delivery, GroupId, Identity, Loss, Message, Mid, ReceiverId, SessionId, SubscriptionIds,
};
use crate::session::Room;
use crate::shape::{Intake, Shaper};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

/// A bounded queue of deliveries, shared by all publishers and its one receiver or group.
#[derive(Debug)]
pub struct Mailbox {
    /// Whose it is.
    pub owner: Owner,
    /// It is empty, its receiver has seen that, and whoever brings something will wake it.
    quiet: AtomicBool,
    inner: Mutex<Inner>,
}

/// Whose a mailbox is.
#[derive(Debug)]
pub enum Owner {
    /// One Session's.
    Session {
        /// Its number.
        id: SessionId,
        /// Its client.
        identity: Arc<Identity>,
    },
    /// A group's: members pull from it.
    Group {
        /// Its number.
        id: GroupId,
    },
}

impl Owner {
    /// Who is behind it, if it is one client.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Owner::Session { identity, .. } => Some(identity),
            Owner::Group { .. } => None,
        }
    }

    /// The receiver of what waits in it.
    pub fn receiver(&self) -> ReceiverId {
        match self {
            Owner::Session { id, .. } => ReceiverId::session(*id),
            Owner::Group { id } => ReceiverId::group(*id),
        }
    }
}

/// Room that a mailbox has promised to one turn: it takes as much without being asked again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    messages: u32,
    bytes: u64,
    /// All that was promised, used or not, as the mailbox counts it.
    promised: (u32, u64),
    /// `QoS` 0 is wanted: somebody is there, or it is kept for who is not.
    qos0: bool,
    /// What goes in at `QoS` 1 or 2 is to be stored first.
    pub durable: bool,
    /// The mailbox is above half full and its receiver is draining it: the publisher should pause.
    pub pressed: bool,
}

impl Grant {
    /// Uses room for one copy; `false` if there is none left.
    #[inline]
    pub fn spend(&mut self, qos: QoS, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = self.messages > 0 && self.bytes >= bytes;
        if !fits || (qos == QoS::AtMostOnce && !self.qos0) {
            return false;
        }
        self.messages -= 1;
        self.bytes -= bytes;
        true
    }
}

/// A copy for one receiver.
#[derive(Debug)]
pub struct Copy {
    /// The message.
    pub message: Message,
    /// The lower of published and granted; for a group, as published.
    pub qos: QoS,
    /// RETAIN flag to send; for a group, decided by the member.
    pub retain: bool,
    /// Subscription Identifiers; for a group, the member's.
    pub ids: SubscriptionIds,
    /// The store keeps it for the receiver until it is settled.
    pub stored: bool,
    /// The band it waits in, below [`BANDS`].
    pub band: u8,
}

/// A member's wishes when it pulls from its group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its Session.
    pub session: SessionId,
    /// What it was granted.
    pub qos: QoS,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Its Subscription Identifier, 0 for none.
    pub id: u32,
}

/// What mailboxes are told with what comes in.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The rules of those whose receivers are in no class.
    pub queue: &'a config::QueueConfig,
    /// By which topics are told apart.
    pub hash: &'a TextHash,
    /// The present moment.
    pub now: Time,
    /// Messages of one topic may be of different bands: a topic keeps to one while it waits.
    pub lanes: bool,
}

/// Fetched from the store in one go.
const PAGE_MESSAGES: usize = 256;
const PAGE_BYTES: u64 = 256 * 1024;
/// A member takes at most so many at a turn, so that the others get their share.
const SHARE_MAX: usize = 64;

impl Mailbox {
    /// A Session's mailbox.
    pub fn for_session(id: SessionId, identity: Arc<Identity>) -> Mailbox {
        let (quiet, inner) = (AtomicBool::new(false), Mutex::default());
        Mailbox { owner: Owner::Session { id, identity }, quiet, inner }
    }

    /// The mailbox of a group of the whole filter `name`.
    pub fn for_group(id: GroupId, name: &str) -> Mailbox {
        let members = Members { name: name.into(), head: GROUP_START, ..Members::default() };
        let members = Some(Box::new(members));
        let inner = Inner { members, arrival: GROUP_START, ..Inner::default() };
        let (quiet, inner) = (AtomicBool::new(false), Mutex::new(inner));
        Mailbox { owner: Owner::Group { id }, quiet, inner }
    }

    /// Reserves room for a copy of `bytes` at `qos`, and for some more while there is plenty, in
    /// `grant`. An error: there is none, which is still to be told. `gone` is told of what had to go.
    pub fn reserve(
        &self,
        setting: &Setting<'_>,
        topic: TopicName<'_>,
        (qos, bytes): (QoS, usize),
        grant: &mut Grant,
        gone: &mut Gone,
    ) -> Result<(), Refusal> {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| &rules.queue);
        let qos0 = inner.reachable() || queue.qos0_offline;
        let full = &mut Full { owner: &self.owner, queue, gone };
        let refused = match inner.closed {
            _ if qos == QoS::AtMostOnce && !qos0 => Some(Loss::OfflineQos0),
            Some(loss) => Some(loss),
            None => inner.admit(topic, (qos, bytes), setting, grant, full).err(),
        };
        if let Some(loss) = refused {
            return Err(inner.refuse(qos, loss, full));
        }
        grant.qos0 = qos0;
        grant.durable = inner.durable;
        Ok(())
    }

    /// Puts in what was admitted under `grant`, gives back the room that was not used, and adds whom
    /// to wake, with no lock held, to `wakers`. `grant` then says whether the publisher should pause.
    /// `gone` is told of what had to go, and of what is lost because the receiver has gone meanwhile.
    pub fn push(
        &self,
        setting: &Setting<'_>,
        copies: &mut Vec<Copy>,
        grant: &mut Grant,
        wakers: &mut Vec<Waker>,
        gone: &mut Gone,
    ) {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| &rules.queue);
        let full = &mut Full { owner: &self.owner, queue, gone };
        // What was promised, not what came: a message may be smaller than its draft.
        let (messages, bytes) = grant.promised;
        inner.reserved -= messages;
        inner.reserved_bytes -= bytes;
        for copy in copies.drain(..) {
            let class = usize::from(copy.qos > QoS::AtMostOnce);
            inner.routed[class] += 1;
            let left = class == 0 && !inner.reachable() && !queue.qos0_offline;
            let loss = inner.closed.or(left.then_some(Loss::OfflineQos0));
            if let Some(loss) = loss {
                inner.lose(class, loss);
                full.gone.fall(Letter {
                    name: Arc::default(),
                    receiver: self.receiver(),
                    loss,
                    qos: copy.qos,
                    mid: copy.message.mid().filter(|_| copy.stored),
                    message: Some(copy.message),
                    wanted: false,
                });
                continue;
            }
            let mut copy = copy;
            if setting.lanes {
                let (topic, qos) = (copy.message.clone(), copy.qos);
                copy.band = inner.lane(topic.topic(), qos, copy.band, setting.hash);
            }
            if queue.policy == QueuePolicy::Conflate {
                wakers.extend(inner.conflate(copy, setting.hash, full));
            } else {
                wakers.extend(inner.put(copy));
            }
            if setting.lanes {
                inner.settle_lanes();
            }
            if queue.policy == QueuePolicy::DropOldest {
                inner.trim(full);
            }
        }
        *grant = Grant { pressed: inner.presses(queue), ..Grant::default() };
    }

    /// Takes what `ask` allows into `out`, in order of arrival; then registers `waker`. `settled` are
    /// copies completed since the last call.
    pub fn take(
        &self,
        ask: Ask<'_>,
        settled: &mut [u32; 2],
        waker: &Waker,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
        queue: &config::QueueConfig,
    ) -> Taken {
        let Ask { room, max, .. } = ask;
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| &rules.queue);
        inner.settle(settled);
        let more = inner.take(room, max, queue.lower_band_share, out, |copy| Delivery {
            message: copy.message,
            qos: copy.qos,
            retain: copy.retain,
            ids: copy.ids,
            group: None,
            stored: copy.stored,
        });
        let cold = room.window > 0 && inner.first_is_cold();
        if let Some(pace) = ask.pace {
            inner.set_pace(Pace { waits: pace.waits && more, ..pace.clone() });
        }
        inner.release_paused(queue, wakers);
        match &inner.waker {
            Some(old) if old.will_wake(waker) => {}
            _ => inner.waker = Some(waker.clone()),
        }
        let notices = inner.notices.take();
        let quiet = inner.is_empty() && inner.notices.is_empty() && !inner.paced;
        self.quiet.store(quiet, Ordering::Relaxed);
        Taken { more, notices, cold }
    }

    /// Whether [`Mailbox::take`] has nothing to say that it has not said. Asked without the lock: who
    /// changes anything takes the receiver's waker, under the lock, and wakes it afterwards.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// A member of the group takes its share, at most `max` copies.
    pub fn take_shared(
        &self,
        member: &Member,
        room: Room,
        max: usize,
        waker: &Waker,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
        queue: &config::QueueConfig,
    ) -> Taken {
        let Owner::Group { id } = self.owner else { unreachable!("only groups are shared") };
        let inner = &mut *self.lock();
        let connected = inner.members.as_ref().map_or(1, |m| m.connected.max(1)) as usize;
        let share = inner.len().div_ceil(connected).min(SHARE_MAX).min(max);
        // A member granted QoS 0 needs no slot for anything.
        let window = if member.qos == QoS::AtMostOnce { usize::MAX } else { room.window };
        let before = out.len();
        let wanted = Room { window, ..room };
        let more = inner.take(wanted, share, queue.lower_band_share, out, |copy| Delivery {
            qos: copy.qos.min(member.qos),
            retain: copy.message.retain && member.retain_as_published,
            message: copy.message,
            ids: SubscriptionIds::new(member.id),
            group: Some(id),
            stored: copy.stored,
        });
        let cold = window > 0 && inner.first_is_cold();
        inner.release_paused(queue, wakers);
        if room.bytes == 0 && !inner.is_empty() {
            // Woken, and its socket is full: others get the wake. It looks again when it can write.
            let left = if inner.has_above() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            if let Some(members) = inner.members.as_mut() {
                members.waiting.retain(|waiting| waiting.session != member.session);
            }
            wakers.extend(inner.whom_to_wake(left));
            return Taken { more: true, notices: Notices::default(), cold: false };
        }
        let above = out[before..].iter().filter(|d| d.qos > QoS::AtMostOnce).count();
        let left_above = inner.has_above();
        let slots_left = window > above;
        let Some(members) = inner.members.as_mut() else { unreachable!("a group has members") };
        let qos0_only = !slots_left;
        match members.waiting.iter_mut().find(|w| w.session == member.session) {
            Some(waiting) => {
                waiting.qos0_only = qos0_only;
                waiting.waker.clone_from(waker);
            }
            None => members.waiting.push_back(Waiting {
                session: member.session,
                waker: waker.clone(),
                qos0_only,
            }),
        }
        if left_above && qos0_only {
            // Woken, and cannot take: pass the wake on.
            wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
        }
        Taken { more, notices: Notices::default(), cold }
    }

    /// Puts unacknowledged messages of a departed member back at the head, in order; returns whom
    /// to wake. `band` tells the band of each.
    ///
    /// # Errors
    ///
    /// The same messages, if the group is no more.
    pub fn give_back(
        &self,
        deliveries: Vec<Delivery>,
        band: impl Fn(&Message) -> u8,
    ) -> Result<Vec<Waker>, Vec<Delivery>> {
        let inner = &mut *self.lock();
        if inner.closed.is_some() {
            return Err(deliveries);
        }
        let mut wakers = Vec::new();
        for delivery in deliveries.into_iter().rev() {
            let Some(members) = &mut inner.members else { break };
            members.head -= 1;
            let arrival = members.head;
            inner.bytes += delivery.message.bytes() as u64;
            let copy = Copy {
                qos: delivery.message.qos,
                message: delivery.message,
                retain: false,
                ids: SubscriptionIds::default(),
                stored: delivery.stored,
                band: 0,
            };
            let message = copy.message.clone();
            let band = band(&message);
            inner.of_band(band).above.push_front(Entry::new(copy, arrival));
            inner.note_given_back(message.topic(), arrival);
            wakers.extend(inner.whom_to_wake(QoS::AtLeastOnce));
        }
        Ok(wakers)
    }

    /// The publisher that was paused by this mailbox asks whether it may go on; if not, `waker` is
    /// woken when it may.
    pub fn pause_over(&self, queue: &config::QueueConfig, waker: &Waker) -> bool {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| &rules.queue);
        if inner.slow || !inner.reachable() || inner.below_quarter(queue) {
            return true;
        }
        let paused = &mut inner.rare.get_or_insert_default().paused;
        if !paused.iter().any(|paused| paused.will_wake(waker)) {
            paused.push(waker.clone());
        }
        false
    }

    /// A pause has lasted its maximum: if nothing was taken since `taken`, the receiver is slow.
    pub fn pause_expired(&self, taken: u32) {
        let inner = &mut *self.lock();
        if inner.taken == taken {
            inner.slow = true;
        }
    }

    /// Copies ever taken.
    pub fn taken(&self) -> u32 {
        self.lock().taken
    }

    /// A Session is connected to it.
    pub fn attach(&self, durable: bool) {
        let inner = &mut *self.lock();
        inner.attached = true;
        inner.notices = Notices::default();
        inner.slow = false;
        inner.durable = durable;
    }

    /// The connection is gone; the mailbox stays in the tree. `QoS` 0 does not wait for a parked
    /// Session unless so configured. Returns paused publishers to wake, and what is lost.
    pub fn detach(&self, settled: &mut [u32; 2], keep_qos0: bool) -> (Vec<Waker>, Fallen) {
        let inner = &mut *self.lock();
        inner.settle(settled);
        inner.attached = false;
        inner.waker = None;
        inner.forget_pace();
        inner.cool();
        let mut lists = Vec::new();
        if !keep_qos0 {
            let waiting = inner.all_mut().map(|lists| std::mem::take(&mut lists.qos0));
            let waiting = waiting.filter(|qos0| !qos0.is_empty());
            lists.extend(waiting.map(|qos0| Lists { qos0, ..Lists::default() }));
            for entry in lists.iter().flat_map(|lists| &lists.qos0) {
                inner.bytes -= entry.bytes();
                inner.lose(0, Loss::OfflineQos0);
            }
        }
        let fallen = Fallen { lists, loss: Loss::OfflineQos0, receiver: self.receiver() };
        (inner.take_paused(), fallen)
    }

    /// Sets whether what is routed here is stored first.
    pub fn set_durable(&self, durable: bool) {
        self.lock().durable = durable;
    }

    /// Tells the attached link something: its next take returns it. Returns the link's waker, to be
    /// woken with no lock held; none if the link is in its turn, or none is attached. A link that
    /// attaches later is told nothing of it.
    pub fn notify(&self, notice: Notice) -> Option<Waker> {
        let inner = &mut *self.lock();
        inner.notices.add(notice);
        inner.waker.take()
    }

    /// Nothing is known of it that most mailboxes have not: no class, no buckets.
    pub fn is_ordinary(&self) -> bool {
        self.lock_quietly().rare.is_none()
    }

    /// The class of its receiver is this one: its rules are in force from now on.
    pub fn set_rules(&self, rules: &Arc<Rules>) {
        let inner = &mut *self.lock();
        let conflates = rules.queue.policy == QueuePolicy::Conflate;
        let rules = (!rules.name.is_empty()).then(|| rules.clone());
        if rules.is_some() || inner.rare.is_some() {
            let rare = inner.rare.get_or_insert_default();
            if !conflates {
                rare.topics = None;
            }
            rare.rules = rules;
        }
    }

    /// The class its receiver is in; empty for everybody.
    pub fn class(&self) -> Arc<str> {
        self.lock().rules().map_or_else(Arc::default, |rules| rules.name.clone())
    }

    /// `QoS` 0 waits for its receiver, where `queue` holds for those in no class.
    pub fn keeps_qos0(&self, queue: &config::QueueConfig) -> bool {
        self.lock().rules().map_or(queue.qos0_offline, |rules| rules.queue.qos0_offline)
    }

    /// What is said of a copy that was taken from here and is lost: whose it was, and whether there is
    /// to be a dead letter.
    pub fn epitaph(&self, queue: &config::QueueConfig) -> (Arc<str>, bool) {
        let inner = &*self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| &rules.queue);
        (inner.name(&self.owner), queue.dead_letters)
    }

    /// Its receiver is not shaped any more.
    pub fn forget_pace(&self) {
        self.lock().forget_pace();
    }

    /// How its receiver is shaped, if it is.
    pub fn pace(&self) -> Option<Pace> {
        self.lock().rare.as_ref().and_then(|rare| rare.pace.clone())
    }

    /// Keeps the buckets of a receiver that has left, for when it is back.
    pub fn keep_shaper(&self, shaper: Shaper) {
        self.lock().rare.get_or_insert_default().shaper = Some(shaper);
    }

    /// The buckets of its receiver when it was here last.
    pub fn take_shaper(&self) -> Option<Shaper> {
        self.lock().rare.as_mut()?.shaper.take()
    }

    /// Keeps how long its receiver has waited at buckets that it shares.
    pub fn keep_waited(&self, waited: Duration) {
        self.lock().rare.get_or_insert_default().waited = waited;
    }

    /// How long its receiver had waited there when it was here last.
    pub fn waited(&self) -> Duration {
        self.lock().rare.as_ref().map(|rare| rare.waited).unwrap_or_default()
    }

    /// Keeps the ingress limits of a client that has left, for when it is back.
    pub fn keep_intake(&self, intake: Intake) {
        self.lock().rare.get_or_insert_default().intake = Some(Box::new(intake));
    }

    /// The ingress limits of its client when it was here last.
    pub fn take_intake(&self) -> Option<Intake> {
        self.lock().rare.as_mut()?.intake.take().map(|intake| *intake)
    }

    /// A member of the group has connected.
    pub fn join(&self) {
        if let Some(members) = &mut self.lock().members {
            members.connected += 1;
        }
    }

    /// A member of the group has left or lost its connection: another one is woken in its place.
    pub fn part(&self, session: SessionId) -> Option<Waker> {
        let inner = &mut *self.lock();
        let members = inner.members.as_mut()?;
        members.connected = members.connected.saturating_sub(1);
        members.waiting.retain(|waiting| waiting.session != session);
        if members.connected == 0 {
            inner.cool();
        }
        if inner.is_empty() { None } else { inner.whom_to_wake(QoS::AtLeastOnce) }
    }

    /// Connected members of the group.
    pub fn connected(&self) -> u32 {
        self.lock().members.as_ref().map_or(0, |members| members.connected)
    }

    /// Everything that waits, or was admitted and is still to come, is lost for `loss`: its receiver
    /// is no more. Returns what waited.
    pub fn close(&self, loss: Loss, settled: &mut [u32; 2]) -> Fallen {
        let inner = &mut *self.lock();
        inner.settle(settled);
        let lost = inner.queued();
        for (class, count) in lost.into_iter().enumerate() {
            for _ in 0..count {
                inner.lose(class, loss);
            }
        }
        let waiting = inner.all_mut().filter(|lists| !lists.is_empty());
        let lists = waiting.map(std::mem::take).collect();
        inner.bytes = 0;
        inner.attached = false;
        inner.closed = Some(loss);
        Fallen { lists, loss, receiver: self.receiver() }
    }

    /// Counts a copy that was taken from here as completed or lost.
    pub fn settle(&self, above_qos0: bool, loss: Option<Loss>) {
        let inner = &mut *self.lock();
        let class = usize::from(above_qos0);
        match loss {
            None => inner.completed[class] += 1,
            Some(loss) => inner.lose(class, loss),
        }
    }

    /// Counts copies that were taken from here as completed.
    pub fn settle_many(&self, settled: &mut [u32; 2]) {
        if *settled != [0, 0] {
            // What it has done with is nothing new to the receiver.
            self.lock_quietly().settle(settled);
        }
    }

    /// Counts a retained message that was pulled, not pushed.
    pub fn count_routed(&self, class: usize) {
        self.lock().routed[class] += 1;
    }

    /// The receiver of what waits in it.
    pub fn receiver(&self) -> ReceiverId {
        self.owner.receiver()
    }

    /// Messages to be fetched from the store next, in order.
    pub fn cold_page(&self) -> Vec<Mid> {
        self.lock().cold_page(PAGE_MESSAGES, PAGE_BYTES)
    }

    /// Messages have come from the store. Returns those it could not read: they are lost.
    pub fn warm(&self, found: Vec<(Mid, Option<Message>)>) -> Vec<Mid> {
        let inner = &mut *self.lock();
        if inner.reachable() { inner.warm(found) } else { Vec::new() }
    }

    /// The receiver's account.
    pub fn account(&self) -> Account {
        let inner = self.lock();
        Account {
            routed: inner.routed,
            completed: inner.completed,
            queued: inner.queued().map(|count| count as u64),
            ledger: inner.rare.as_ref().map_or_else(Default::default, |rare| rare.ledger),
        }
    }

    /// Copies and bytes waiting.
    pub fn depth(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.len(), inner.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let inner = self.lock_quietly();
        // Whatever it is for: the receiver looks for itself.
        self.quiet.store(false, Ordering::Relaxed);
        inner
    }

    fn lock_quietly(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds a mailbox")
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::codec::{Properties, Reason};
    use crate::message::{ClientId, Draft, Identity, Meter};
    use crate::topic::TopicName;

    const KICK: Notice = Notice::Kick(Reason::SessionTakenOver);

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Bell>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Two members of a group, and messages of these `QoS` pushed before either looks.
    struct Group {
        mailbox: Mailbox,
        bells: [Arc<Bell>; 2],
    }

    impl Group {
        fn new(queued: &[QoS]) -> Group {
            let mailbox = Mailbox::for_group(GroupId::new(1), "$share/g/t");
            mailbox.join();
            let group = Group { mailbox, bells: Default::default() };
            queued.iter().for_each(|qos| group.push(*qos));
            group
        }

        fn push(&self, qos: QoS) {
            let publisher = Arc::new(Identity::new(ClientId::new("p"), None, Meter::forever()));
            let draft = Draft {
                topic: TopicName::trusted("t"),
                qos,
                retain: false,
                expiry: None,
                properties: Properties::EMPTY,
                payload: b"",
            };
            let message = draft.into_message(&publisher, Time::START);
            let ids = SubscriptionIds::default();
            let copy = Copy { message, qos, retain: false, ids, stored: false, band: ORDINARY };
            let (queue, hash) = (config::QueueConfig::default(), TextHash::new(1));
            let setting = Setting { queue: &queue, hash: &hash, now: Time::START, lanes: false };
            let (mut copies, mut gone, mut wakers) = (vec![copy], Gone::default(), Vec::new());
            let mut grant = Grant::default();
            self.mailbox.push(&setting, &mut copies, &mut grant, &mut wakers, &mut gone);
            assert!(gone.is_empty());
            wakers.into_iter().for_each(Waker::wake);
        }

        fn take(&self, index: usize, window: usize, bytes: usize) -> (usize, Taken) {
            let session = SessionId::new(index as u64);
            let qos = QoS::ExactlyOnce;
            let member = Member { session, qos, retain_as_published: false, id: 0 };
            let (mut out, mut wakers) = (Vec::new(), Vec::new());
            let waker = Waker::from(self.bells[index].clone());
            let queue = config::QueueConfig::default();
            let room = Room { window, bytes };
            let taken = self.mailbox.take_shared(
                &member,
                room,
                usize::MAX,
                &waker,
                &mut out,
                &mut wakers,
                &queue,
            );
            wakers.into_iter().for_each(Waker::wake);
            (out.len(), taken)
        }

        fn rang(&self, index: usize) -> bool {
            self.bells[index].0.swap(false, Ordering::Relaxed)
        }
    }

    #[test]
    fn a_promise_is_given_back_whole_though_the_message_is_smaller() {
        let publisher = Arc::new(Identity::new(ClientId::new("p"), None, Meter::forever()));
        let mailbox = Mailbox::for_session(SessionId::new(1), publisher.clone());
        mailbox.attach(false);
        let (queue, hash) = (config::QueueConfig::default(), TextHash::new(1));
        let setting = Setting { queue: &queue, hash: &hash, now: Time::START, lanes: false };
        // With a Message Expiry Interval, which is not forwarded as it came.
        let draft = Draft {
            topic: TopicName::trusted("t"),
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry: Some(10),
            properties: Properties::trusted(&[2, 0, 0, 0, 10]),
            payload: b"x",
        };
        let mut held = 0;
        for count in 1..=3 {
            let (mut grant, mut gone) = (Grant::default(), Gone::default());
            let bytes = draft.bytes(&publisher);
            mailbox
                .reserve(&setting, draft.topic, (draft.qos, bytes), &mut grant, &mut gone)
                .expect("there is room");
            assert!(grant.spend(draft.qos, bytes));
            let message = draft.into_message(&publisher, Time::START);
            assert!(message.bytes() < bytes);
            held += message.bytes() as u64;
            let ids = SubscriptionIds::default();
            let copy =
                Copy { message, qos: draft.qos, retain: false, ids, stored: false, band: ORDINARY };
            mailbox.push(&setting, &mut vec![copy], &mut grant, &mut Vec::new(), &mut gone);
            assert_eq!(mailbox.lock().held(), (count, held));
        }
    }

    #[test]
    fn who_has_seen_that_nothing_is_there_is_woken_before_there_is_something() {
        let identity = Arc::new(Identity::new(ClientId::new("c"), None, Meter::forever()));
        let mailbox = Mailbox::for_session(SessionId::new(1), identity);
        mailbox.attach(false);
        let bell = Arc::new(Bell::default());
        let take = || {
            let (queue, waker) = (config::QueueConfig::default(), Waker::from(bell.clone()));
            let (mut out, mut wakers) = (Vec::new(), Vec::new());
            let room = Room { window: 1, bytes: 1_000 };
            let ask = Ask { room, max: 1, pace: None };
            mailbox.take(ask, &mut [0, 0], &waker, &mut out, &mut wakers, &queue).notices
        };
        assert!(!mailbox.is_quiet());
        take();
        assert!(mailbox.is_quiet());
        mailbox.settle_many(&mut [1, 1]);
        assert!(mailbox.is_quiet());
        let leave_and_return = || {
            let _ = mailbox.detach(&mut [0, 0], false);
            mailbox.attach(false);
            Some(Waker::noop().clone())
        };
        let events: [&dyn Fn() -> Option<Waker>; 3] =
            [&leave_and_return, &|| mailbox.notify(Notice::Reclassify), &|| mailbox.notify(KICK)];
        for event in events {
            take();
            assert!(mailbox.is_quiet());
            assert!(event().is_some() && !mailbox.is_quiet());
        }
        take();
        assert!(!mailbox.is_quiet(), "a kick is repeated until another link attaches");
        assert_eq!(take().kick(), Some(Reason::SessionTakenOver));
        assert_eq!(mailbox.notify(Notice::Kick(Reason::NotAuthorized)).is_some(), true);
        assert_eq!(take().kick(), Some(Reason::SessionTakenOver), "the first reason stands");
        mailbox.attach(false);
        assert!(take().is_empty() && mailbox.is_quiet());
        let _ = mailbox.notify(Notice::Reclassify);
        assert!(take().reclassify() && !take().reclassify());
    }

    #[test]
    fn a_member_that_took_qos0_copies_is_woken_for_qos1() {
        let group = Group::new(&[QoS::AtMostOnce]);
        assert_eq!(group.take(0, 1, 1_000).0, 1);
        group.push(QoS::AtLeastOnce);
        assert!(group.rang(0));
    }

    #[test]
    fn a_member_whose_socket_is_full_passes_the_wake_on() {
        let group = Group::new(&[]);
        group.take(0, 1, 1_000);
        group.take(1, 1, 1_000);
        group.push(QoS::AtLeastOnce);
        assert!(group.rang(0) && !group.rang(1));
        assert_eq!(group.take(0, 1, 0).0, 0);
        assert!(group.rang(1));
        assert_eq!(group.take(1, 1, 1_000).0, 1);
    }

    #[test]
    fn a_full_window_leaves_no_qos0_copy_behind() {
        let group = Group::new(&[QoS::AtMostOnce; SHARE_MAX + 1]);
        let (count, taken) = group.take(0, 0, 1_000_000);
        assert_eq!((count, taken.more), (SHARE_MAX, true));
        assert_eq!(group.take(0, 0, 1_000_000).0, 1);
    }
}
