//! SUBSCRIBE and UNSUBSCRIBE of very many filters: each filter is answered, the answer comes once, and one
//! turn serves no more than its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::{Broker, Flow, NotRead};
use sluicemq::codec::{
    DecodeLimits, Decoded, Packet, PacketId, Properties, QoS, Reason, Sender, SubAck, Subscribe,
    SubscribeOptions, Unsubscribe, Version, decode, encode,
};
use sluicemq::config::Config;

use super::{Client, NOW, ports};

/// Filters that one turn serves.
const A_TURN: usize = 64;
/// What waits behind the packet: PINGREQ.
const PING: [u8; 2] = [0xC0, 0];

fn broker(edit: impl FnOnce(&mut Config)) -> Broker {
    let mut config = Config::default();
    edit(&mut config);
    Broker::new(&config, ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll)), 1, NOW)
}

fn connected(broker: &Broker, version: Version, client_id: u8) -> Client {
    let mut client = Client::of(broker);
    match version {
        Version::V5 => client
            .send(&format!("10 13 0004 4d515454 05 00 0000 05 11 000000ff 0001 {client_id:02x}")),
        _ => client.send(&format!("10 0d 0004 4d515454 04 00 0000 0001 {client_id:02x}")),
    };
    client
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, usize::MAX, &mut bytes).unwrap();
    bytes
}

fn subscribe(filters: &[String], version: Version) -> Vec<u8> {
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let filters = filters.iter().map(|filter| (filter.as_str(), options)).collect();
    let packet_id = PacketId::new(1).unwrap();
    let (subscription_id, user_properties, rest) = (None, Properties::EMPTY, &[][..]);
    let packet = Subscribe { packet_id, subscription_id, user_properties, filters, rest };
    encoded(&Packet::Subscribe(packet), version)
}

fn unsubscribe(filters: &[String], version: Version) -> Vec<u8> {
    let filters = filters.iter().map(String::as_str).collect();
    let (packet_id, user_properties) = (PacketId::new(2).unwrap(), Properties::EMPTY);
    let packet = Unsubscribe { packet_id, user_properties, filters, rest: &[] };
    encoded(&Packet::Unsubscribe(packet), version)
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Offers `bytes` and polls as long as the link wakes its task; `each` looks on after each turn. Returns
/// what was written, and how many turns that took.
fn played(client: &mut Client, bytes: &[u8], mut each: impl FnMut(&Client)) -> (Vec<u8>, usize) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let (mut at, mut turns) = (0, 0);
    loop {
        bell.0.store(false, Ordering::Relaxed);
        at += client.link.receive(&bytes[at..], client.now, &mut client.turn);
        each(client);
        let Flow { unread, .. } = client.link.poll(&waker, client.now, 0, &mut client.turn);
        turns += 1;
        each(client);
        if !unread && !bell.0.load(Ordering::Relaxed) {
            assert_eq!(at, bytes.len(), "the rest is never read");
            return (std::mem::take(&mut client.turn.out), turns);
        }
    }
}

/// The answer to a SUBSCRIBE or UNSUBSCRIBE, and PINGRESP after it.
#[track_caller]
fn answer(bytes: &[u8], version: Version) -> SubAck<'_> {
    let read = |bytes| match decode(bytes, Some(version), Sender::Server, &DecodeLimits::NONE) {
        Ok(Decoded::Packet { packet, len }) => (packet, len),
        other => panic!("no packet: {other:?}"),
    };
    let (packet, len) = read(bytes);
    assert_eq!(bytes[len..], [0xD0, 0], "one answer, then that of the ping");
    let (Packet::SubAck(answer) | Packet::UnsubAck(answer)) = packet else {
        panic!("not the answer: {packet:?}")
    };
    answer
}

fn filters(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f/{:06}", number * 7919 % count)).collect()
}

#[test]
fn very_many_filters_take_many_turns_and_each_is_answered_once_at_the_end() {
    for version in [Version::V5, Version::V311] {
        let broker = broker(|_| {});
        let mut client = connected(&broker, version, b's');
        let filters = filters(60_000);
        let bytes = [&subscribe(&filters, version)[..], &PING].concat();
        let mut seen = 0;
        let (written, turns) = played(&mut client, &bytes, |_| {
            let now = broker.view().subscriptions;
            assert!(now - seen <= A_TURN, "{} in one turn", now - seen);
            seen = now;
        });
        let answer = answer(&written, version);
        let full =
            if version == Version::V5 { Reason::QuotaExceeded } else { Reason::UnspecifiedError };
        assert_eq!(answer.packet_id.get(), 1);
        assert_eq!(answer.reasons.len(), filters.len());
        assert!(answer.reasons[..10_000].iter().all(|reason| *reason == Reason::GrantedQoS1));
        assert!(answer.reasons[10_000..].iter().all(|reason| *reason == full));
        assert_eq!(
            turns,
            filters.len().div_ceil(A_TURN),
            "the first has two shares, the last the ping"
        );
        assert_eq!(broker.metrics().sum(Counter::FiltersRefused), 50_000);

        // UNSUBSCRIBE is served whole, those that are there and those that are not.
        let bytes = [&unsubscribe(&filters, version)[..], &PING].concat();
        let (written, _) = played(&mut client, &bytes, |_| {});
        let answer = self::answer(&written, version);
        assert_eq!(answer.packet_id.get(), 2);
        if version == Version::V5 {
            let there = |reason: &&Reason| **reason == Reason::Success;
            assert_eq!(answer.reasons.iter().filter(there).count(), 10_000);
            assert_eq!(answer.reasons.len(), filters.len());
        }
        assert_eq!(broker.view().subscriptions, 0);
        assert!(!client.link.is_closed());
    }
}

#[test]
fn what_stands_behind_waits_and_a_ping_there_is_answered_ahead() {
    let broker = broker(|_| {});
    let mut client = connected(&broker, Version::V5, b's');
    let bytes = subscribe(&filters(2000), Version::V5);
    assert_eq!(client.link.receive(&bytes, NOW, &mut client.turn), bytes.len());
    assert_eq!(client.link.receive(&PING, NOW, &mut client.turn), 0);
    let flow = client.link.poll(Waker::noop(), NOW, 0, &mut client.turn);
    assert!(!flow.read);
    assert_eq!(client.link.not_read(), Some(NotRead::Filters));
    assert!(client.turn.out.is_empty());
    assert!(client.link.look_ahead(&PING, &mut client.turn));
    assert_eq!(std::mem::take(&mut client.turn.out), [0xD0, 0]);
    // The peer has said all that it has to say: what it asked for is carried out.
    assert!(client.link.outlives(&[], false));
    assert!(!client.link.outlives(&[], true), "a broken connection ends at once");
    client.link.hang_up(NOW, &mut client.turn);
    let parked = broker.view();
    assert_eq!((parked.subscriptions, parked.sessions.len()), (2 * A_TURN, 1));
}

#[test]
fn beyond_the_filters_of_one_subscribe_each_is_refused_and_unsubscribe_is_not() {
    for version in [Version::V5, Version::V311] {
        let broker = broker(|config| config.limits.filters_max = 600);
        let mut client = connected(&broker, version, b's');
        let filters = filters(1300);
        let bytes = [&subscribe(&filters, version)[..], &PING].concat();
        let (written, _) = played(&mut client, &bytes, |_| {});
        let answer = answer(&written, version);
        let granted = |reason: &&Reason| **reason == Reason::GrantedQoS1;
        assert_eq!(answer.reasons.iter().take_while(granted).count(), 600);
        assert_eq!(answer.reasons.iter().filter(granted).count(), 600);
        assert_eq!(broker.metrics().sum(Counter::FiltersRefused), 700);
        let bytes = [&unsubscribe(&filters, version)[..], &PING].concat();
        played(&mut client, &bytes, |_| {});
        assert_eq!(broker.view().subscriptions, 0);
    }
}

#[test]
fn few_clients_with_very_many_subscriptions_do_not_use_up_what_is_for_all() {
    let broker = broker(|config| config.totals.subscriptions_max = 100_000);
    let filters = filters(10_000);
    let held: Vec<usize> = (0..40u8)
        .map(|number| {
            let before = broker.view().subscriptions;
            let mut client = connected(&broker, Version::V5, b'A' + number);
            played(&mut client, &subscribe(&filters, Version::V5), |_| {});
            broker.view().subscriptions - before
        })
        .collect();
    assert_eq!(held[0], 3030, "so many that 32 times as many are free");
    assert!(held.is_sorted_by(|one, next| one >= next), "{held:?}");
    assert_eq!(held[39], 1000, "a client that comes late has what each has");
    assert!(broker.view().subscriptions < 75_000);
}

#[test]
fn the_same_filters_over_and_over_are_one_subscription_and_one_look_at_retained_messages() {
    let broker = broker(|_| {});
    let mut publisher = connected(&broker, Version::V5, b'p');
    publisher.send("31 05 0001 61 00 78");
    let mut client = connected(&broker, Version::V5, b's');
    let same = vec!["a".to_owned(); 3 * A_TURN];
    let mut bytes = Vec::new();
    for _ in 0..2 {
        bytes.extend(subscribe(&same, Version::V5));
    }
    let (written, _) = played(&mut client, &bytes, |_| {});
    assert_eq!(broker.view().subscriptions, 1);
    // PUBLISH of `a`, retained, QoS 0: while the packets are served each turn may have a look.
    let message = [0x31, 5, 0, 1, b'a', 0, b'x'];
    let copies = written.windows(message.len()).filter(|part| *part == message).count();
    assert!((2..=6).contains(&copies), "{copies} copies");
}

/// A filter that closes is not in the first share of its packet.
#[test]
fn an_unsubscribe_of_3_1_1_that_closes_late_is_not_answered() {
    for at in [A_TURN - 1, A_TURN, 2 * A_TURN - 1, 2 * A_TURN] {
        let broker = broker(|_| {});
        let mut client = connected(&broker, Version::V311, b's');
        let mut filters = filters(2 * A_TURN + 1);
        filters[at] = "ab/+e".to_owned();
        let (written, _) = played(&mut client, &unsubscribe(&filters, Version::V311), |_| {});
        assert_eq!(written, b"", "at {at}");
        assert!(client.link.is_closed());
    }
}
