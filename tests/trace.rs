//! Traces on virtual time: each packet with its fields, the journey of a message to receivers of every kind, and what
//! bounds them.

mod virtual_time;

#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use rows::Disk;

use sluicemq::broker::trace::{
    TooManyTraces, TraceEvent, TraceHandle, TraceKind, TraceOf, TraceOrder, TraceValue,
};
use sluicemq::codec::{Auth, Connect, Disconnect, Packet, Publish, QoS, Reason, Version, Will};
use sluicemq::topic::{TopicFilter, TopicLimits};
use virtual_time::{Town, connect};

fn of_client(town: &Town, client_id: &str) -> TraceHandle {
    town.broker.trace(order(TraceOf::Client(client_id.into())), 9).expect("there is room")
}

fn of_filter(town: &Town, filter: &str) -> TraceHandle {
    let limits = TopicLimits { bytes_max: 1000, levels_max: 100 };
    let filter = TopicFilter::parse(filter, &limits).expect("a filter");
    town.broker.trace(order(TraceOf::Filter(filter)), 9).expect("there is room")
}

fn order(of: TraceOf) -> TraceOrder {
    TraceOrder { of, payload_max: 0, events_max: 10_000 }
}

/// A value as it is shown, as JSON is without quotes.
fn shown(value: &TraceValue) -> String {
    let list = |values: &[String]| values.join(" ");
    match value {
        TraceValue::Flag(flag) => flag.to_string(),
        TraceValue::Number(number) => number.to_string(),
        TraceValue::Text(text) => text.clone(),
        TraceValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        TraceValue::List(values) => {
            format!("[{}]", list(&values.iter().map(shown).collect::<Vec<_>>()))
        }
        TraceValue::Record(fields) => {
            let field = |(name, value): &(_, _)| format!("{name}={}", shown(value));
            list(&fields.iter().map(field).collect::<Vec<_>>())
        }
    }
}

fn field(event: &TraceEvent, name: &str) -> String {
    event.field(name).map(shown).unwrap_or_default()
}

/// Each packet: client, direction, name, fields.
fn packets(events: &[TraceEvent]) -> Vec<String> {
    let packets = events.iter().filter(|event| event.kind == TraceKind::Packet);
    let line = |event: &TraceEvent| {
        let words = ["client_id", "direction", "packet", "fields"].map(|name| field(event, name));
        words.join(" ").trim_end().to_owned()
    };
    packets.map(line).collect()
}

/// Each stage of a journey: the message's number, the stage, and the rest but the topic.
fn stages(events: &[TraceEvent]) -> Vec<String> {
    let stages = events.iter().filter(|event| event.kind == TraceKind::Journey);
    let line = |event: &TraceEvent| {
        let hidden = ["message", "topic", "stage", "retain", "payload_bytes"];
        let rest = event.fields.iter().filter(|(name, _)| !hidden.contains(&&**name));
        let rest: Vec<_> = rest.map(|(name, value)| format!("{name}={}", shown(value))).collect();
        format!("{} {} {}", field(event, "message"), field(event, "stage"), rest.join(" "))
    };
    stages.map(line).collect()
}

/// The stages since the last time.
fn journey(trace: &TraceHandle) -> Vec<String> {
    stages(&trace.take().events)
}

#[test]
fn each_packet_of_a_client_is_shown_with_its_fields_and_no_secret() {
    let mut town = Town::new("");
    let trace = of_client(&town, "c");
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        delay: 5,
        topic: "w",
        payload: b"SECRET",
        ..Will::default()
    };
    let connect = Connect {
        user_name: Some("ann"),
        password: Some(b"SECRET"),
        will: Some(will),
        topic_alias_maximum: 5,
        keep_alive: 60,
        ..connect("c", true, 30)
    };
    let client = town.arrive(&connect, "test");
    town.subscribe(client, "a/#", QoS::ExactlyOnce);
    town.publish_with(client, "a/1", "SECRET", QoS::ExactlyOnce, false, &[("k", "v")]);
    town.publish(client, "a/1", "SECRET", QoS::AtLeastOnce);
    town.unsubscribe(client, "a/#");
    town.send(client, &Packet::PingReq);
    town.send(client, &Packet::Disconnect(Disconnect::default()));
    let taken = trace.take();
    assert!(!format!("{taken:?}").contains("SECRET"));
    assert_eq!((taken.missed, taken.is_over), (0, false));
    let wanted = [
        "c in CONNECT version=5 client_id=c clean_start=true keep_alive_seconds=60 \
         session_expiry_seconds=30 receive_maximum=65535 topic_alias_maximum=5 \
         request_response_information=false request_problem_information=true user_name=ann \
         has_password=true will=topic=w qos=1 retain=true delay_seconds=5 payload_bytes=6 \
         packet_bytes=54",
        "c out CONNACK reason_code=0 reason=Success session_present=false receive_maximum=4096 \
         maximum_packet_bytes=4194304 topic_alias_maximum=16 packet_bytes=16",
        "c in SUBSCRIBE packet_id=1 filters=[filter=a/# qos=2 no_local=false \
         retain_as_published=false retain_handling=0] packet_bytes=11",
        "c out SUBACK packet_id=1 reason_codes=[2] packet_bytes=6",
        "c in PUBLISH packet_id=2 qos=2 dup=false retain=false topic=a/1 payload_bytes=6 \
         user_properties=[[k v]] packet_bytes=23",
        "c out PUBREC packet_id=2 reason_code=0 reason=Success packet_bytes=4",
        "c out PUBLISH packet_id=1 qos=2 dup=false retain=false topic=a/1 payload_bytes=6 \
         user_properties=[[k v]] packet_bytes=23",
        "c in PUBREL packet_id=2 reason_code=0 reason=Success packet_bytes=4",
        "c in PUBREC packet_id=1 reason_code=0 reason=Success packet_bytes=4",
        "c out PUBCOMP packet_id=2 reason_code=0 reason=Success packet_bytes=4",
        "c out PUBREL packet_id=1 reason_code=0 reason=Success packet_bytes=4",
        "c in PUBCOMP packet_id=1 reason_code=0 reason=Success packet_bytes=4",
        "c in PUBLISH packet_id=3 qos=1 dup=false retain=false topic=a/1 payload_bytes=6 \
         packet_bytes=16",
        "c out PUBACK packet_id=3 reason_code=0 reason=Success packet_bytes=4",
        "c out PUBLISH packet_id=2 qos=1 dup=false retain=false topic=a/1 payload_bytes=6 \
         packet_bytes=16",
        "c in PUBACK packet_id=2 reason_code=0 reason=Success packet_bytes=4",
        "c in UNSUBSCRIBE packet_id=4 filters=[a/#] packet_bytes=10",
        "c out UNSUBACK packet_id=4 reason_codes=[0] packet_bytes=6",
        "c in PINGREQ packet_bytes=2",
        "c out PINGRESP packet_bytes=2",
        "c in DISCONNECT reason_code=0 reason=Success packet_bytes=4",
    ];
    assert_eq!(packets(&taken.events), wanted);
}

#[test]
fn what_is_refused_and_what_ends_a_connection_is_shown_too() {
    let mut town = Town::new("limits.takeovers_max = 0");
    let trace = of_client(&town, "c");
    let old = Connect { version: Version::V311, ..connect("c", true, 0) };
    let client = town.arrive(&old, "test");
    // A second CONNECT is a Protocol Error; 3.1.1 is told nothing.
    town.send(client, &Packet::Connect(Box::new(old.clone())));
    let first = packets(&trace.take().events);
    assert_eq!(first.len(), 3, "{first:#?}");
    assert!(first[0].starts_with("c in CONNECT version=3.1.1"), "{}", first[0]);
    // AUTH that nobody has asked for.
    let client = town.client("c");
    let auth = Auth {
        reason: Reason::Reauthenticate,
        method: Some("m"),
        data: Some(b"SECRET"),
        reason_string: None,
        user_properties: Default::default(),
    };
    town.send(client, &Packet::Auth(auth));
    let taken = trace.take();
    assert!(!format!("{taken:?}").contains("SECRET"));
    let found = packets(&taken.events);
    let auth = &found[found.len() - 2];
    assert!(auth.starts_with("c in AUTH reason_code=25 reason=Reauthenticate"), "{auth}");
    assert!(auth.contains("authentication_method=m has_data=true"), "{auth}");
    let last = found.last().expect("it was told");
    assert!(last.starts_with("c out DISCONNECT reason_code=130 reason=ProtocolError"), "{last}");
}

#[test]
fn a_payload_is_shown_where_it_is_asked_for_and_cut() {
    let mut town = Town::new("");
    let order = TraceOrder { payload_max: 4, ..order(TraceOf::Client("c".into())) };
    let trace = town.broker.trace(order, 1).expect("there is room");
    let client = town.client("c");
    town.publish(client, "t", "1234", QoS::AtMostOnce);
    town.publish(client, "t", "12345", QoS::AtMostOnce);
    let found = packets(&trace.take().events);
    assert!(found[2].contains("payload_bytes=4 payload_base64=1234 packet_bytes"), "{found:?}");
    assert!(found[3].contains("payload_base64=1234 payload_is_cut=true"), "{found:?}");
}

#[test]
fn a_trace_of_a_filter_shows_each_publish_of_it_and_what_an_alias_stands_for() {
    let mut town = Town::new("session.topic_alias_maximum = 5");
    let trace = of_filter(&town, "house/+/temperature");
    let receiver = Connect { topic_alias_maximum: 5, ..connect("r", true, 0) };
    let receiver = town.arrive(&receiver, "test");
    town.subscribe(receiver, "#", QoS::AtMostOnce);
    let publisher = town.client("p");
    town.publish(publisher, "elsewhere", "", QoS::AtMostOnce);
    for topic in ["house/1/temperature", ""] {
        let topic_alias = NonZeroU16::new(3);
        town.send(
            publisher,
            &Packet::Publish(Publish { topic, topic_alias, ..Publish::default() }),
        );
    }
    let found = packets(&trace.take().events);
    let begin = |who: &str| {
        format!(
            "{who} PUBLISH qos=0 dup=false retain=false topic=house/1/temperature payload_bytes=0 topic_alias="
        )
    };
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found.iter().filter(|line| line.starts_with(&begin("p in"))).count(), 2);
    assert_eq!(found.iter().filter(|line| line.starts_with(&begin("r out"))).count(), 2);
}

#[test]
fn the_journey_to_a_connected_receiver_ends_with_its_acknowledgement() {
    let mut town = Town::new("");
    let receiver = town.client("r");
    town.subscribe(receiver, "t", QoS::ExactlyOnce);
    let publisher = town.client("p");
    let trace = of_filter(&town, "t");
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    assert_eq!(
        journey(&trace),
        [
            "1 published client_id=p qos=0 receivers=1",
            "1 routed client_id=r qos=0",
            "1 queued client_id=r qos=0 stored=false",
            "1 sent client_id=r qos=0 dup=false",
        ]
    );
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    assert_eq!(
        journey(&trace),
        [
            "2 published client_id=p packet_id=1 qos=1 receivers=1",
            "2 routed client_id=r qos=1",
            "2 queued client_id=r qos=1 stored=false",
            "2 sent client_id=r packet_id=1 qos=1 dup=false",
            "2 acknowledged client_id=r packet_id=1 by=PUBACK reason_code=0 reason=Success",
        ]
    );
    town.publish(publisher, "t", "", QoS::ExactlyOnce);
    assert_eq!(
        journey(&trace)[3..],
        [
            "3 sent client_id=r packet_id=2 qos=2 dup=false",
            "3 acknowledged client_id=r packet_id=2 by=PUBREC reason_code=0 reason=Success",
            "3 acknowledged client_id=r packet_id=2 by=PUBCOMP reason_code=0 reason=Success",
        ]
    );
    town.publish(publisher, "nowhere", "", QoS::AtLeastOnce);
    assert_eq!(journey(&trace), [""; 0]);
}

#[test]
fn a_journey_begins_with_the_payload_where_that_is_asked_for_and_no_receiver_is_needed() {
    let mut town = Town::new("");
    let publisher = town.client("p");
    let of = of_filter(&town, "t");
    let filter = TopicFilter::parse("t", &TopicLimits { bytes_max: 9, levels_max: 9 });
    let shows = TraceOrder { payload_max: 4, ..order(TraceOf::Filter(filter.expect("a filter"))) };
    let shows = town.broker.trace(shows, 9).expect("there is room");
    town.publish(publisher, "t", "1234", QoS::AtMostOnce);
    town.publish(publisher, "t", "12345", QoS::AtMostOnce);
    assert_eq!(
        journey(&shows),
        [
            "1 published client_id=p qos=0 receivers=0 payload_base64=1234",
            "2 published client_id=p qos=0 receivers=0 payload_base64=1234 payload_is_cut=true",
        ]
    );
    assert_eq!(journey(&of)[0], "1 published client_id=p qos=0 receivers=0");
}

#[test]
fn the_journey_to_an_absent_receiver_goes_on_when_it_is_back_and_again() {
    let mut town = Town::new("");
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.cut(receiver);
    let publisher = town.client("p");
    let trace = of_client(&town, "r");
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    assert_eq!(
        journey(&trace),
        [
            "1 published client_id=p qos=0 receivers=1",
            "1 routed client_id=r qos=0",
            "1 lost client_id=r reason=offline_qos0",
        ]
    );
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    assert_eq!(journey(&trace)[2..], ["2 queued client_id=r qos=1 stored=false"]);
    let receiver = town.arrive(&connect("r", false, 3600), "test");
    let wanted = [
        "2 sent client_id=r packet_id=1 qos=1 dup=false",
        "2 acknowledged client_id=r packet_id=1 by=PUBACK reason_code=0 reason=Success",
    ];
    assert_eq!(journey(&trace), wanted);
    // It does not answer: the message is sent again when it is back.
    town.of(receiver).acknowledges = false;
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    town.cut(receiver);
    assert_eq!(journey(&trace)[3..], ["3 sent client_id=r packet_id=2 qos=1 dup=false"]);
    town.arrive(&connect("r", false, 3600), "test");
    let wanted = [
        "3 sent client_id=r packet_id=2 qos=1 dup=true",
        "3 acknowledged client_id=r packet_id=2 by=PUBACK reason_code=0 reason=Success",
    ];
    assert_eq!(journey(&trace), wanted);
}

#[test]
fn what_was_lost_on_its_way_out_is_not_taken_for_what_is_sent_again() {
    let mut town = Town::new("");
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.of(receiver).acknowledges = false;
    let small = Connect { maximum_packet_size: NonZeroU32::new(50), ..connect("small", true, 0) };
    let small = town.arrive(&small, "test");
    town.subscribe(small, "u", QoS::AtLeastOnce);
    let publisher = town.client("p");
    let trace = of_filter(&town, "#");
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    town.cut(receiver);
    town.publish(publisher, "u", &"x".repeat(50), QoS::AtLeastOnce);
    let lost = journey(&trace).pop();
    assert_eq!(lost.as_deref(), Some("2 lost client_id=small reason=too_large"));
    town.arrive(&connect("r", false, 3600), "test");
    assert_eq!(journey(&trace)[0], "1 sent client_id=r packet_id=1 qos=1 dup=true");
}

/// Writes all that the broker remembers, and lets it go on.
fn write(town: &mut Town, disk: &Disk) {
    disk.write_all(|| town.pass(Duration::ZERO));
}

#[test]
fn what_waits_in_the_store_alone_keeps_its_number() {
    let disk = Disk::default();
    let mut town = Town::with_store("", Arc::new(disk.open()));
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    write(&mut town, &disk);
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    write(&mut town, &disk);
    let publisher = town.client("p");
    let trace = of_filter(&town, "t");
    town.cut(receiver);
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    write(&mut town, &disk);
    // What waits for a client that is not there is with the store alone.
    assert_eq!(journey(&trace)[2..], ["1 queued client_id=r qos=1 stored=true"]);
    town.arrive(&connect("r", false, 3600), "test");
    write(&mut town, &disk);
    let wanted = [
        "1 sent client_id=r packet_id=1 qos=1 dup=false",
        "1 acknowledged client_id=r packet_id=1 by=PUBACK reason_code=0 reason=Success",
    ];
    assert_eq!(journey(&trace), wanted);
}

#[test]
fn the_journey_to_a_full_receiver_ends_with_the_reason() {
    let mut town = Town::new("queue.messages_max = 1");
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.cut(receiver);
    let publisher = town.client("p");
    let trace = of_filter(&town, "t");
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    assert_eq!(
        journey(&trace)[3..],
        [
            "2 published client_id=p packet_id=2 qos=1 receivers=1",
            "2 routed client_id=r qos=1",
            "2 lost client_id=r reason=queue_full",
        ]
    );
    // With its Session the first one is lost too.
    town.arrive(&connect("r", true, 0), "test");
    assert_eq!(journey(&trace), ["1 lost client_id=r reason=taken_clean"]);
}

#[test]
fn the_journey_through_a_group_names_it_and_the_member() {
    let mut town = Town::new("");
    let member = town.client("m");
    town.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
    let publisher = town.client("p");
    let trace = of_client(&town, "p");
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    assert_eq!(
        journey(&trace)[1..],
        [
            "1 routed group=$share/g/t qos=1",
            "1 queued group=$share/g/t qos=1 stored=false",
            "1 sent client_id=m packet_id=1 qos=1 dup=false group=$share/g/t",
            "1 acknowledged client_id=m packet_id=1 by=PUBACK reason_code=0 reason=Success",
        ]
    );
}

#[test]
fn the_journey_of_what_may_not_come_in_is_over_at_once() {
    let rules = "
        access.default = 'allow'
        [[rule]]
        deny = ['publish']
        topics = ['secret']
    ";
    let mut town = Town::new(rules);
    let publisher = town.client("p");
    let trace = of_client(&town, "p");
    town.publish(publisher, "secret", "", QoS::AtLeastOnce);
    assert_eq!(
        journey(&trace),
        ["1 published client_id=p packet_id=1 qos=1", "1 lost reason=publish_not_authorized",]
    );
}

#[test]
fn a_queue_that_is_not_read_is_bounded_and_says_what_it_misses() {
    let mut town = Town::new("");
    let trace = of_client(&town, "p");
    let publisher = town.client("p");
    for _ in 0..2000 {
        town.publish(publisher, "t", "", QoS::AtMostOnce);
    }
    let taken = trace.take();
    // CONNECT, CONNACK; of each PUBLISH the packet and one stage.
    assert_eq!((taken.events.len(), taken.missed), (1024, 4002 - 1024));
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    let taken = trace.take();
    assert_eq!((taken.events.len(), taken.missed), (2, 0));
}

#[test]
fn bytes_of_a_queue_are_bounded_too() {
    let mut town = Town::new("");
    let order = TraceOrder { payload_max: 100_000, ..order(TraceOf::Client("p".into())) };
    let trace = town.broker.trace(order, 1).expect("there is room");
    let publisher = town.client("p");
    for _ in 0..50 {
        town.publish(publisher, "t", &"x".repeat(100_000), QoS::AtMostOnce);
    }
    // It would fit where a long one did not: what is told has no holes.
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    let taken = trace.take();
    assert!(!packets(&taken.events).iter().any(|line| line.contains("payload_bytes=0")));
    assert_eq!(taken.events.len() as u64 + taken.missed, 2 + 2 * 51);
    let shown = packets(&taken.events).into_iter().chain(stages(&taken.events));
    let bytes: usize = shown.map(|line| line.len()).sum();
    assert!((900_000..1_048_576).contains(&bytes), "{bytes}");
    assert!(taken.missed > 35, "{}", taken.missed);
}

#[test]
fn a_trace_ends_after_its_events_and_there_are_no_more_than_may_be() {
    let mut town = Town::new("");
    let short = TraceOrder { events_max: 3, ..order(TraceOf::Client("p".into())) };
    let trace = town.broker.trace(short.clone(), 2).expect("there is room");
    let other = town.broker.trace(short.clone(), 2).expect("there is room");
    let refused = town.broker.trace(short.clone(), 2).map(drop);
    assert_eq!(refused, Err(TooManyTraces(2)));
    let publisher = town.client("p");
    assert!(!trace.take().is_over);
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    let taken = trace.take();
    assert_eq!((taken.events.len(), taken.missed, taken.is_over), (1, 0, true));
    drop(other);
    assert!(town.broker.trace(short, 2).is_ok());
}
