//! A panic costs one connection: on the real process, at each place where a connection's task holds
//! something. And the process does not outlive the tasks without which it does not serve.
//!
//! A client asks for a panic with a PUBLISH to `sluice/fault/PLACE`; only builds with debug assertions know
//! that.

mod process;
mod wire;

use std::time::{Duration, Instant};

use process::{Sluice, new_folder, sluice};
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect, connect_with_will};

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

/// What the log says of each panic.
const PANIC: &str = "panic, a fault of this program";

/// How long anything may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

fn broker(config: &str) -> Sluice {
    let folder = new_folder();
    let mut command = sluice(folder.path(), config);
    command.env("SLUICE_FAULTS", "1");
    Sluice::start_as(&mut command, folder)
}

/// Asks for a fault, without waiting for an answer.
fn ask(client: &mut Client, place: &str, payload: &[u8]) {
    let topic = format!("sluice/fault/{place}");
    client.send(&Packet::Publish(Publish { topic: &topic, payload, ..Publish::default() }));
}

fn lasting(client_id: &str, clean: bool) -> Connect<'_> {
    let will = connect_with_will(Version::V5, client_id, "will/victim");
    Connect { session_expiry: 3600, clean_start: clean, ..will }
}

fn log(broker: &Sluice) -> String {
    std::fs::read_to_string(broker.file("log")).expect("the broker's log")
}

/// Tries until it is so.
#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "it does not become so");
    }
}

/// Nothing to do where there are no faults.
fn none() -> bool {
    if !cfg!(debug_assertions) {
        println!("skipped: no faults without debug assertions");
    }
    !cfg!(debug_assertions)
}

#[test]
fn a_panic_costs_one_connection_and_its_client_comes_back() {
    if none() {
        return;
    }
    for store in ["", "[store]\npath = 'store'\n"] {
        for (number, place) in ["publish", "mailbox"].into_iter().enumerate() {
            let mut broker = broker(&format!("{PLAIN}{store}"));
            let at = broker.address("tcp");
            let mut witness = Client::connect(at, Version::V5, "witness");
            witness.subscribe(&["will/#", "sluice/#"], QoS::AtMostOnce);
            let mut victim = Client::connect_with(at, &lasting("victim", true));
            victim.subscribe(&["kept/#"], QoS::AtLeastOnce);
            let mut publisher = Client::connect(at, Version::V5, "publisher");
            for _ in 0..=number {
                ask(&mut victim, place, b"");
                victim.closed();
                let mut came = witness.message();
                if came.0.starts_with("sluice/") {
                    // The copy that was being pushed came too, or did not: it is of QoS 0.
                    came = witness.message();
                }
                assert_eq!(came.0, "will/victim", "{place}");
                assert_eq!(publisher.publish("kept/1", b"x"), Reason::Success);
                victim = Client::connect_with(at, &lasting("victim", false));
                assert_eq!(victim.message().0, "kept/1");
            }
            witness.ping();
            assert_eq!(broker.stop(), Some(0), "{place}");
            // Only then is all of the log written.
            assert_eq!(log(&broker).matches("panic, a fault of this program").count(), number + 1);
        }
    }
}

#[test]
fn a_panic_while_a_client_connects_or_leaves_frees_its_client_identifier() {
    if none() {
        return;
    }
    for version in VERSIONS {
        for place in ["connect", "end", "end session", "deliver", "will"] {
            let mut broker = broker(PLAIN);
            let at = broker.address("tcp");
            let mut helper = Client::connect(at, version, "helper");
            let mut victim =
                Client::connect_with(at, &connect_with_will(version, "victim", "will"));
            victim.subscribe(&["to/victim"], QoS::AtLeastOnce);
            let mut witness = Client::connect(at, version, "witness");
            witness.subscribe(&["will"], QoS::AtMostOnce);
            match place {
                "connect" => {
                    ask(&mut helper, place, b"");
                    helper.ping();
                    let mut second = Client::open(at, version);
                    second.send(&Packet::Connect(Box::new(connect(version, "second"))));
                    second.closed();
                    Client::connect(at, version, "second").ping();
                    drop(victim);
                }
                "end" | "will" => {
                    ask(&mut helper, place, b"");
                    helper.ping();
                    drop(victim);
                }
                "end session" => {
                    // Of a Session that is parked and taken over by a Clean Start.
                    let parked = Connect {
                        clean_start: false,
                        session_expiry: 3600,
                        ..connect(version, "parked")
                    };
                    Client::connect_with(at, &parked).goodbye();
                    until(|| log(&broker).contains("DISCONNECT"));
                    ask(&mut helper, place, b"");
                    helper.ping();
                    let mut clean = Client::open(at, version);
                    clean.send(&Packet::Connect(Box::new(connect(version, "parked"))));
                    clean.closed();
                    Client::connect(at, version, "parked").ping();
                    drop(victim);
                }
                _ => {
                    ask(&mut helper, place, b"");
                    helper.ping();
                    assert_eq!(helper.publish("to/victim", b"x"), Reason::Success);
                    let _ = victim.drain();
                }
            }
            assert_eq!(witness.message().0, "will", "{place}");
            Client::connect(at, version, "victim").ping();
            helper.ping();
            assert_eq!(broker.stop(), Some(0), "{place}");
            assert_eq!(
                log(&broker).matches("panic, a fault of this program").count(),
                1,
                "{place}"
            );
        }
    }
}

#[test]
fn retained_messages_that_a_panic_has_held_back_come_later() {
    if none() {
        return;
    }
    let mut broker = broker(PLAIN);
    let at = broker.address("tcp");
    let mut helper = Client::connect(at, Version::V5, "helper");
    let topics: Vec<String> = (0..10).map(|number| format!("retained/{number}")).collect();
    for topic in &topics {
        let retained = Publish { retain: true, ..wire::message(topic, b"x") };
        helper.send(&Packet::Publish(retained));
        assert!(!helper.puback().is_error());
    }
    let mut victim = Client::connect_with(at, &lasting("victim", true));
    ask(&mut helper, "retained", b"");
    helper.ping();
    victim.send(&wire::subscribe(&["retained/#"], QoS::AtLeastOnce));
    let _ = victim.drain();
    let mut victim = Client::connect_with(at, &lasting("victim", false));
    let mut came: Vec<String> = topics.iter().map(|_| victim.message().0).collect();
    came.sort();
    assert_eq!(came, topics);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(log(&broker).matches(PANIC).count(), 1);
}

#[test]
fn a_session_that_panics_at_each_return_is_ended_and_its_client_comes_back() {
    if none() {
        return;
    }
    let mut broker = broker(PLAIN);
    let at = broker.address("tcp");
    let mut helper = Client::connect(at, Version::V5, "helper");
    let mut victim = Client::connect_with(at, &lasting("victim", true));
    victim.subscribe(&["kept/#"], QoS::AtLeastOnce);
    drop(victim);
    until(|| helper.publish("kept/1", b"x") == Reason::Success);
    for _ in 0..6 {
        assert!(!log(&broker).contains("again and again"));
        ask(&mut helper, "connect", b"");
        helper.ping();
        let mut victim = Client::open(at, Version::V5);
        victim.send(&Packet::Connect(Box::new(lasting("victim", false))));
        victim.closed();
    }
    assert_eq!(helper.publish("kept/1", b"x"), Reason::NoMatchingSubscribers);
    until(|| log(&broker).contains("panics again and again"));
    assert_eq!(log(&broker).matches("panics again and again").count(), 1);
    // It is as new, and what panics now and then is parked again.
    let mut victim = Client::connect_with(at, &lasting("victim", false));
    victim.subscribe(&["kept/#"], QoS::AtLeastOnce);
    ask(&mut victim, "publish", b"");
    victim.closed();
    assert_eq!(helper.publish("kept/2", b"x"), Reason::Success);
    assert_eq!(Client::connect_with(at, &lasting("victim", false)).message().0, "kept/2");
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn the_process_does_not_outlive_a_task_without_which_it_does_not_serve() {
    if none() {
        return;
    }
    for (place, name) in [("wheel", "wheel"), ("commit", "store commit")] {
        let mut broker = broker(&format!("{PLAIN}[store]\npath = 'store'\n"));
        let at = broker.address("tcp");
        let mut client = Client::connect(at, Version::V5, "c");
        ask(&mut client, place, b"");
        // Something for it to do: a deadline, and a fact to keep.
        let busy = Connect { keep_alive: 3, session_expiry: 3600, ..connect(Version::V5, "busy") };
        let mut busy_client = Client::open(at, Version::V5);
        busy_client.send(&Packet::Connect(Box::new(busy)));
        assert_eq!(broker.exit_code(), Some(70), "{place}");
        assert!(log(&broker).contains(&format!("{name} has ended")), "{}", log(&broker));
    }
}

#[test]
fn a_panic_in_one_round_of_the_tick_does_not_end_it() {
    if none() {
        return;
    }
    let mut broker = broker(&format!("{PLAIN}[broker]\nsys_interval = '1s'\n"));
    let mut client = Client::connect(broker.address("tcp"), Version::V5, "c");
    ask(&mut client, "tick", b"");
    until(|| log(&broker).contains("panic, a fault of this program"));
    client.subscribe(&["$SYS/broker/panics"], QoS::AtMostOnce);
    until(|| client.message().1 == b"1");
    assert_eq!(broker.stop(), Some(0));
}
