//! The claim on a Session by a client that is let in, and what it waits for.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tracing::debug;

use super::opening::Stage;
use super::{Phase, State};
use crate::broker::RefusalNote;
use crate::broker::metrics::Counter;
use crate::broker::moving::Entrance;
use crate::broker::registry::{Claim, Claimant, Contest};
use crate::broker::turn::Turn;
use crate::codec::{self, ConnAck, Packet, Reason, Version};
use crate::message::{Grounds, Identity, Loss, Network, RefusalKind, SessionId};
use crate::time::Time;

/// So long a client waits for the end of a connection of another user with its Client Identifier. What was
/// sent on that connection before this one began (DISCONNECT, mostly) has come by then.
const GRACE: Duration = Duration::from_secs(1);

/// A takeover waits; where the connection that has the Session came from.
struct Braked {
    holder: Option<IpAddr>,
}

impl State {
    /// Claims the Session, or tries it again if the time for that has come.
    pub(super) fn claim(&mut self, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        let (Some(asked), Stage::Held(held)) = (&opening.asked, &mut opening.stage) else { return };
        if held.waits() && turn.now < opening.deadline {
            return;
        }
        let claimant = Claimant {
            client_id: &asked.client_id,
            user_name: held.user_name(),
            address: asked.origin.address(),
            clean: asked.clean_start,
            number: held.number(),
        };
        match turn.broker.0.registry.claim(&claimant, turn.now, &mut turn.wakers) {
            Ok(claimed) => {
                if held.waits() {
                    // The time that it has waited is not that of the link that has its Session.
                    opening.deadline = turn.now.after(turn.broker.policy().limits.auth_timeout.0);
                }
                let accepted = held.take();
                let (user_name, meter) = (accepted.user_name.clone(), turn.broker.0.meter);
                let network = match user_name {
                    Some(_) => Network::default(),
                    None => Network::of(asked.origin.address()),
                };
                let identity = Identity::new(asked.client_id.clone(), user_name, meter);
                let identity = Arc::new(identity.at(network));
                opening.stage = Stage::Claiming { identity, claimed, accepted };
            }
            Err(Contest::Overtaken) => self.overtaken(true, turn),
            Err(Contest::OtherUser) => self.refuse_other_user(turn),
            Err(Contest::OtherUserConnected(number)) => {
                let end = held.since(turn.now).after(GRACE);
                if end <= turn.now {
                    return self.refuse_other_user(turn);
                }
                self.hold(number, end, None, turn);
            }
            Err(Contest::Braked(number, due, holder)) => {
                self.hold(number, due, Some(Braked { holder }), turn);
            }
            Err(Contest::Barred(holder)) => self.refuse_takeover(holder, turn),
        }
    }

    /// The claim is made again, at the latest at `due`.
    fn hold(&mut self, number: u64, due: Time, braked: Option<Braked>, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        let (Some(asked), Stage::Held(held)) = (&opening.asked, &mut opening.stage) else { return };
        opening.deadline = held.wait(number, turn.now).min(due);
        if let Some(Braked { holder }) = braked
            && held.is_braked_first()
        {
            turn.broker.metrics().add(Counter::TakeoversBraked, 1);
            turn.broker.say_braked(&asked.peer(), holder, due.since(turn.now), turn.now);
        }
    }

    /// Connections have taken the Session from each other for too long: the one from `holder` keeps it.
    fn refuse_takeover(&mut self, holder: Option<IpAddr>, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &self.phase else { return };
        let Some(asked) = &opening.asked else { return };
        let why = holder.map(|holder| format!("the connection from {holder} keeps the session"));
        let note = RefusalNote::new(Grounds::new(RefusalKind::Takeovers));
        let note = match &why {
            Some(why) => note.why(why),
            None => note,
        };
        turn.broker.note_refusal(&note, &asked.peer(), turn.now);
        self.refuse(Reason::ConnectionRateExceeded, None, turn);
    }

    fn refuse_other_user(&mut self, turn: &mut Turn<'_>) {
        let grounds = Grounds::new(RefusalKind::OtherUser);
        self.refuse(Reason::NotAuthorized, Some(grounds), turn);
    }

    /// Goes on with a claim that was made.
    pub(super) fn poll_claim(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        if matches!(opening.stage, Stage::Entering { .. }) {
            return self.poll_entering(waker, turn);
        }
        let (Some(asked), Stage::Claiming { identity, claimed, .. }) =
            (&opening.asked, &opening.stage)
        else {
            return;
        };
        let verifies = turn.broker.0.ports.authenticator.checks_names();
        let quota = turn.broker.0.session_quotas.now(verifies);
        let registry = &turn.broker.0.registry;
        let settled = registry.settle(&asked.client_id, claimed.number, identity, quota, waker);
        let braked = claimed.braked;
        match settled {
            Claim::Pending => {}
            Claim::Full(grounds) => self.refuse(Reason::QuotaExceeded, Some(grounds), turn),
            Claim::Overtaken => self.overtaken(braked, turn),
            Claim::New(id, ends) => {
                if let Some(ends) = ends {
                    turn.broker.end_for_room(*ends, "totals.sessions_max", turn);
                }
                self.enter(id, waker, turn);
            }
            Claim::Resumed { parked, clean } if clean || asked.clean_start => {
                // The old Session ends, its Will at once [MQTT5-3.1.2-4].
                turn.broker.end_session(*parked, Loss::TakenClean, turn);
                let id = turn.broker.0.registry.next_session();
                self.enter(id, waker, turn);
            }
            Claim::Resumed { parked, .. } => self.go_live(parked.id, Some(parked), turn),
            Claim::Unverified(parked) => {
                let peer = asked.peer().user(identity.user_name.as_deref());
                turn.broker.say_ended_for_owner(&peer, parked.id, turn.now);
                turn.broker.end_session(*parked, Loss::SessionEnded, turn);
                let id = turn.broker.0.registry.next_session();
                self.enter(id, waker, turn);
            }
        }
    }

    /// This broker has no Session of the client. In a cluster another node may have one.
    fn enter(&mut self, id: SessionId, waker: &Waker, turn: &mut Turn<'_>) {
        if turn.broker.is_node() && self.enters(id, waker, turn) {
            return self.poll_entering(waker, turn);
        }
        self.go_live(id, None, turn);
    }

    /// Whether the cluster is asked first.
    #[cold]
    fn enters(&mut self, id: SessionId, waker: &Waker, turn: &mut Turn<'_>) -> bool {
        let Phase::Opening(opening) = &mut self.phase else { return false };
        let (Some(asked), Stage::Claiming { identity, .. }) = (&opening.asked, &opening.stage)
        else {
            return false;
        };
        let what = (asked.clean_start, asked.terms.expiry > 0);
        if !turn.broker.enter(identity, what, waker, turn.now) {
            return false;
        }
        if let Stage::Claiming { identity, claimed, accepted } = std::mem::take(&mut opening.stage)
        {
            opening.deadline = turn.now.after(turn.broker.policy().limits.auth_timeout.0);
            opening.stage = Stage::Entering { identity, claimed, accepted, id };
        }
        true
    }

    /// Goes on once the cluster says where the Session is.
    fn poll_entering(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &self.phase else { return };
        let (Some(asked), Stage::Entering { claimed, id, .. }) = (&opening.asked, &opening.stage)
        else {
            return;
        };
        let (id, braked) = (*id, claimed.braked);
        match turn.broker.poll_entry(&asked.client_id, waker) {
            Entrance::Pending => {}
            Entrance::Opened => self.go_live(id, None, turn),
            Entrance::OfOther => self.refuse_other_user(turn),
            Entrance::Arrived => match turn.broker.0.registry.take_arrived(&asked.client_id) {
                Some(parked) => self.go_live(parked.id, Some(parked), turn),
                None => self.overtaken(braked, turn),
            },
        }
    }

    /// A newer claimant has come before this one had anything: accepted and taken over in one.
    fn overtaken(&mut self, quiet: bool, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        let Some(asked) = opening.asked else { return };
        let peer = asked.peer().quiet(quiet);
        turn.broker.say_disconnected(&peer, "overtaken by a newer connection", turn.now);
        // DISCONNECT may only follow a CONNACK of success [MQTT5-3.14.0-1].
        let connack = ConnAck::default();
        let version = asked.terms.version;
        let disconnect =
            codec::Disconnect { reason: Reason::SessionTakenOver, ..codec::Disconnect::default() };
        for packet in [Packet::ConnAck(Box::new(connack)), Packet::Disconnect(disconnect)] {
            if version == Version::V5
                && let Err(error) =
                    codec::encode(&packet, version, asked.terms.packet_max as usize, &mut turn.out)
            {
                debug!(%error, "not written");
            }
        }
    }
}
