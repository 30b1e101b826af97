//! The work of one turn is bounded: what is dear to find ends it, and the rest waits for the next.

use std::sync::Arc;
use std::task::Waker;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::{Broker, Flow};
use sluicemq::codec::{
    Packet, PacketId, Properties, Publish, RetainHandling, Subscribe, SubscribeOptions, Version,
    encode,
};
use sluicemq::config::Config;

use super::{Client, NOW, hex, ports};

/// Levels of the filters that are dear together.
const DEPTH: usize = 16;

fn broker(edit: impl FnOnce(&mut Config)) -> Broker {
    let mut config = Config::default();
    config.limits.subscriptions_max = 1_000_000;
    edit(&mut config);
    Broker::new(&config, ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll)), 1, NOW)
}

fn connected(broker: &Broker, client_id: char) -> Client {
    let mut client = Client::of(broker);
    client.send(&format!("10 0d 0004 4d515454 04 00 0000 0001 {:02x}", client_id as u32));
    client
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, Version::V311, usize::MAX, &mut bytes).unwrap();
    bytes
}

fn publish(topic: &str, retain: bool) -> Vec<u8> {
    encoded(&Packet::Publish(Publish { topic, retain, payload: b"x", ..Publish::default() }))
}

fn subscribe(filters: &[String]) -> Vec<u8> {
    let retain_handling = RetainHandling::Always;
    let options = SubscribeOptions { retain_handling, ..SubscribeOptions::default() };
    encoded(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: filters.iter().map(|filter| (filter.as_str(), options)).collect(),
        rest: &[],
    }))
}

/// Offers all of `bytes`, in as many turns as it takes; returns how many that were.
fn offer(client: &mut Client, bytes: &[u8]) -> usize {
    let (mut at, mut turns) = (0, 0);
    loop {
        at += client.link.receive(&bytes[at..], client.now, &mut client.turn);
        let flow = client.link.poll(Waker::noop(), client.now, 0, &mut client.turn);
        client.turn.out.clear();
        turns += 1;
        if at == bytes.len() && !flow.more && flow.read {
            return turns;
        }
        assert!(turns < 100_000, "it comes to an end");
    }
}

/// All of `{a,+}` to the depth, with `+` behind, on eight clients: each filter matches each name of that depth
/// of `a`.
fn subscribe_to_all_shapes(broker: &Broker) -> Vec<Client> {
    let filter = |number: usize| {
        let level = |bit| if number >> bit & 1 == 0 { "a/" } else { "+/" };
        (0..DEPTH).map(level).collect::<String>() + "+"
    };
    let all: Vec<String> = (0..1 << DEPTH).map(filter).collect();
    let some = |(client_id, filters): (char, &[String])| {
        let mut client = connected(broker, client_id);
        filters.chunks(128).for_each(|some| assert_eq!(offer(&mut client, &subscribe(some)), 1));
        client
    };
    ('0'..).zip(all.chunks(all.len() / 8)).map(some).collect()
}

#[test]
fn the_second_publish_that_is_dear_to_route_waits_for_the_next_turn_and_counts_in_the_rate() {
    let rates = "publishes_rate = 1\npublishes_burst = 150";
    let limited = |config: &mut Config| config.limits.client = toml::from_str(rates).unwrap();
    for rated in [false, true] {
        let broker = broker(|config| {
            if rated {
                limited(config)
            }
        });
        let receivers = subscribe_to_all_shapes(&broker);
        let mut publisher = connected(&broker, 'p');
        let take = |publisher: &mut Client, bytes: &[u8]| {
            let used = publisher.link.receive(bytes, NOW, &mut publisher.turn);
            let flow = publisher.link.poll(Waker::noop(), NOW, 0, &mut publisher.turn);
            (used, flow)
        };
        // A thousand that cost nothing fit into one turn; with a rate, a hundred.
        let cheap = publish("b/b", false).repeat(if rated { 100 } else { 1000 });
        assert_eq!(take(&mut publisher, &cheap).0, cheap.len());

        let dear = |last: &str| publish(&("a/".repeat(DEPTH) + last), false);
        let (first, second) = (dear("1"), dear("2"));
        let both = [first.clone(), second.clone()].concat();
        let (used, flow) = take(&mut publisher, &both);
        assert_eq!(used, first.len(), "the second waits");
        assert!(flow.unread || rated, "and is taken in the next turn");
        let (used, flow) = take(&mut publisher, &second);
        assert_eq!(used, if rated { 0 } else { second.len() });
        assert_eq!(flow.read, !rated, "it has cost as much as the hundred that were left");

        let count = if rated { 1 } else { 2 };
        for mut receiver in receivers {
            receiver.link.poll(Waker::noop(), NOW, 0, &mut receiver.turn);
            assert_eq!(receiver.turn.out, both[..count * first.len()], "found, and once each");
        }
    }
}

#[test]
fn a_subscribe_that_looks_through_retained_messages_in_vain_does_so_in_many_turns() {
    let broker = broker(|_| {});
    let mut publisher = connected(&broker, 'p');
    for number in 0..5_000 {
        offer(&mut publisher, &publish(&format!("s{}/d{number}/x", number % 50), true));
    }
    // Those that find are served at once.
    let mut finder = connected(&broker, 'f');
    assert_eq!(offer(&mut finder, &subscribe(&["s7/+/x".to_owned(), "s8/d8/x".to_owned()])), 1);

    let mut seeker = connected(&broker, 'v');
    let filters: Vec<String> = (0..4).map(|number| format!("+/+/{number}/y")).collect();
    let turns = offer(&mut seeker, &subscribe(&filters));
    // Each filter leaps at least once for each of the names, 128 times in a turn at most.
    assert!(turns >= 4 * 5_000 / 128, "{turns} turns");
    // What is published meanwhile comes, and so does what is retained behind all that.
    let mut seeker = connected(&broker, 'w');
    let filters = [filters, vec!["s49/d4999/+".to_owned()]].concat();
    let used = subscribe(&filters);
    seeker.link.receive(&used, NOW, &mut seeker.turn);
    let Flow { more, .. } = seeker.link.poll(Waker::noop(), NOW, 0, &mut seeker.turn);
    assert!(more);
    assert_eq!(seeker.turn.out[..2], hex("90 07"));
    seeker.turn.out.clear();
    offer(&mut publisher, &publish("s/t/0/y", false));
    let mut out = Vec::new();
    while seeker.link.poll(Waker::noop(), NOW, 0, &mut seeker.turn).more {
        out.append(&mut seeker.turn.out);
    }
    out.append(&mut seeker.turn.out);
    assert_eq!(out, [publish("s/t/0/y", false), publish("s49/d4999/x", true)].concat());
}
