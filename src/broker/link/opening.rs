//! From CONNECT to CONNACK: negotiate, authenticate, claim the Session.

mod granted;

use std::sync::Arc;
use std::task::Waker;

use tracing::debug;

pub(super) use self::granted::Granted;
use super::attachment::FlowState;
use super::held::HeldClaim;
use super::live::Live;
use super::login::Login;
use super::refused::{of_verdict, refusal};
use super::{Origin, PeerInfo, Phase, State};
use crate::broker::metrics::Counter;
use crate::broker::orphans::Kept;
use crate::broker::overload::SHED;
use crate::broker::ports::{
    Accepted, AuthRequest, AuthStep, Exchange, ExchangeState, Verdict, Voucher,
};
use crate::broker::registry::{Claimed, Parked};
use crate::broker::turn::Turn;
use crate::broker::{Broker, Peer, RefusalNote};
use crate::codec::{self, Auth, Connect, Packet, Properties, Reason, Version};
use crate::fault;
use crate::message::{ClientId, Grounds, Identity, Network, OwnerName, RefusalKind, SessionId};
use crate::session::{Terms, WillMessage, connect};
use crate::time::Time;

/// A CONNECT being looked at.
#[derive(Default)]
pub(super) struct Opening {
    pub(super) asked: Option<Applicant>,
    pub(super) stage: Stage,
    pub deadline: Time,
    begun: Time,  // When CONNECT came.
    queued: bool, // Its check waited for its turn when the deadline was set.
}

/// What CONNECT asked, owned.
pub(super) struct Applicant {
    pub(super) client_id: ClientId,
    assigned: bool,
    pub(super) clean_start: bool,
    keep_alive: u16,
    pub(super) terms: Terms,
    will: Option<WillMessage>,
    method: Option<Box<str>>,
    /// Of its TLS channel, where it authenticates by a method.
    binding: Option<Box<[u8; 32]>>,
    pub(super) origin: Origin,
    user_name: Option<Box<str>>,
    certificate: Option<Box<str>>,
    voucher: Option<Arc<dyn Voucher>>,
}

#[derive(Default)]
pub(super) enum Stage {
    /// An exchange authenticates the client.
    Authenticating(Box<dyn Exchange>),
    /// AUTH from the client is awaited.
    Waiting(Box<dyn Exchange>),
    /// Let in; its Session is claimed.
    Claiming { identity: Arc<Identity>, claimed: Claimed, accepted: Accepted },
    /// Let in, and this node has no Session of it: the cluster is asked. The Session would have this number.
    Entering { identity: Arc<Identity>, claimed: Claimed, accepted: Accepted, id: SessionId },
    /// Let in; something is in the way of its claim. The deadline is when it is made again.
    Held(HeldClaim),
    #[default]
    Over,
}

impl Applicant {
    /// Counts the Will, if there is one and there is room for it, for the client's user.
    fn count_will(&mut self, user_name: Option<&Arc<str>>, broker: &Broker) -> Result<(), Grounds> {
        if let Some(will) = self.will.take() {
            let owner = OwnerName::of(user_name.cloned(), Network::of(self.origin.address()));
            self.will = Some(broker.admit_will(&self.client_id, owner, will)?);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Opening {
    /// Its sender, as the log names it; nothing once it is over.
    pub fn peer(&self) -> Peer<'_> {
        self.asked.as_ref().map(Applicant::peer).unwrap_or_default()
    }

    /// The client that claims its Session.
    pub fn claims_for(&self) -> Option<&Arc<Identity>> {
        match &self.stage {
            Stage::Claiming { identity, .. } | Stage::Entering { identity, .. } => Some(identity),
            _ => None,
        }
    }

    /// It is checked elsewhere: it is not the client's turn.
    pub fn is_checked(&self) -> bool {
        matches!(self.stage, Stage::Authenticating(_))
    }

    /// Whether its check waits for its turn, or did when the deadline was set: it has a whole span for itself.
    fn has_waited(&mut self) -> bool {
        let waits = matches!(&self.stage, Stage::Authenticating(check) if check.is_queued());
        std::mem::replace(&mut self.queued, waits) || waits
    }

    pub fn wants_auth(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }
}

/// Begins to authenticate the sender of a CONNECT.
fn begin(
    connect: &Connect<'_>,
    client_id: &str,
    (peer, origin): (&PeerInfo, &Origin),
    turn: &Turn<'_>,
) -> AuthStep {
    let listener = peer.listener.and_then(|id| turn.broker.0.listeners.names(id));
    let method = connect.authentication_method;
    turn.broker.0.ports.authenticator.begin(&AuthRequest {
        client_id,
        user_name: connect.user_name,
        password: connect.password,
        method: method.map(|method| (method, connect.authentication_data)),
        certificate: peer.certificate.as_deref(),
        anonymous: peer.anonymous,
        listener: listener.as_ref().map(|names| names.name()),
        address: origin.address(),
        binding: peer.binding.as_deref(),
        now: turn.now,
    })
}

impl State {
    /// A CONNECT that decoded: checks what it asks for, and begins to authenticate its sender.
    pub(super) fn open(&mut self, connect: &Connect<'_>, peer: PeerInfo, turn: &mut Turn<'_>) {
        if let Some(reason) = peer.refuse {
            return self.refuse_connect(connect, &peer, (reason, peer.grounds), turn);
        }
        if let Some((reason, kind)) = turn.broker.sends_away() {
            let grounds = Some(Grounds::new(kind));
            return self.refuse_connect(connect, &peer, (reason, grounds), turn);
        }
        let terms = match connect::negotiate(connect, turn.broker.policy()) {
            Ok(terms) => terms,
            Err((reason, grounds)) => {
                return self.refuse_connect(connect, &peer, (reason, Some(grounds)), turn);
            }
        };
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned {
            ClientId::new(&format!("sluice-{:032x}", peer.nonce))
        } else {
            ClientId::new(connect.client_id)
        };
        let pressure = turn.pressure;
        if pressure.level() >= SHED
            && !(pressure.resumes() && turn.broker.0.registry.knows(&client_id))
        {
            let grounds = Some(Grounds::new(RefusalKind::Overloaded));
            return self.refuse_connect(connect, &peer, (Reason::ServerBusy, grounds), turn);
        }
        let origin = Origin::new(&peer.address, peer.listener);
        let step = begin(connect, client_id.as_str(), (&peer, &origin), turn);
        let asked = Some(Applicant {
            client_id,
            assigned,
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            terms,
            will: connect.will.as_ref().map(WillMessage::new),
            method: connect.authentication_method.map(Into::into),
            binding: peer.binding.filter(|_| connect.authentication_method.is_some()),
            origin,
            user_name: connect.user_name.map(Into::into),
            certificate: peer.certificate.as_deref().map(Into::into),
            voucher: peer.voucher,
        });
        let deadline = turn.now.after(turn.broker.policy().limits.auth_timeout.0);
        let mut opening = Opening { asked, deadline, begun: turn.now, ..Opening::default() };
        match step {
            AuthStep::Exchange(exchange) => {
                opening.queued = exchange.is_queued();
                opening.stage = Stage::Authenticating(exchange);
                self.phase = Phase::Opening(Box::new(opening));
            }
            AuthStep::Verdict(verdict) => {
                self.phase = Phase::Opening(Box::new(opening));
                self.on_verdict(verdict, turn);
            }
        }
    }

    /// Refuses a CONNECT that was not looked at further.
    fn refuse_connect(
        &mut self,
        connect: &Connect<'_>,
        peer: &PeerInfo,
        (reason, grounds): (Reason, Option<Grounds>),
        turn: &mut Turn<'_>,
    ) {
        if let Some(grounds) = grounds {
            let mut note = RefusalNote::new(grounds);
            if let Some(will) = connect.will.as_ref().filter(|_| grounds.is_of_will()) {
                note = note.topic(will.topic);
            }
            let peer = peer.peer().client(connect.client_id).user(connect.user_name);
            turn.broker.note_refusal(&note, &peer, turn.now);
        }
        self.refuse(reason, None, turn);
    }

    /// AUTH in an exchange `[MQTT5-4.12.0-3]`.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        let broken = Grounds::new(RefusalKind::AuthBroken);
        let same =
            opening.asked.as_ref().is_some_and(|asked| asked.method.as_deref() == auth.method);
        let Stage::Waiting(mut exchange) = std::mem::take(&mut opening.stage) else {
            return self.refuse(Reason::ProtocolError, Some(broken), turn);
        };
        if auth.reason != Reason::ContinueAuthentication || !same {
            return self.refuse(Reason::ProtocolError, Some(broken), turn);
        }
        exchange.answer(auth.data);
        opening.stage = Stage::Authenticating(exchange);
    }

    /// Goes on with what an opening waits for.
    pub(super) fn poll_opening(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        if matches!(opening.stage, Stage::Held(_)) {
            self.claim(turn);
            return self.poll_claim(waker, turn);
        }
        if opening.deadline <= turn.now && opening.has_waited() {
            opening.deadline = turn.now.after(turn.broker.policy().limits.auth_timeout.0);
        }
        if opening.deadline <= turn.now {
            // The client is let in, but the link that has its Session does not give it up.
            let (reason, kind) = match opening.stage {
                Stage::Claiming { .. } => (Reason::ServerBusy, RefusalKind::TakeoverTimeout),
                Stage::Entering { .. } => {
                    (Reason::ServerUnavailable, RefusalKind::SessionElsewhere)
                }
                _ => (Reason::NotAuthorized, RefusalKind::AuthTimeout),
            };
            let limit = turn.broker.policy().limits.auth_timeout.0.as_secs();
            return self.refuse(reason, Some(Grounds::limit(kind, limit, limit)), turn);
        }
        if let Stage::Authenticating(exchange) = &mut opening.stage {
            match exchange.poll(waker) {
                ExchangeState::Pending => return,
                ExchangeState::Waiting => return opening.wait(),
                ExchangeState::Challenge(data) => {
                    opening.wait();
                    return self.challenge(&data, turn);
                }
                ExchangeState::Verdict(verdict) => self.on_verdict(verdict, turn),
            }
        }
        self.poll_claim(waker, turn);
    }

    /// CONNACK with the Reason Code, and the end; the log has `grounds`. What has no word in the version is a bare close.
    pub(super) fn refuse(&mut self, reason: Reason, grounds: Option<Grounds>, turn: &mut Turn<'_>) {
        if let Phase::Opening(opening) = &mut self.phase {
            let opening = std::mem::take(&mut **opening);
            if let (Some(asked), Some(grounds)) = (&opening.asked, grounds) {
                turn.broker.note_refusal(&RefusalNote::new(grounds), &asked.peer(), turn.now);
            }
            abandon(&opening, turn.broker);
        }
        self.phase = Phase::Closed;
        turn.broker.metrics().add(Counter::ConnectsRefused, 1);
        if let Some(version) = self.version {
            refusal(reason, version, turn);
        }
    }

    fn challenge(&mut self, data: &[u8], turn: &mut Turn<'_>) {
        let Phase::Opening(opening) = &self.phase else { return };
        let method = opening.asked.as_ref().and_then(|asked| asked.method.as_deref());
        let auth = Auth {
            reason: Reason::ContinueAuthentication, // [MQTT5-4.12.0-2]
            method,
            data: Some(data),
            reason_string: None,
            user_properties: Properties::EMPTY,
        };
        if let Err(error) =
            codec::encode(&Packet::Auth(auth), Version::V5, usize::MAX, &mut turn.out)
        {
            debug!(%error, "challenge not written");
        }
    }

    fn on_verdict(&mut self, verdict: Verdict, turn: &mut Turn<'_>) {
        let accepted = match verdict {
            Verdict::Accept(accepted) => accepted,
            Verdict::Refuse(reason) => return self.refuse(reason, of_verdict(reason), turn),
        };
        let Phase::Opening(opening) = &mut self.phase else { return };
        let Some(asked) = &mut opening.asked else { return };
        let (clean, will) = (asked.clean_start, asked.will.as_ref());
        let room = turn.broker.admit_connect(&asked.client_id, clean, &asked.terms, will);
        if let Err((reason, grounds)) = room {
            return self.refuse(reason, Some(grounds), turn);
        }
        if let Err(grounds) = asked.count_will(accepted.user_name.as_ref(), turn.broker) {
            return self.refuse(Reason::QuotaExceeded, Some(grounds), turn);
        }
        // Only now: a stranger must not use up what its owner may.
        if !asked.assigned && !turn.broker.0.pools.admits(asked.client_id.as_str(), turn.now) {
            turn.broker.metrics().add(Counter::RateConnects, 1);
            let grounds = Some(Grounds::new(RefusalKind::ClientRate));
            return self.refuse(Reason::ConnectionRateExceeded, grounds, turn);
        }
        opening.stage = Stage::Held(HeldClaim::new(accepted));
        self.claim(turn);
    }

    /// The Session is claimed: attaches it to this link, and answers CONNACK.
    pub(super) fn go_live(
        &mut self,
        id: SessionId,
        parked: Option<Box<Parked>>,
        turn: &mut Turn<'_>,
    ) {
        let Phase::Opening(mut opening) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        let stage = std::mem::take(&mut opening.stage);
        let (
            Some(asked),
            Stage::Claiming { identity, claimed, mut accepted }
            | Stage::Entering { identity, claimed, mut accepted, .. },
        ) = (&mut opening.asked, stage)
        else {
            return;
        };
        let (flow, data) = (asked.flow(&accepted), accepted.take_data());
        let mut granted = Kept::new(Granted::new(id, parked, identity, &asked.terms, turn.now));
        let present = granted.present;
        let waits = granted.attach(&asked.client_id, asked.will.take(), turn);
        let terms = &asked.terms;
        let user = granted.session.identity().user_name.as_deref();
        turn.broker.say_connected(
            &asked.peer().user(user).quiet(claimed.braked),
            (terms.version, present),
            (terms.expiry, terms.keep_alive),
            turn.now,
        );
        let mut connack = connect::granted(
            asked.keep_alive,
            asked.assigned.then(|| asked.client_id.as_str()),
            terms,
            turn.broker.policy(),
            present,
        );
        connack.authentication_method = asked.method.as_deref(); // [MQTT5-4.12.0-5]
        connack.authentication_data = data.as_deref();
        fault::reach("connect");
        let origin = std::mem::take(&mut asked.origin);
        turn.broker.claim_in_cluster(&asked.client_id, asked.clean_start, turn.now);
        self.phase = Phase::Live(Live::new(granted.take(), (origin, flow), turn));
        turn.broker.metrics().connect();
        let Phase::Live(live) = &mut self.phase else { return };
        live.set_standing(accepted.details, turn);
        let greeted = live.greet(&connack, (opening.begun, waits), turn);
        if greeted && present {
            live.review(turn);
        }
        if !greeted && let Phase::Live(live) = std::mem::replace(&mut self.phase, Phase::Closed) {
            // Not even CONNACK fits the client's Maximum Packet Size [MQTT5-3.1.2-24].
            let grounds = Grounds::new(RefusalKind::ConnackBytes);
            let note = RefusalNote::new(grounds);
            turn.broker.note_refusal(&note, &live.attachment.peer(), turn.now);
            live.end("CONNACK does not fit", turn);
        }
    }
}

impl Applicant {
    /// What is kept of it while its client is connected; mostly nothing.
    fn flow(&mut self, accepted: &Accepted) -> Option<Box<FlowState>> {
        let expires = accepted.expires();
        let named = self.method.is_some() || self.certificate.is_some();
        if !named && self.voucher.is_none() && expires.is_none() && !accepted.is_lent() {
            return None;
        }
        let binding = self.binding.take();
        Some(Box::new(FlowState {
            login: self.method.clone().map(|method| Login::new(method, binding)),
            certificate: self.certificate.take(),
            voucher: self.voucher.take(),
            expires,
            is_lent: accepted.is_lent(),
            ..FlowState::default()
        }))
    }

    /// The client, as the log names it: its user name is what it says.
    pub(super) fn peer(&self) -> Peer<'_> {
        self.origin.peer().client(self.client_id.as_str()).user(self.user_name.as_deref())
    }
}

/// A claim that will not be settled.
pub(super) fn abandon(opening: &Opening, broker: &Broker) {
    let Some(asked) = &opening.asked else { return };
    match &opening.stage {
        Stage::Claiming { claimed, .. } => {
            broker.0.registry.abandon(&asked.client_id, claimed.number);
        }
        Stage::Entering { .. } => broker.forget_entry(&asked.client_id),
        _ => {}
    }
}

impl Opening {
    fn wait(&mut self) {
        if let Stage::Authenticating(exchange) = std::mem::take(&mut self.stage) {
            self.stage = Stage::Waiting(exchange);
        }
    }
}
