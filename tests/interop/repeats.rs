//! Messages that are sent again, as mosquitto's clients send and see them.

use std::net::SocketAddr;

use super::flow::figure;
use super::installed;
use super::process::Sluice;
use super::{CLIENTS, PLAIN, command, listen, publish};

#[test]
fn a_reading_that_is_sent_again_arrives_once_also_after_a_kill() {
    if !installed::all(CLIENTS) {
        return;
    }
    let mut broker = Sluice::start(&format!(
        "{PLAIN}
        [store]
        path = 'data'
        [[dedup]]
        filter = 'sensors/#'
        key = 'property:reading'
        [[dedup]]
        filter = 'radio/#'
        key = 'payload'
        scope = 'topic'
        "
    ));
    // Both versions are sent the same; only one of them can say which reading it is.
    let receivers = [("r5", "5", "-x 1000"), ("r311", "311", "")];
    for (id, version, expiry) in receivers {
        let args = format!("-i {id} -c {expiry} -q 1 -t sensors/# -t radio/# -E");
        assert_eq!(
            command("mosquitto_sub", broker.address("tcp"), version, &args).end().0,
            Some(0)
        );
    }
    let again = |at: SocketAddr| {
        for reading in ["41", "42", "41"] {
            let property = format!("-D PUBLISH user-property reading {reading}");
            publish(at, "5", &format!("-i meter -t sensors/7 -q 1 -m {reading} {property}"));
        }
        for (version, qos) in [("311", 1), ("5", 2), ("311", 2)] {
            publish(at, version, &format!("-t radio/7 -q {qos} -m heard"));
        }
    };
    again(broker.address("tcp"));
    broker.kill_and_start_again();
    again(broker.address("tcp"));
    publish(broker.address("tcp"), "5", "-t radio/7 -q 1 -m last");
    for (id, version, expiry) in receivers {
        let args = format!("-i {id} -c {expiry} -q 1 -t sensors/# -t radio/# -C 4");
        let lines = listen(broker.address("tcp"), version, &args).end().1;
        let line = |topic: &str, text: &str| format!("{topic}|1|0|{text}");
        let sensors = [line("sensors/7", "41"), line("sensors/7", "42")];
        let radio = [line("radio/7", "heard"), line("radio/7", "last")];
        assert_eq!(lines, [sensors, radio].concat(), "{version}");
    }
    assert_eq!(figure(broker.address("tcp"), "dedup/repeats"), 3 + 3);
}
