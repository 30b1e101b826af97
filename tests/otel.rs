//! Spans for OpenTelemetry: what they say of a message on virtual time, that a `traceparent` is never touched, and what
//! a collector is sent by the real process.
#![cfg(feature = "otel")]

mod process;
#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;
#[path = "wire/http.rs"]
mod server;
mod virtual_time;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use process::{Sluice, new_folder};
use rows::Disk;
use serde_json::Value;
use server::{HttpServer, Reply, ok};
use sluicemq::broker::trace::{Sampling, TraceHandle, TraceOf, TraceOrder};
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{Connect, Packet, Properties, Publish, QoS, Reason, Version, Will};
use sluicemq::otel::{AttributeValue, OtelSpan, SpanMaker};
use virtual_time::{BEGIN, Town, connect};
use wire::{Client, message};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// The same, not sampled by its publisher.
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Spans of a sample of what a town's clients publish.
struct Sample {
    trace: TraceHandle,
    maker: SpanMaker,
    /// All so far.
    spans: Vec<OtelSpan>,
    told: usize,
}

impl Sample {
    fn of(town: &Town, share: f64, flagged_max: u32) -> Sample {
        let of = TraceOf::Sample(Arc::new(Sampling::new(share, flagged_max, 7)));
        let order = TraceOrder { of, payload_max: 0, events_max: u64::MAX };
        let trace = town.broker.trace(order, 0).expect("it is always begun");
        Sample { trace, maker: SpanMaker::new(7), spans: Vec::new(), told: 0 }
    }

    /// The spans since the last time: name, name of the parent, milliseconds of begin and end, client, and why it
    /// failed.
    fn lines(&mut self) -> Vec<String> {
        let taken = self.trace.take();
        assert_eq!((taken.missed, taken.is_over), (0, false));
        taken.events.iter().for_each(|event| self.maker.take(event, &mut self.spans));
        let new = &self.spans[self.told..];
        self.told = self.spans.len();
        new.iter().map(|span| self.line(span)).collect()
    }

    fn line(&self, span: &OtelSpan) -> String {
        let above = self.spans.iter().find(|above| Some(above.span_id) == span.parent);
        let above = above.map_or(if span.parent.is_some() { "publisher" } else { "-" }, |above| {
            assert_eq!(above.trace_id, span.trace_id);
            above.name
        });
        let at = |time: sluicemq::time::Time| time.since(BEGIN).as_millis();
        let (start, end) = (at(span.start), at(span.end));
        let client = text(span, "messaging.client.id");
        let error = span.error.as_deref().unwrap_or_default();
        let line = format!("{} < {above} {start}..{end}", span.name);
        let more = [client.as_str(), error].into_iter().filter(|word| !word.is_empty());
        more.fold(line, |line, word| format!("{line} {word}"))
    }
}

/// An attribute as text; empty if there is none.
fn text(span: &OtelSpan, name: &str) -> String {
    let found = span.attributes.iter().find(|(known, _)| *known == name);
    match found.map(|(_, value)| value) {
        Some(AttributeValue::Text(text)) => text.to_string(),
        Some(AttributeValue::Number(number)) => number.to_string(),
        Some(AttributeValue::Flag(flag)) => flag.to_string(),
        None => String::new(),
    }
}

/// Writes all that the broker remembers, and lets it go on.
fn write(town: &mut Town, disk: &Disk) {
    disk.write_all(|| town.pass(Duration::ZERO));
}

fn pass(town: &mut Town, millis: u64) {
    town.pass(Duration::from_millis(millis));
}

/// A town with a store, a publisher, and a client `r` that is subscribed to `t` and acknowledges when it is told to.
fn receiving(qos: QoS) -> (Town, Disk, usize, usize) {
    let disk = Disk::default();
    let mut town = Town::with_store("", Arc::new(disk.open()));
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    write(&mut town, &disk);
    town.subscribe(receiver, "t", qos);
    write(&mut town, &disk);
    let publisher = town.client("p");
    write(&mut town, &disk);
    town.of(receiver).acknowledges = false;
    (town, disk, receiver, publisher)
}

#[test]
fn each_stage_of_a_message_is_a_span_below_the_one_that_led_to_it() {
    let cases = [
        (QoS::AtMostOnce, vec!["receive < publisher 0..0 p", "deliver < receive 0..0 r"], vec![]),
        (
            QoS::AtLeastOnce,
            vec!["receive < publisher 0..0 p", "deliver < receive 0..0 r"],
            vec!["commit < receive 0..20", "acknowledge < deliver 0..50 r"],
        ),
        (
            QoS::ExactlyOnce,
            vec!["receive < publisher 0..0 p", "deliver < receive 0..0 r"],
            vec!["commit < receive 0..20", "acknowledge < deliver 0..50 r"],
        ),
    ];
    for (qos, at_once, later) in cases {
        let (mut town, disk, receiver, publisher) = receiving(qos);
        let mut sample = Sample::of(&town, 0.0, 10);
        town.publish_with(publisher, "t", "1234", qos, false, &[("traceparent", PARENT)]);
        assert_eq!(sample.lines(), at_once, "{qos:?}");
        pass(&mut town, 20);
        write(&mut town, &disk);
        pass(&mut town, 30);
        town.of(receiver).acknowledge(1);
        pass(&mut town, 0);
        write(&mut town, &disk);
        assert_eq!(sample.lines(), later, "{qos:?}");
        for span in &sample.spans {
            assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
            assert_eq!(text(span, "messaging.system"), "mqtt");
            assert_eq!(text(span, "messaging.destination.name"), "t");
            assert_eq!(text(span, "messaging.operation.name"), span.name);
        }
        let publisher_span = Some(0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(sample.spans[0].parent, publisher_span, "it is the publisher's");
        let said = |span: usize, name: &str| text(&sample.spans[span], name);
        assert_eq!(said(0, "messaging.operation.type"), "receive");
        assert_eq!(said(0, "messaging.message.body.size"), "4");
        assert_eq!(said(0, "messaging.mqtt.qos"), (qos as u8).to_string());
        assert_eq!(said(1, "messaging.operation.type"), "send");
        if qos > QoS::AtMostOnce {
            assert_eq!(said(3, "messaging.operation.type"), "settle");
        }
    }
}

#[test]
fn what_waits_for_a_client_is_delivered_when_it_comes() {
    let (mut town, disk, receiver, publisher) = receiving(QoS::AtLeastOnce);
    let mut sample = Sample::of(&town, 1.0, 0);
    town.cut(receiver);
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    write(&mut town, &disk);
    assert_eq!(sample.lines(), ["receive < - 0..0 p", "commit < receive 0..0"]);
    pass(&mut town, 5000);
    // It is with the store alone.
    town.arrive(&connect("r", false, 3600), "test");
    write(&mut town, &disk);
    let wanted = ["deliver < receive 0..5000 r", "acknowledge < deliver 5000..5000 r"];
    assert_eq!(sample.lines(), wanted);
}

#[test]
fn a_shared_subscription_is_one_delivery_with_its_group() {
    let mut town = Town::new("");
    let receivers = ["r1", "r2"].map(|client| town.client(client));
    for receiver in receivers {
        town.subscribe(receiver, "$share/g/t", QoS::AtLeastOnce);
    }
    let publisher = town.client("p");
    let mut sample = Sample::of(&town, 1.0, 0);
    town.publish(publisher, "t", "", QoS::AtLeastOnce);
    let lines = sample.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("deliver < receive 0..0 r"), "{lines:?}");
    assert!(lines[2].starts_with("acknowledge < deliver 0..0 r"), "{lines:?}");
    assert_eq!(text(&sample.spans[1], "messaging.consumer.group.name"), "$share/g/t");
}

#[test]
fn what_is_lost_and_what_may_not_come_in_has_failed() {
    let mut town = Town::new(
        "queue.messages_max = 1\naccess.default = 'allow'\n[[rule]]\ndeny = ['publish']\ntopics = ['no/#']\n",
    );
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.cut(receiver);
    let publisher = town.client("p");
    let mut sample = Sample::of(&town, 1.0, 0);
    town.publish(publisher, "t", "1", QoS::AtLeastOnce);
    assert_eq!(sample.lines(), ["receive < - 0..0 p"]);
    town.publish(publisher, "t", "2", QoS::AtLeastOnce);
    let lost = sample.lines();
    assert_eq!(lost, ["receive < - 0..0 p", "deliver < receive 0..0 r queue_full"]);
    assert_eq!(text(&sample.spans[2], "error.type"), "queue_full");
    town.publish(publisher, "no/1", "", QoS::AtLeastOnce);
    let refused = ["receive < - 0..0 p", "refuse < receive 0..0 publish_not_authorized"];
    assert_eq!(sample.lines(), refused);
}

#[test]
fn only_what_is_sampled_is_followed_and_nothing_of_the_broker_itself() {
    let mut town = Town::new("broker.sys_interval = '1s'");
    let receiver = town.client("r");
    town.subscribe(receiver, "#", QoS::AtMostOnce);
    town.subscribe(receiver, "$SYS/#", QoS::AtMostOnce);
    let publisher = town.client("p");
    let mut sample = Sample::of(&town, 0.2, 3);
    let mut receives = 0;
    for _ in 0..50 {
        town.publish_many(publisher, "t", 10, QoS::AtMostOnce);
        let lines = sample.lines();
        let found = lines.iter().filter(|line| line.starts_with("receive")).count();
        assert_eq!(lines.len(), 2 * found, "each with its delivery, and no other: {lines:?}");
        receives += found;
    }
    assert!((60..140).contains(&receives), "{receives} of 500");
    let before = town.of(receiver).got.len();
    (0..5).for_each(|_| pass(&mut town, 1000));
    assert!(town.of(receiver).got.len() > before, "$SYS says something");
    assert_eq!(sample.lines(), [""; 0]);
    drop(sample);
    let mut flagged = Sample::of(&town, 0.0, 3);
    for parent in [PARENT; 10].iter().chain(&[UNSAMPLED; 10]) {
        let user = [("traceparent", *parent)];
        town.publish_with(publisher, "t", "", QoS::AtMostOnce, false, &user);
    }
    assert_eq!(flagged.lines().len(), 6, "three in this second");
    // Two traceparents are none.
    pass(&mut town, 2000);
    let user = [("traceparent", PARENT); 2];
    town.publish_with(publisher, "t", "", QoS::AtMostOnce, false, &user);
    assert_eq!(flagged.lines(), [""; 0]);
}

#[test]
fn a_trace_of_a_client_beside_a_sample_sees_all_that_it_did() {
    let mut town = Town::new("");
    let _sample = Sample::of(&town, 0.0, 0);
    let of = TraceOf::Client("p".into());
    let order = TraceOrder { of, payload_max: 0, events_max: 100 };
    let trace = town.broker.trace(order.clone(), 1).expect("a sample is not counted");
    assert!(town.broker.trace(order, 1).is_err());
    let publisher = town.client("p");
    town.publish(publisher, "t", "", QoS::AtMostOnce);
    let events = trace.take().events;
    // CONNECT, CONNACK, PUBLISH; published.
    assert_eq!(events.len(), 4, "{events:#?}");
    assert_eq!(events[3].field("traceparent"), None);
}

#[test]
fn user_properties_go_through_byte_for_byte_whether_they_are_sampled_or_not() {
    let user = [
        ("traceparent", PARENT),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("traceparent", " 00-NOT-one "),
        ("", ""),
        ("Traceparent", "é"),
    ];
    let owned = user.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for share in [None, Some(1.0)] {
        let disk = Disk::default();
        let mut town = Town::with_store("", Arc::new(disk.open()));
        let _sample = share.map(|share| Sample::of(&town, share, 10));
        let away = town.arrive(&connect("away", true, 3600), "test");
        write(&mut town, &disk);
        town.subscribe(away, "#", QoS::ExactlyOnce);
        write(&mut town, &disk);
        town.cut(away);
        let mut block = Vec::new();
        user.iter().for_each(|(name, value)| put_user_property(&mut block, name, value));
        let will = Will {
            qos: QoS::AtLeastOnce,
            topic: "will",
            payload: b"",
            properties: Properties::trusted(&block),
            ..Will::default()
        };
        let publisher = town.arrive(&Connect { will: Some(will), ..connect("p", true, 0) }, "test");
        write(&mut town, &disk);
        town.publish_with(publisher, "queued", "", QoS::AtLeastOnce, false, &user);
        town.publish_with(publisher, "retained", "x", QoS::AtLeastOnce, true, &user);
        write(&mut town, &disk);
        let live = town.client("live");
        write(&mut town, &disk);
        town.subscribe(live, "#", QoS::AtMostOnce);
        write(&mut town, &disk);
        town.cut(publisher);
        write(&mut town, &disk);
        let back = town.arrive(&connect("away", false, 3600), "test");
        write(&mut town, &disk);
        for (client, wanted) in [(live, "retained will"), (back, "queued retained will")] {
            let got = &town.of(client).got;
            let topics: Vec<_> = got.iter().map(|got| got.topic.as_str()).collect();
            assert_eq!(topics.join(" "), wanted, "{share:?}");
            got.iter().for_each(|got| assert_eq!(got.user_properties, owned, "{share:?}"));
        }
    }
}

#[test]
fn what_is_remembered_for_spans_has_a_bound() {
    let mut town = Town::new("");
    let publisher = town.client("p");
    let receiver = town.client("r");
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.of(receiver).acknowledges = false;
    let mut sample = Sample::of(&town, 1.0, 0);
    town.publish(publisher, "t", "first", QoS::AtLeastOnce);
    for _ in 0..5000 {
        town.publish(publisher, "elsewhere", "", QoS::AtMostOnce);
        sample.lines();
    }
    town.of(receiver).acknowledge(1);
    pass(&mut town, 0);
    assert_eq!(sample.lines(), [""; 0], "the oldest is forgotten");
    town.publish(publisher, "t", "last", QoS::AtLeastOnce);
    town.of(receiver).acknowledge(1);
    pass(&mut town, 0);
    assert_eq!(sample.lines().len(), 3, "and the newest is not");
}

/// A broker that samples every message for the collector at `endpoint`.
fn exporting(endpoint: &str, more: &str) -> Sluice {
    let folder = new_folder();
    std::fs::write(folder.path().join("token"), "the-token\n").expect("a token");
    let config = format!(
        "broker.sys_interval = '1s'\n[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [otel]\nendpoint = '{endpoint}'\nsample = 1\n{more}\n[store]\npath = 'store'\n"
    );
    Sluice::start_in(folder, &config)
}

/// Publishes with a `traceparent` to a receiver that acknowledges; both find all as it should be.
fn publish_through(broker: &Sluice) {
    let at = broker.address("tcp");
    // What is kept for it is in the store before the publisher is answered.
    let lasting = Connect { session_expiry: 60, ..wire::connect(Version::V5, "r") };
    let mut receiver = Client::connect_with(at, &lasting);
    receiver.subscribe(&["t"], QoS::AtLeastOnce);
    let mut publisher = Client::connect(at, Version::V5, "p");
    let mut block = Vec::new();
    put_user_property(&mut block, "traceparent", PARENT);
    let properties = Properties::trusted(&block);
    publisher.send(&Packet::Publish(Publish { properties, ..message("t", b"1234") }));
    let (packet_id, user) = receiver.expect(|packet| match packet {
        Packet::Publish(publish) => {
            let user = publish.properties.user_properties();
            let user = user.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            Some((publish.packet_id?, user.collect::<Vec<_>>()))
        }
        _ => None,
    });
    assert_eq!(user, [("traceparent".to_owned(), PARENT.to_owned())]);
    receiver.send(&Packet::PubAck(sluicemq::codec::Ack::new(packet_id, Reason::Success)));
    assert_eq!(publisher.puback(), Reason::Success);
    receiver.goodbye();
    publisher.goodbye();
}

/// The spans that a collector was sent so far.
fn sent(collector: &HttpServer) -> Vec<Value> {
    let body = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
    let asked = collector.asked();
    let requests = asked.iter().map(|asked| body(&asked.body)["resourceSpans"][0].clone());
    let spans = |request: Value| request["scopeSpans"][0]["spans"].as_array().cloned();
    requests.filter_map(spans).flatten().collect()
}

#[track_caller]
fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// Waits until a counter of `$SYS` has risen.
fn until_counted(broker: &Sluice, topic: &str) {
    let mut client = Client::connect(broker.address("tcp"), Version::V5, "counts");
    client.subscribe(&[topic], QoS::AtMostOnce);
    until(topic, || client.message().1 != b"0");
}

#[test]
fn a_collector_is_sent_the_spans_as_otlp() {
    let collector = HttpServer::start(|_| ok("{}"));
    let endpoint = format!("http://{}/v1/traces", collector.address);
    let mut broker = exporting(&endpoint, "token_file = 'token'");
    publish_through(&broker);
    let names = ["acknowledge", "commit", "deliver", "receive"];
    let named = |name: &str| sent(&collector).into_iter().find(|span| span["name"] == name);
    until("all four spans", || names.iter().all(|name| named(name).is_some()));
    let asked = &collector.asked()[0];
    assert_eq!(asked.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(asked.authorization, "Bearer the-token");
    let first: Value = serde_json::from_str(&asked.body).expect("JSON");
    let service = &first["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!(service["key"], "service.name");
    assert_eq!(service["value"]["stringValue"], "sluice");
    let [acknowledge, commit, deliver, receive] =
        names.map(|name| named(name).expect("it is there"));
    assert_eq!(receive["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(commit["parentSpanId"], receive["spanId"]);
    assert_eq!(deliver["parentSpanId"], receive["spanId"]);
    assert_eq!(acknowledge["parentSpanId"], deliver["spanId"]);
    let nanos = |span: &Value, name: &str| span[name].as_str().expect("a text").parse::<u64>();
    for span in [&receive, &commit, &deliver, &acknowledge] {
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
        let (start, end) = (nanos(span, "startTimeUnixNano"), nanos(span, "endTimeUnixNano"));
        assert!(start.expect("a number") <= end.expect("a number"), "{span}");
    }
    assert_eq!((receive["kind"].as_u64(), deliver["kind"].as_u64()), (Some(5), Some(4)));
    let size =
        serde_json::json!({"key": "messaging.message.body.size", "value": {"intValue": "4"}});
    assert!(receive["attributes"].as_array().expect("a list").contains(&size), "{receive}");
    until_counted(&broker, "$SYS/broker/otel/exported");
    // What is left is sent before the end.
    let before = sent(&collector).len();
    publish_through(&broker);
    assert_eq!(broker.stop(), Some(0));
    assert!(sent(&collector).len() >= before + 4, "{before}");
}

#[test]
fn a_collector_that_is_dead_slow_or_refuses_hurts_nothing_and_what_it_lacks_is_counted() {
    let silent = HttpServer::start(|_| Reply::Silence);
    let refusing = HttpServer::start(|_| Reply::Status(503, String::new()));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let dead = dead.local_addr().expect("an address");
    for (what, address) in
        [("silent", silent.address), ("refusing", refusing.address), ("dead", dead)]
    {
        let mut broker = exporting(&format!("http://{address}/v1/traces"), "timeout = '100ms'");
        for _ in 0..20 {
            publish_through(&broker);
        }
        until_counted(&broker, "$SYS/broker/otel/dropped");
        publish_through(&broker);
        assert_eq!(broker.stop(), Some(0), "{what}");
        let log = broker.log();
        let said = log.matches("the collector takes no spans").count();
        assert_eq!(said, 1, "{what}: {log}");
    }
}

#[test]
fn a_reload_ends_and_begins_the_export() {
    let collector = HttpServer::start(|_| ok("{}"));
    let broker = exporting(&format!("http://{}/v1/traces", collector.address), "");
    let path = broker.file("sluice.toml");
    let with = std::fs::read_to_string(&path).expect("a configuration");
    publish_through(&broker);
    until("spans", || !sent(&collector).is_empty());
    std::fs::write(&path, with.replace("endpoint", "# endpoint")).expect("written");
    broker.signal("HUP");
    until("a reload", || broker.log().contains("overload reloaded"));
    let before = sent(&collector).len();
    std::fs::write(&path, &with).expect("written");
    broker.signal("HUP");
    until("a second reload", || broker.log().matches("overload reloaded").count() == 2);
    publish_through(&broker);
    until("more spans", || sent(&collector).len() >= before + 4);
}
