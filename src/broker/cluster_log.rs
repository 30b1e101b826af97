//! The log of a cluster, seen from one of its nodes. What is published above `QoS` 0, and what is retained, goes into
//! it once it is let in; each node applies what the log has, in the order of the log, its own messages too.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use thin_vec::ThinVec;

use super::Broker;
use super::dedup::opening::UnderWay;
use super::link::Held;
pub use super::log_entry::{HandedIn, LogEntry};
pub use super::moving::ClusterImage;
use super::ports::{Progress, Receipt};
use super::publish::{LetIn, Published, Publisher, Submission, no_room};
use super::record::Record;
use super::registry::Parked;
pub use super::session_record::{ArrivedSession, MovedCopy, MovedSession, SessionRecord};
use super::turn::{Scratch, Turn};
use crate::codec::{QoS, Reason};
pub use crate::message::LogMark;
use crate::message::{ClientId, Grounds, Identity, RefusalKind, SessionId};
use crate::session::{Op, WillMessage};
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// Puts what is published in one order for all nodes of a cluster.
///
/// No call waits.
pub trait ClusterLog: Send + Sync + Debug {
    /// Whether it takes so many bytes more in bounded memory: asked before anything is changed.
    fn has_room(&self, bytes: usize) -> bool;

    /// Hands in a message. What one client publishes keeps its order. Once the log has it, and this node has come so
    /// far, it is given to [`Broker::apply_logged`] with `handed_in`. It is tried until it succeeds: `handed_in` may be
    /// dropped only if it is certain that the log never has the message.
    fn append(&self, entry: LogEntry, handed_in: HandedIn);

    /// Tells the other nodes a message of `QoS` 0, which they may never see.
    fn tell(&self, entry: LogEntry);

    /// This node: the hash of its name.
    fn node(&self) -> u64;

    /// Hands in a record about a Session: it keeps its order to what the client publishes. It is given to
    /// [`Broker::apply_logged`] as messages are, at this node too. `false`: it is too large for the log, which does not
    /// get it.
    fn note(&self, record: SessionRecord) -> bool;

    /// Sessions come or go: [`Broker::tick_moves`] is to be called until it returns `None`.
    fn stir(&self);

    /// A client has connected here: where it is connected elsewhere that ends, and with Clean Start so does what another
    /// node keeps of it.
    fn claim(&self, client_id: &ClientId, clean_start: bool, now: Time);
}

/// What a broker knows of the cluster that it is a node of.
#[derive(Debug)]
pub(super) struct ClusterEnd {
    log: Arc<dyn ClusterLog>,
    /// Of Sessions without a connection: what they published, and is not applied yet. The answers of the next
    /// connection wait for that.
    awaited: Mutex<BTreeMap<SessionId, ThinVec<Arc<UnderWay>>>>,
    /// Wills on their way to the log, each with the receipt of what the store was told of it.
    wills: Mutex<VecDeque<(Receipt, LogEntry, HandedIn)>>,
}

/// How often it is asked whether the store has noted that a Will is on its way.
const WILLS_EVERY: Duration = Duration::from_millis(5);

/// A Will of a Session that is no more, under its number in the store.
pub(super) type WillLeft = (SessionId, Arc<Identity>, Arc<WillMessage>);

/// Something that the log has, and that is to be applied.
#[derive(Debug)]
pub enum Logged {
    /// A message.
    Message {
        /// It.
        entry: LogEntry,
        /// Its answer waits, here.
        handed_in: Option<HandedIn>,
    },
    /// A record about a Session.
    Session {
        /// The node that it comes from.
        node: u64,
        /// It.
        record: SessionRecord,
    },
    /// A node does not come back.
    Gone {
        /// It.
        node: u64,
    },
    /// A Session has moved to this node: instead of the record that says so.
    Arrived {
        /// The node that it comes from.
        node: u64,
        /// It, with what waits for it.
        arrived: Box<ArrivedSession>,
    },
}

impl Broker {
    /// This broker is a node of a cluster from now on: before the first connection.
    ///
    /// # Panics
    ///
    /// If it is one already, or keeps nothing.
    pub fn join(&self, log: Arc<dyn ClusterLog>) {
        assert!(self.0.remembers, "a node has a store");
        *whole(self.0.moving.applied().lock()) = self.restored_mark();
        let cluster = ClusterEnd { log, awaited: Mutex::default(), wills: Mutex::default() };
        assert!(self.0.cluster.set(cluster).is_ok(), "a broker is a node of one cluster");
    }

    /// Whether it is a node of a cluster.
    pub fn is_node(&self) -> bool {
        self.0.cluster.get().is_some()
    }

    /// How far its store had applied the log when it was restored.
    pub fn restored_mark(&self) -> LogMark {
        self.0.log_mark.get().cloned().unwrap_or_default()
    }

    /// A client of another node, as the publisher of a message.
    pub fn publisher_elsewhere(&self, client_id: ClientId, user: Option<Arc<str>>) -> Identity {
        Identity::new(client_id, user, self.0.meter)
    }

    /// Applies messages of the log in their order. `mark` is what the store is to know of that: none for what is not in
    /// the log. Returns the receipt of what the store was told.
    pub fn apply_logged(
        &self,
        logged: Vec<Logged>,
        mark: Option<LogMark>,
        now: Time,
        scratch: &mut Scratch,
    ) -> Option<Receipt> {
        // A Session that leaves is copied between two batches.
        let mut applied = mark.as_ref().map(|_| whole(self.0.moving.applied().lock()));
        let mut turn = self.turn(scratch, now);
        let mut waiting = Vec::new();
        for logged in logged {
            match logged {
                Logged::Message { entry, handed_in } => {
                    self.apply_entry(entry, handed_in.is_some(), &mut turn);
                    waiting.extend(handed_in);
                }
                Logged::Session { node, record } => {
                    self.apply_session_record(node, record, &mut turn);
                }
                Logged::Gone { node } => self.apply_gone(node, &mut turn),
                Logged::Arrived { node, arrived } => self.apply_arrived(node, *arrived, &mut turn),
            }
        }
        if let (Some(mark), Some(applied)) = (mark, &mut applied) {
            applied.clone_from(&mark);
            turn.batch.rare().log_mark = Some(mark);
        }
        let receipt = turn.finish();
        drop(applied);
        for handed_in in waiting {
            let wakers = receipt.map(|receipt| handed_in.applied(receipt));
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
        receipt
    }

    fn apply_entry(&self, entry: LogEntry, is_awaited: bool, turn: &mut Turn<'_>) {
        let LogEntry { message, publisher, retains, with } = entry;
        let draft = &message.draft();
        let (received, bytes) = (message.received, message.bytes());
        let (kept, follow) = (true, 0);
        let message = Some(message.clone());
        let publisher = &publisher;
        if !is_awaited && let Some((session, op)) = &with {
            self.recall(*session, &publisher.client_id, op);
        }
        let record =
            &mut Record { draft, publisher, received, bytes, kept, retains, message, follow };
        self.apply_record(record, with, turn);
    }

    /// This node has come to the end of the log: what was due at its start, and is not in the log, is published now. To
    /// be called once, before the first connection.
    pub fn caught_up(&self, now: Time, scratch: &mut Scratch) {
        let left = whole(self.0.wills_left.lock()).take().unwrap_or_default();
        self.in_turn(now, scratch, |turn| self.publish_wills_left(left, turn));
        self.check_homes();
        self.tick_all(now, scratch);
    }

    /// Whether Wills that the store had at the start wait until this node has come to the end of the log. Then it has
    /// taken these, and those of Sessions that are about to end: in the store they have numbers of their own from now on.
    pub(super) fn keep_wills_left(
        &self,
        wills: &mut Vec<WillLeft>,
        ending: &mut [Parked],
        turn: &mut Turn<'_>,
    ) -> bool {
        if whole(self.0.wills_left.lock()).is_none() {
            return false;
        }
        let mut left = std::mem::take(wills);
        for parked in ending {
            let identity = parked.session.identity().clone();
            let Some(will) = parked.session.take_will() else { continue };
            let Some(will) = self.whole_will(parked.id, &identity, will) else { continue };
            let number = self.0.registry.next_session();
            turn.batch.ops.push((number, Op::Will(will.clone(), identity.clone())));
            left.push((number, identity, will));
        }
        *whole(self.0.wills_left.lock()) = Some(left);
        true
    }

    /// What this node had noted of a Session with a message, before it crashed.
    #[cold]
    fn recall(&self, session: SessionId, client_id: &ClientId, op: &Op) {
        match op {
            Op::Received { packet_id } => self.0.registry.received(client_id, session, *packet_id),
            Op::WillGone => {
                if let Some(left) = &mut *whole(self.0.wills_left.lock()) {
                    left.retain(|(id, ..)| *id != session);
                }
            }
            _ => {}
        }
    }

    /// Publishes a Will to the cluster. It stays in the store, under a number of its own, until the log has it.
    #[cold]
    pub(super) fn publish_will_to_cluster(
        &self,
        identity: &Arc<Identity>,
        will: &Arc<WillMessage>,
        turn: &mut Turn<'_>,
    ) {
        let number = self.0.registry.next_session();
        let appends = |turn: &mut Turn<'_>| turn.batch.rare().appends.len();
        let before = appends(turn);
        let draft = will.draft();
        let mut submission = Submission::new(&draft, Publisher::Will(identity));
        submission.with = Some((number, Op::WillGone));
        self.publish_untold(submission, identity, "its Will", turn);
        if appends(turn) > before {
            turn.batch.ops.push((number, Op::Will(will.clone(), identity.clone())));
        }
    }

    /// Hands messages to the log: the store was told what was changed with them, under `receipt`.
    #[cold]
    pub(super) fn append_all(&self, appends: Vec<(LogEntry, HandedIn)>, receipt: Receipt) {
        let Some(cluster) = self.0.cluster.get() else { return };
        for (entry, handed_in) in appends {
            if matches!(entry.with, Some((_, Op::WillGone))) {
                whole(cluster.wills.lock()).push_back((receipt, entry, handed_in));
            } else {
                cluster.log.append(entry, handed_in);
            }
        }
    }

    /// Hands in the Wills of which the store has noted that they are on their way: after a crash they would come again
    /// from where they were before. Returns when it is to be asked again.
    pub(super) fn tick_cluster(&self, now: Time) -> Option<Time> {
        let cluster = self.0.cluster.get()?;
        loop {
            // Only a tick takes some out: no port is asked while the lock is held.
            let receipt = whole(cluster.wills.lock()).front().map(|(receipt, ..)| *receipt)?;
            match self.0.ports.store.state(receipt, Waker::noop()) {
                Progress::Pending => return Some(now.after(WILLS_EVERY)),
                Progress::Durable => {
                    let (_, entry, handed_in) = whole(cluster.wills.lock()).pop_front()?;
                    cluster.log.append(entry, handed_in);
                }
                // The process is about to end.
                Progress::Failed => return None,
            }
        }
    }

    /// The client has connected to another node: a connection that it has here ends; with a Clean Start its Session does.
    pub fn taken_elsewhere(
        &self,
        client_id: &ClientId,
        clean_start: bool,
        now: Time,
        scratch: &mut Scratch,
    ) {
        if clean_start && !self.keeps_home(client_id) {
            self.end_client(client_id, Reason::SessionTakenOver, now, scratch);
        } else {
            self.kick(client_id, Reason::SessionTakenOver);
        }
    }

    /// A client has connected: the other nodes are told, if there are any.
    #[inline]
    pub(super) fn claim_in_cluster(&self, client_id: &ClientId, clean_start: bool, now: Time) {
        if let Some(cluster) = self.0.cluster.get() {
            cluster.log.claim(client_id, clean_start, now);
        }
    }

    /// A Session that lasts loses its connection: its next one waits for what these answers wait for.
    #[inline]
    pub(super) fn keep_awaited(&self, id: SessionId, held: &VecDeque<Held>) {
        if let Some(cluster) = self.0.cluster.get() {
            cluster.keep_awaited(id, held);
        }
    }

    /// What answers to a Session must wait for that has been connected before.
    #[inline]
    pub(super) fn take_awaited(&self, id: SessionId) -> Option<ThinVec<Arc<UnderWay>>> {
        let cluster = self.0.cluster.get()?;
        whole(cluster.awaited.lock()).remove(&id)
    }

    /// Hands a message that was let in to the log, or applies it and tells the others.
    #[cold]
    #[inline(never)]
    pub(super) fn publish_to_cluster(
        &self,
        cluster: &ClusterEnd,
        record: &mut Record<'_>,
        with: Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Published {
        let qos = record.draft.qos;
        let (message, publisher, retains) =
            (record.share(), record.publisher.clone(), record.retains);
        let in_log = qos > QoS::AtMostOnce || retains;
        if !in_log {
            cluster.log.tell(LogEntry { message, publisher, retains, with: None });
            return self.apply_record(record, with, turn);
        }
        if !cluster.log.has_room(record.bytes) {
            // Nothing was changed so far.
            let LetIn::Not(refused) = no_room(Reason::QuotaExceeded, turn) else {
                unreachable!("it is refused")
            };
            turn.refused = Some(Grounds::new(RefusalKind::ClusterRoom));
            return self.turn_away(record.draft, record.publisher, refused, turn);
        }
        let handed_in = HandedIn::begin();
        turn.waits_for.push(handed_in.under_way().clone());
        let entry = LogEntry { message, publisher, retains, with };
        turn.batch.rare().appends.push((entry, handed_in));
        Published::kept(qos > QoS::AtMostOnce)
    }
}

impl ClusterEnd {
    /// This node.
    pub fn node(&self) -> u64 {
        self.log.node()
    }

    /// Whether the log takes so many bytes more.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.log.has_room(bytes)
    }

    /// Says something of a Session in the log. `false`: that is too large for it.
    pub fn note(&self, record: SessionRecord) -> bool {
        self.log.note(record)
    }

    /// Sessions come or go.
    pub fn stir(&self) {
        self.log.stir();
    }

    #[cold]
    fn keep_awaited(&self, id: SessionId, held: &VecDeque<Held>) {
        let others = held.iter().flat_map(|held| &held.others);
        let open: ThinVec<_> = others.filter(|other| !other.is_over()).cloned().collect();
        if open.is_empty() {
            return;
        }
        let mut awaited = whole(self.awaited.lock());
        // A Session may have ended since.
        awaited.retain(|_, others| others.iter().any(|other| !other.is_over()));
        awaited.insert(id, open);
    }
}
