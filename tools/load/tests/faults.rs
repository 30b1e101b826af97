//! A planted fault of each kind is found, and called what it is.

mod arena;

use std::collections::BTreeMap;

use arena::proxy::{Fault, Proxy};
use arena::{Arena, load};

/// Counters of the verification that are not zero.
type Found = BTreeMap<String, u64>;

/// Sends 200 messages through a proxy that spoils number 100 of those delivered.
fn check(fault: Fault, qos: u8, protocol: &str, code: i32, found: &[(&str, u64)]) {
    check_with("sluice", fault, qos, protocol, code, found);
}

/// The same with `--engine`.
fn check_with(
    engine: &str,
    fault: Fault,
    qos: u8,
    protocol: &str,
    code: i32,
    found: &[(&str, u64)],
) {
    let proxy = Proxy::start(Arena::get().plain, fault, 100);
    // The broker serves other tests too: their messages must not be spoiled.
    let topic = format!("{engine}/{fault:?}/{protocol}/{qos}/{{pub}}");
    let finished = load(
        proxy.address,
        &format!(
            "pair --publishers 1 --count 200 --qos {qos} --protocol {protocol} --topic {topic} \
             --engine {engine} --drain 1s --quiet --json -"
        ),
    );
    let json = finished.json();
    let say = format!("{fault:?} at QoS {qos}, MQTT {protocol}: {json:#}\n{}", finished.said);
    assert_eq!(proxy.planted(), u32::from(fault != Fault::None), "{say}");
    let verification = json["verification"].as_object().expect("an object");
    let counters = verification.iter().filter_map(|(name, count)| {
        let count = count.as_u64().filter(|count| *count > 0)?;
        Some((name.clone(), count))
    });
    let wanted: Found = found.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(counters.collect::<Found>(), wanted, "{say}");
    assert_eq!(finished.code, Some(code), "{say}");
    let examples = verification["examples"].as_array().expect("a list").len();
    assert_eq!(examples > 0, fault != Fault::None, "{say}");
    assert_eq!(json["traffic"]["expected"], 200, "{say}");
}

/// The same at each quality of service and in both versions.
fn check_all(fault: Fault, code: i32, found: &[(&str, u64)]) {
    for protocol in ["5", "3.1.1"] {
        for qos in [0, 1, 2] {
            check(fault, qos, protocol, code, found);
        }
    }
}

#[test]
fn what_passes_unspoiled_is_found_whole() {
    check_all(Fault::None, 0, &[]);
}

#[test]
fn a_dropped_message_is_lost() {
    for protocol in ["5", "3.1.1"] {
        for qos in [1, 2] {
            check(Fault::Drop, qos, protocol, 1, &[("lost", 1)]);
        }
        // A broker may drop these: known, but no failure.
        check(Fault::Drop, 0, protocol, 0, &[("lost", 1), ("lost_qos0", 1)]);
    }
}

#[test]
fn a_message_that_comes_twice_is_a_duplicate() {
    check_all(Fault::Duplicate, 1, &[("duplicates", 1)]);
}

#[test]
fn a_message_behind_the_next_is_out_of_order() {
    check_all(Fault::Reorder, 1, &[("reordered", 1)]);
}

#[test]
fn a_message_with_another_bit_is_corrupt() {
    check_all(Fault::Corrupt, 1, &[("corrupt", 1)]);
}

#[test]
fn a_message_under_another_topic_is_misrouted_and_missing_where_it_belongs() {
    for protocol in ["5", "3.1.1"] {
        for qos in [1, 2] {
            check(Fault::Misroute, qos, protocol, 1, &[("lost", 1), ("misrouted", 1)]);
        }
        let found = [("lost", 1), ("lost_qos0", 1), ("misrouted", 1)];
        check(Fault::Misroute, 0, protocol, 1, &found);
    }
}

#[test]
fn a_typical_client_is_judged_alike() {
    for protocol in ["5", "3.1.1"] {
        for (fault, code, counter) in [
            (Fault::None, 0, None),
            (Fault::Drop, 1, Some("lost")),
            (Fault::Duplicate, 1, Some("duplicates")),
            (Fault::Reorder, 1, Some("reordered")),
            (Fault::Corrupt, 1, Some("corrupt")),
        ] {
            let found: Vec<_> = counter.map(|counter| (counter, 1)).into_iter().collect();
            check_with("rumqttc", fault, 1, protocol, code, &found);
        }
    }
}

#[test]
fn a_lost_message_of_qos_0_fails_a_run_that_asks_for_it() {
    let proxy = Proxy::start(Arena::get().plain, Fault::Drop, 100);
    let line = "pair --publishers 1 --count 200 --topic required/{pub} --drain 1s \
                --require loss=0 --quiet --json -";
    let finished = load(proxy.address, line);
    assert_eq!(finished.code, Some(1), "{}\n{}", finished.said, finished.printed);
    assert!(finished.said.contains("loss"), "{}", finished.said);
}
