//! A queue as large as the largest packet.

use std::sync::Arc;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::Broker;
use sluicemq::config::{Config, QueuePolicy, Size};

use super::{Client, NOW, hex, ports};

/// The whole of a PUBLISH at `QoS` 1 to `a`, with this identifier.
const LEN: usize = 1024;

fn publish(packet_id: u8) -> String {
    let payload = "78".repeat(LEN - 3 - 5);
    format!("32 fd07 0001 61 00{packet_id:02x} {payload}")
}

#[test]
fn the_largest_packet_comes_through_an_empty_queue_and_no_second_one_beside_it() {
    use QueuePolicy::{Conflate, DropNewest, DropOldest, DropQos0First, Reject};
    for policy in [Reject, DropNewest, DropOldest, DropQos0First, Conflate] {
        let mut config = Config::default();
        let largest = Size(LEN as u64);
        (config.limits.packet_bytes_max, config.limits.connect_bytes_max) = (largest, largest);
        config.limits.properties_bytes_max = largest;
        (config.queue.bytes_max, config.queue.policy) = (largest, policy);
        config.queue.pause_max.0 = Duration::ZERO;
        let ports = ports(Arc::new(PasswordAuth::new(None)), Arc::new(PermitAll));
        let broker = Broker::new(&config, ports, 1, NOW);
        let connect = |id: u8| {
            let mut client = Client::of(&broker);
            client.send(&format!("10 0d 0004 4d515454 04 02 0000 0001 {id:02x}"));
            client
        };
        let (mut subscriber, mut publisher) = (connect(b's'), connect(b'p'));
        subscriber.send("82 06 0001 0001 61 01");
        assert_eq!(hex(&publish(1)).len(), LEN);
        for _ in 0..2 {
            assert_eq!(publisher.send(&publish(1)), hex("40 02 0001"), "{policy:?}");
            assert_eq!(broker.view().sessions[1].account.queued, [0, 1], "{policy:?}");
            publisher.send(&publish(2));
            assert_eq!(broker.view().sessions[1].account.queued, [0, 1], "{policy:?}");
            let came = subscriber.send("");
            assert_eq!(came.len(), LEN, "{policy:?}");
            subscriber.send(&format!("40 02 {:02x}{:02x}", came[6], came[7]));
        }
    }
}
