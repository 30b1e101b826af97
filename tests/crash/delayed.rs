//! Delayed messages and kills: each comes once, whether it was due before the kill, at it or behind it.

use crate::installed;
use crate::mosquitto;
use crate::process::{BUSY_STORE, Sluice};

const ROUNDS: usize = 6;
/// Version of the publisher, QoS and span: some are due while the broker dies.
const DELAYED: [(&str, &str, &str); 5] = [
    ("311", "1", "0s"),
    ("5", "2", "50ms"),
    ("311", "2", "100ms"),
    ("5", "1", "300ms"),
    ("5", "1", "1"),
];

#[test]
fn delayed_messages_that_were_acknowledged_come_once_however_often_it_is_killed() {
    if !installed::all(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let mut broker = Sluice::start(BUSY_STORE);
    let absent = ["-i", "absent", "-c", "-q", "2", "-t", "#"];
    let port = broker.address("tcp").port().to_string();
    let (code, _) = mosquitto("mosquitto_sub", &port, &[&absent[..], &["-E"]].concat(), "");
    assert_eq!(code, Some(0));
    let mut wanted = Vec::new();
    for round in 0..ROUNDS {
        let port = broker.address("tcp").port().to_string();
        for (version, qos, span) in DELAYED {
            let (topic, text) = (format!("$delayed/{span}/t/{round}"), format!("{round} {span}"));
            let publish = ["-V", version, "-q", qos, "-t", &topic, "-m", &text];
            assert_eq!(mosquitto("mosquitto_pub", &port, &publish, "").0, Some(0), "{text}");
            wanted.push(text);
        }
        broker.kill_and_start_again();
    }
    let port = broker.address("tcp").port().to_string();
    // It is due behind all others: what came twice would come before it.
    let last = ["-q", "1", "-t", "$delayed/2s/t", "-m", "last"];
    assert_eq!(mosquitto("mosquitto_pub", &port, &last, "").0, Some(0));
    let count = (wanted.len() + 1).to_string();
    let take = [&absent[..], &["-C", &count, "-W", "60"]].concat();
    let (code, mut came) = mosquitto("mosquitto_sub", &port, &take, "");
    assert_eq!((code, came.pop().as_deref()), (Some(0), Some("last")));
    came.sort();
    wanted.sort();
    assert_eq!(came, wanted);
}
