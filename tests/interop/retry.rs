//! Named queues with consumers that are mosquitto's: one that does not answer, one that breaks off.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use super::flow::{figure, with_users};
use super::process::{DEADLINE, Process};
use super::{CLIENTS, VERSIONS, command, installed, publish_lines, subscribe};

const JOBS: &str = "
[auth]
password_file = 'passwords'
dead_letter_users = 'operator'

[[rule]]
allow = ['subscribe']
topics = ['$queue/#']

[[named_queue]]
name = 'jobs'
bindings = ['jobs/#']
ack_timeout = '1s'
backoff = '100ms..1s'
attempts_max = 100

[[named_queue]]
name = 'twice'
bindings = ['twice/#']
backoff = '100ms..1s'
attempts_max = 2

[[named_queue]]
name = 'once'
bindings = ['once/#']
attempts_max = 1
";

/// A consumer that is suspended once it is subscribed: it is sent messages, and answers none.
fn suspended(at: SocketAddr, version: &str, queue: &str) -> Process {
    let consumer = subscribe(at, version, &format!("-i slow -t $queue/{queue} -q 1"));
    consumer.signal("STOP");
    consumer
}

/// A consumer that prints the payload and the User Properties of each message.
fn consumer(at: SocketAddr, version: &str, queue: &str) -> Process {
    command("mosquitto_sub", at, version, &format!("-i other -t $queue/{queue} -q 1 -F %p|%P"))
}

/// Waits until nothing waits in a queue.
fn nothing_waits(at: SocketAddr) {
    let end = Instant::now() + DEADLINE;
    while figure(at, "queues/messages") != 0 {
        assert!(Instant::now() < end, "messages wait still");
    }
}

/// What comes until each of the numbers 0 to 3 has; a message may come more than once on a busy machine.
fn four(consumer: &mut Process) -> Vec<String> {
    let (mut lines, mut numbers) = (Vec::new(), BTreeSet::new());
    while numbers.len() < 4 {
        let line = consumer.until(|line| line.contains('|'));
        numbers.insert(line.split('|').next().unwrap_or_default().to_owned());
        lines.push(line);
    }
    assert_eq!(numbers, (0..4).map(|number| number.to_string()).collect());
    lines
}

#[test]
fn what_a_client_does_not_answer_in_time_goes_to_another_one() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = with_users(JOBS);
    let at = broker.address("tcp");
    let mut published = 0;
    for version in VERSIONS {
        let mut slow = suspended(at, version, "jobs");
        publish_to(at, version, "jobs", &mut published);
        let mut other = consumer(at, version, "jobs");
        let lines = four(&mut other);
        if version == "5" {
            assert!(lines.iter().any(|line| line.contains("sluice-attempt:")), "{lines:?}");
        }
        // It answers what it has had all the time. Nothing comes of that, and there is nothing left.
        slow.signal("CONT");
        slow.until(|line| line == "jobs/line|1|0|3");
        slow.signal("TERM");
        slow.end();
        other.signal("TERM");
        other.end();
        nothing_waits(at);
    }
}

#[test]
fn what_breaks_its_consumers_comes_again_and_ends_as_a_dead_letter() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = with_users(JOBS);
    let at = broker.address("tcp");
    let mut published = 0;
    let mut letters = subscribe(at, "5", "-u operator -P pw -t $dead/# -q 1");
    for version in VERSIONS {
        break_with(at, version, "twice", &mut published);
        let mut other = consumer(at, version, "twice");
        let lines = four(&mut other);
        if version == "5" {
            assert!(lines.iter().all(|line| line.ends_with("|sluice-attempt:2")), "{lines:?}");
        }
        other.signal("TERM");
        other.end();
        break_with(at, version, "once", &mut published);
        for number in 0..4 {
            let letter = letters.until(|line| line.starts_with("$dead/"));
            assert_eq!(letter, format!("$dead/attempts/once/line|1|0|{number}"));
        }
    }
}

/// A consumer has four messages of the queue in flight, and is killed.
fn break_with(at: SocketAddr, version: &str, queue: &str, published: &mut usize) {
    let broken = suspended(at, version, queue);
    publish_to(at, version, queue, published);
    broken.signal("KILL");
    broken.end();
}

/// Publishes four messages, which the consumer of a queue takes. `published` counts them.
fn publish_to(at: SocketAddr, version: &str, queue: &str, published: &mut usize) {
    publish_lines(at, version, &format!("-t {queue}/line -q 1"), 4);
    *published += 4;
    // Figures that know of these four, and then that none of them waits any more.
    while figure(at, "publish/messages/received") < *published {}
    while figure(at, "queues/messages") != 0 {}
}
