//! One client without its socket: bytes in, bytes out, and when it next needs to be polled.
//!
//! A link lives through three phases: `opening` (a CONNECT is read, its sender authenticated, its Session claimed),
//! `live`, and closed. It never blocks; its driver calls [`Link::receive`] with bytes, [`Link::poll`] when woken, and
//! writes what they put into the turn.

mod ahead;
mod attachment;
mod awaited;
mod claiming;
mod client_end;
mod coalesce;
mod deliver;
mod egress;
mod filters;
mod held;
mod limits;
mod live;
mod login;
mod not_read;
mod opening;
mod origin;
mod overload_limit;
mod pause;
mod peer_info;
mod queue;
mod recovery;
mod refused;
mod standing;
mod traced;
mod unfinished;

use std::task::Waker;

use super::metrics::Counter;
use super::turn::{Scratch, Turn, Work};
use super::{Broker, RefusalNote};
use crate::codec::{
    self, DecodeError, DecodeLimits, Decoded, Packet, PacketId, Reason, Sender, Version,
};
use crate::message::{Grounds, GroupId, RefusalKind};
use crate::time::Time;

use filters::FILTERS_A_TURN;
use limits::Admission;
use live::Live;
pub use not_read::NotRead;
use opening::{Opening, abandon};
use origin::Origin;
pub use peer_info::PeerInfo;
pub(super) use queue::Held;
use refused::{disconnect, of_close, of_first_bytes, of_packet, of_verdict, refusal, speaks_other};
pub use unfinished::Unfinished;

/// What the driver should do next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flow {
    /// Read from the peer: pauses are over, the phase wants bytes.
    pub read: bool,
    /// More can be taken once what was written is gone: poll again then.
    pub more: bool,
    /// Bytes offered before and not consumed can be offered again now.
    pub unread: bool,
    /// Write what is left and close.
    pub close: bool,
}

/// One client's end of the broker.
#[derive(Debug)]
pub struct Link {
    broker: Broker,
    state: State,
}

/// How far a link has come. It is apart from the broker, which the turn borrows.
#[derive(Debug)]
struct State {
    version: Option<Version>,
    /// Bytes were offered that a pause or a phase held back.
    unread: bool,
    /// So much waits to be written that nothing more is read.
    clogged: bool,
    /// PINGREQs among the bytes not consumed yet that have their answer.
    answered_ahead: u32,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// CONNECT awaited until then.
    Connect(Box<PeerInfo>, Time),
    Opening(Box<Opening>),
    Live(Box<Live>),
    Closed,
}

/// Bytes that may wait to be written before nothing more is taken for a client.
const OUT_MAX: usize = 64 * 1024;
/// Bytes that may wait before nothing more is read from it either: else one that asks and does not read
/// the answers would fill our memory with them. Above [`OUT_MAX`], so that a slow reader is heard.
const CLOGGED: usize = 2 * OUT_MAX;
/// What [`Link::poll`] is told of a client that is to be given nothing more until it takes what it has.
pub const ENOUGH_UNWRITTEN: usize = OUT_MAX;
/// What [`Link::poll`] is told where the client has gone: as if so much waited to be written. Nothing is
/// taken for it, and what it had sent is handled.
pub const NOBODY_READS: usize = usize::MAX / 2;

const _: () = assert!(size_of::<Link>() <= 56, "an idle link should stay small");

impl Link {
    /// A link for a peer that has just connected.
    pub fn new(broker: &Broker, peer: PeerInfo, now: Time) -> Link {
        broker.metrics().add(Counter::SocketsOpened, 1);
        let deadline = now.after(broker.policy().limits.connect_timeout.0);
        let state = State {
            version: None,
            unread: false,
            clogged: false,
            answered_ahead: 0,
            phase: Phase::Connect(Box::new(peer), deadline),
        };
        Link { broker: broker.clone(), state }
    }

    /// Takes in what the peer sent; returns how many bytes it consumed. The rest, a partial
    /// packet or what a pause holds back, is to be offered again with what follows it.
    pub fn receive(&mut self, bytes: &[u8], now: Time, scratch: &mut Scratch) -> usize {
        let mut turn = self.broker.turn(scratch, now);
        let before = self.state.begin_trace(&mut turn);
        let used = self.state.receive(bytes, &mut turn);
        // The driver polls the link next: what is owed now finds its waker then.
        self.state.commit(None, &mut turn);
        self.state.end_trace(before, &mut turn);
        self.state.end(turn);
        used
    }

    /// Does what time, wakes and room allow. `unwritten` bytes still wait for the peer, or
    /// [`NOBODY_READS`]. All wakers that a link is ever polled with should wake the same task: one may be
    /// kept for long.
    pub fn poll(
        &mut self,
        waker: &Waker,
        now: Time,
        unwritten: usize,
        scratch: &mut Scratch,
    ) -> Flow {
        let mut turn = self.broker.turn(scratch, now);
        let before = self.state.begin_trace(&mut turn);
        let more = self.state.poll(waker, unwritten, &mut turn);
        let state = &mut self.state;
        state.commit(Some(waker), &mut turn);
        state.end_trace(before, &mut turn);
        state.clogged = unwritten < NOBODY_READS && unwritten + turn.out.len() > CLOGGED;
        let (read, more) = (state.wants_bytes(&turn), more || state.clogged);
        state.end(turn);
        Flow { read, more, unread: state.unread && read, close: state.is_closed() }
    }

    /// When [`Link::poll`] is next needed without a wake, if ever.
    pub fn deadline(&self) -> Option<Time> {
        match &self.state.phase {
            Phase::Connect(_, deadline) => Some(*deadline),
            Phase::Opening(opening) => Some(opening.deadline),
            Phase::Live(live) => live.deadline(),
            Phase::Closed => None,
        }
    }

    /// The Network Connection is gone: the peer closed it or it failed.
    pub fn hang_up(&mut self, now: Time, scratch: &mut Scratch) {
        let mut turn = self.broker.turn(scratch, now);
        match std::mem::replace(&mut self.state.phase, Phase::Closed) {
            Phase::Connect(..) | Phase::Closed => {}
            Phase::Opening(opening) => abandon(&opening, &self.broker),
            Phase::Live(live) => live.end("connection lost", &mut turn),
        }
        turn.finish();
    }

    /// Closes for a reason of the broker's own (shutting down, write timeout, administration).
    pub fn close(&mut self, reason: Reason, now: Time, scratch: &mut Scratch) {
        let mut turn = self.broker.turn(scratch, now);
        let before = self.state.begin_trace(&mut turn);
        match &self.state.phase {
            Phase::Live(_) => self.state.hang_up_with(reason, &mut turn),
            Phase::Opening(_) => self.state.refuse(reason, None, &mut turn),
            Phase::Connect(..) | Phase::Closed => self.state.phase = Phase::Closed,
        }
        self.state.end_trace(before, &mut turn);
        turn.finish();
    }

    /// Whether bytes offered last were held back by a pause, a phase or the length of the turn.
    pub fn holds_back(&self) -> bool {
        self.state.unread
    }

    /// Whether nothing more will come of it.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// The version its CONNECT asked for.
    pub fn version(&self) -> Option<Version> {
        self.state.version
    }

    /// The groups (or none) that what is in flight came from: for checks of the first law.
    pub fn in_flight(&self) -> Vec<Option<GroupId>> {
        self.state.live().map_or_else(Vec::new, Live::in_flight)
    }

    /// Why nothing more is read from its client, if nothing is: between turns, for views.
    pub fn not_read(&self) -> Option<NotRead> {
        let live = self.state.live()?;
        if self.state.clogged {
            return Some(NotRead::Unwritten);
        }
        live.not_read(&self.broker, None)
    }

    /// PUBLISHes of the client that still await their answer: for checks of the second law.
    pub fn owed(&self) -> usize {
        self.state.live().map_or(0, Live::owed)
    }

    /// `QoS` 2 identifiers of the client that are not released: for checks of exactly once.
    pub fn unreleased(&self) -> Vec<PacketId> {
        self.state.live().map_or_else(Vec::new, Live::unreleased)
    }
}

impl State {
    #[inline(always)] // In `Link::receive`.
    fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> usize {
        let (mut used, mut packets) = (0, 0);
        let mut limits = self.limits(turn.broker);
        self.unread = false;
        while used < bytes.len() {
            if !self.wants_bytes(turn) || turn.work.is_enough() {
                self.unread = !self.is_closed();
                break;
            }
            if !matches!(self.phase, Phase::Live(_)) {
                limits = self.limits(turn.broker);
            }
            // Looked at where it is: a packet is large, and moving it costs.
            match &codec::decode(&bytes[used..], self.version, Sender::Client, &limits) {
                Ok(Decoded::Packet { packet, len }) => {
                    let len = *len;
                    let admission = self.admission(packet, len, turn);
                    match admission {
                        Admission::Admit | Admission::Refuse => {}
                        Admission::Wait => {
                            self.unread = true;
                            break;
                        }
                        Admission::Disconnect => {
                            self.disconnect(Reason::MessageRateTooHigh, turn);
                            break;
                        }
                    }
                    if turn.traced.is_on() {
                        self.trace_received(packet, len, turn);
                    }
                    self.on_packet(packet, len, admission == Admission::Refuse, turn);
                    used += len;
                    packets += 1;
                }
                Ok(Decoded::Need(_)) => break,
                Err(error) => self.on_malformed(&bytes[used..], *error, turn),
            }
        }
        if packets > 0 {
            turn.tally.add(Counter::PacketsReceived, packets);
        }
        if self.is_closed() { bytes.len() } else { used }
    }

    /// Returns whether more can be taken once what was written is gone.
    #[inline(always)] // In `Link::poll`.
    fn poll(&mut self, waker: &Waker, unwritten: usize, turn: &mut Turn<'_>) -> bool {
        if let Phase::Connect(peer, deadline) = &self.phase
            && *deadline <= turn.now
        {
            let limit = turn.broker.policy().limits.connect_timeout.0.as_secs();
            let grounds = Grounds::limit(RefusalKind::ConnectTimeout, limit, limit);
            turn.broker.note_refusal(&RefusalNote::new(grounds), &peer.peer(), turn.now);
            self.phase = Phase::Closed;
        }
        self.poll_opening(waker, turn);
        // CONNACK takes its place before anything is taken for the client.
        if !turn.answers.is_empty() {
            self.commit(Some(waker), turn);
        }
        if self.clogged
            && let Phase::Live(live) = &mut self.phase
        {
            // The silence of the client is not its own: nothing is read from it.
            live.touch(turn.now);
        }
        self.poll_live(waker, unwritten, turn)
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn live(&self) -> Option<&Live> {
        match &self.phase {
            Phase::Live(live) => Some(live),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => None,
        }
    }

    /// What becomes of the packet, before it is looked at.
    fn admission(&mut self, packet: &Packet<'_>, len: usize, turn: &mut Turn<'_>) -> Admission {
        match &mut self.phase {
            Phase::Live(live) => live.admission(packet, len, turn),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => Admission::Admit,
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>, len: usize, over_rate: bool, turn: &mut Turn<'_>) {
        match (&mut self.phase, packet) {
            (Phase::Connect(peer, _), Packet::Connect(connect)) => {
                self.version = Some(connect.version);
                let peer = std::mem::take(&mut **peer);
                self.open(connect, peer, turn);
            }
            (Phase::Opening(_), Packet::Auth(auth)) => self.on_auth(auth, turn),
            // Before CONNACK only AUTH or DISCONNECT may come [MQTT5-3.1.2-30].
            (Phase::Opening(opening), Packet::Disconnect(_)) => {
                let opening = std::mem::take(&mut **opening);
                abandon(&opening, turn.broker);
                self.phase = Phase::Closed;
            }
            (Phase::Opening(_), _) => {
                self.refuse(Reason::ProtocolError, of_verdict(Reason::ProtocolError), turn);
            }
            (Phase::Live(live), Packet::PingReq) if self.answered_ahead > 0 => {
                self.answered_ahead -= 1;
                live.session.touch(turn.now);
            }
            (Phase::Live(live), packet) => {
                live.on_packet(packet, len, over_rate, turn);
                self.after_live(turn);
            }
            // Nothing but CONNECT is first; the codec has seen to it [MQTT5-3.1.0-1].
            (Phase::Connect(..) | Phase::Closed, _) => self.phase = Phase::Closed,
        }
    }

    fn on_malformed(&mut self, bytes: &[u8], error: DecodeError, turn: &mut Turn<'_>) {
        let reason = error.reason();
        match &mut self.phase {
            Phase::Connect(peer, _) => {
                let grounds = of_first_bytes(bytes, &error);
                let note = RefusalNote::new(grounds);
                // Of bytes of another protocol MQTT's words would say nothing.
                let note = if speaks_other(grounds.kind()) { note } else { note.why(&error) };
                turn.broker.note_refusal(&note, &peer.peer(), turn.now);
                let version = match error {
                    DecodeError::UnsupportedVersion { answer, .. } => Some(answer),
                    _ => codec::connect_version(bytes),
                };
                self.version = version;
                self.phase = Phase::Closed;
                if let Some(version) = version {
                    refusal(reason, version, turn);
                }
                turn.broker.metrics().add(Counter::ConnectsRefused, 1);
            }
            Phase::Opening(_) => self.refuse(reason, of_verdict(reason), turn),
            Phase::Live(live) => {
                if let Some(grounds) = of_packet(&error, turn.broker.policy()) {
                    let note = RefusalNote::new(grounds).why(&error);
                    turn.broker.note_refusal(&note, &live.attachment.peer(), turn.now);
                }
                self.hang_up_with(reason, turn);
            }
            Phase::Closed => {}
        }
    }

    /// DISCONNECT with the Reason Code (on 3.1.1: nothing), then the end of the connection. The log is told,
    /// if it is for something that the client sent.
    fn disconnect(&mut self, reason: Reason, turn: &mut Turn<'_>) {
        // A CONNECT that is refused says so itself.
        if let Phase::Live(live) = &self.phase
            && live.greeted()
            && let Some(grounds) =
                live.refused().map(Grounds::new).or_else(|| of_close(reason, turn.broker.policy()))
        {
            let note = RefusalNote::new(grounds);
            turn.broker.note_refusal(&note, &live.attachment.peer(), turn.now);
        }
        self.hang_up_with(reason, turn);
    }

    fn hang_up_with(&mut self, reason: Reason, turn: &mut Turn<'_>) {
        let Phase::Live(mut live) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        live.drop_answers(turn);
        let mut will_left = None;
        if live.greeted() {
            live.send(&disconnect(reason, turn.broker.policy()), turn);
        } else if let Some(version) = self.version {
            // DISCONNECT may only follow a CONNACK of success [MQTT5-3.14.0-1].
            if reason.allowed_in(codec::reason::carrier::CONNACK) {
                will_left = live.withdraw(turn);
                turn.broker.metrics().add(Counter::ConnectsRefused, 1);
            }
            refusal(reason, version, turn);
        }
        live.end_with(reason.name(), will_left, turn);
    }

    /// Carries out what the last input left: answers, a close.
    #[inline]
    fn after_live(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Live(live) = &self.phase
            && live.is_over()
        {
            self.end_live(turn);
        }
    }

    #[cold]
    fn end_live(&mut self, turn: &mut Turn<'_>) {
        let Phase::Live(live) = &mut self.phase else { return };
        if let Some(reason) = live.closing() {
            self.disconnect(reason, turn);
        } else if live.said_goodbye() {
            // Answers to what came before DISCONNECT are dropped; the messages are kept.
            let Phase::Live(live) = std::mem::replace(&mut self.phase, Phase::Closed) else {
                return;
            };
            live.end("DISCONNECT", turn);
        }
    }

    /// Carries out what the turn has changed: the store, the mailboxes, then the answers that wait for
    /// nothing. `waker` is woken when the store has what an answer waits for.
    fn commit(&mut self, waker: Option<&Waker>, turn: &mut Turn<'_>) {
        let receipt = turn.commit();
        if let Phase::Live(live) = &mut self.phase {
            live.after_flush(receipt, waker, turn);
            self.after_live(turn);
        }
        turn.work = Work::default();
    }

    /// Ends the turn: what its answers, or the end of the link, have changed is carried out too.
    fn end(&mut self, turn: Turn<'_>) {
        if self.is_closed() {
            turn.finish();
            return;
        }
        let receipt = turn.finish_committed();
        if let Phase::Live(live) = &mut self.phase {
            live.note_newest(receipt);
        }
    }

    fn poll_live(&mut self, waker: &Waker, unwritten: usize, turn: &mut Turn<'_>) -> bool {
        let Phase::Live(live) = &mut self.phase else { return false };
        let more = live.poll(waker, unwritten, turn);
        self.after_live(turn);
        more
    }

    fn wants_bytes(&self, turn: &Turn<'_>) -> bool {
        match &self.phase {
            Phase::Connect(..) => true,
            Phase::Opening(opening) => opening.wants_auth(),
            Phase::Live(live) => !self.clogged && live.wants_bytes(turn),
            Phase::Closed => false,
        }
    }

    fn limits(&self, broker: &Broker) -> DecodeLimits {
        let limits = &broker.policy().limits;
        let packet_max = match self.phase {
            Phase::Connect(..) | Phase::Opening(_) => {
                limits.connect_bytes_max.len().min(limits.packet_bytes_max.len())
            }
            Phase::Live(_) | Phase::Closed => limits.packet_bytes_max.len(),
        };
        DecodeLimits {
            packet_max,
            properties_max: limits.properties_bytes_max.len(),
            user_properties_max: limits.user_properties_max as usize,
            filters_at_once: FILTERS_A_TURN,
        }
    }
}
