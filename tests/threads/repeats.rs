//! Messages that `[[dedup]]` takes once, sent by several threads.

use std::sync::Arc;

use shuttle::thread;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Packet, Properties, Publish, QoS, Subscribe, SubscribeOptions};
use sluicemq::config::{Config, DedupConfig, DedupScope};

use super::client::Client;
use super::disk::Disk;
use super::{broker_of, id, schedules};

/// Two publishers, each on its own thread, send what `[[dedup]]` takes for one message.
#[test]
fn of_two_at_once_exactly_one_is_the_first_and_both_are_answered() {
    schedules(|| {
        let disk = Arc::new(Disk::default());
        let committer = {
            let disk = disk.clone();
            thread::spawn(move || disk.run())
        };
        let rule = DedupConfig {
            filter: "#".to_owned(),
            key: "payload".to_owned(),
            scope: DedupScope::Topic,
            ..DedupConfig::default()
        };
        let broker = broker_of(&Config { dedup: vec![rule], ..Config::default() }, disk.clone());
        let mut subscriber = Client::connect(&broker, "s");
        assert!(subscriber.hear(|p| matches!(p, Packet::ConnAck(_))));
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        subscriber.say(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: id(1),
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("t", options)],
        }));
        assert!(subscriber.hear(|p| matches!(p, Packet::SubAck(_))));
        let publishers = ["p", "q"].map(|name| {
            let (broker, disk) = (broker.clone(), disk.clone());
            thread::spawn(move || {
                let mut publisher = Client::connect(&broker, name);
                assert!(publisher.hear(|p| matches!(p, Packet::ConnAck(_))));
                publisher.say(&Packet::Publish(Publish {
                    qos: QoS::AtLeastOnce,
                    packet_id: Some(id(7)),
                    topic: "t",
                    payload: b"x",
                    ..Publish::default()
                }));
                let accepted =
                    |p: &Packet<'_>| matches!(p, Packet::PubAck(ack) if !ack.reason.is_error());
                assert!(publisher.hear(accepted));
                assert!(disk.has_written_a_message(), "no answer before the first is safe");
            })
        });
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let metrics = broker.metrics();
        let sums = [Counter::Routed, Counter::Duplicates];
        assert!(subscriber.hear(|p| matches!(p, Packet::Publish(_))));
        assert_eq!(sums.map(|counter| metrics.sum(counter)), [1, 1]);
        disk.stop();
        committer.join().unwrap();
    });
}
