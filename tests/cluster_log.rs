//! Brokers that share a log, on virtual time: what is published waits for its own node, has one order for all, and
//! outlasts a crash of that node.

mod nodes;
#[path = "../src/random.rs"]
mod random;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::collections::BTreeSet;
use std::time::Duration;

use nodes::{Cluster, ONCE, lasting, subscriber};
use random::Random;
use sluicemq::broker::cluster_log::Logged;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Will};
use sluicemq::message::ClientId;
use virtual_time::connect;

/// The answer leaves when the own node has applied the message and its store has that; other nodes apply it in their
/// own time.
#[test]
fn an_answer_waits_for_the_log_and_for_its_own_node() {
    for qos in [QoS::AtLeastOnce, ONCE] {
        let mut cluster = Cluster::new(2);
        let here = subscriber(&mut cluster, 0, "here", "t");
        let there = subscriber(&mut cluster, 1, "there", "t");
        let publisher = cluster.town(0).client("p");
        let packet_id = cluster.town(0).publish(publisher, "t", "x", qos).expect("a number");
        cluster.apply(0, usize::MAX, true);
        assert_eq!(cluster.answers(0, publisher), [], "it is not in the log");
        cluster.order();
        cluster.apply(1, usize::MAX, true);
        assert_eq!(cluster.got(1, there), ["x"]);
        assert_eq!(cluster.answers(0, publisher), [], "its node has not applied it");
        cluster.apply(0, usize::MAX, false);
        assert_eq!(cluster.answers(0, publisher), [], "the store does not have it");
        cluster.apply(0, usize::MAX, true);
        assert_eq!(cluster.answers(0, publisher), [packet_id]);
        assert_eq!(cluster.got(0, here), ["x"]);
        cluster.settle();
        assert_eq!((cluster.got(0, here), cluster.got(1, there)), (vec![], vec![]));
    }
}

/// A log without room refuses what is for it, and nothing else.
#[test]
fn a_log_without_room_takes_nothing() {
    let mut cluster = Cluster::new(1);
    let reader = subscriber(&mut cluster, 0, "reader", "t");
    let publisher = cluster.town(0).client("p");
    cluster.settle();
    cluster.shared.lock().unwrap().is_full = true;
    cluster.town(0).publish(publisher, "t", "1", ONCE);
    cluster.town(0).publish(publisher, "t", "0", QoS::AtMostOnce);
    cluster.settle();
    let answers = std::mem::take(&mut cluster.town(0).of(publisher).answers);
    assert_eq!(
        answers.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(),
        [Reason::QuotaExceeded]
    );
    assert_eq!(cluster.got(0, reader), ["0"]);
    cluster.shared.lock().unwrap().is_full = false;
    cluster.town(0).publish(publisher, "t", "2", ONCE);
    cluster.settle();
    assert_eq!(cluster.got(0, reader), ["2"]);
}

/// What is not durable is told to the others, and may come before or after what is in the log.
#[test]
fn qos_0_is_delivered_at_once_and_told_to_the_others() {
    let mut cluster = Cluster::new(2);
    let here = cluster.town(0).client("here");
    cluster.town(0).subscribe(here, "t", ONCE);
    let publisher = cluster.town(0).client("p");
    cluster.settle();
    cluster.town(0).publish(publisher, "t", "x", QoS::AtMostOnce);
    assert_eq!(cluster.got(0, here), ["x"]);
    let told = std::mem::take(&mut cluster.shared.lock().unwrap().told);
    assert_eq!(told.len(), 1);
    let there = cluster.town(1).client("there");
    cluster.town(1).subscribe(there, "t", ONCE);
    cluster.settle();
    for (_, entry) in told {
        let town = cluster.town(1);
        let logged = vec![Logged::Message { entry, handed_in: None }];
        town.broker.apply_logged(logged, None, town.now, &mut Scratch::default());
    }
    cluster.settle();
    assert_eq!(cluster.got(1, there), ["x"]);
}

/// Retained messages, of `QoS` 0 too, stand in the order of the log on every node.
#[test]
fn what_is_retained_is_the_same_on_every_node() {
    let mut cluster = Cluster::new(3);
    let publishers: Vec<_> = (0..3).map(|node| cluster.town(node).client("p")).collect();
    for (round, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, ONCE].into_iter().enumerate() {
        for (node, publisher) in publishers.iter().enumerate() {
            let payload = format!("{round} {node}");
            cluster.town(node).publish_as(*publisher, "t", &payload, qos, true);
        }
    }
    cluster.settle();
    let mut seen = Vec::new();
    for node in 0..3 {
        let reader = subscriber(&mut cluster, node, &format!("reader {node}"), "t");
        seen.push(cluster.got(node, reader));
    }
    assert!(seen[0].len() == 1 && seen.iter().all(|payloads| *payloads == seen[0]), "{seen:?}");
}

/// A publisher at the first node sends its message again.
fn send_again(cluster: &mut Cluster, publisher: usize, packet_id: Option<PacketId>) {
    let (topic, payload) = ("t", b"x");
    let again = Publish { dup: true, qos: ONCE, topic, packet_id, payload, ..Publish::default() };
    cluster.town(0).send(publisher, &Packet::Publish(again));
}

/// A client that comes back before its message is in the log, and sends it again, is answered when the first has come
/// to its end: once.
#[test]
fn what_comes_again_waits_for_the_first_of_it() {
    let mut cluster = Cluster::new(2);
    let there = subscriber(&mut cluster, 1, "there", "t");
    let publisher = cluster.town(0).arrive(&lasting("p"), "test");
    cluster.settle();
    let packet_id = cluster.town(0).publish(publisher, "t", "x", ONCE);
    cluster.town(0).cut(publisher);
    let publisher = cluster.town(0).arrive(&lasting("p"), "test");
    cluster.apply(0, usize::MAX, true);
    send_again(&mut cluster, publisher, packet_id);
    cluster.apply(0, usize::MAX, true);
    assert_eq!(cluster.answers(0, publisher), []);
    cluster.settle();
    assert_eq!(cluster.answers(0, publisher), [packet_id.expect("a number")]);
    assert_eq!(cluster.got(1, there), ["x"]);
}

/// A node that crashes has what the log has: nothing that it has answered is lost, nothing of `QoS` 2 comes twice, and
/// a Packet Identifier that is in the log is known after it.
#[test]
fn a_node_that_comes_back_goes_on_in_the_log() {
    for (applied, written) in [(false, false), (true, false), (true, true)] {
        let mut cluster = Cluster::new(2);
        let here = subscriber(&mut cluster, 0, "here", "t");
        let there = subscriber(&mut cluster, 1, "there", "t");
        let publisher = cluster.town(0).arrive(&lasting("p"), "test");
        cluster.settle();
        cluster.town(0).cut(here);
        cluster.settle();
        let packet_id = cluster.town(0).publish(publisher, "t", "x", ONCE);
        cluster.order();
        if applied {
            cluster.apply(0, usize::MAX, written);
        }
        cluster.restart(0);
        // It has come to the end of the log before its clients come.
        cluster.settle();
        let publisher = cluster.town(0).arrive(&lasting("p"), "test");
        cluster.settle();
        if !written {
            // It was not answered, so it comes again.
            send_again(&mut cluster, publisher, packet_id);
            cluster.settle();
            assert_eq!(cluster.answers(0, publisher), [packet_id.expect("a number")]);
        }
        let here = cluster.town(0).arrive(&lasting("here"), "test");
        cluster.settle();
        assert_eq!(cluster.got(0, here), ["x"], "{applied} {written}");
        assert_eq!(cluster.got(1, there), ["x"], "{applied} {written}");
    }
}

/// The Will of a client is published once, also if its node crashes when that is in the log.
#[test]
fn a_will_is_published_once() {
    for (ordered, crashes) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cluster = Cluster::new(2);
        let there = subscriber(&mut cluster, 1, "there", "will");
        let will = Will { qos: ONCE, topic: "will", payload: b"w", ..Will::default() };
        let own = Connect { will: Some(will), ..lasting("p") };
        let publisher = cluster.town(0).arrive(&own, "test");
        cluster.settle();
        cluster.town(0).cut(publisher);
        if ordered {
            // The store has noted that it is on its way.
            cluster.apply(0, 0, true);
            cluster.order();
        }
        if crashes {
            cluster.restart(0);
        }
        cluster.settle();
        cluster.town(0).pass(Duration::from_secs(1));
        cluster.settle();
        assert_eq!(cluster.got(1, there), ["w"], "{ordered} {crashes}");
        cluster.restart(0);
        cluster.settle();
        assert_eq!(cluster.got(1, there).len(), 0, "{ordered} {crashes}");
    }
}

/// A Client Identifier is connected to one node.
#[test]
fn the_other_nodes_are_told_of_a_connection() {
    let mut cluster = Cluster::new(2);
    let first = cluster.town(0).client("c");
    cluster.settle();
    cluster.town(1).client("c");
    let claims = std::mem::take(&mut cluster.shared.lock().unwrap().claims);
    let claims: Vec<_> =
        claims.iter().map(|(node, id, clean)| (*node, id.as_str(), *clean)).collect();
    assert_eq!(claims, [(0, "c", true), (1, "c", true)]);
    let town = cluster.town(0);
    let (id, now) = (ClientId::new("c"), town.now);
    town.broker.taken_elsewhere(&id, true, now, &mut Scratch::default());
    town.pass(Duration::ZERO);
    assert_eq!(town.of(first).told, Some(Reason::SessionTakenOver));
    assert_eq!(town.broker.view().sessions.len(), 0);
}

const RECEIVERS: [&str; 3] = ["receiver 0", "receiver 1", "receiver 2"];

/// Publishers and receivers on three nodes, which apply the log at their own pace and crash: each receiver has all
/// messages of each publisher in their order, those of `QoS` 2 once, and all nodes have one order.
#[test]
fn three_nodes_have_one_order() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new(3);
        let mut receivers: Vec<_> =
            (0..3).map(|node| subscriber(&mut cluster, node, RECEIVERS[node], "t")).collect();
        let mut came: [Vec<String>; 3] = Default::default();
        let mut number = [0; 3];
        let mut publishers: Vec<_> =
            (0..3).map(|node| cluster.town(node).arrive(&connect("p", true, 0), "test")).collect();
        for _ in 0..60 {
            let node = random.below(3);
            match random.below(12) {
                0..6 => {
                    let payload = format!("{node} {}", number[node]);
                    number[node] += 1;
                    let publisher = publishers[node];
                    cluster.town(node).publish(publisher, "t", &payload, ONCE);
                }
                6 | 7 => cluster.order(),
                8..11 => {
                    let (most, written) = (random.below(4), random.below(2) == 0);
                    cluster.apply(node, most, written);
                }
                _ => {
                    // What is not in the log is lost with its node: no answer has left for it.
                    cluster.order();
                    came[node].extend(cluster.got(node, receivers[node]));
                    cluster.restart(node);
                    receivers[node] = cluster.town(node).arrive(&lasting(RECEIVERS[node]), "test");
                    publishers[node] = cluster.town(node).arrive(&connect("p", true, 0), "test");
                }
            }
        }
        cluster.settle();
        for node in 0..3 {
            came[node].extend(cluster.got(node, receivers[node]));
            // What was in flight at a crash of the broker comes again, and its receiver knows it.
            let mut seen = BTreeSet::new();
            came[node].retain(|payload| seen.insert(payload.clone()));
        }
        let total: usize = number.iter().sum();
        assert_eq!(came[0].len(), total, "seed {seed}: {:?}", came[0]);
        assert!(came.iter().all(|of| *of == came[0]), "seed {seed}: {came:?}");
        for (node, published) in number.into_iter().enumerate() {
            let own = came[0].iter().filter_map(|text| text.split_once(' '));
            let own = own.filter(|(from, _)| *from == node.to_string());
            assert!(own.map(|(_, n)| n.parse::<usize>().unwrap()).eq(0..published), "{seed}");
        }
    }
}
