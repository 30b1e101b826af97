//! One client without its socket: bytes in, bytes out, and when it next needs to be polled.
//!
//! A link lives through three phases: `opening` (a CONNECT is read, its sender
//! authenticated, its Session claimed), `live`, and closed. It waits for nothing; whoever
//! drives it calls [`Link::receive`] with bytes, [`Link::poll`] when woken, and writes what they
//! put into the turn.

mod ahead;
mod brake;
mod deliver;
mod egress;
mod limits;
mod linger;
mod live;
mod login;
mod opening;
mod ties;

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::task::Waker;

use tracing::debug;

use super::metrics::Counter;
use super::turn::{COPIES_MAX, Turn};
use super::{Broker, ListenerId};
use crate::codec::{
    self, ConnAck, DecodeError, DecodeLimits, Decoded, Disconnect, Packet, PacketId, Properties,
    Reason, Sender, Version,
};
use crate::message::GroupId;
use crate::time::Time;

use limits::Gate;
use live::Live;
use opening::Opening;

/// Where a client came from: its address, for logs, and the listener. Six bytes and two, mostly.
#[derive(Clone, Debug)]
enum Origin {
    V4(SocketAddrV4, Option<ListenerId>),
    Other(Box<(String, Option<ListenerId>)>),
}

impl Origin {
    fn new(address: &str, listener: Option<ListenerId>) -> Origin {
        match address.parse() {
            Ok(address) => Origin::V4(address, listener),
            Err(_) => Origin::Other(Box::new((address.to_owned(), listener))),
        }
    }

    /// Where it came from, if that is an address of the Internet.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Origin::V4(address, _) => Some(IpAddr::V4(*address.ip())),
            Origin::Other(other) => other.0.parse().ok().map(|address: SocketAddr| address.ip()),
        }
    }

    fn listener(&self) -> Option<ListenerId> {
        match self {
            Origin::V4(_, listener) => *listener,
            Origin::Other(other) => other.1,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::V4(address, _) => address.fmt(f),
            Origin::Other(other) => other.0.fmt(f),
        }
    }
}

/// What is known of the peer before it says anything.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// Its address, for logs.
    pub address: String,
    /// The listener that accepted it; none of a client in this process.
    pub listener: Option<ListenerId>,
    /// Clients without a user name are let in.
    pub anonymous: bool,
    /// Identity from a verified client certificate.
    pub certificate: Option<String>,
    /// Random: an assigned Client Identifier is made of it.
    pub nonce: u128,
    /// The listener has no place for it: its CONNECT is refused with this.
    pub refuse: Option<Reason>,
}

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
/// What [`Link::poll`] is told where the client has gone: as if so much waited to be written. Nothing is
/// taken for it, and what it had sent is handled.
pub const NOBODY_READS: usize = usize::MAX / 2;

const _: () = assert!(size_of::<Link>() <= 56, "an idle link should stay small");

impl Link {
    /// A link for a peer that has just connected.
    pub fn new(broker: &Broker, peer: PeerInfo, now: Time) -> Link {
        broker.metrics().add(Counter::SocketsOpened, 1);
        let deadline = now.after(broker.policy().limits.connect_timeout.0);
        Link {
            broker: broker.clone(),
            version: None,
            unread: false,
            clogged: false,
            answered_ahead: 0,
            phase: Phase::Connect(Box::new(peer), deadline),
        }
    }

    /// Takes in what the peer sent; returns how many bytes it consumed. The rest, a partial
    /// packet or what a pause holds back, is to be offered again with what follows it.
    pub fn receive(&mut self, bytes: &[u8], now: Time, turn: &mut Turn) -> usize {
        self.broker.begin(turn);
        let mut used = 0;
        let mut limits = self.limits();
        self.unread = false;
        while used < bytes.len() {
            if !self.wants_bytes(turn) || turn.copies >= COPIES_MAX {
                self.unread = !matches!(self.phase, Phase::Closed);
                break;
            }
            if !matches!(self.phase, Phase::Live(_)) {
                limits = self.limits();
            }
            // Looked at where it is: a packet is large, and moving it costs.
            match &codec::decode(&bytes[used..], self.version, Sender::Client, &limits) {
                Ok(Decoded::Packet { packet, len }) => {
                    let len = *len;
                    let gate = self.gate(packet, len, now, turn);
                    match gate {
                        Gate::Open | Gate::Refuse => {}
                        Gate::Wait => {
                            self.unread = true;
                            break;
                        }
                        Gate::Close => {
                            self.disconnect(Reason::MessageRateTooHigh, now, turn);
                            break;
                        }
                    }
                    self.on_packet(packet, len, gate == Gate::Refuse, now, turn);
                    used += len;
                }
                Ok(Decoded::Need(_)) => break,
                Err(error) => self.on_malformed(&bytes[used..], *error, now, turn),
            }
        }
        if matches!(self.phase, Phase::Closed) {
            used = bytes.len();
        }
        // Whoever drives the link polls it next: what is owed now finds its waker then.
        self.flush(None, now, turn);
        used
    }

    /// Does what time, wakes and room allow. `unwritten` bytes still wait for the peer, or
    /// [`NOBODY_READS`]. All wakers that a link is ever polled with should wake the same task: one may be
    /// kept for long.
    pub fn poll(&mut self, waker: &Waker, now: Time, unwritten: usize, turn: &mut Turn) -> Flow {
        self.broker.begin(turn);
        if let Phase::Connect(_, deadline) = &self.phase
            && *deadline <= now
        {
            self.phase = Phase::Closed;
        }
        self.poll_opening(waker, now, turn);
        // CONNACK takes its place before anything is taken for the client.
        if !turn.answers.is_empty() {
            self.flush(Some(waker), now, turn);
        }
        if self.clogged
            && let Phase::Live(live) = &mut self.phase
        {
            // It is we who do not read.
            live.touch(now);
        }
        let more = self.poll_live(waker, now, unwritten, turn);
        self.flush(Some(waker), now, turn);
        self.clogged = unwritten < NOBODY_READS && unwritten + turn.out.len() > CLOGGED;
        let (read, more) = (self.wants_bytes(turn), more || self.clogged);
        Flow { read, more, unread: self.unread && read, close: self.is_closed() }
    }

    /// When [`Link::poll`] is next needed without a wake, if ever.
    pub fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Connect(_, deadline) => Some(*deadline),
            Phase::Opening(opening) => Some(opening.deadline),
            Phase::Live(live) => live.deadline(),
            Phase::Closed => None,
        }
    }

    /// The Network Connection is gone: the peer closed it or it failed.
    pub fn hang_up(&mut self, now: Time, turn: &mut Turn) {
        self.broker.begin(turn);
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Connect(..) | Phase::Closed => {}
            Phase::Opening(opening) => self.abandon(&opening),
            Phase::Live(live) => live.end("connection lost", &self.broker, now, turn),
        }
        self.broker.flush(now, turn);
        turn.forget();
    }

    /// Closes for a reason of the broker's own (shutting down, write timeout, administration).
    pub fn close(&mut self, reason: Reason, now: Time, turn: &mut Turn) {
        self.broker.begin(turn);
        match &self.phase {
            Phase::Live(_) => self.disconnect(reason, now, turn),
            Phase::Opening(_) => {
                self.refuse(reason, turn);
            }
            Phase::Connect(..) | Phase::Closed => self.phase = Phase::Closed,
        }
        self.broker.flush(now, turn);
        turn.forget();
    }

    /// Whether bytes offered last were held back by a pause, a phase or the length of the turn.
    pub fn holds_back(&self) -> bool {
        self.unread
    }

    /// Whether nothing more will come of it.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The version its CONNECT asked for.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The groups (or none) that what is in flight came from: for checks of the first law.
    pub fn in_flight(&self) -> Vec<Option<GroupId>> {
        match &self.phase {
            Phase::Live(live) => live.in_flight(),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => Vec::new(),
        }
    }

    /// PUBLISHes of the client that still await their answer: for checks of the second law.
    pub fn owed(&self) -> usize {
        match &self.phase {
            Phase::Live(live) => live.owed(),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => 0,
        }
    }

    /// `QoS` 2 identifiers of the client that are not released: for checks of exactly once.
    pub fn unreleased(&self) -> Vec<PacketId> {
        match &self.phase {
            Phase::Live(live) => live.unreleased(),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => Vec::new(),
        }
    }

    /// What becomes of the packet, before it is looked at.
    fn gate(&mut self, packet: &Packet<'_>, len: usize, now: Time, turn: &mut Turn) -> Gate {
        match &mut self.phase {
            Phase::Live(live) => live.gate(packet, len, &self.broker, now, turn),
            Phase::Connect(..) | Phase::Opening(_) | Phase::Closed => Gate::Open,
        }
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        len: usize,
        over_rate: bool,
        now: Time,
        turn: &mut Turn,
    ) {
        match (&mut self.phase, packet) {
            (Phase::Connect(peer, _), Packet::Connect(connect)) => {
                self.version = Some(connect.version);
                let peer = std::mem::take(&mut **peer);
                self.open(connect, peer, now, turn);
            }
            (Phase::Opening(_), Packet::Auth(auth)) => self.on_auth(auth, turn),
            // Before CONNACK only AUTH or DISCONNECT may come [MQTT5-3.1.2-30].
            (Phase::Opening(opening), Packet::Disconnect(_)) => {
                let opening = std::mem::take(&mut **opening);
                self.abandon(&opening);
                self.phase = Phase::Closed;
            }
            (Phase::Opening(_), _) => self.refuse(Reason::ProtocolError, turn),
            (Phase::Live(live), Packet::PingReq) if self.answered_ahead > 0 => {
                self.answered_ahead -= 1;
                live.session.touch(now);
            }
            (Phase::Live(live), packet) => {
                live.on_packet(packet, len, over_rate, &self.broker, now, turn);
                self.after_live(now, turn);
            }
            // Nothing but CONNECT is first; the codec has seen to it [MQTT5-3.1.0-1].
            (Phase::Connect(..) | Phase::Closed, _) => self.phase = Phase::Closed,
        }
    }

    fn on_malformed(&mut self, bytes: &[u8], error: DecodeError, now: Time, turn: &mut Turn) {
        let reason = error.reason();
        match &mut self.phase {
            Phase::Connect(peer, _) => {
                debug!(address = %peer.address, %error, "refused before CONNECT");
                let version = match error {
                    DecodeError::UnsupportedVersion { answer, .. } => Some(answer),
                    _ => codec::connect_version(bytes),
                };
                self.version = version;
                self.phase = Phase::Closed;
                if let Some(version) = version {
                    refusal(reason, version, turn);
                }
                self.broker.metrics().add(Counter::ConnectsRefused, 1);
            }
            Phase::Opening(_) => self.refuse(reason, turn),
            Phase::Live(live) => {
                debug!(client = %live.client_id(), %error, "protocol broken");
                self.disconnect(reason, now, turn);
            }
            Phase::Closed => {}
        }
    }

    /// DISCONNECT with the Reason Code (on 3.1.1: nothing), then the end of the connection.
    fn disconnect(&mut self, reason: Reason, now: Time, turn: &mut Turn) {
        let Phase::Live(mut live) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        live.drop_answers(&self.broker, now, turn);
        if live.greeted() {
            let packet = Packet::Disconnect(Disconnect { reason, ..Disconnect::default() });
            live.send(&packet, turn);
        } else if let Some(version) = self.version {
            // DISCONNECT may only follow a CONNACK of success [MQTT5-3.14.0-1].
            refusal(reason, version, turn);
        }
        live.end(reason.name(), &self.broker, now, turn);
    }

    /// Carries out what the last input left: answers, a close.
    #[inline]
    fn after_live(&mut self, now: Time, turn: &mut Turn) {
        if let Phase::Live(live) = &self.phase
            && live.is_over()
        {
            self.end_live(now, turn);
        }
    }

    #[cold]
    fn end_live(&mut self, now: Time, turn: &mut Turn) {
        let Phase::Live(live) = &mut self.phase else { return };
        if let Some(reason) = live.closing() {
            self.disconnect(reason, now, turn);
        } else if live.said_goodbye() {
            // Answers to what came before DISCONNECT are nobody's any more, the messages are.
            let Phase::Live(live) = std::mem::replace(&mut self.phase, Phase::Closed) else {
                return;
            };
            live.end("DISCONNECT", &self.broker, now, turn);
        }
    }

    /// Ends the turn: the store, the mailboxes, then the answers that wait for nothing.
    /// `waker` is woken when the store has what an answer waits for.
    fn flush(&mut self, waker: Option<&Waker>, now: Time, turn: &mut Turn) {
        let receipt = self.broker.flush(now, turn);
        if let Phase::Live(live) = &mut self.phase {
            live.after_flush(receipt, &self.broker, waker, now, turn);
            self.after_live(now, turn);
        }
        if self.is_closed() {
            // Its end may have left a Will, a parked Session, somebody to wake.
            self.broker.flush(now, turn);
            turn.forget();
        }
        turn.copies = 0;
    }

    fn poll_live(&mut self, waker: &Waker, now: Time, unwritten: usize, turn: &mut Turn) -> bool {
        let Phase::Live(live) = &mut self.phase else { return false };
        let more = live.poll(&self.broker, waker, now, unwritten, turn);
        self.after_live(now, turn);
        more
    }

    fn wants_bytes(&self, turn: &Turn) -> bool {
        match &self.phase {
            Phase::Connect(..) => true,
            Phase::Opening(opening) => opening.wants_auth(),
            Phase::Live(live) => !self.clogged && live.wants_bytes(turn, &self.broker),
            Phase::Closed => false,
        }
    }

    fn limits(&self) -> DecodeLimits {
        let limits = &self.broker.policy().limits;
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
            filters_max: limits.filters_max as usize,
        }
    }
}

/// A CONNACK that refuses; where the version has no word for it, nothing.
fn refusal(reason: Reason, version: Version, turn: &mut Turn) {
    let connack = ConnAck { reason, user_properties: Properties::EMPTY, ..ConnAck::default() };
    // What reason codes CONNACK may carry is the table's matter: the rest closes without a word.
    if reason.allowed_in(codec::reason::carrier::CONNACK) {
        let packet = Packet::ConnAck(Box::new(connack));
        if let Err(error) = codec::encode(&packet, version, usize::MAX, &mut turn.out) {
            debug!(%error, "refusal not written");
        }
    }
}
