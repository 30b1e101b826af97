//! What no script can say, in bytes to a link: what needs a port that the shipped broker does not
//! have (enhanced authentication, topics that a client may not publish to), and what only the
//! broker's own figures show.

#[path = "link/filters.rs"]
mod filters;
#[path = "link/greeting.rs"]
mod greeting;
#[path = "link/kick.rs"]
mod kick;
#[path = "link/queue.rs"]
mod queue;
#[path = "link/retained.rs"]
mod retained;
#[path = "link/rights.rs"]
mod rights;
#[path = "link/room.rs"]
mod room;
#[path = "link/sys.rs"]
mod sys;
#[path = "link/unreadable.rs"]
mod unreadable;
#[path = "link/work.rs"]
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::ports::{
    Accepted, AuthRequest, AuthStep, Authenticator, Exchange, ExchangeState, LoginDetails, Verdict,
};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{DecodeLimits, Reason, Sender, Version, decode};
use sluicemq::config::Config;
use sluicemq::message::{Identity, Loss};
use sluicemq::session::{self, Access, Decision};
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

/// CONNECT of version 5 with method `m`.
const CONNECT: &str = "10 12 0004 4d515454 05 02 0000 04 15 0001 6d 0001 63";
/// AUTH 0x18 with method `m` and the right data.
const ANSWER: &str = "f0 0b 18 09 15 0001 6d 16 0002 6f6b";
/// CONNACK 0x82, Protocol Error.
const PROTOCOL_ERROR: &str = "20 03 00 82 00";

// proves MQTT5-4.12.0-2 MQTT5-4.12.0-5
#[test]
fn an_exchange_goes_back_and_forth_and_ends_in_connack_with_the_method() {
    let mut client = Client::of(&broker_with(Arc::new(WhoIsThere), Arc::new(PermitAll)));
    // AUTH 0x18, method `m`, data 77 68 6f.
    assert_eq!(client.send(CONNECT), hex("f0 0c 18 0a 15 0001 6d 16 0003 77686f"));
    let connack = client.send(ANSWER);
    assert_eq!(connack[..4], [0x20, connack.len() as u8 - 2, 0, 0]);
    let method = hex("15 0001 6d 16 0004 646f6e65");
    assert!(connack.windows(method.len()).any(|part| part == method), "{connack:02x?}");
    assert!(!client.link.is_closed());
}

// proves MQTT5-4.12.0-5
#[test]
fn an_answer_of_another_method_ends_the_exchange() {
    refused(&ANSWER.replace("6d", "6e"), PROTOCOL_ERROR);
}

// proves MQTT5-4.12.0-3
#[test]
fn an_answer_that_asks_for_another_authentication_ends_the_exchange() {
    refused(&ANSWER.replace("0b 18", "0b 19"), PROTOCOL_ERROR);
}

#[test]
fn a_wrong_answer_is_not_authorized() {
    refused(&ANSWER.replace("6f6b", "6e6f"), "20 03 00 87 00");
}

// proves MQTT5-3.1.2-30
#[test]
fn before_connack_nothing_but_auth_and_disconnect_is_taken() {
    refused("c0 00", PROTOCOL_ERROR);
    refused("30 05 0001 61 00 62", PROTOCOL_ERROR);
    refused("e0 00", "");
}

/// A client that is in, and has begun to authenticate again.
fn authenticating_again() -> Client {
    let mut client = Client::of(&broker_with(Arc::new(WhoIsThere), Arc::new(PermitAll)));
    client.send(CONNECT);
    client.send(ANSWER);
    let again = ANSWER.replace("0b 18", "0b 19");
    assert_eq!(client.send(&again), hex("f0 0c 18 0a 15 0001 6d 16 0003 77686f"));
    client
}

// proves MQTT5-4.12.1-1
#[test]
fn an_authentication_begun_again_runs_beside_normal_traffic_and_ends_in_auth_success() {
    let mut client = authenticating_again();
    assert_eq!(client.send("c0 00"), hex("d0 00"));
    assert_eq!(client.send(ANSWER), hex("f0 0d 00 0b 15 0001 6d 16 0004 646f6e65"));
    assert_eq!(client.send("c0 00"), hex("d0 00"));
}

// proves MQTT5-4.12.1-2
#[test]
fn an_authentication_begun_again_that_fails_closes() {
    let mut client = authenticating_again();
    assert_eq!(client.send(&ANSWER.replace("6f6b", "6e6f")), hex("e0 02 87 00"));
    assert!(client.link.is_closed());
}

#[test]
fn an_authentication_begun_twice_or_of_another_method_is_a_protocol_error() {
    let mut client = authenticating_again();
    assert_eq!(client.send(&ANSWER.replace("0b 18", "0b 19")), hex("e0 02 82 00"));
    let mut client = authenticating_again();
    assert_eq!(client.send(&ANSWER.replace("6d", "6e")), hex("e0 02 82 00"));
    assert!(client.link.is_closed());
}

// proves MQTT311-3.3.5-2
#[test]
fn a_publish_without_the_right_to_is_refused_on_5_and_answered_as_usual_on_3_1_1() {
    let broker = broker_with(Arc::new(PasswordAuth::new(None)), Arc::new(NothingOfA));
    let mut subscriber = Client::of(&broker);
    subscriber.send("10 0e 0004 4d515454 05 02 0000 00 0001 73");
    subscriber.send("82 07 0001 00 0001 23 00");

    let mut new = Client::of(&broker);
    new.send("10 0e 0004 4d515454 05 02 0000 00 0001 6e");
    assert_eq!(new.send("32 07 0001 61 0001 00 78"), hex("40 04 0001 87 00"));

    let mut old = Client::of(&broker);
    old.send("10 0d 0004 4d515454 04 02 0000 0001 6f");
    assert_eq!(old.send("32 06 0001 61 0001 78"), hex("40 02 0001"));

    assert_eq!(subscriber.send(""), hex(""));
    old.send("30 04 0001 62 78");
    assert_eq!(subscriber.send(""), hex("30 05 0001 62 00 78"));
}

#[test]
fn a_will_and_qos_0_without_the_right_to_are_counted() {
    let broker = broker_with(Arc::new(PasswordAuth::new(None)), Arc::new(NothingOfA));
    let unrouted = || broker.metrics().sum(Counter::Unrouted);
    for (topic, expected) in [("61", 1), ("62", 1)] {
        let mut client = Client::of(&broker);
        let will = format!("00 0001 {topic} 0001 78");
        client.send(&format!("10 15 0004 4d515454 05 06 0000 00 0001 63 {will}"));
        client.link.hang_up(NOW, &mut client.turn);
        assert_eq!(unrouted(), expected, "{topic}");
    }
    let mut client = Client::of(&broker);
    client.send("10 0e 0004 4d515454 05 02 0000 00 0001 63");
    for (topic, expected) in [("61", 2), ("62", 2)] {
        client.send(&format!("30 05 0001 {topic} 00 78"));
        assert_eq!(unrouted(), expected, "{topic}");
    }
}

// proves MQTT5-3.2.2-1 MQTT5-3.14.2-2
#[test]
fn a_server_that_breaks_its_own_rules_is_not_understood() {
    // CONNACK with a reserved flag; DISCONNECT with a Session Expiry Interval.
    for packet in ["20 03 02 00 00", "e0 07 8b 05 11 00000001"] {
        let bytes = hex(packet);
        let decoded = decode(&bytes, Some(Version::V5), Sender::Server, &DecodeLimits::NONE);
        let reason = decoded.expect_err(packet).reason();
        assert!(matches!(reason, Reason::MalformedPacket | Reason::ProtocolError), "{packet}");
    }
}

#[test]
fn copies_that_expired_in_a_full_queue_are_in_the_ledger() {
    let mut config = Config::default();
    config.queue.messages_max = 3;
    let broker =
        Broker::new(&config, ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll)), 1, NOW);
    let mut away = Client::of(&broker);
    // Clean Start 0, Session Expiry Interval 255 s.
    away.send("10 13 0004 4d515454 05 00 0000 05 11 000000ff 0001 73");
    away.send("82 07 0001 00 0001 23 01");
    away.send("e0 00");

    let mut publisher = Client::of(&broker);
    publisher.send("10 0e 0004 4d515454 05 02 0000 00 0001 70");
    let (short, long) = ("32 0b 0001 61 0001 05 02 0000000a", "32 06 0001 61 0001 00");
    for _ in 0..3 {
        assert_eq!(publisher.send(short), hex("40 02 0001"));
    }
    // 0x97; how long the Reason String behind it is does not matter.
    assert_eq!(publisher.send(long)[2..5], hex("0001 97"));
    publisher.now = NOW.after(Duration::from_secs(10));
    assert_eq!(publisher.send(long), hex("40 02 0001"));
    assert_eq!(broker.metrics().lost(Loss::Expired), 3);
    assert_eq!(broker.metrics().lost(Loss::QueueFull), 1);
}

#[test]
fn a_burst_for_a_group_is_shared_by_its_members() {
    let broker = broker_with(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
    let mut members = [0x61, 0x62].map(|name: u8| {
        let mut member = Client::of(&broker);
        member.send(&format!("10 0e 0004 4d515454 05 02 0000 00 0001 {name:02x}"));
        // $share/g/t
        member.send("82 10 0001 00 000a 2473686172652f672f74 00");
        member
    });
    let mut publisher = Client::of(&broker);
    publisher.send("10 0e 0004 4d515454 05 02 0000 00 0001 70");
    // PUBLISH to `t`, of six bytes, as it is sent on.
    publisher.send(&"30 04 0001 74 00 ".repeat(100));
    let mut shares = [0, 0];
    for _ in 0..20 {
        for (member, share) in members.iter_mut().zip(&mut shares) {
            *share += member.send("").len() / 6;
        }
    }
    assert_eq!(shares.iter().sum::<usize>(), 100);
    assert!(shares.iter().all(|share| *share >= 25), "{shares:?}");
}

#[test]
fn a_turn_takes_no_more_than_its_room_however_many_groups_a_client_is_in() {
    let broker = broker_with(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
    let mut member = Client::of(&broker);
    member.send("10 0e 0004 4d515454 05 02 0000 00 0001 6d");
    for group in 0x61..0x71 {
        // $share/x/t, x from a to p.
        member.send(&format!("82 10 0001 00 000a 2473686172652f {group:02x} 2f74 00"));
    }
    let mut publisher = Client::of(&broker);
    publisher.send("10 0e 0004 4d515454 05 02 0000 00 0001 70");
    let payload = 100_000;
    publisher.send(&format!("30 a4 8d 06 0001 74 00 {}", "78".repeat(payload)));
    let written = member.send("").len();
    assert!(written > payload && written < 2 * payload, "{written} bytes in one turn");
    let rest: usize = (0..15).map(|_| member.send("").len()).sum();
    assert_eq!(written + rest, 16 * written, "one message for each group, in as many turns");
}

/// Begins an exchange, sends `packet` in it and expects `answer` and the end.
#[track_caller]
fn refused(packet: &str, answer: &str) {
    let mut client = Client::of(&broker_with(Arc::new(WhoIsThere), Arc::new(PermitAll)));
    client.send(CONNECT);
    assert_eq!(client.send(packet), hex(answer));
    assert!(client.link.is_closed());
}

/// A client that writes its bytes straight into a link.
struct Client {
    link: Link,
    turn: Scratch,
    now: Time,
}

impl Client {
    fn of(broker: &Broker) -> Client {
        let peer = PeerInfo {
            address: "test".to_owned(),
            anonymous: true,
            nonce: 1,
            ..PeerInfo::default()
        };
        Client { link: Link::new(broker, peer, NOW), turn: Scratch::default(), now: NOW }
    }

    /// Sends bytes; returns what comes back.
    fn send(&mut self, bytes: &str) -> Vec<u8> {
        self.offer(bytes);
        std::mem::take(&mut self.turn.out)
    }

    /// Sends bytes; what comes back stays.
    fn offer(&mut self, bytes: &str) {
        let bytes = hex(bytes);
        let used = self.link.receive(&bytes, self.now, &mut self.turn);
        assert_eq!(used, bytes.len(), "held back");
        self.link.poll(Waker::noop(), self.now, 0, &mut self.turn);
    }
}

const NOW: Time = Time::from_secs(1);

fn broker_with(authenticator: Arc<dyn Authenticator>, access: Arc<dyn Access>) -> Broker {
    Broker::new(&Config::default(), ports(authenticator, access), 1, NOW)
}

fn ports(authenticator: Arc<dyn Authenticator>, access: Arc<dyn Access>) -> Ports {
    Ports { store: Arc::new(MemoryStore), authenticator, access }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// An authentication of one step: it asks, and admits a client that answers `ok`, with `done`.
struct WhoIsThere;

struct Asked(ExchangeState);

impl Authenticator for WhoIsThere {
    fn begin(&self, _request: &AuthRequest<'_>) -> AuthStep {
        AuthStep::Exchange(Box::new(Asked(ExchangeState::Challenge(b"who".to_vec()))))
    }
}

impl Exchange for Asked {
    fn poll(&mut self, _waker: &Waker) -> ExchangeState {
        std::mem::replace(&mut self.0, ExchangeState::Waiting)
    }

    fn answer(&mut self, data: Option<&[u8]>) {
        self.0 = ExchangeState::Verdict(match data {
            Some(b"ok") => {
                let data = Some(b"done".to_vec());
                let details = LoginDetails { data, ..LoginDetails::default() };
                Verdict::Accept(Accepted { user_name: None, details: Some(Box::new(details)) })
            }
            _ => Verdict::Refuse(Reason::NotAuthorized),
        });
    }
}

/// A check beside the link: it waits for its turn, it runs, and it lets the client in.
#[derive(Clone)]
struct InLine(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const RUNS: u8 = 1;
const OVER: u8 = 2;

impl Authenticator for InLine {
    fn begin(&self, _request: &AuthRequest<'_>) -> AuthStep {
        AuthStep::Exchange(Box::new(self.clone()))
    }
}

impl Exchange for InLine {
    fn poll(&mut self, _waker: &Waker) -> ExchangeState {
        match self.0.load(Ordering::Relaxed) {
            OVER => ExchangeState::Verdict(Verdict::Accept(Accepted::as_user(None))),
            _ => ExchangeState::Pending,
        }
    }

    fn answer(&mut self, _data: Option<&[u8]>) {}

    fn is_queued(&self) -> bool {
        self.0.load(Ordering::Relaxed) == QUEUED
    }
}

/// The time limit of a login is not for the wait in front of its check, however the two fall together.
#[test]
fn a_check_whose_turn_comes_late_has_all_its_time() {
    let limit = Config::default().limits.auth_timeout.0;
    let (open, admitted, refused) = (&[][..], &[0x20, 2, 0, 0][..], &[0x20, 2, 0, 5][..]);
    // What the check does when the limit has passed once more, and what the client is told then.
    for (start, script) in [
        (RUNS, &[(RUNS, refused)][..]),
        (RUNS, &[(OVER, refused)]),
        (QUEUED, &[(QUEUED, open), (RUNS, open), (OVER, refused)]),
        (QUEUED, &[(RUNS, open), (RUNS, refused)]),
        (QUEUED, &[(OVER, admitted)]),
        (QUEUED, &[(QUEUED, open), (QUEUED, open), (OVER, admitted)]),
    ] {
        let line = InLine(Arc::new(AtomicU8::new(start)));
        let broker = broker_with(Arc::new(line.clone()), Arc::new(PermitAll));
        let mut client = Client::of(&broker);
        assert_eq!(client.send("10 0d 0004 4d515454 04 02 003c 0001 61"), open);
        for (stage, wanted) in script {
            line.0.store(*stage, Ordering::Relaxed);
            client.now = client.now.after(limit);
            assert_eq!(client.send(""), *wanted, "{start} {script:?}");
        }
    }
}

/// No client may publish to `a`.
struct NothingOfA;

impl Access for NothingOfA {
    fn may(&self, _who: &Identity, asked: &session::Asked<'_>) -> Decision {
        Decision::of(
            !matches!(asked, session::Asked::Publish { topic, .. } if topic.as_str() == "a"),
        )
    }
}
