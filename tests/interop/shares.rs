//! Members of groups that are mosquitto's clients, under strategies.

use std::net::SocketAddr;

use super::process::{Process, Sluice};
use super::{CLIENTS, PLAIN, VERSIONS, installed, listen, publish, publish_lines};

const STRATEGIES: &str = "
[[group]]
share = 'active'
strategy = 'single_active'

[[group]]
share = 'ring'
strategy = 'round_robin'
";

/// A member with its Subscription in force.
fn member(at: SocketAddr, version: &str, name: &str, filter: &str) -> Process {
    let mut member = listen(at, version, &format!("-i {name} -t {filter} -t ready/{name} -q 1"));
    publish(at, version, &format!("-t ready/{name} -q 1 -r -n"));
    publish(at, version, &format!("-t ready/{name} -q 1 -r -m now"));
    member.until(|line| line.ends_with("|now"));
    member
}

/// The numbers that it was sent, in order.
fn numbers(member: Process) -> Vec<u32> {
    member.signal("TERM");
    let (_, lines) = member.end();
    let shared = lines.iter().filter_map(|line| line.strip_prefix("s/line|1|0|"));
    shared.map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn an_active_member_has_all_and_the_passive_one_follows_it() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&format!("{PLAIN}{STRATEGIES}"));
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut first = member(at, version, "first", "$share/active/s/#");
        let mut second = member(at, version, "second", "$share/active/s/#");
        publish_lines(at, version, "-t s/line -q 1", 100);
        first.until(|line| line.ends_with("|99"));
        assert_eq!(numbers(first), (0..100).collect::<Vec<_>>());
        publish_lines(at, version, "-t s/line -q 1", 50);
        second.until(|line| line.ends_with("|49"));
        assert_eq!(numbers(second), (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn members_in_a_ring_have_about_the_same() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&format!("{PLAIN}{STRATEGIES}"));
    let at = broker.address("tcp");
    for version in VERSIONS {
        let names = ["one", "two", "three"];
        let members = names.map(|name| member(at, version, name, "$share/ring/s/#"));
        // A publisher that is told of each waits for it, so that no window is full.
        for number in 0..30 {
            publish(at, version, &format!("-t s/line -q 1 -m {number}"));
        }
        let mut all = Vec::new();
        for (name, member) in names.into_iter().zip(members) {
            // What it was sent before this.
            publish(at, version, &format!("-t ready/{name} -q 1 -m done"));
            let mut member = member;
            member.until(|line| line.ends_with("|done"));
            let numbers = numbers(member);
            assert_eq!(numbers.len(), 10, "{name}: {numbers:?}");
            all.extend(numbers);
        }
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
    }
}
