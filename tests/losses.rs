//! The losses that are remembered, on virtual time: of which receiver, topic and reason, how many, and that one that
//! loses much does not push out the others.

mod virtual_time;

use std::time::Duration;

use sluicemq::broker::LossNote;
use sluicemq::codec::{Connect, QoS};
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);

/// A broker that remembers losses.
fn town(config: &str) -> Town {
    let town = Town::new(config);
    town.broker.watch();
    town
}

/// A Session that is not there, subscribed to `filter`.
fn absent(town: &mut Town, client_id: &str, filter: &str, qos: QoS) {
    let number = town.arrive(&connect(client_id, true, 3600), "test");
    town.subscribe(number, filter, qos);
    town.cut(number);
}

fn text(note: &LossNote) -> String {
    let topic = note.topic().unwrap_or("?");
    format!("{} {} {} {}", note.receiver(), topic, note.cause().name(), note.count())
}

/// What is remembered, the newest first.
fn told(town: &Town, client: Option<&str>, topic: Option<&str>) -> Vec<String> {
    town.broker.recent_losses(client, topic, 100).iter().map(text).collect()
}

#[test]
fn nothing_is_remembered_before_it_is_asked_for() {
    let mut town = Town::new("");
    absent(&mut town, "a", "t", QoS::AtMostOnce);
    let publisher = town.client("p");
    town.publish(publisher, "t", "1", QoS::AtMostOnce);
    assert_eq!(told(&town, None, None), [""; 0]);
    town.broker.watch();
    town.publish(publisher, "t", "2", QoS::AtMostOnce);
    assert_eq!(told(&town, None, None), ["a t offline_qos0 1"]);
}

#[test]
fn equal_losses_are_one_entry_with_a_count_and_both_times() {
    let mut town = town("");
    absent(&mut town, "a", "t/#", QoS::AtMostOnce);
    let publisher = town.client("p");
    town.publish(publisher, "t/1", "", QoS::AtMostOnce);
    town.pass(SECOND);
    town.publish_many(publisher, "t/2", 5, QoS::AtMostOnce);
    town.pass(SECOND);
    town.publish_many(publisher, "t/1", 2, QoS::AtMostOnce);
    assert_eq!(told(&town, None, None), ["a t/1 offline_qos0 3", "a t/2 offline_qos0 5"]);
    assert_eq!(told(&town, None, Some("t/2")), ["a t/2 offline_qos0 5"]);
    assert_eq!(told(&town, Some("a"), Some("t/+")).len(), 2);
    assert_eq!(told(&town, Some("b"), None), [""; 0]);
    let note = &town.broker.recent_losses(None, Some("t/1"), 1)[0];
    assert_eq!((note.first(), note.last()), (BEGIN, BEGIN.after(2 * SECOND)));
}

#[test]
fn each_way_to_lose_a_message_names_its_receiver_and_topic() {
    let mut town = town("queue.messages_max = 2\nqueue.policy = 'drop_oldest'");
    let publisher = town.client("p");
    // Dropped from a queue; in bulk when the Session ends.
    absent(&mut town, "away", "t/#", QoS::AtLeastOnce);
    for topic in ["t/1", "t/2", "t/3"] {
        town.publish(publisher, topic, "", QoS::AtLeastOnce);
    }
    assert_eq!(told(&town, Some("away"), None), ["away t/1 dropped_oldest 1"]);
    let clean = town.arrive(&connect("away", true, 0), "test");
    let all = ["away t/3 taken_clean 1", "away t/2 taken_clean 1", "away t/1 dropped_oldest 1"];
    assert_eq!(told(&town, Some("away"), None), all);
    town.cut(clean);
    // Too large for it; a group that ends.
    let small =
        Connect { maximum_packet_size: std::num::NonZeroU32::new(64), ..connect("small", true, 0) };
    let small = town.arrive(&small, "test");
    town.subscribe(small, "s", QoS::AtMostOnce);
    town.publish(publisher, "s", &"x".repeat(100), QoS::AtMostOnce);
    assert_eq!(told(&town, Some("small"), None), ["small s too_large 1"]);
    absent(&mut town, "member", "$share/g/j", QoS::AtLeastOnce);
    town.publish(publisher, "j", "", QoS::AtLeastOnce);
    town.arrive(&connect("member", true, 0), "test");
    assert_eq!(told(&town, Some("$share/g/j"), None), ["$share/g/j j group_gone 1"]);
}

#[test]
fn what_a_publisher_is_refused_is_among_the_losses() {
    let rules = "
        access.default = 'allow'
        [[rule]]
        deny = ['publish']
        topics = ['secret/#']
    ";
    let mut town = town(rules);
    let publisher = town.client("p");
    town.publish(publisher, "secret/1", "", QoS::AtMostOnce);
    town.publish(publisher, "secret/1", "", QoS::AtLeastOnce);
    assert_eq!(told(&town, Some("p"), None), ["p secret/1 publish_not_authorized 2"]);
}

#[test]
fn one_that_loses_much_pushes_out_its_own() {
    let mut town = town("");
    absent(&mut town, "quiet", "q", QoS::AtMostOnce);
    absent(&mut town, "loud", "l/#", QoS::AtMostOnce);
    let publisher = town.client("p");
    town.publish(publisher, "q", "", QoS::AtMostOnce);
    for number in 0..5000 {
        town.publish(publisher, &format!("l/{number}"), "", QoS::AtMostOnce);
    }
    let loud = told(&town, Some("loud"), None);
    let newest = (4984..5000).rev().map(|number| format!("loud l/{number} offline_qos0 1"));
    assert_eq!(loud, newest.collect::<Vec<_>>());
    assert_eq!(told(&town, Some("quiet"), None), ["quiet q offline_qos0 1"]);
}

#[test]
fn of_many_lost_at_once_the_first_have_topics_and_the_rest_a_count() {
    let mut town = town("queue.messages_max = 10000");
    absent(&mut town, "away", "t/#", QoS::AtLeastOnce);
    let publisher = town.client("p");
    for number in 0..1000 {
        town.publish(publisher, &format!("t/{number}"), "", QoS::AtLeastOnce);
    }
    town.arrive(&connect("away", true, 0), "test");
    let told = told(&town, Some("away"), None);
    assert_eq!((told.len(), &*told[0]), (16, "away ? taken_clean 985"));
    assert_eq!(told[15], "away t/0 taken_clean 1");
}

#[test]
fn a_turn_that_loses_copies_of_very_many_receivers_says_how_many_it_does_not_list() {
    let mut town = town("");
    for number in 0..1000 {
        absent(&mut town, &number.to_string(), "t", QoS::AtMostOnce);
    }
    let publisher = town.client("p");
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    let (notes, unlisted) = town.broker.losses_since(0, 10_000);
    assert_eq!((notes.len(), unlisted), (256, 744));
    let (newer, _) = town.broker.losses_since(notes[249].number(), 10_000);
    assert_eq!(newer, notes[250..]);
}

#[test]
fn a_topic_of_any_length_is_cut_and_still_found() {
    let mut town = town("");
    absent(&mut town, "a", "#", QoS::AtMostOnce);
    let publisher = town.client("p");
    let topic = "ä".repeat(400);
    town.publish(publisher, &topic, "", QoS::AtMostOnce);
    assert_eq!(told(&town, None, Some(&topic)), [format!("a {}… offline_qos0 1", "ä".repeat(128))]);
}
