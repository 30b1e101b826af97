//! A Session goes to another node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use thin_vec::ThinVec;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::broker::cluster_log::ClusterEnd;
use crate::broker::dedup::opening::UnderWay;
use crate::broker::mailbox::StandingCopy;
use crate::broker::metrics::Counter;
use crate::broker::ports::Fetch;
use crate::broker::registry::{Claimant, Parked, ToLeave};
use crate::broker::router::{RouteChange, Subscriber};
use crate::broker::session_record::{MovedCopy, MovedSession, SessionRecord};
use crate::broker::turn::{Scratch, Turn};
use crate::message::{ClientId, Loss, Message, Mid, ReceiverId};
use crate::session::Op;
use crate::session::window::FlightStage;
use crate::sync::whole;
use crate::time::Time;

/// A Session that another node wants.
#[derive(Debug)]
pub(super) struct Leaving {
    to: u64,
    stage: LeaveStage,
    /// It is over: another node has opened one in its place.
    is_void: bool,
}

#[derive(Debug)]
enum LeaveStage {
    /// It is worked at.
    InHand,
    /// Its connection is about to give it up; the number of the claim.
    Claimed(u64),
    /// What its client has published is not applied yet.
    Settling(Box<Parked>, ThinVec<Arc<UnderWay>>),
    /// What waits is copied.
    Copying(Box<Copying>),
    /// All is said in the log.
    Sent(Box<Parked>),
    /// It stays, or has ended.
    Over,
}

#[derive(Debug)]
struct Copying {
    parked: Box<Parked>,
    moved: MovedSession,
    copies: VecDeque<StandingCopy>,
    /// Their messages are on their way from the store.
    fetched: Option<(Vec<StandingCopy>, Fetch)>,
}

/// Copies that are read from the store at once, and about their bytes.
const COPIES: usize = 256;
const BYTES: u64 = 512 * 1024;
/// Bytes of the copies that go in one record of the log, but for the last one.
const RECORD_BYTES: usize = 128 * 1024;

impl Broker {
    /// Another node wants the Session of a client: its connection here is to end, and it is to go there.
    pub(super) fn leave(&self, client_id: &ClientId, to: u64, turn: &mut Turn<'_>) {
        let home = whole(self.0.moving.homes.lock()).get(client_id).cloned();
        let leaving = &mut *whole(self.0.moving.leaving.lock());
        if let Some(known) = leaving.get_mut(client_id) {
            // One that is copied already goes where it was to go, and on from there.
            if matches!(known.stage, LeaveStage::Claimed(_) | LeaveStage::Settling(..)) {
                known.to = to;
            }
            return;
        }
        let user_name = home.and_then(|home| home.user);
        let claimant = Claimant {
            client_id,
            user_name: user_name.as_deref(),
            address: None,
            clean: false,
            number: None,
        };
        // What is in the way may not be any more when it is wanted again.
        let claim = self.0.registry.claim(&claimant, turn.now, &mut turn.wakers);
        if let Ok(claimed) = claim {
            let stage = LeaveStage::Claimed(claimed.number);
            leaving.insert(client_id.clone(), Leaving { to, stage, is_void: false });
            if let Some(cluster) = self.0.cluster.get() {
                cluster.stir();
            }
        }
    }

    /// Goes on with a Session that leaves, as far as that is possible now.
    pub(super) fn drive_leaving(
        &self,
        cluster: &ClusterEnd,
        client_id: &ClientId,
        now: Time,
        scratch: &mut Scratch,
    ) {
        let Some((to, mut stage)) = self.take_in_hand(client_id) else { return };
        let mut last = None;
        loop {
            let (next, goes_on) = match stage {
                LeaveStage::Claimed(claim) => self.settle_leaving(cluster, client_id, claim),
                LeaveStage::Settling(parked, published) => {
                    self.begin_copying(parked, published, (client_id, to), now)
                }
                LeaveStage::Copying(copying) => self.copy_on(cluster, copying, &mut last),
                other => (other, false),
            };
            stage = next;
            if !goes_on {
                break;
            }
        }
        // It may be back from the log before this returns: all of it is in its place by then.
        let void = self.put_stage(client_id, stage);
        if let Some(parked) = void {
            let end = |turn: &mut Turn<'_>| self.end_session(*parked, Loss::TakenClean, turn);
            self.in_turn(now, scratch, end);
            self.free_left(client_id);
        } else if let Some(moved) = last
            && !cluster.note(SessionRecord::Moved(moved))
        {
            self.stay(client_id);
        }
    }

    fn take_in_hand(&self, client_id: &ClientId) -> Option<(u64, LeaveStage)> {
        let leaving = &mut *whole(self.0.moving.leaving.lock());
        let known = leaving.get_mut(client_id)?;
        Some((known.to, std::mem::replace(&mut known.stage, LeaveStage::InHand)))
    }

    /// Returns the Session if it is void.
    fn put_stage(&self, client_id: &ClientId, stage: LeaveStage) -> Option<Box<Parked>> {
        let leaving = &mut *whole(self.0.moving.leaving.lock());
        let known = leaving.get_mut(client_id)?;
        if known.is_void || matches!(stage, LeaveStage::Over) {
            leaving.remove(client_id);
            return stage.into_parked();
        }
        known.stage = stage;
        None
    }

    /// Whether its connection has given it up.
    fn settle_leaving(
        &self,
        cluster: &ClusterEnd,
        client_id: &ClientId,
        claim: u64,
    ) -> (LeaveStage, bool) {
        match self.0.registry.settle_to_leave(client_id, claim) {
            ToLeave::Pending => (LeaveStage::Claimed(claim), false),
            ToLeave::Overtaken => (LeaveStage::Over, false),
            ToLeave::Nowhere => {
                cluster.note(SessionRecord::Ended { client_id: client_id.clone() });
                (LeaveStage::Over, false)
            }
            ToLeave::Here(parked) => {
                let published = self.take_awaited(parked.id).unwrap_or_default();
                (LeaveStage::Settling(parked, published), true)
            }
        }
    }

    /// Copies what waits, once what its client has published is applied.
    fn begin_copying(
        &self,
        mut parked: Box<Parked>,
        published: ThinVec<Arc<UnderWay>>,
        (client_id, to): (&ClientId, u64),
        now: Time,
    ) -> (LeaveStage, bool) {
        if !published.iter().all(|other| other.is_over()) {
            return (LeaveStage::Settling(parked, published), false);
        }
        let identity = parked.session.identity().clone();
        let will = parked.session.will().filter(|will| will.is_stored()).cloned();
        let will = will.and_then(|will| self.whole_will(parked.id, &identity, will));
        let mut facts = parked.session.facts(parked_since(&parked, now));
        facts.extend(will.map(|will| Op::Will(will, identity)));
        let (after, copies) = {
            // Nothing is routed meanwhile that is in the log.
            let applied = whole(self.0.moving.applied.lock());
            (applied.sequence, parked.mailbox.standing_copies())
        };
        let number = self.0.moving.next_number(now);
        let moved = MovedSession { client_id: client_id.clone(), number, to, after, facts };
        let copies = copies.into();
        (LeaveStage::Copying(Box::new(Copying { parked, moved, copies, fetched: None })), true)
    }

    /// Puts the next copies into the log; `last` is to follow once all are there.
    fn copy_on(
        &self,
        cluster: &ClusterEnd,
        mut copying: Box<Copying>,
        last: &mut Option<Box<MovedSession>>,
    ) -> (LeaveStage, bool) {
        if let Some((copies, fetch)) = copying.fetched.take() {
            if !fetch.is_there() && !fetch.has_failed() {
                copying.fetched = Some((copies, fetch));
                return (LeaveStage::Copying(copying), false);
            }
            let found = fetch.take().unwrap_or_default();
            put_copies(cluster, &copying.moved, copies, found);
            return (LeaveStage::Copying(copying), true);
        }
        if !cluster.has_room(BYTES as usize) {
            return (LeaveStage::Copying(copying), false);
        }
        let page = take_page(&mut copying.copies);
        if page.is_empty() {
            let Copying { parked, moved, .. } = *copying;
            *last = Some(Box::new(moved));
            return (LeaveStage::Sent(parked), false);
        }
        let cold: Vec<_> = page.iter().filter_map(StandingCopy::cold).collect();
        let fetch = match cold.is_empty() {
            true => Fetch::ready(Vec::new()),
            false => self.0.ports.store.fetch(cold, self.0.meter, Waker::noop()),
        };
        copying.fetched = Some((page, fetch));
        (LeaveStage::Copying(copying), true)
    }

    /// The record of a Session does not fit into the log: it stays here.
    #[cold]
    fn stay(&self, client_id: &ClientId) {
        let known = whole(self.0.moving.leaving.lock()).remove(client_id);
        let Some(parked) = known.and_then(|known| known.stage.into_parked()) else { return };
        warn!(client = %client_id, "a session is too large to go to another node: it stays");
        self.0.registry.park(*parked).into_iter().for_each(Waker::wake);
    }

    /// A Session of which the log says that it has moved is not here any more.
    pub(super) fn depart(&self, moved: &MovedSession, turn: &mut Turn<'_>) {
        let client_id = &moved.client_id;
        let known = whole(self.0.moving.leaving.lock()).remove(client_id);
        let (parked, is_taken) = match known.and_then(|known| known.stage.into_parked()) {
            Some(parked) => (Some(parked), true),
            // This node has been restarted meanwhile.
            None => (self.0.registry.end_parked(client_id), false),
        };
        let Some(parked) = parked else { return };
        let Parked { id, session, mailbox, .. } = *parked;
        info!(client = %client_id, session = %id, to = format!("{:016x}", moved.to), "session moved");
        let changes: Vec<_> = session
            .subscriptions()
            .map(|(filter, _)| RouteChange::Unsubscribe(filter.clone()))
            .collect();
        if !changes.is_empty() {
            self.change_routes(&Subscriber::new(id, &mailbox), &changes, &mut ThinVec::new(), turn);
        }
        let (receiver, mut count) = (ReceiverId::session(id), 0);
        let mut settle = |mid: Option<Mid>| {
            count += 1;
            turn.batch.settled.extend(mid.map(|mid| (receiver, mid)));
        };
        if let Some(left) = mailbox.close(Loss::TakenClean, &mut [0, 0]) {
            left.visit(|_, mid| settle(mid));
        }
        for stage in session.stages() {
            match stage {
                FlightStage::Sent(delivery) => settle(delivery.mid()),
                FlightStage::Released { mid, lost: false, .. } => settle(*mid),
                FlightStage::Released { lost: true, .. } | FlightStage::GivenAway(..) => {}
            }
        }
        self.0.metrics.add(Counter::MovedAway, count);
        turn.batch.ops.push((id, Op::Ended));
        if is_taken {
            self.free_left(client_id);
        }
    }

    /// The Session of a client that leaves is over, if one does.
    pub(super) fn end_leaving(&self, client_id: &ClientId, turn: &mut Turn<'_>) -> bool {
        let parked = {
            let leaving = &mut *whole(self.0.moving.leaving.lock());
            let Some(known) = leaving.get_mut(client_id) else { return false };
            known.is_void = true;
            match known.stage {
                LeaveStage::InHand => return true,
                // Its connection still has it.
                LeaveStage::Claimed(_) => None,
                _ => leaving.remove(client_id).and_then(|known| known.stage.into_parked()),
            }
        };
        let Some(parked) = parked else {
            whole(self.0.moving.leaving.lock()).remove(client_id);
            return false;
        };
        self.end_session(*parked, Loss::TakenClean, turn);
        self.free_left(client_id);
        true
    }

    /// The Client Identifier of a Session that has left is free here.
    fn free_left(&self, client_id: &ClientId) {
        self.0.registry.release(client_id).into_iter().for_each(Waker::wake);
    }
}

impl LeaveStage {
    fn into_parked(self) -> Option<Box<Parked>> {
        match self {
            LeaveStage::Settling(parked, _) | LeaveStage::Sent(parked) => Some(parked),
            LeaveStage::Copying(copying) => Some(copying.parked),
            LeaveStage::InHand | LeaveStage::Claimed(_) | LeaveStage::Over => None,
        }
    }
}

/// When the connection of a Session ended, as its deadlines say it.
fn parked_since(parked: &Parked, now: Time) -> Time {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let expiry = parked.session.terms().expiry;
    if parked.expires != Time::NEVER {
        return parked.expires.before(seconds(expiry));
    }
    match parked.session.will() {
        Some(will) if parked.will_due != Time::NEVER => {
            parked.will_due.before(seconds(will.delay.min(expiry)))
        }
        _ => now,
    }
}

/// Takes the copies that are read at once.
fn take_page(copies: &mut VecDeque<StandingCopy>) -> Vec<StandingCopy> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < COPIES && bytes < BYTES {
        let Some(copy) = copies.pop_front() else { break };
        bytes += copy.bytes();
        page.push(copy);
    }
    page
}

/// Puts copies into the log. `found` are the messages that only the store had: one that it does not have any more was
/// dropped meanwhile, and is accounted for.
fn put_copies(
    cluster: &ClusterEnd,
    moved: &MovedSession,
    page: Vec<StandingCopy>,
    found: Vec<(Mid, Option<Message>)>,
) {
    let mut found = found.into_iter();
    let (mut copies, mut bytes) = (Vec::new(), 0);
    let note = |copies: &mut Vec<MovedCopy>| {
        let (client_id, number) = (moved.client_id.clone(), moved.number);
        let copies = std::mem::take(copies);
        cluster.note(SessionRecord::Copies { client_id, number, copies });
    };
    for copy in page {
        let message = copy.cold().and_then(|_| found.next()?.1);
        let Some(copy) = copy.into_moved(message) else { continue };
        bytes += copy.message.bytes();
        copies.push(copy);
        if bytes >= RECORD_BYTES {
            note(&mut copies);
            bytes = 0;
        }
    }
    if !copies.is_empty() {
        note(&mut copies);
    }
}
