//! Flow control as independent clients see it: what a full queue keeps and gives up, which clients are
//! shaped, what a listener's rate does, what overtakes. No test here measures time.
#![allow(clippy::single_range_in_vec_init)] // Lists of ranges, some of them short.

use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::ops::Range;

use super::installed;
use super::process::{Process, Sluice, new_folder, program};
use super::rumq::{Client, V4, V5};
use super::{
    CLIENTS, FORMAT, PATIENT, PLAIN, VERSIONS, command, listen, publish, publish_lines, send_lines,
    subscribe,
};

const ALL: &str = "\n[[rule]]\nallow = ['all']\ntopics = ['#', '$SYS/#']\n";
/// Published to a client that is offline: topics and `QoS`, ten lines each, numbered through.
const BATCHES: [(&str, u8); 5] = [("a", 1), ("b", 0), ("c", 1), ("a", 1), ("d", 2)];
const LINES: u32 = 10;
/// What becomes of those lines at a queue of `room` messages.
struct Case {
    policy: &'static str,
    room: usize,
    /// In the order of coming, which is kept for each `QoS`.
    kept: &'static [Range<u32>],
    dropped: &'static [(&'static str, &'static [Range<u32>])],
    /// Batches of which a version 5 publisher is told that they were refused.
    refused: &'static [usize],
}

/// The client that is offline and comes back, and the version of the client that publishes meanwhile.
const ROUNDS: [(Receiver, &str); 4] = [
    (Receiver::Mosquitto("311"), "5"),
    (Receiver::Mosquitto("5"), "311"),
    (Receiver::RumqttcV4, "311"),
    (Receiver::RumqttcV5, "5"),
];

#[derive(Clone, Copy, Debug)]
enum Receiver {
    Mosquitto(&'static str),
    RumqttcV4,
    RumqttcV5,
}

#[test]
fn reject_keeps_what_came_first_and_says_so() {
    check(&Case {
        policy: "reject",
        room: 20,
        kept: &[0..20],
        dropped: &[("queue_full", &[20..50])],
        refused: &[2, 3, 4],
    });
}

#[test]
fn drop_oldest_keeps_what_came_last() {
    check(&Case {
        policy: "drop_oldest",
        room: 20,
        kept: &[30..50],
        dropped: &[("dropped_oldest", &[0..30])],
        refused: &[],
    });
}

#[test]
fn drop_newest_keeps_what_came_first_and_says_nothing() {
    check(&Case {
        policy: "drop_newest",
        room: 20,
        kept: &[0..20],
        dropped: &[("dropped_newest", &[20..50])],
        refused: &[],
    });
}

#[test]
fn drop_qos0_first_keeps_the_rest_while_there_is_qos0() {
    check(&Case {
        policy: "drop_qos0_first",
        room: 20,
        kept: &[0..10, 20..30],
        dropped: &[("dropped_qos0", &[10..20]), ("queue_full", &[30..50])],
        refused: &[3, 4],
    });
}

#[test]
fn conflate_keeps_the_last_of_each_topic_in_the_place_of_the_first() {
    check(&Case {
        policy: "conflate",
        room: 3,
        kept: &[39..40, 19..20, 29..30],
        dropped: &[("conflated", &[0..19, 20..29, 30..39]), ("queue_full", &[40..50])],
        refused: &[4],
    });
}

#[test]
fn rumqttc_is_told_what_was_refused() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&format!("{PLAIN}{}{ALL}", small("reject", 20)));
    let at = broker.address("tcp");
    for (round, (receiver, _)) in ROUNDS.into_iter().enumerate() {
        let id = format!("absent-{round}");
        receiver.leave_a_session(at, &id);
        until_absent(at, round + 1);
        // Version 3.1.1 knows no refusal: there the ledger alone tells.
        let (old, new) = (answers::<V4>(at, &id, 25), answers::<V5>(at, &id, 5));
        assert_eq!((old, new), (vec![true; 25], vec![false; 5]));
        assert_eq!(figure(at, &format!("clients/{id}/dropped/queue_full")), 10);
        let wanted: Vec<_> = (0..20).map(|number| format!("{id}/t|1|0|{number}")).collect();
        assert_eq!(receiver.come_back(at, &id, 20), wanted);
    }
}

#[test]
fn a_class_is_chosen_by_user_name_and_by_client_identifier() {
    if !installed::all(CLIENTS) {
        return;
    }
    for version in VERSIONS {
        let broker = with_users(
            "[auth]
            password_file = 'passwords'
            [[class]]
            name = 'users'
            user = 'meter'
            shaping = { messages_rate = 100, messages_burst = 5 }
            [[class]]
            name = 'identifiers'
            client_id = 'slow-?'
            shaping = { bytes_rate = '2KiB', bytes_burst = '64B' }
            ",
        );
        let at = broker.address("tcp");
        for (who, id, class) in [
            ("-u meter -P pw -i other", "other", Some("users")),
            ("-i slow-1", "slow-1", Some("identifiers")),
            ("-u meter -P pw -i slow-2", "slow-2", Some("users")),
            ("-u stranger -P pw -i slow-10", "slow-10", None),
        ] {
            let session = format!("{who} -c -q 1 -t {id}/#");
            assert_eq!(listen(at, version, &format!("{session} -E")).end().0, Some(0));
            // A backlog, so that it is the rate that decides when each of them leaves.
            publish_lines(at, version, &format!("-t {id}/line -q 1"), 40);
            let mut back = listen(at, version, &session);
            back.until(|line| line.ends_with("/line|1|0|39"));

            let mut about = subscribe(at, "5", &format!("-t $SYS/broker/clients/{id}/# -t last"));
            publish(at, "5", "-t last -n");
            about.until(|line| line.starts_with("last|"));
            about.signal("TERM");
            let about = about.end().1;
            let said = |topic: &str| {
                let topic = format!("$SYS/broker/clients/{id}/{topic}|0|1|");
                about.iter().find_map(|line| line.strip_prefix(&topic))
            };
            assert_eq!(said("class"), class, "{who}: {about:?}");
            let delay = said("shaping/delayed/ms").map(|delay| delay.parse::<u64>().unwrap());
            assert_eq!(delay.is_some_and(|delay| delay > 0), class.is_some(), "{who}: {about:?}");

            publish(at, "5", &format!("-t {id}/end -q 1 -n"));
            back.until(|line| line.contains("/end|"));
            back.signal("TERM");
            let mut wanted: Vec<_> = (0..40).map(|n| format!("{id}/line|1|0|{n}")).collect();
            wanted.push(format!("{id}/end|1|0|"));
            assert_eq!(back.end().1, wanted, "{who}");
        }
    }
}

#[test]
fn a_publisher_that_is_too_fast_waits_and_loses_nothing() {
    if !installed::all(CLIENTS) {
        return;
    }
    let limits = "[limits]\nclient = { publishes_rate = 100, publishes_burst = 10 }";
    let broker = Sluice::start(&format!("{PLAIN}{PATIENT}{limits}"));
    let at = broker.address("tcp");
    let mut pauses = subscribe(at, "5", "-t $SYS/broker/ingress/pauses");
    for version in VERSIONS {
        for qos in 0..=2 {
            let mut ear = subscribe(at, version, &format!("-t t -q {qos}"));
            publish_lines(at, version, &format!("-t t -q {qos}"), 60);
            for number in 0..60 {
                ear.until(|line| line == format!("t|{qos}|0|{number}"));
            }
        }
    }
    pauses.until(|line| !line.ends_with("|0"));
}

#[test]
fn a_listener_that_pauses_loses_nothing() {
    if !installed::all(CLIENTS) {
        return;
    }
    for version in VERSIONS {
        for qos in 0..=2 {
            let broker = Sluice::start(&narrow("pause", 100));
            let (printed, arrived) = squeeze(&broker, version, &format!("-q {qos}"), 60);
            assert_eq!((printed, arrived), (Vec::new(), (0..60).collect()));
            assert_ne!(figure(broker.address("tcp"), "ingress/pauses"), 0);
        }
    }
}

#[test]
fn a_listener_that_rejects_says_what_it_rejected() {
    if !installed::all(CLIENTS) {
        return;
    }
    for version in VERSIONS {
        for qos in 0..=2 {
            let broker = Sluice::start(&narrow("reject", 1));
            let at = broker.address("tcp");
            // Of 3.1.1 QoS 1 and 2 cannot be refused and wait, a second for each.
            let count = if version == "311" && qos > 0 { 12 } else { 30 };
            let (printed, arrived) = squeeze(&broker, version, &format!("-q {qos}"), count);
            let refused: Vec<u32> = printed.iter().map(|line| number_of_refused(line)).collect();
            match (version, qos) {
                (_, 0) => {
                    assert_eq!(refused, []);
                    assert!(arrived.is_sorted_by(|a, b| a < b), "{arrived:?}");
                    let dropped = figure(at, "ingress/dropped");
                    assert_ne!(dropped, 0);
                    assert_eq!(dropped + arrived.len(), 30);
                }
                ("5", _) => {
                    assert_eq!(figure(at, "ingress/refused"), refused.len());
                    assert_ne!(refused, []);
                    let rest = (0..count).filter(|number| !refused.contains(number));
                    assert_eq!(arrived, rest.collect::<Vec<_>>());
                }
                _ => {
                    assert_eq!((refused, arrived), (Vec::new(), (0..count).collect()));
                    assert_ne!(figure(at, "ingress/pauses"), 0);
                }
            }
        }
    }
}

#[test]
fn a_listener_that_disconnects_says_why_and_keeps_what_it_acknowledged() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&narrow("disconnect", 1));
    let at = broker.address("tcp");
    let mut ear = subscribe(at, "5", "-t t -q 1");
    // One after the other: so the answer to the last is the last that comes.
    let args = "-t t -q 1 -m now --repeat 30 -d";
    let mut printed = command("mosquitto_pub", broker.address("narrow"), "5", args).end().1;
    printed.retain(|line| line.contains("eceived"));
    let acknowledged = printed.iter().filter(|line| line.contains("received PUBACK")).count();
    assert!((10..30).contains(&acknowledged), "{printed:?}");
    // Message Rate Too High, 0x96.
    assert_eq!(printed.last().map(String::as_str), Some("Received DISCONNECT (150)"));
    publish(at, "5", "-t t -q 1 -m end");
    ear.until(|line| line == "t|1|0|end");
    ear.signal("TERM");
    let arrived = ear.end().1.iter().filter(|line| *line == "t|1|0|now").count();
    assert_eq!(arrived, acknowledged);
    assert_eq!(figure(at, "ingress/disconnects"), 1);

    // A client of 3.1.1 is told nothing. This one comes again, and brings what was not acknowledged.
    let broker = Sluice::start(&narrow("disconnect", 1));
    let (printed, arrived) = squeeze(&broker, "311", "-q 1", 12);
    assert_eq!((printed, arrived), (Vec::new(), (0..12).collect()));
    assert_ne!(figure(broker.address("tcp"), "ingress/disconnects"), 0);
}

#[test]
fn a_message_of_a_higher_band_sent_last_comes_first() {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = Sluice::start(&format!(
        "{PLAIN}
        [store]
        path = 'data'
        [[priority]]
        filter = '+/alarm/#'
        band = 3
        [[priority]]
        property = 'urgent=yes'
        band = 2
        [[priority]]
        filter = '+/bulk/#'
        band = 0
        "
    ));
    let at = broker.address("tcp");
    for (round, (receiver, version)) in ROUNDS.into_iter().enumerate() {
        let id = format!("absent-{round}");
        receiver.leave_a_session(at, &id);
        until_absent(at, round + 1);
        publish_lines(at, version, &format!("-t {id}/bulk/t -q 1"), 20);
        publish_lines(at, version, &format!("-t {id}/plain -q 1"), 20);
        let urgent = "-q 1 -D publish user-property urgent yes";
        publish_lines(at, "5", &format!("-t {id}/urgent {urgent}"), 2);
        publish_lines(at, version, &format!("-t {id}/alarm/t -q 1"), 2);

        let lines = receiver.come_back(at, &id, 44);
        let of = |topic: &str, count: u32| -> Vec<_> {
            (0..count).map(|number| format!("{id}/{topic}|1|0|{number}")).collect()
        };
        assert_eq!(lines[..4], [of("alarm/t", 2), of("urgent", 2)].concat());
        for (topic, count) in [("plain", 20), ("bulk/t", 20)] {
            let prefix = format!("{id}/{topic}|");
            let came: Vec<_> = lines.iter().filter(|line| line.starts_with(&prefix)).collect();
            assert_eq!(came, of(topic, count).iter().collect::<Vec<_>>());
        }
        // The lower band had its share meanwhile, and no more.
        let plain = lines[4..24].iter().filter(|line| line.contains("/plain|")).count();
        assert!((17..20).contains(&plain), "{lines:?}");
    }
}

/// A broker that lets in clients without a user name, and users whose password is `pw`.
pub fn with_users(config: &str) -> Sluice {
    let folder = new_folder();
    for user in ["meter", "operator", "stranger"] {
        let mut input = tempfile::tempfile().expect("a temporary file");
        input.write_all(b"pw\n").and_then(|()| input.rewind()).expect("a file to read");
        let mut command = program();
        command.arg("passwd").arg(folder.path().join("passwords")).args([user, "--password-stdin"]);
        assert_eq!(Process::start(command.stdin(input)).end(), (Some(0), Vec::new()));
    }
    let plain = PLAIN.replace("[broker]", &format!("allow_anonymous = true{ALL}[broker]"));
    Sluice::start_in(folder, &(plain + config))
}

/// Everything that was published is where the case says: told to its publisher, kept, in the ledger,
/// in a dead letter.
fn check(case: &Case) {
    if !installed::all(CLIENTS) {
        return;
    }
    let broker = with_users(&format!(
        "{}
        [store]
        path = 'data'
        [auth]
        password_file = 'passwords'
        dead_letter_users = 'operator'
        ",
        small(case.policy, case.room)
    ));
    let at = broker.address("tcp");
    let count = |parts: &[Range<u32>]| parts.iter().map(Range::len).sum::<usize>();
    let dropped: usize = case.dropped.iter().map(|(_, parts)| count(parts)).sum();
    assert_eq!(count(case.kept) + dropped, BATCHES.len() * LINES as usize);

    for (round, (receiver, version)) in ROUNDS.into_iter().enumerate() {
        let id = format!("absent-{round}");
        let place = format!("{} {receiver:?}", case.policy);
        receiver.leave_a_session(at, &id);
        until_absent(at, round + 1);
        let letters = [("311", FORMAT.to_owned()), ("5", format!("{FORMAT}|%P"))];
        let letters = letters.map(|(version, format)| {
            let args = format!("-u operator -P pw -q 2 -t $dead/# -d -C {dropped} -F {format}");
            let mut operator = command("mosquitto_sub", at, version, &args);
            operator.until(|line| line.starts_with("Subscribed "));
            let stranger = listen(at, version, "-u stranger -P pw -q 2 -t $dead/#").end().1;
            assert_eq!(stranger, ["All subscription requests were denied."]);
            operator
        });

        for (batch, (topic, qos)) in BATCHES.into_iter().enumerate() {
            let args = format!("-i p -t {id}/{topic} -q {qos}");
            let first = batch as u32 * LINES;
            let told = send_lines(at, version, &args, first..first + LINES);
            let refused = version == "5" && case.refused.contains(&batch);
            assert_eq!(told, if refused { refusals(qos) } else { Vec::new() }, "{place} {batch}");
        }

        let mut wanted = Vec::new();
        for (reason, parts) in case.dropped {
            wanted
                .extend(lines(&format!("$dead/{reason}/{id}"), parts).map(|line| (line, *reason)));
        }
        wanted.sort();
        for (operator, named) in letters.into_iter().zip([false, true]) {
            let mut found = operator.end().1;
            found.retain(|line| line.starts_with("$dead/"));
            let parts = |line: &String| match line.rsplit_once('|').filter(|_| named) {
                Some((line, properties)) => (line.to_owned(), properties.to_owned()),
                None => (line.clone(), String::new()),
            };
            let mut found: Vec<_> = found.iter().map(parts).collect();
            found.sort();
            assert!(found.iter().map(|(line, _)| line).eq(wanted.iter().map(|(line, _)| line)));
            for ((_, properties), (_, reason)) in found.iter().zip(&wanted).filter(|_| named) {
                assert_describes(properties, reason, &id);
            }
        }
        assert_eq!(figure(at, "letters/published"), dropped * (round + 1), "{place}");

        let mut ledger = listen(at, "5", "-t $SYS/broker/ledger/# -C 16").end().1;
        ledger.retain(|line| !line.ends_with("|0"));
        let counts = |path: &str, times: usize| {
            let line = |(reason, parts): &(&str, &[Range<u32>])| {
                format!("$SYS/broker/{path}/{reason}|0|1|{}", count(parts) * times)
            };
            case.dropped.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(ledger, counts("ledger", round + 1), "{place}");
        let each = format!("-t $SYS/broker/clients/{id}/dropped/+ -C {}", case.dropped.len());
        let each = listen(at, "5", &each).end().1;
        assert_eq!(each, counts(&format!("clients/{id}/dropped"), 1), "{place}");

        let mut kept: Vec<_> = lines(&id, case.kept).collect();
        let mut came = receiver.come_back(at, &id, kept.len());
        for lines in [&mut kept, &mut came] {
            lines.sort_by_key(|line| line.split('|').nth(1).map(str::to_owned));
        }
        assert_eq!(came, kept, "{place}");
    }
}

/// A client that is offline has a queue of `room` messages and leaves dead letters.
fn small(policy: &str, room: usize) -> String {
    format!(
        "
        [[class]]
        name = 'small'
        client_id = 'absent-*'
        [class.queue]
        messages_max = {room}
        policy = '{policy}'
        qos0_offline = true
        dead_letters = true
        "
    )
}

/// A second listener, called `narrow`, that lets 10 messages in at once and then `rate` a second.
fn narrow(action: &str, rate: u32) -> String {
    format!(
        "{PLAIN}
        [[listener]]
        name = 'narrow'
        address = '127.0.0.1:0'
        ingress = {{ publishes_rate = {rate}, publishes_burst = 10, action = '{action}' }}
        "
    )
}

/// Publishes `count` lines at the narrow listener: what the publisher prints, and which arrive.
fn squeeze(broker: &Sluice, version: &str, args: &str, count: u32) -> (Vec<String>, Vec<u32>) {
    let at = broker.address("tcp");
    let mut ear = subscribe(at, version, "-t t -t end -q 2");
    let narrow = broker.address("narrow");
    let printed = send_lines(narrow, version, &format!("-t t {args}"), 0..count);
    // The publisher's connection was read to its end: only the subscriber and this client are left.
    while figure(at, "clients/connected") != 2 {}
    publish(at, version, "-t end -n");
    ear.until(|line| line.starts_with("end|"));
    ear.signal("TERM");
    let lines = ear.end().1;
    let numbers = lines.iter().filter(|line| line.starts_with("t|"));
    let numbers = numbers.map(|line| line.rsplit('|').next().unwrap().parse().unwrap());
    (printed, numbers.collect())
}

/// What is published and comes, or comes as a letter, under `prefix`.
fn lines(prefix: &str, parts: &[Range<u32>]) -> impl Iterator<Item = String> {
    parts.iter().cloned().flatten().map(move |number| {
        let (topic, qos) = BATCHES[(number / LINES) as usize];
        format!("{prefix}/{topic}|{qos}|0|{number}")
    })
}

/// What mosquitto_pub prints when the broker refuses each line. It shows the Reason String of PUBACK.
fn refusals(qos: u8) -> Vec<String> {
    let reason = (qos == 1).then(|| "no room for the message".to_owned());
    let line = |number| format!("Warning: Publish {number} failed: Quota exceeded.");
    (1..=LINES).flat_map(|number| [line(number)].into_iter().chain(reason.clone())).collect()
}

/// Which of the lines, counted from 0, mosquitto_pub says was refused.
fn number_of_refused(line: &str) -> u32 {
    let number = line.strip_prefix("Warning: Publish ");
    let number = number.and_then(|rest| rest.strip_suffix(" failed: Quota exceeded."));
    number.and_then(|number| number.parse::<u32>().ok()).unwrap_or_else(|| panic!("{line}")) - 1
}

/// The User Properties of a dead letter: reason, receiver, age and publisher.
fn assert_describes(properties: &str, reason: &str, receiver: &str) {
    let age = properties.strip_prefix(&format!("reason:{reason} receiver:{receiver} age:"));
    let age = age.and_then(|rest| rest.strip_suffix(" publisher:p"));
    assert!(age.is_some_and(|age| age.parse::<u32>().is_ok()), "{properties}");
}

/// Waits until so many Sessions have no connection.
fn until_absent(at: SocketAddr, count: usize) {
    while figure(at, "clients/disconnected") != count {}
}

/// A number in `$SYS/broker/`, as of now.
pub fn figure(at: SocketAddr, topic: &str) -> usize {
    let lines = listen(at, "5", &format!("-t $SYS/broker/{topic} -C 1")).end().1;
    lines[0].rsplit('|').next().unwrap().parse().unwrap_or_else(|_| panic!("{lines:?}"))
}

/// Whether each of so many numbers that rumqttc publishes is accepted.
fn answers<C: Client>(at: SocketAddr, id: &str, count: u32) -> Vec<bool> {
    let mut publisher = C::connect(at, "publisher", true);
    let answer = |number: u32| {
        publisher.publish(&format!("{id}/t"), 1, false, &number.to_string());
        publisher.accepted()
    };
    (0..count).map(answer).collect()
}

impl Receiver {
    /// Subscribes to all below `id`, and goes.
    fn leave_a_session(self, at: SocketAddr, id: &str) {
        fn rumqttc<C: Client>(at: SocketAddr, id: &str) {
            let mut client = C::connect(at, id, false);
            client.subscribe(&format!("{id}/#"), 2);
            client.subscribed();
        }
        match self {
            Receiver::Mosquitto(version) => {
                let args = format!("-i {id} -c -q 2 -t {id}/# -E");
                assert_eq!(listen(at, version, &args).end().0, Some(0));
            }
            Receiver::RumqttcV4 => rumqttc::<V4>(at, id),
            Receiver::RumqttcV5 => rumqttc::<V5>(at, id),
        }
    }

    /// Comes back, and takes what there is: at least `count` messages.
    fn come_back(self, at: SocketAddr, id: &str, count: usize) -> Vec<String> {
        // Behind whatever waited.
        let end = || publish(at, "5", &format!("-t {id}/end -q 2 -n"));
        let is_end = |line: &str| line == format!("{id}/end|2|0|");
        let rumqttc = |mut next: Box<dyn FnMut() -> String>| {
            let mut lines: Vec<_> = (0..count).map(|_| next()).collect();
            end();
            lines.extend(std::iter::repeat_with(next).take_while(|line| !is_end(line)));
            lines
        };
        match self {
            Receiver::Mosquitto(version) => {
                let mut back = listen(at, version, &format!("-i {id} -c -q 2 -t {id}/#"));
                for _ in 0..count {
                    back.until(|_| true);
                }
                end();
                back.until(is_end);
                back.signal("TERM");
                let mut lines = back.end().1;
                assert_eq!(lines.pop().as_deref().map(is_end), Some(true));
                lines
            }
            Receiver::RumqttcV4 => rumqttc(back::<V4>(at, id)),
            Receiver::RumqttcV5 => rumqttc(back::<V5>(at, id)),
        }
    }
}

/// The lines of one that is back, as mosquitto_sub would print them.
fn back<C: Client + 'static>(at: SocketAddr, id: &str) -> Box<dyn FnMut() -> String> {
    let mut client = C::connect(at, id, false);
    assert!(client.connected(), "the session is there");
    Box::new(move || {
        let message = client.message();
        let retain = u8::from(message.retain);
        format!("{}|{}|{retain}|{}", message.topic, message.qos, message.text)
    })
}
