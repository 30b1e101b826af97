//! `/metrics` of the real process: every figure of `$SYS` is there or says where it is, in both formats, as Prometheus'
//! own checks want them; figures move as they should, and no label is what a stranger chooses. And what Prometheus
//! and Grafana are given in `deploy/` uses only what is there.

mod asking;
mod installed;
mod process;
#[path = "metrics/promtool.rs"]
mod promtool;
#[path = "metrics/samples.rs"]
mod samples;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use asking::{HTTP, HttpClient, VIEWER};
use process::{Sluice, new_folder};
use samples::Samples;
use secure::{certificates, config, handshake};
use sluicemq::broker::metrics::{self, MetricKind};
use sluicemq::codec::{Ack, Packet, Publish, QoS, Reason, Version};
use sluicemq::http::metrics::{Family, FamilyKind, LEFT_OUT, catalogue, family_of};
use wire::{Client, connect, dial};

/// How `docs/metrics.md` begins: its tables follow.
const INTRODUCTION: &str = "\
# Metrics

`GET /metrics` of the [HTTP listener](http.md) tells these, as OpenMetrics to those that ask for it, as Prometheus
does, and in the text format of Prometheus to others. [operations.md](operations.md#metrics) says how to set
Prometheus and Grafana up. Counters start from 0 when the broker starts. A family with labels has a sample for each of
their values, but for topic classes, where it has those that are not 0. Single clients are those of
`http.metrics_clients`. A histogram has `_bucket`, `_sum` and `_count` behind its name; CONNACKs, deliveries and waits
for shaping are timed where there is `[http]`, from its start on.

| Name | Kind | Unit | Labels | Meaning |
|---|---|---|---|---|
";

const NOT_EXPORTED: &str = "
These rows of [`$SYS`](sys-topics.md) are not told by themselves:

| Row | Instead |
|---|---|
";

/// Queues of one message, one of them named, two named clients, a class of topics, shaped meters, plain and with TLS.
const CONFIG: &str = "
    [[listener]]
    name = 'tcp'
    address = '127.0.0.1:0'
    [[listener]]
    name = 'tls'
    address = '127.0.0.1:0'
    tls = { certificate = 'server.pem', key = 'server.key' }
    [http]
    address = '127.0.0.1:0'
    metrics_clients = ['absent', 'meter', 'never there']
    [[http.token]]
    name = 'looks'
    sha256 = 'e2f53b4aad1d3ef0fca0d20aca4bb9cad0824ff168f0057a668f559fd0188831'
    [store]
    path = 'data'
    [queue]
    messages_max = 1
    [[class]]
    name = 'radio'
    client_id = 'meter'
    shaping = { messages_rate = 1000, messages_burst = 1 }
    [[topic_class]]
    name = 'alarms'
    filters = ['alarm/#']
    [[named_queue]]
    name = 'work'
    bindings = ['work/#']
    backoff = '1h..2h'
    [[keep]]
    name = 'log'
    bindings = ['kept/#']
";

fn start() -> Sluice {
    let folder = new_folder();
    certificates(folder.path(), "unused");
    Sluice::start_in(folder, CONFIG)
}

/// The text that `/metrics` answers with, and what it says that it is.
fn scrape(http: &HttpClient, accept: &str) -> (String, String) {
    let answer = http
        .say(&format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
        ))
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.header("content-type").expect("a type").to_owned(), answer.body)
}

fn samples(http: &HttpClient) -> Samples {
    Samples::read(&scrape(http, "text/plain").1)
}

/// The samples once these are at least so.
fn samples_when(http: &HttpClient, wanted: &[(&str, f64)]) -> Samples {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = samples(http);
        if wanted.iter().all(|(name, least)| found.value(name) >= Some(*least)) {
            return found;
        }
        assert!(Instant::now() < deadline, "{wanted:?}: {found:?}");
    }
}

fn names() -> BTreeMap<String, Family> {
    catalogue().into_iter().map(|family| (family.name(), family)).collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_document_says_what_there_is() {
    let mut wanted = String::from(INTRODUCTION);
    for family in catalogue() {
        let (name, kind, unit) = (family.name(), family.kind().name(), family.unit());
        let labels: Vec<_> = family.labels().iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        wanted += &format!("| `{name}` | {kind} | {unit} | {labels} | {} |\n", family.help());
    }
    wanted += NOT_EXPORTED;
    for (name, instead) in LEFT_OUT {
        let metric = metrics::all().find(|metric| metric.name() == *name);
        let topic = metric.map_or("", |metric| metric.topic());
        assert!(!topic.is_empty(), "{name} is no row of $SYS");
        wanted += &format!("| `{topic}` | {instead} |\n");
    }
    let path = file("docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    let how = "docs/metrics.md is not what there is: UPDATE=1 cargo test --test metrics";
    assert!(found == wanted, "{how}\nthe first line that differs: {differs:?}");
}

#[test]
fn every_row_of_sys_is_a_family_or_says_what_is_instead() {
    let names = names();
    assert_eq!(names.len(), catalogue().len(), "each has a name of its own");
    let mut left_out = BTreeSet::new();
    for metric in metrics::all() {
        match family_of(metric) {
            Ok(family) => {
                let family = &names[&family.name()];
                let counts = metric.kind() == MetricKind::Counter;
                assert_eq!(family.kind() == FamilyKind::Counter, counts, "{}", metric.name());
                assert_ne!(metric.kind(), MetricKind::Text, "a word is no value");
                assert!(metric.labels().eq(family.labels().iter().copied()));
            }
            Err(instead) => {
                left_out.insert(metric.name());
                for name in samples::names_in(instead) {
                    assert!(names.contains_key(&name), "{}: there is no {name}", metric.name());
                }
            }
        }
    }
    let listed: BTreeSet<_> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    assert_eq!(left_out, listed);
}

#[test]
fn both_formats_are_as_prometheus_wants_them_and_tell_every_family() {
    let broker = start();
    let http = HttpClient::of(&broker);
    // Of every family there is a sample.
    let lasting = sluicemq::codec::Connect { session_expiry: 60, ..connect(Version::V5, "absent") };
    let mut absent = Client::connect_with(broker.address("tcp"), &lasting);
    absent.subscribe(&["alarm/#"], QoS::AtLeastOnce);
    absent.goodbye();
    let mut client = Client::connect(broker.address("tcp"), Version::V5, "meter");
    client.publish("alarm/1", b"x");
    client.publish("alarm/1", b"x");
    let lost = "sluice_topic_class_lost_total{class=\"alarms\",reason=\"queue_full\"}";
    samples_when(&http, &[(lost, 1.0)]);

    let (kind, text) = scrape(&http, "*/*");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    promtool::check_metrics(&text);
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let (kind, open) = scrape(&http, asked);
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(open.ends_with("# EOF\n"));
    promtool::check_open_metrics(&open);

    let (texts, opens) = (Samples::read(&text), Samples::read(&open));
    assert_eq!(texts.series(), opens.series(), "both tell the same");
    for (name, family) in names() {
        // An information is a gauge to the older format.
        let kind = match family.kind() {
            FamilyKind::Info => "gauge",
            kind => kind.name(),
        };
        assert!(text.contains(&format!("\n# TYPE {name} {kind}\n")), "{name}");
        let base = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(open.contains(&format!("# TYPE {base} {}\n", family.kind().name())), "{name}");
        let unit = family.unit();
        let said = open.contains(&format!("# UNIT {base} {unit}\n"));
        assert_eq!(said, !unit.is_empty(), "{name}");
        assert!(unit.is_empty() || base.ends_with(&format!("_{unit}")), "{name}");
        // No cap is in force.
        if name != "sluice_overload_cap_bytes_per_second" {
            assert!(texts.has_family(&name), "there is no sample of {name}");
        }
    }
    let known = |family: &str| names().contains_key(family);
    let strange: Vec<_> = texts.families().into_iter().filter(|family| !known(family)).collect();
    assert_eq!(strange, Vec::<String>::new(), "not in the catalogue");
}

#[test]
fn figures_move_with_what_happens() {
    let broker = start();
    let http = HttpClient::of(&broker);
    let at = broker.address("tcp");
    let before = samples(&http);
    let lasting = sluicemq::codec::Connect { session_expiry: 60, ..connect(Version::V5, "absent") };
    let mut absent = Client::connect_with(at, &lasting);
    absent.subscribe(&["alarm/#"], QoS::AtLeastOnce);
    absent.goodbye();
    let mut meter = Client::connect(at, Version::V5, "meter");
    meter.subscribe(&["calm"], QoS::AtMostOnce);
    let mut publisher = Client::connect(at, Version::V5, "p");
    let told = ["1", "2"].map(|text| publisher.publish("alarm/a", text.as_bytes()));
    assert_eq!(told, [Reason::Success, Reason::QuotaExceeded]);
    for _ in 0..3 {
        publisher.send(&Packet::Publish(Publish {
            topic: "calm",
            payload: b"x",
            ..Publish::default()
        }));
        meter.message();
    }
    // A reserved topic is refused, one handshake fails, and one does not.
    publisher.send(&Packet::Publish(Publish {
        topic: "$SYS/x",
        payload: b"x",
        ..Publish::default()
    }));
    publisher.ping();
    Client::over(dial(broker.address("tls")), Version::V5).send_bytes(b"GET / HTTP/1.1\r\n\r\n");
    let trusting = config(&broker.file("."), None, &rustls::version::TLS13);
    let agreed = handshake(broker.address("tls"), &Arc::new(trusting)).expect("a handshake");

    let tls = |result: &str| {
        format!("sluice_listener_tls_handshakes_total{{listener=\"tls\",result=\"{result}\"}}")
    };
    let moved = [
        ("sluice_publish_received_total", 6.0),
        ("sluice_publish_sent_total", 3.0),
        ("sluice_copies_lost_total{reason=\"queue_full\"}", 1.0),
        ("sluice_topic_class_lost_total{class=\"alarms\",reason=\"queue_full\"}", 1.0),
        ("sluice_client_dropped_total{client_id=\"absent\",reason=\"queue_full\"}", 1.0),
        ("sluice_refused_total{reason=\"publish_reserved\"}", 1.0),
        (&tls("failed"), 1.0),
        (&tls("ok"), 1.0),
        ("sluice_connects_accepted_total", 3.0),
        ("sluice_connack_seconds_count", 3.0),
        ("sluice_delivery_seconds_count", 1.0),
        ("sluice_store_commit_seconds_count", 1.0),
        ("sluice_store_flush_seconds_count", 1.0),
    ];
    let after = samples_when(&http, &moved);
    for (name, by) in moved {
        let before = before.value(name).unwrap_or(0.0);
        let found = after.value(name).unwrap_or(0.0) - before;
        // The store has more to do than was asked of it here.
        let more = name.contains("store_") || name.contains("delivery");
        assert!(found == by || (more && found > by), "{name} moved by {found}, not by {by}");
    }
    for (name, is) in [
        ("sluice_clients_connected", 2.0),
        ("sluice_sessions", 3.0),
        ("sluice_sessions_limit", 100_000.0),
        ("sluice_client_queue_messages{client_id=\"absent\"}", 1.0),
        ("sluice_client_queue_messages{client_id=\"meter\"}", 0.0),
        ("sluice_overload_level", 0.0),
        ("sluice_overload_cause{cause=\"memory\"}", 0.0),
        ("sluice_store_failed", 0.0),
        ("sluice_listener_connections{listener=\"tcp\"}", 2.0),
        ("sluice_listener_connections_opened_total{listener=\"tcp\"}", 3.0),
    ] {
        assert_eq!(after.value(name), Some(is), "{name}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert!(after.series().iter().any(|series| {
        series.starts_with(&format!("sluice_build_info{{version=\"{version}\""))
    }));
    let expiry = "sluice_listener_certificate_expiry_timestamp_seconds{listener=\"tls\"}";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(after.value(expiry) > Some(now.as_secs_f64()));
    assert_eq!(
        after.value("sluice_delivery_seconds_bucket{le=\"+Inf\"}"),
        after.value("sluice_delivery_seconds_count")
    );
    drop((agreed, meter));
}

#[test]
fn a_named_queue_has_figures_of_its_own() {
    let broker = start();
    let http = HttpClient::of(&broker);
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "p");
    let told = ["1", "2"].map(|text| publisher.publish("work/1", text.as_bytes()));
    assert_eq!(told, [Reason::Success, Reason::QuotaExceeded]);
    assert_eq!(publisher.publish("kept/1", b"x"), Reason::Success);
    let wanted = [
        ("sluice_kept_logs", 1.0),
        ("sluice_kept_messages", 1.0),
        ("sluice_kept_bytes", 1.0),
        ("sluice_named_queues", 1.0),
        ("sluice_named_queues_messages", 1.0),
        ("sluice_named_queues_waiting_bytes", 1.0),
        ("sluice_named_queue_messages{queue=\"work\"}", 1.0),
        ("sluice_named_queue_bytes{queue=\"work\"}", 1.0),
        ("sluice_named_queue_lost_total{queue=\"work\"}", 1.0),
    ];
    let found = samples_when(&http, &wanted);
    assert_eq!(found.value("sluice_named_queue_consumers{queue=\"work\"}"), Some(0.0));
    let mut consumer = Client::connect(broker.address("tcp"), Version::V5, "c");
    consumer.subscribe(&["$queue/work"], QoS::AtLeastOnce);
    let held = "sluice_named_queue_inflight_messages{queue=\"work\"}";
    let found =
        samples_when(&http, &[("sluice_named_queue_consumers{queue=\"work\"}", 1.0), (held, 1.0)]);
    assert_eq!(found.value("sluice_named_queues_postponed"), Some(0.0));
    let packet_id = consumer.expect(|packet| match packet {
        Packet::Publish(publish) => publish.packet_id,
        _ => None,
    });
    consumer.send(&Packet::PubAck(Ack::new(packet_id, Reason::ImplementationSpecificError)));
    samples_when(&http, &[("sluice_named_queues_postponed", 1.0)]);
}

#[test]
fn no_label_is_what_a_stranger_chooses() {
    let broker = start();
    let http = HttpClient::of(&broker);
    let at = broker.address("tcp");
    let before = samples(&http).series();
    for number in 0..20 {
        let mut client = Client::connect(at, Version::V5, &format!("stranger-{number}"));
        client.subscribe(&[&format!("strange/other/{number}")], QoS::AtMostOnce);
        client.publish(&format!("strange/{number}"), b"x");
        client.publish(&format!("$strange/{number}"), b"x");
        client.goodbye();
    }
    let after = samples_when(&http, &[("sluice_connects_accepted_total", 20.0)]).series();
    assert_eq!(before, after);
}

#[test]
fn without_a_token_it_is_told_where_it_is_public() {
    for (public, status) in [("false", 401), ("true", 200)] {
        let line = format!("[http]\nmetrics_public = {public}");
        let broker = Sluice::start(&HTTP.replace("[http]", &line));
        assert_eq!(HttpClient::of(&broker).get("/metrics", "").status, status);
    }
}

#[test]
fn alerts_are_right_and_each_has_its_case() {
    let rules = file("deploy/prometheus/sluice.rules.yml");
    promtool::run(&["check", "rules"], &rules);
    let cases = file("deploy/prometheus/sluice.test.yml");
    promtool::run(&["test", "rules"], &cases);
    promtool::run(&["check", "config", "--syntax-only"], &file("deploy/prometheus/prometheus.yml"));
    let (rules, cases) = [&rules, &cases].map(|path| fs::read_to_string(path).unwrap()).into();
    let named = |text: &str, key: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines.map(str::to_owned).collect()
    };
    let alerts = named(&rules, "- alert: ");
    assert!(alerts.len() >= 20);
    assert_eq!(alerts, named(&cases, "- name: "));
    assert_only_known(&rules);
    assert_only_known(&cases);
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let text = fs::read_to_string(file("deploy/grafana/sluice.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 40);
    let names = names();
    // As rules, so that Prometheus reads them.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, query) in queries.iter().enumerate() {
        assert_only_known(query);
        for name in samples::names_in(query) {
            let whole = names.get(&name).is_some_and(|of| of.kind() == FamilyKind::Histogram);
            assert!(!whole, "{name} has parts");
        }
        let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
        rules += &format!("      - record: query:{number}\n        expr: '{query}'\n");
    }
    let folder = new_folder();
    let path = folder.path().join("queries.yml");
    fs::write(&path, rules).unwrap();
    promtool::run(&["check", "rules"], &path);
}

/// Every name of ours is that of a family, or of a part of a histogram.
fn assert_only_known(text: &str) {
    let names = names();
    for name in samples::names_in(text) {
        let family = samples::family_of_series(&name);
        let known = names.get(&name).or_else(|| names.get(family));
        let known = known.unwrap_or_else(|| panic!("there is no {name}"));
        assert!(family == name || known.kind() == FamilyKind::Histogram, "{name}");
    }
}
