//! What the log says of peers: each refusal, connect and disconnect, in one place.
//!
//! Strangers decide how often these happen, so each has a rate: a refusal is said once in ten seconds for an
//! address and a reason, and of what is left out the next line, or a line of its own, tells how many there were.
//! All are counted. The table is bounded; so are the lines in all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use tracing::field::display;
use tracing::{Level, debug, enabled, info};

use super::{Broker, ListenerId};
use crate::codec::Version;
use crate::message::{Grounds, Identity, Network, RefusalKind, RuleId, SessionId};
use crate::shape::TokenBucket;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// A peer, as far as it is known.
#[derive(Clone, Copy, Default)]
pub struct Peer<'a> {
    client: Option<&'a str>,
    user: Option<&'a str>,
    address: Option<&'a dyn fmt::Display>,
    ip: Option<IpAddr>,
    listener: Option<ListenerId>,
    quiet: bool,
}

/// What was refused to a peer.
#[derive(Clone, Copy)]
pub struct RefusalNote<'a> {
    grounds: Grounds,
    cause: &'static str,
    why: Option<&'a dyn fmt::Display>,
    topic: Option<&'a str>,
    count: u64,
}

/// Why the state of a bridge is refused.
const BRIDGE_STATE: &str =
    "the state of a bridge is 0 or 1, and its name is one level of 64 bytes at most";

/// Which lines there were lately.
#[derive(Debug)]
pub(super) struct PeerLog {
    lines: Mutex<PeerLines>,
}

#[derive(Debug)]
struct PeerLines {
    lately: BTreeMap<Subject, Lately>,
    /// Lines in all that tell of refusals.
    refusals: TokenBucket,
    /// Lines in all that tell of connections.
    connections: TokenBucket,
    /// Left out because too many addresses had something to be told of.
    others: u64,
    /// When it is next looked for what was left out.
    look: Time,
}

/// The lines of one address and one event since the window began.
#[derive(Debug)]
struct Lately {
    /// The end of the window.
    until: Time,
    said: u32,
    left_out: u64,
}

/// What the lines of one rate tell of: where and what.
type Subject = (Network, Event, LineKind);
/// The same, wherever it is.
type What = (Event, LineKind);

/// Lines of one event that are told apart.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct LineKind {
    /// Of some refusals the cause.
    cause: &'static str,
    /// Where a rule of access decides, a number for the rule and the client.
    rule: u64,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Refused(RefusalKind),
    Connected,
    Disconnected,
    Moved,
    Braked,
    EndedForOwner,
    EndedForRoom,
}

/// How much was left out, of an address and an event.
type LeftOut = (Subject, u64);

/// Whether a line is written, and how many were not since the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Say {
    Line { left_out: u64 },
    LeaveOut,
}

/// Addresses and events that are told apart.
const PLACES_MAX: usize = 4096;
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Connects, and disconnects, of one address in a window.
const CONNECTIONS_MAX: u32 = 100;
/// Lines of refusals, and of connections, a second and at once.
const LINES_RATE: NonZeroU64 = NonZeroU64::new(100).expect("not zero");
const LINES_BURST: u64 = 500;
/// How often it is looked for what was left out.
const LOOK: Duration = Duration::from_secs(1);

impl<'a> Peer<'a> {
    /// A peer with an address; `ip` is what its rate goes by.
    pub fn at(address: &'a dyn fmt::Display, ip: Option<IpAddr>) -> Peer<'a> {
        Peer { address: Some(address), ip, ..Peer::default() }
    }

    /// It has this Client Identifier.
    pub fn client(self, client: &'a str) -> Peer<'a> {
        Peer { client: Some(client), ..self }
    }

    /// It is, or says that it is, this user.
    pub fn user(self, user: Option<&'a str>) -> Peer<'a> {
        Peer { user, ..self }
    }

    /// The listener that accepted it.
    pub fn on(self, listener: Option<ListenerId>) -> Peer<'a> {
        Peer { listener, ..self }
    }

    /// A line tells of many of its kind: that it comes and goes is said at `debug` alone.
    pub fn quiet(self, quiet: bool) -> Peer<'a> {
        Peer { quiet, ..self }
    }
}

impl<'a> RefusalNote<'a> {
    /// One refusal for these grounds.
    pub fn new(grounds: Grounds) -> RefusalNote<'a> {
        RefusalNote { grounds, cause: "", why: None, topic: None, count: 1 }
    }

    /// Its kind in more detail: each cause is told apart.
    pub fn because(self, cause: &'static str) -> RefusalNote<'a> {
        RefusalNote { cause, ..self }
    }

    /// What exactly was wrong.
    pub fn why(self, why: &'a dyn fmt::Display) -> RefusalNote<'a> {
        RefusalNote { why: Some(why), ..self }
    }

    /// The topic or filter.
    pub fn topic(self, topic: &'a str) -> RefusalNote<'a> {
        let kind = self.grounds.kind();
        let is_of_bridge = topic.starts_with("$SYS/broker/connection/")
            && matches!(kind, RefusalKind::PublishReserved | RefusalKind::WillTopic);
        let why = if is_of_bridge { Some(&BRIDGE_STATE as &dyn fmt::Display) } else { self.why };
        RefusalNote { topic: Some(topic), why, ..self }
    }

    /// So many at once.
    pub fn count(self, count: u64) -> RefusalNote<'a> {
        RefusalNote { count, ..self }
    }
}

/// The same fields, those of the peer first, at the level of the line that is written, or of one that is
/// left out.
macro_rules! line {
    ($broker:expr, $turn:expr, $peer:expr, $($fields:tt)*) => {{
        let names = $peer.listener.and_then(|id| $broker.0.listeners.names(id));
        let (client, user) = ($peer.client, $peer.user);
        let address = $peer.address.map(display);
        let listener = names.as_ref().map(|names| names.name());
        match $turn {
            Say::Line { left_out } => {
                let left_out = (left_out > 0).then_some(left_out);
                info!(left_out, client, user, address, listener, $($fields)*)
            }
            Say::LeaveOut => debug!(client, user, address, listener, $($fields)*),
        }
    }};
}

/// A line of one event, if its rate admits it.
macro_rules! say {
    ($broker:expr, $event:expr, $now:expr, $peer:expr, $($fields:tt)*) => {
        if let Some(turn) = $broker.turn_of($peer, ($event, LineKind::default()), 1, $now) {
            line!($broker, turn, $peer, $($fields)*);
        }
    };
}

impl Broker {
    /// Counts a refusal and says it in the log, if it was not said lately of this address.
    pub fn note_refusal(&self, note: &RefusalNote<'_>, peer: &Peer<'_>, now: Time) {
        let kind = note.grounds.kind();
        self.0.metrics.refuse(kind, note.count);
        let rule = note.grounds.rule();
        let told_apart = rule.map_or(0, |rule| number(rule, peer));
        let event = (Event::Refused(kind), LineKind { cause: note.cause, rule: told_apart });
        let Some(turn) = self.turn_of(peer, event, note.count, now) else { return };
        line!(
            self,
            turn,
            peer,
            reason = kind.name(),
            cause = (!note.cause.is_empty()).then_some(note.cause),
            why = note.why.map(display),
            topic = note.topic,
            rule = rule.and_then(|rule| self.0.ports.access.rule_name(rule)),
            value = note.grounds.value(),
            limit = note.grounds.maximum(),
            key = note.grounds.key(),
            count = (note.count > 1).then_some(note.count),
            "refused"
        );
    }

    /// Says that a connection, which was at `from`, is at another address now.
    pub fn note_moved(&self, peer: &Peer<'_>, from: &dyn fmt::Display, now: Time) {
        say!(
            self,
            Event::Moved,
            now,
            peer,
            from = display(from),
            "the address of a client changed"
        );
    }

    /// Says that a client is connected. `expiry_s`, `keep_alive_s`: what it was granted.
    pub(super) fn say_connected(
        &self,
        peer: &Peer<'_>,
        (version, session_present): (Version, bool),
        (expiry_s, keep_alive_s): (u32, u16),
        now: Time,
    ) {
        let Some(turn) = self.turn_of(peer, (Event::Connected, LineKind::default()), 1, now) else {
            return;
        };
        line!(self, turn, peer, ?version, session_present, expiry_s, keep_alive_s, "connected");
    }

    /// Says that a client is not connected any more.
    pub(super) fn say_disconnected(&self, peer: &Peer<'_>, reason: &str, now: Time) {
        let Some(turn) = self.turn_of(peer, (Event::Disconnected, LineKind::default()), 1, now)
        else {
            return;
        };
        line!(self, turn, peer, reason, "disconnected");
    }

    /// Says that the takeovers of a Client Identifier are braked, and how long this one waits: one line for many.
    /// `holder`: where the connection that has the Session came from.
    pub(super) fn say_braked(
        &self,
        peer: &Peer<'_>,
        holder: Option<IpAddr>,
        wait: Duration,
        now: Time,
    ) {
        let Some(turn) = self.turn_of(peer, (Event::Braked, LineKind::default()), 1, now) else {
            return;
        };
        line!(
            self,
            turn,
            peer,
            holder = holder.map(display),
            wait_ms = wait.as_millis() as u64,
            key = "limits.takeovers_max",
            "takeovers are braked: connections with one Client Identifier take the Session from each other"
        );
    }

    /// Says that the Session of an anonymous or unverified user ends because a verified user has its Client
    /// Identifier.
    pub(super) fn say_ended_for_owner(&self, peer: &Peer<'_>, session: SessionId, now: Time) {
        say!(
            self,
            Event::EndedForOwner,
            now,
            peer,
            session = session.get(),
            "the session of an unverified user ends: this verified user has its client identifier"
        );
    }

    /// Says that a Session of an unverified client ends to make room below the total `key`: one line for many of
    /// its network.
    pub(super) fn say_ended_for_room(
        &self,
        client: &Identity,
        session: SessionId,
        key: &'static str,
        now: Time,
    ) {
        let network = client.network();
        let address = (network != Network::default()).then_some(&network as &dyn fmt::Display);
        let peer = Peer { address, ip: network.address(), ..Peer::default() };
        let peer = &peer.client(client.client_id.as_str());
        say!(
            self,
            Event::EndedForRoom,
            now,
            peer,
            session = session.get(),
            key,
            "a disconnected session ends to make room: its address has more than its share"
        );
    }

    /// Whether a line is written that tells of `count`; `None` if the log takes none of either level.
    fn turn_of(&self, peer: &Peer<'_>, event: What, count: u64, now: Time) -> Option<Say> {
        if !enabled!(Level::INFO) {
            return None;
        }
        if peer.quiet && !matches!(event.0, Event::Refused(_)) {
            return Some(Say::LeaveOut);
        }
        Some(self.0.peer_log.turn(peer.ip, event, count, now))
    }

    /// Says how much was left out, of what has not been told of since.
    pub(super) fn say_left_out(&self, now: Time) {
        let (summaries, others) = self.0.peer_log.summaries(now);
        for ((network, event, LineKind { cause, .. }), count) in summaries {
            let cause = (!cause.is_empty()).then_some(cause);
            info!(address = %network, reason = event.name(), cause, count, "more lines were left out");
        }
        if others > 0 {
            info!(
                count = others,
                "more lines were left out, of more addresses than are told apart"
            );
        }
    }
}

/// A number for a rule and the client that it was asked for.
fn number(rule: RuleId, peer: &Peer<'_>) -> u64 {
    let names = [peer.client, peer.user].into_iter().flatten().flat_map(str::bytes);
    let place = rule.place.to_le_bytes().into_iter();
    // FNV-1a: two that are the same have one line less.
    place.chain(names).fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl PeerLog {
    /// Nothing said yet.
    pub fn new() -> PeerLog {
        let bucket = || TokenBucket::new(LINES_RATE, LINES_BURST);
        PeerLog {
            lines: Mutex::new(PeerLines {
                lately: BTreeMap::new(),
                refusals: bucket(),
                connections: bucket(),
                others: 0,
                look: Time::START,
            }),
        }
    }

    /// Whether a line that tells of `count` is written.
    fn turn(&self, ip: Option<IpAddr>, (event, kind): What, count: u64, now: Time) -> Say {
        let PeerLines { lately, refusals, connections, others, .. } = &mut *self.lock();
        let bucket = if event.is_of_connections() { connections } else { refusals };
        let full = lately.len() >= PLACES_MAX;
        let lately = match lately.entry((Network::of(ip), event, kind)) {
            Entry::Occupied(lately) => lately.into_mut(),
            Entry::Vacant(place) => {
                if full || !bucket.take(1, now) {
                    *others += count;
                    return Say::LeaveOut;
                }
                place.insert(Lately { until: now.after(WINDOW), said: 1, left_out: 0 });
                return Say::Line { left_out: 0 };
            }
        };
        if lately.until <= now {
            lately.until = now.after(WINDOW);
            lately.said = 0;
        }
        if lately.said < event.lines_max() && bucket.take(1, now) {
            lately.said += 1;
            return Say::Line { left_out: std::mem::take(&mut lately.left_out) };
        }
        lately.left_out += count;
        Say::LeaveOut
    }

    /// What was left out and has not been told of when its window ended, and of others.
    fn summaries(&self, now: Time) -> (Vec<LeftOut>, u64) {
        let lines = &mut *self.lock();
        if now < lines.look {
            return (Vec::new(), 0);
        }
        lines.look = now.after(LOOK);
        let mut found = Vec::new();
        lines.lately.retain(|key, lately| {
            if now < lately.until {
                return true;
            }
            if lately.left_out == 0 {
                return false;
            }
            found.push((*key, lately.left_out));
            *lately = Lately { until: now.after(WINDOW), said: 0, left_out: 0 };
            true
        });
        (found, std::mem::take(&mut lines.others))
    }

    fn lock(&self) -> MutexGuard<'_, PeerLines> {
        whole(self.lines.lock())
    }
}

impl Event {
    fn is_of_connections(self) -> bool {
        matches!(self, Event::Connected | Event::Disconnected | Event::Moved)
    }

    fn lines_max(self) -> u32 {
        if self.is_of_connections() { CONNECTIONS_MAX } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Event::Refused(kind) => kind.name(),
            Event::Connected => "connected",
            Event::Disconnected => "disconnected",
            Event::Moved => "moved",
            Event::Braked => "takeovers braked",
            Event::EndedForRoom => "session of an unverified client ended to make room",
            Event::EndedForOwner => "session of an unverified user ended",
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const BEGIN: Time = Time::from_secs(1_000);
    const HTTP: Event = Event::Refused(RefusalKind::Http);

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn an_address_is_told_of_once_in_a_window_for_each_reason() {
        let log = PeerLog::new();
        let say = |text: &str, event, seconds| {
            log.turn(
                ip(text),
                (event, LineKind::default()),
                1,
                BEGIN.after(Duration::from_secs(seconds)),
            )
        };
        let fresh = Say::Line { left_out: 0 };
        assert_eq!(say("10.0.0.1", HTTP, 0), fresh);
        assert_eq!(say("10.0.0.1", HTTP, 9), Say::LeaveOut);
        assert_eq!(say("::ffff:10.0.0.1", HTTP, 9), Say::LeaveOut);
        assert_eq!(say("10.0.0.1", Event::Refused(RefusalKind::NotMqtt), 9), fresh);
        assert_eq!(say("10.0.0.2", HTTP, 9), fresh);
        assert_eq!(say("10.0.0.1", HTTP, 10), Say::Line { left_out: 2 });
        assert_eq!(say("2001:db8:0:1::7", HTTP, 10), fresh);
        assert_eq!(say("2001:db8:0:1:8::9", HTTP, 10), Say::LeaveOut, "one network");
        assert_eq!(say("2001:db8:0:2::7", HTTP, 10), fresh);
    }

    #[test]
    fn a_rule_is_told_of_once_in_a_window_for_each_client() {
        let log = PeerLog::new();
        let say = |client: &str, place, seconds| {
            let rule = number(RuleId { generation: 1, place }, &Peer::default().client(client));
            let event = (HTTP, LineKind { cause: "", rule });
            log.turn(ip("10.0.0.1"), event, 1, BEGIN.after(Duration::from_secs(seconds)))
        };
        let fresh = Say::Line { left_out: 0 };
        assert_eq!(say("a", 1, 0), fresh);
        assert_eq!(say("a", 2, 0), fresh);
        assert_eq!(say("b", 1, 0), fresh);
        assert_eq!(say("a", 1, 9), Say::LeaveOut);
        assert_eq!(say("b", 1, 9), Say::LeaveOut);
        assert_eq!(say("a", 1, 10), Say::Line { left_out: 1 });
    }

    #[test]
    fn what_was_left_out_is_summed_up_when_the_window_ends() {
        let log = PeerLog::new();
        for _ in 0..7 {
            log.turn(ip("10.0.0.1"), (HTTP, LineKind::default()), 3, BEGIN);
        }
        assert_eq!(log.summaries(BEGIN.after(Duration::from_secs(9))), (Vec::new(), 0));
        let (found, others) = log.summaries(BEGIN.after(Duration::from_secs(10)));
        assert_eq!(
            (found, others),
            (vec![((Network::of(ip("10.0.0.1")), HTTP, LineKind::default()), 18)], 0)
        );
        // Then it is forgotten.
        log.summaries(BEGIN.after(Duration::from_secs(30)));
        assert!(log.lock().lately.is_empty());
    }

    #[test]
    fn table_and_lines_are_bounded_whatever_strangers_do() {
        let log = PeerLog::new();
        let (mut said, mut left_out) = (0, 0);
        let mut count = |turn| match turn {
            Say::Line { .. } => said += 1,
            Say::LeaveOut => left_out += 1,
        };
        for network in 0..20_000_u128 {
            let ip = IpAddr::from(Ipv6Addr::from(network << 64));
            let now = BEGIN.after(Duration::from_millis(network as u64));
            count(log.turn(Some(ip), (HTTP, LineKind::default()), 1, now));
            count(log.turn(Some(ip), (Event::Connected, LineKind::default()), 1, now));
            count(log.turn(Some(ip), (Event::Disconnected, LineKind::default()), 1, now));
        }
        // In twenty seconds, of two kinds.
        let most = 2 * (LINES_BURST + 20 * LINES_RATE.get());
        assert!(said > 1_000 && said <= most, "{said}");
        assert_eq!(said + left_out, 60_000);
        assert!(log.lock().lately.len() <= PLACES_MAX);
        assert_eq!(log.summaries(BEGIN).1, left_out);
    }

    #[test]
    fn a_fleet_behind_one_address_is_told_of_up_to_a_number() {
        let log = PeerLog::new();
        let say = || log.turn(ip("10.0.0.1"), (Event::Connected, LineKind::default()), 1, BEGIN);
        let said = (0..1_000).filter(|_| say() != Say::LeaveOut).count();
        assert_eq!(said, CONNECTIONS_MAX as usize);
    }
}
