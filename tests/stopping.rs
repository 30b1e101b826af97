//! The end of the real process: in every state it is in order, with exit code 0 and the last checkpoint.

mod process;
mod wire;

use process::{BUSY_STORE, Sluice};
use sluicemq::codec::{Connect, QoS, Reason, Version};
use wire::{Client, Flood, connect};

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { session_expiry: 3600, ..connect(Version::V5, client_id) }
}

/// A Session that is parked with messages of this `QoS` waiting in it.
fn leave_waiting(broker: &Sluice, qos: QoS) {
    let at = broker.address("tcp");
    let mut absent = Client::connect_with(at, &lasting("absent"));
    absent.subscribe(&["jobs"], qos);
    absent.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "publisher");
    for _ in 0..3 {
        assert_eq!(publisher.publish("jobs", b"now"), Reason::Success);
    }
}

#[test]
fn sigterm_is_orderly_with_messages_in_the_memory_store() {
    for (qos, queue) in
        [(QoS::AtLeastOnce, ""), (QoS::AtMostOnce, "[queue]\nqos0_offline = true\n")]
    {
        let mut broker = Sluice::start(&format!("{PLAIN}{queue}"));
        leave_waiting(&broker, qos);
        assert_eq!(broker.stop(), Some(0), "{qos:?}");
    }
}

#[test]
fn sigterm_is_orderly_under_load_and_writes_the_last_checkpoint() {
    let mut broker = Sluice::start(BUSY_STORE);
    leave_waiting(&broker, QoS::AtLeastOnce);
    let at = broker.address("tcp");
    let mut reader = Client::connect_with(at, &lasting("reader"));
    reader.subscribe(&["load/#"], QoS::AtMostOnce);
    let floods = ["load/1", "load/2"].map(|topic| Flood::start(at, Version::V5, topic));
    reader.message();
    broker.signal("TERM");
    assert_eq!(broker.exit_code(), Some(0));
    drop(floods);
    let log = std::fs::read_to_string(broker.file("log")).expect("the log");
    assert!(log.ends_with("store closed, with a last checkpoint\n"), "{log}");
}
