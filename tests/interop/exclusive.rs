//! Exclusive Subscriptions of mosquitto's clients.

use super::process::Sluice;
use super::{CLIENTS, PLAIN, VERSIONS, command, installed, listen, publish, subscribe};

const FILTER: &str = "$exclusive/plant/+";

#[test]
fn the_next_client_is_refused_until_the_first_has_gone() {
    if !installed::all(CLIENTS) {
        return;
    }
    let config = format!("{PLAIN}[store]\npath = 'data'\n[session]\nexclusive_max = '1h'\n");
    let mut broker = Sluice::start(&config);
    for version in VERSIONS {
        let lasting = if version == "5" { "-c -x 3600" } else { "-c" };
        let of = |name: &str| format!("-i {name}-{version} {lasting} -q 1 -t {FILTER}");
        let at = broker.address("tcp");
        let mut first = subscribe(at, version, &of("first"));
        let refused = |broker: &Sluice| {
            let command = command("mosquitto_sub", broker.address("tcp"), version, &of("next"));
            assert_eq!(command.end().1, ["All subscription requests were denied."], "{version}");
        };
        refused(&broker);
        publish(at, version, "-t plant/1 -q 1 -m go");
        first.until(|line| line == "plant/1|1|0|go");
        first.signal("KILL");
        first.end();
        // Away, and after a restart too, it is still the first client's.
        publish(at, version, "-t plant/1 -q 1 -m waits");
        refused(&broker);
        broker.kill_and_start_again();
        refused(&broker);
        let at = broker.address("tcp");
        let lines = listen(at, version, &format!("{} -C 1", of("first"))).end().1;
        assert_eq!(lines, ["plant/1|1|0|waits"]);
        // It ends it; then the next one has it.
        let end = format!("{} -U {FILTER} -E", of("first"));
        assert_eq!(command("mosquitto_sub", at, version, &end).end().0, Some(0));
        drop(subscribe(at, version, &of("next")));
        let end = format!("{} -U {FILTER} -E", of("next"));
        assert_eq!(command("mosquitto_sub", at, version, &end).end().0, Some(0));
    }
}
