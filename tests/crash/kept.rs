//! Logs of kept messages over kills of the real process.

use sluicemq::codec::{Ack, Packet, QoS, Reason, Version};

use crate::process::{BUSY_STORE, Sluice};
use crate::wire::{self, Client};
use crate::{WAITING, installed, mosquitto};

/// Readers of a log, of both versions: what they are given after a kill is what was kept, and a Session that was in
/// the middle goes on: what it had acknowledged may come again where that was not written, and nothing is left out.
#[test]
fn four_hundred_of_four_hundred_kept_messages_are_read_over_kills() {
    if !installed::all(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let keep = "[[keep]]\nname = 'jobs'\nbindings = ['jobs/#']\n";
    let mut broker = Sluice::start(&format!("{BUSY_STORE}\n{keep}"));
    let jobs: Vec<String> = (0..WAITING).map(|number| format!("job {number}")).collect();
    let publish = ["-t", "jobs/now", "-q", "1", "-l"];
    let port = broker.address("tcp").port().to_string();
    let (code, _) = mosquitto("mosquitto_pub", &port, &publish, &jobs.join("\n"));
    assert_eq!(code, Some(0));
    for version in ["311", "5"] {
        broker.kill_and_start_again();
        let port = broker.address("tcp").port().to_string();
        let count = WAITING.to_string();
        let all = ["-V", version, "-q", "1", "-t", "$replay/jobs/all", "-C", &count, "-W", "30"];
        let (code, came) = mosquitto("mosquitto_sub", &port, &all, "");
        assert_eq!((code, came), (Some(0), jobs.clone()));
        let last = ["-V", version, "-t", "$replay/jobs/last-3", "-C", "3", "-W", "30"];
        let (code, came) = mosquitto("mosquitto_sub", &port, &last, "");
        assert_eq!((code, came), (Some(0), jobs[WAITING - 3..].to_vec()));
    }
    let mut connect = wire::connect(Version::V5, "reader");
    connect.session_expiry = 1000;
    let mut reader = Client::connect_with(broker.address("tcp"), &connect);
    reader.send(&wire::subscribe(&["$replay/jobs/all"], QoS::AtLeastOnce));
    let mut next = 0;
    loop {
        let first = job(&mut reader);
        let mut at = jobs.iter().position(|job| job.as_bytes() == first).expect("a job");
        assert!(at <= next, "from {next} to {at} nothing came");
        let end = (next + 90).min(WAITING);
        while at + 1 < end {
            at += 1;
            assert_eq!(job(&mut reader), jobs[at].as_bytes());
        }
        next = end;
        if next == WAITING {
            return;
        }
        broker.kill_and_start_again();
        connect.clean_start = false;
        reader = Client::connect_with(broker.address("tcp"), &connect);
    }
}

/// The next message, answered. The history may begin before SUBACK comes.
fn job(reader: &mut Client) -> Vec<u8> {
    loop {
        let came = reader.expect(|packet| match packet {
            Packet::SubAck(suback) if !suback.reasons[0].is_error() => Some(None),
            Packet::Publish(publish) => Some(Some((publish.payload.to_vec(), publish.packet_id))),
            _ => None,
        });
        if let Some((payload, packet_id)) = came {
            let packet_id = packet_id.expect("it is of QoS 1");
            reader.send(&Packet::PubAck(Ack::new(packet_id, Reason::Success)));
            return payload;
        }
    }
}
