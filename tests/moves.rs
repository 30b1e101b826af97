//! Sessions that move between nodes of a cluster, on virtual time.

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
use sluicemq::broker::cluster_log::ClusterImage;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Will};
use sluicemq::message::ClientId;
use virtual_time::connect;

const LEAST: QoS = QoS::AtLeastOnce;

/// Whether the client was told that its Session was there; `None`: it was told nothing.
fn was_present(cluster: &mut Cluster, node: usize, client: usize) -> Option<bool> {
    let others = &cluster.town(node).of(client).others;
    let connack = others.iter().find(|packet| packet.starts_with("ConnAck"))?;
    Some(connack.contains("session_present: true"))
}

/// The client connects, and everything has happened that comes of it.
fn come(cluster: &mut Cluster, node: usize, connect: &Connect<'_>) -> usize {
    let client = cluster.town(node).arrive(connect, "test");
    cluster.settle();
    client
}

fn nodes_of(cluster: &Cluster, client_id: &str) -> Vec<usize> {
    let id = ClientId::new(client_id);
    let has = |node: &usize| {
        let view = cluster.nodes[*node].town.broker.view();
        view.sessions.iter().any(|session| session.client_id == id)
    };
    (0..cluster.nodes.len()).filter(has).collect()
}

/// What waits goes with the Session: the queue in its order, Subscriptions, and what is published from then on.
#[test]
fn a_client_finds_its_session_at_another_node() {
    for away in [false, true] {
        let mut cluster = Cluster::new(3);
        let reader = subscriber(&mut cluster, 0, "reader", "t/#");
        let publisher = come(&mut cluster, 2, &connect("p", true, 0));
        if away {
            cluster.town(0).cut(reader);
            for number in 0..5 {
                cluster.town(2).publish(publisher, "t/x", &number.to_string(), LEAST);
            }
            cluster.settle();
        }
        let there = come(&mut cluster, 1, &lasting("reader"));
        assert_eq!(was_present(&mut cluster, 1, there), Some(true));
        if !away {
            assert_eq!(cluster.town(0).of(reader).told, Some(Reason::SessionTakenOver));
        }
        cluster.town(2).publish(publisher, "t/x", "after", ONCE);
        cluster.settle();
        let waited: &[&str] = if away { &["0", "1", "2", "3", "4", "after"] } else { &["after"] };
        assert_eq!(cluster.got(1, there), waited);
        assert_eq!(nodes_of(&cluster, "reader"), [1]);
        for node in 0..3 {
            cluster.restart(node);
        }
        cluster.settle();
        assert_eq!(nodes_of(&cluster, "reader"), [1]);
        // Nothing of it is left where it was, and all of it is where it is.
        let back = come(&mut cluster, 0, &lasting("reader"));
        assert_eq!(was_present(&mut cluster, 0, back), Some(true));
        assert_eq!(cluster.got(0, back), [""; 0]);
        assert_eq!(nodes_of(&cluster, "reader"), [0]);
    }
}

/// What is published while a Session is on its way is delivered where it comes to, once and in order, at whatever pace
/// the nodes apply the log.
#[test]
fn nothing_is_lost_or_doubled_on_the_way() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new(3);
        let mut reader = subscriber(&mut cluster, 0, "reader", "t");
        let mut at = 0;
        let publisher = come(&mut cluster, 2, &connect("p", true, 0));
        let (mut number, mut came) = (0, Vec::new());
        for _ in 0..80 {
            match random.below(10) {
                0..4 => {
                    cluster.town(2).publish(publisher, "t", &number.to_string(), ONCE);
                    number += 1;
                }
                4 | 5 => cluster.order(),
                6..9 => {
                    let (node, most) = (random.below(3), random.below(4));
                    cluster.apply(node, most, random.chance());
                }
                _ => {
                    came.extend(cluster.got(at, reader));
                    cluster.town(at).cut(reader);
                    at = random.below(3);
                    reader = cluster.town(at).arrive(&lasting("reader"), "test");
                }
            }
        }
        cluster.settle();
        // What had to wait asks again.
        for node in 0..3 {
            cluster.town(node).pass(Duration::from_secs(2));
        }
        cluster.settle();
        came.extend(cluster.got(at, reader));
        if !cluster.town(at).of(reader).is_closed() {
            assert_eq!(nodes_of(&cluster, "reader"), [at], "seed {seed}");
        }
        let last = come(&mut cluster, 0, &lasting("reader"));
        came.extend(cluster.got(0, last));
        // What was in flight when a connection was cut comes again, under its identifier.
        let mut seen = BTreeSet::new();
        came.retain(|payload| seen.insert(payload.clone()));
        let all: Vec<_> = (0..number).map(|number: u32| number.to_string()).collect();
        assert_eq!(came, all, "seed {seed}");
    }
}

/// The same with nodes that crash: what was answered is not lost, and one node has the Session at the end.
#[test]
fn a_crash_on_the_way_leaves_one_whole_session() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new(3);
        let mut readers = vec![(0, subscriber(&mut cluster, 0, "reader", "t"))];
        let publisher = come(&mut cluster, 2, &connect("p", true, 0));
        let (mut asked, mut came) = (Vec::new(), Vec::new());
        for _ in 0..80 {
            match random.below(12) {
                0..4 => {
                    let payload = asked.len().to_string();
                    asked.push(cluster.town(2).publish(publisher, "t", &payload, ONCE));
                }
                4 | 5 => cluster.order(),
                6..9 => {
                    let (node, most) = (random.below(3), random.below(4));
                    cluster.apply(node, most, random.chance());
                }
                9 | 10 => {
                    let node = random.below(2);
                    let reader = cluster.town(node).arrive(&lasting("reader"), "test");
                    readers.push((node, reader));
                }
                _ => {
                    let node = random.below(2);
                    collect(&mut cluster, &readers, &mut came);
                    readers.retain(|(of, _)| *of != node);
                    cluster.restart(node);
                }
            }
            collect(&mut cluster, &readers, &mut came);
        }
        for node in 0..3 {
            cluster.town(node).pass(Duration::from_secs(20));
        }
        cluster.settle();
        collect(&mut cluster, &readers, &mut came);
        let answered: BTreeSet<_> = cluster.answers(2, publisher).into_iter().collect();
        let all = cluster.nodes.len();
        for node in 0..all - 1 {
            cluster.restart(node);
        }
        cluster.settle();
        assert_eq!(nodes_of(&cluster, "reader").len(), 1, "seed {seed}");
        let last = come(&mut cluster, 1, &lasting("reader"));
        assert_eq!(was_present(&mut cluster, 1, last), Some(true), "seed {seed}");
        collect(&mut cluster, &[(1, last)], &mut came);
        let mut seen = BTreeSet::new();
        came.retain(|payload| seen.insert(payload.clone()));
        assert_eq!(answered.len(), asked.len(), "seed {seed}");
        let wanted: Vec<_> = (0..asked.len()).map(|number| number.to_string()).collect();
        assert_eq!(came, wanted, "seed {seed}");
    }
}

/// Takes what these clients got.
fn collect(cluster: &mut Cluster, readers: &[(usize, usize)], came: &mut Vec<String>) {
    for (node, reader) in readers {
        came.extend(cluster.got(*node, *reader));
    }
}

/// Sessions that leave at the same moment, and come together, have each what waited for them.
#[test]
fn sessions_that_move_at_once_are_not_mixed() {
    let mut cluster = Cluster::new(2);
    for name in ["a", "b", "c"] {
        let reader = subscriber(&mut cluster, 0, name, name);
        cluster.town(0).cut(reader);
    }
    let publisher = come(&mut cluster, 1, &connect("p", true, 0));
    for name in ["a", "b", "c"] {
        cluster.town(1).publish(publisher, name, &format!("for {name}"), ONCE);
    }
    cluster.settle();
    let readers = ["a", "b", "c"].map(|name| cluster.town(1).arrive(&lasting(name), "test"));
    cluster.settle();
    for (reader, name) in readers.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(cluster.got(1, reader), [format!("for {name}")]);
    }
}

/// What was in flight is sent again under its identifier, and a QoS 2 identifier of the client is known.
#[test]
fn what_is_in_flight_goes_too() {
    let mut cluster = Cluster::new(2);
    let other = subscriber(&mut cluster, 1, "other", "out");
    cluster.town(0).acknowledge = false;
    let reader = subscriber(&mut cluster, 0, "reader", "t");
    let publisher = come(&mut cluster, 1, &connect("p", true, 0));
    for (number, qos) in [(1, LEAST), (2, ONCE), (3, ONCE)] {
        cluster.town(1).publish(publisher, "t", &number.to_string(), qos);
    }
    cluster.settle();
    assert_eq!(cluster.got(0, reader), ["1", "2", "3"]);
    let packet_id = cluster.town(0).publish(reader, "out", "x", ONCE);
    cluster.town(0).cut(reader);
    cluster.settle();
    let there = come(&mut cluster, 1, &lasting("reader"));
    assert_eq!(cluster.got(1, there), ["1", "2", "3"]);
    let again = Publish {
        dup: true,
        qos: ONCE,
        topic: "out",
        packet_id,
        payload: b"x",
        ..Publish::default()
    };
    cluster.town(1).send(there, &Packet::Publish(again));
    cluster.settle();
    assert_eq!(cluster.answers(1, there), [packet_id.expect("a number")]);
    assert_eq!(cluster.got(1, other), ["x"], "it was received before");
}

/// Clean Start ends the Session that another node has, at once; so does a Session that lasts no longer.
#[test]
fn a_clean_start_ends_the_session_elsewhere() {
    for expiry in [0, 1000] {
        let mut cluster = Cluster::new(2);
        let reader = subscriber(&mut cluster, 0, "reader", "t");
        cluster.town(0).cut(reader);
        let publisher = come(&mut cluster, 1, &connect("p", true, 0));
        cluster.town(1).publish(publisher, "t", "x", ONCE);
        cluster.settle();
        let there = come(&mut cluster, 1, &connect("reader", true, expiry));
        assert_eq!(was_present(&mut cluster, 1, there), Some(false));
        assert_eq!(cluster.got(1, there), [""; 0]);
        assert_eq!(nodes_of(&cluster, "reader"), [1]);
        cluster.town(1).cut(there);
        cluster.settle();
        let back = come(&mut cluster, 0, &lasting("reader"));
        assert_eq!(was_present(&mut cluster, 0, back), Some(expiry > 0));
    }
}

/// A Session belongs to its user, on whatever node: another one is refused, and one of no user gives way to a user.
#[test]
fn a_session_goes_to_its_own_user_alone() {
    let mut cluster = Cluster::new(2);
    let of = |user| Connect { user_name: user, ..lasting("reader") };
    let reader = come(&mut cluster, 0, &of(Some("anna")));
    cluster.town(0).cut(reader);
    for clean_start in [false, true] {
        for user in [Some("bert"), None] {
            let other = come(&mut cluster, 1, &Connect { clean_start, ..of(user) });
            let others = &cluster.town(1).of(other).others;
            assert!(others.iter().any(|packet| packet.contains("NotAuthorized")), "{others:?}");
        }
    }
    let own = come(&mut cluster, 1, &of(Some("anna")));
    assert_eq!(was_present(&mut cluster, 1, own), Some(true));
    let nobody = come(&mut cluster, 0, &Connect { client_id: "n", ..of(None) });
    cluster.town(0).cut(nobody);
    let somebody = come(&mut cluster, 1, &Connect { client_id: "n", ..of(Some("anna")) });
    assert_eq!(was_present(&mut cluster, 1, somebody), Some(false));
    assert_eq!(nodes_of(&cluster, "n"), [1]);
}

/// A Will that waits for its delay is not published if its client comes back in time, to whatever node; else it is,
/// once.
#[test]
fn a_will_goes_with_its_session() {
    for comes_back in [true, false] {
        let mut cluster = Cluster::new(2);
        let watcher = subscriber(&mut cluster, 1, "watcher", "will");
        let will = Will { qos: ONCE, topic: "will", payload: b"w", delay: 10, ..Will::default() };
        let own = Connect { will: Some(will), ..lasting("p") };
        let first = come(&mut cluster, 0, &own);
        cluster.town(0).cut(first);
        cluster.settle();
        let there = come(&mut cluster, 1, &lasting("p"));
        assert_eq!(was_present(&mut cluster, 1, there), Some(true));
        if !comes_back {
            let again = come(&mut cluster, 1, &own);
            cluster.town(1).cut(again);
        }
        for node in 0..2 {
            cluster.town(node).pass(Duration::from_secs(20));
        }
        cluster.settle();
        let published: &[&str] = if comes_back { &[] } else { &["w"] };
        assert_eq!(cluster.got(1, watcher), published);
    }
}

/// A client whose Session is at a node that does not answer is told so, and nothing is lost by that.
#[test]
fn a_session_that_does_not_come_stays_where_it_is() {
    let mut cluster = Cluster::new(2);
    let reader = subscriber(&mut cluster, 0, "reader", "t");
    cluster.town(0).cut(reader);
    let there = cluster.town(1).arrive(&lasting("reader"), "test");
    for _ in 0..12 {
        cluster.town(1).pass(Duration::from_secs(1));
        cluster.order();
        cluster.apply(1, usize::MAX, true);
    }
    let others = &cluster.town(1).of(there).others;
    assert!(others.iter().any(|packet| packet.contains("ServerUnavailable")), "{others:?}");
    assert_eq!(nodes_of(&cluster, "reader"), [0]);
    // The node answers again, and the Session goes to the node that wanted it, or is fetched from there.
    cluster.settle();
    let back = come(&mut cluster, 0, &lasting("reader"));
    assert_eq!(was_present(&mut cluster, 0, back), Some(true));
    assert_eq!(nodes_of(&cluster, "reader"), [0]);
}

/// All that a node has is to go: the clients are told to leave, no other is let in, and each Session is found elsewhere,
/// with what waits.
#[test]
fn a_node_that_is_to_stop_sends_all_it_has_to_the_others() {
    let mut cluster = Cluster::new(3);
    let names: Vec<_> = (0..300).map(|number| format!("r{number}")).collect();
    let readers: Vec<_> = names.iter().map(|name| subscriber(&mut cluster, 0, name, "t")).collect();
    for away in &readers[50..] {
        cluster.town(0).cut(*away);
    }
    let fleeting = come(&mut cluster, 0, &connect("fleeting", true, 0));
    let publisher = come(&mut cluster, 2, &connect("p", true, 0));
    cluster.town(2).publish(publisher, "t", "before", ONCE);
    cluster.settle();
    assert_eq!(cluster.town(0).broker.begin_drain(&[1, 2]), names.len());
    cluster.town(0).pass(Duration::ZERO);
    for told in [readers[0], readers[49], fleeting] {
        assert_eq!(cluster.town(0).of(told).told, Some(Reason::ServerShuttingDown));
    }
    let refused = come(&mut cluster, 0, &lasting("r0"));
    let said = &cluster.town(0).of(refused).others;
    assert!(said.iter().any(|packet| packet.contains("ServerUnavailable")), "{said:?}");
    cluster.town(2).publish(publisher, "t", "meanwhile", ONCE);
    assert!(is_empty_after(&mut cluster, 0, 20), "sessions do not leave");
    cluster.town(2).publish(publisher, "t", "after", ONCE);
    cluster.settle();
    let counts = cluster.town(1).broker.sessions_by_node();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>(), names.len(), "{counts:?}");
    assert!(counts.iter().all(|(node, count)| *node > 0 && *count > 50), "{counts:?}");
    for (name, number) in names.iter().zip(0..) {
        assert_eq!(nodes_of(&cluster, name).len(), 1);
        let there = come(&mut cluster, 1, &lasting(name));
        assert_eq!(was_present(&mut cluster, 1, there), Some(true), "{name}");
        let waited: &[_] =
            if number < 50 { &["meanwhile", "after"] } else { &["before", "meanwhile", "after"] };
        assert_eq!(cluster.got(1, there), waited, "{name}");
    }
}

/// Whether a node that drains has nothing left after so many looks.
fn is_empty_after(cluster: &mut Cluster, node: usize, looks: usize) -> bool {
    (0..looks).any(|_| {
        let town = cluster.town(node);
        let left = town.broker.drain(town.now, &mut Scratch::default());
        cluster.settle();
        left == 0
    })
}

/// A node that cannot get rid of its Sessions goes on with them.
#[test]
fn a_node_that_is_not_to_stop_any_more_lets_its_clients_in() {
    let mut cluster = Cluster::new(2);
    let reader = subscriber(&mut cluster, 0, "reader", "t");
    assert_eq!(cluster.town(0).broker.begin_drain(&[1]), 1);
    // The log does not answer.
    for _ in 0..3 {
        let town = cluster.town(0);
        assert_eq!(town.broker.drain(town.now, &mut Scratch::default()), 1);
        cluster.town(0).pass(Duration::from_secs(1));
    }
    assert!(cluster.town(0).of(reader).is_closed());
    assert_eq!(cluster.town(0).broker.end_drain(), 1);
    cluster.settle();
    let back = come(&mut cluster, 0, &lasting("reader"));
    assert_eq!(was_present(&mut cluster, 0, back), Some(true));
}

/// The Sessions of a node that does not come back are begun anew; if it does come back, it has those that were not.
#[test]
fn sessions_of_a_node_that_is_forgotten_begin_anew() {
    let mut cluster = Cluster::new(3);
    for name in ["one", "two", "three"] {
        let reader = subscriber(&mut cluster, 0, name, "t");
        cluster.town(0).cut(reader);
    }
    let publisher = come(&mut cluster, 2, &connect("p", true, 0));
    cluster.town(2).publish(publisher, "t", "before", ONCE);
    cluster.settle();
    // It is down, and a client waits for its Session elsewhere.
    let waits = cluster.town(1).arrive(&lasting("one"), "test");
    cluster.settle_without(0);
    assert_eq!(was_present(&mut cluster, 1, waits), None);
    cluster.forget(0, 2);
    cluster.settle_without(0);
    assert_eq!(was_present(&mut cluster, 1, waits), Some(false));
    let two = cluster.town(2).arrive(&lasting("two"), "test");
    cluster.settle_without(0);
    assert_eq!(was_present(&mut cluster, 2, two), Some(false));
    assert_eq!(cluster.town(1).broker.sessions_by_node(), [(1, 1), (2, 1)]);
    cluster.town(1).subscribe(waits, "t", ONCE);
    cluster.town(2).publish(publisher, "t", "after", ONCE);
    cluster.settle_without(0);
    assert_eq!(cluster.got(1, waits), ["after"]);
    // It comes back with its store.
    cluster.restart(0);
    cluster.settle();
    assert_eq!(cluster.town(1).broker.sessions_by_node(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!([nodes_of(&cluster, "one"), nodes_of(&cluster, "two")], [[1], [2]]);
    let three = come(&mut cluster, 1, &lasting("three"));
    assert_eq!(was_present(&mut cluster, 1, three), Some(true));
    assert_eq!(cluster.got(1, three), ["before", "after"]);
}

/// What a node has of the log is what another makes of its image.
#[test]
fn an_image_is_what_the_log_has_made() {
    let mut cluster = Cluster::new(2);
    let publisher = come(&mut cluster, 0, &connect("p", true, 0));
    for number in 0..20 {
        let topic = format!("kept/{}", number % 7);
        cluster.town(0).publish_as(publisher, &topic, &number.to_string(), LEAST, true);
    }
    cluster.town(0).publish_as(publisher, "kept/3", "", LEAST, true);
    subscriber(&mut cluster, 0, "reader", "t");
    cluster.settle();
    let [one, two] = [0, 1].map(|node| cluster.town(node).broker.cluster_image());
    let look = |image: &ClusterImage| {
        let each = image.retained.iter().map(|entry| {
            let parts = entry.message.parts();
            assert!(entry.retains && parts.retain && parts.publisher == "p");
            (parts.topic.to_owned(), parts.payload.to_vec())
        });
        (each.collect::<Vec<_>>(), image.homes.clone())
    };
    assert_eq!(look(&one), look(&two));
    assert_eq!((one.retained.len(), one.homes.len()), (6, 1));
    assert_eq!(one.mark.sequence, cluster.nodes[0].applied as u64);
}
