//! The live feeds of the real process, and what is remembered of the last minutes: figures, losses, traces.

mod asking;
mod process;
mod wire;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use asking::{HTTP, HttpClient, VIEWER, line, operator};
use process::Sluice;
use serde_json::Value;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};
use wire::{Client, connect};

/// A feed that is read.
struct FeedReader {
    reader: BufReader<TcpStream>,
    /// Of the body, not read yet.
    text: String,
}

impl FeedReader {
    /// Asks for a feed; its headers are read.
    #[track_caller]
    fn open(http: &HttpClient, path: &str, token: &str) -> FeedReader {
        let mut stream = http.connect();
        let request = format!(
            "GET /api/v1/feeds/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("taken");
        let mut reader = BufReader::new(stream);
        assert_eq!(line(&mut reader).expect("an answer"), "HTTP/1.1 200 OK");
        let mut headers = Vec::new();
        loop {
            match line(&mut reader).expect("a header").to_ascii_lowercase() {
                header if header.is_empty() => break,
                header => headers.push(header),
            }
        }
        for header in ["content-type: text/event-stream", "cache-control: no-store"] {
            assert!(headers.iter().any(|found| found == header), "{headers:?}");
        }
        FeedReader { reader, text: String::new() }
    }

    /// The next event: its name and data. `None`: the feed is over.
    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                let (name, data) = event.split_once('\n').expect("two lines");
                let name = name.strip_prefix("event: ").expect("a name");
                let data = data.strip_prefix("data: ").expect("data");
                return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
            self.read_chunk()?;
        }
    }

    fn read_chunk(&mut self) -> Option<()> {
        let length = usize::from_str_radix(&line(&mut self.reader).ok()?, 16).expect("a length");
        let mut chunk = vec![0; length];
        self.reader.read_exact(&mut chunk).expect("a chunk");
        line(&mut self.reader).expect("its end");
        self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        (length > 0).then_some(())
    }

    /// The next event of this name that fits.
    #[track_caller]
    fn until(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next().expect("the feed goes on");
            if found == name && fits(&data) {
                return data;
            }
        }
    }
}

fn lasting(client_id: &str) -> Connect<'_> {
    Connect { session_expiry: 3600, ..connect(Version::V5, client_id) }
}

#[test]
fn figures_come_each_second_and_are_remembered() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let mut feed = FeedReader::open(&http, "figures", VIEWER);
    let (name, first) = feed.next().expect("an event");
    assert_eq!(
        (name.as_str(), &first["clients"], &first["level"]),
        ("figures", &0.into(), &0.into())
    );
    let mut client = Client::connect(broker.address("tcp"), Version::V5, "c");
    client.subscribe(&["t"], QoS::AtMostOnce);
    client.publish("t", b"hello");
    let seen = feed.until("figures", |point| point["received_per_second"].as_f64() > Some(0.0));
    assert_eq!(seen["clients"], 1);
    assert!(seen["received_bytes_per_second"].as_f64() > Some(0.0), "{seen}");
    assert!(seen["time"].as_str() > first["time"].as_str(), "{seen} {first}");
    // It is in a point of the history a few seconds later.
    loop {
        let history = http.get("/api/v1/history", VIEWER).json();
        assert_eq!(history["step_seconds"], 5);
        let points = history["points"].as_array().expect("points");
        if points.iter().any(|point| point["received_per_second"].as_f64() > Some(0.0)) {
            break;
        }
        feed.next().expect("the feed goes on");
    }
}

#[test]
fn losses_are_told_as_they_happen_and_remembered() {
    let broker = Sluice::start(HTTP);
    let (http, at) = (HttpClient::of(&broker), broker.address("tcp"));
    for client_id in ["a", "b"] {
        let mut away = Client::connect_with(at, &lasting(client_id));
        away.subscribe(&["t/#"], QoS::AtMostOnce);
        away.goodbye();
    }
    let mut all = FeedReader::open(&http, "ledger", VIEWER);
    let mut some = FeedReader::open(&http, "ledger?client=b&topic=t/2", VIEWER);
    let mut publisher = Client::connect(at, Version::V5, "p");
    for topic in ["t/1", "t/2"] {
        publisher.publish(topic, b"");
    }
    for (client_id, topic) in [("a", "t/1"), ("b", "t/1"), ("a", "t/2"), ("b", "t/2")] {
        let loss =
            all.until("loss", |loss| loss["client_id"] == client_id && loss["topic"] == topic);
        assert_eq!((&loss["reason"], &loss["count"]), (&"offline_qos0".into(), &1.into()));
    }
    let (name, only) = some.next().expect("an event");
    assert_eq!(
        (name.as_str(), &only["client_id"], &only["topic"]),
        ("loss", &"b".into(), &"t/2".into())
    );
    let recent = |query: &str| {
        let answer = http.get(&format!("/api/v1/ledger/recent{query}"), VIEWER).json();
        assert_eq!(answer["next"], Value::Null);
        answer["items"].as_array().expect("items").clone()
    };
    let items = recent("");
    assert_eq!((items.len(), &items[0]), (4, &only));
    let advice = only["advice"].as_str().expect("a sentence");
    assert!(advice.contains("qos0_offline"), "{advice}");
    assert_eq!(recent("?client=a").len(), 2);
    assert_eq!(recent("?topic=t/1&limit=1").len(), 1);
    assert_eq!(recent("?client=nobody"), Vec::<Value>::new());
}

#[test]
fn a_trace_shows_packets_and_journeys_and_is_in_the_audit() {
    let broker = Sluice::start(HTTP);
    let (http, at, token) = (HttpClient::of(&broker), broker.address("tcp"), operator(&broker));
    let mut feed = FeedReader::open(&http, "trace?client=r&payload=true", &token);
    let mut receiver = Client::connect(at, Version::V5, "r");
    let packet = feed.until("packet", |packet| packet["packet"] == "CONNECT");
    assert_eq!((&packet["client_id"], &packet["direction"]), (&"r".into(), &"in".into()));
    assert_eq!(packet["fields"]["clean_start"], true);
    assert_eq!(receiver.subscribe(&["t"], QoS::AtLeastOnce), [Reason::GrantedQoS1]);
    let mut publisher = Client::connect(at, Version::V5, "p");
    publisher.publish("t", b"hello");
    assert_eq!(receiver.message(), ("t".to_owned(), b"hello".to_vec()));
    let sent = feed.until("packet", |packet| packet["packet"] == "PUBLISH");
    assert_eq!(sent["fields"]["payload_base64"], "aGVsbG8=");
    let mut other = FeedReader::open(&http, "trace?filter=t&events=5", &token);
    publisher.publish("t", b"again");
    let mut stages = Vec::new();
    while let Some((name, data)) = other.next() {
        match name.as_str() {
            "journey" => stages.push(data["stage"].as_str().expect("a stage").to_owned()),
            "packet" => assert_eq!(data["fields"].get("payload_base64"), None),
            "end" => assert_eq!(data["why"], "events"),
            other => panic!("{other} {data}"),
        }
    }
    assert_eq!(stages[..3], ["published", "routed", "queued"]);
    let audited = "on=\"/api/v1/feeds/trace?client=r&payload=true\" result=200";
    broker.logged(audited);
}

#[test]
fn a_trace_ends_by_itself_and_with_the_broker() {
    let mut broker = Sluice::start(HTTP);
    let (http, token) = (HttpClient::of(&broker), operator(&broker));
    let mut feed = FeedReader::open(&http, "trace?client=r&seconds=1", &token);
    assert_eq!(feed.next(), Some(("end".to_owned(), serde_json::json!({"why": "seconds"}))));
    assert_eq!(feed.next(), None);
    let mut feed = FeedReader::open(&http, "ledger", VIEWER);
    broker.signal("TERM");
    // Either it is told, or the connection ends first.
    if let Some((name, data)) = feed.next() {
        assert_eq!((name.as_str(), &data["why"]), ("end", &"stopping".into()));
    }
    assert_eq!(broker.exit_code(), Some(0));
}

#[test]
fn what_is_asked_wrongly_or_beyond_a_limit_is_refused_in_words() {
    let broker = Sluice::start(
        &format!("{HTTP}\n[log]\nlevel = 'info'")
            .replace("[[http.token]]", "feeds_max = 3\ntraces_max = 1\n[[http.token]]"),
    );
    let (http, token) = (HttpClient::of(&broker), operator(&broker));
    let status = |path: &str, token: &str| {
        let answer = http.get(&format!("/api/v1/feeds/{path}"), token);
        (answer.status, answer.json()["detail"].as_str().expect("a sentence").to_owned())
    };
    assert_eq!(status("trace?client=c", VIEWER).0, 403);
    assert_eq!(status("trace?client=c", "").0, 401);
    for wrong in [
        "trace",
        "trace?client=",
        "trace?client=a&filter=b",
        "trace?filter=a/%23/b",
        "trace?client=a&seconds=0",
        "trace?client=a&seconds=3601",
        "trace?client=a&events=0",
        "trace?client=a&payload=perhaps",
    ] {
        assert_eq!(status(wrong, &token).0, 400, "{wrong}");
    }
    let mut trace = FeedReader::open(&http, "trace?client=c", &token);
    let (refused, words) = status("trace?client=d", &token);
    assert!(refused == 503 && words.contains("http.traces_max"), "{words}");
    let _others =
        [FeedReader::open(&http, "figures", VIEWER), FeedReader::open(&http, "ledger", VIEWER)];
    let (refused, words) = status("figures", VIEWER);
    assert!(refused == 503 && words.contains("http.feeds_max"), "{words}");
    // A place is free again when its reader has gone.
    Client::connect(broker.address("tcp"), Version::V5, "c");
    trace.until("packet", |packet| packet["packet"] == "CONNACK");
    drop(trace);
    while http.get("/api/v1/feeds/trace?client=d&seconds=1", &token).status != 200 {}
}

/// It takes what fits into the system's buffers, and nothing more.
#[test]
fn a_reader_that_does_not_read_misses_events_and_holds_no_memory() {
    let broker = Sluice::start(HTTP);
    let (http, at, token) = (HttpClient::of(&broker), broker.address("tcp"), operator(&broker));
    let mut feed = FeedReader::open(&http, "trace?client=p&payload=true&events=1000000", &token);
    let before = broker.memory();
    let mut publisher = Client::connect(at, Version::V5, "p");
    let payload = vec![0; 4096];
    // Of base64 some hundred megabytes.
    for _ in 0..20_000 {
        let publish = Publish { topic: "t", payload: &payload, ..Publish::default() };
        publisher.send(&Packet::Publish(publish));
    }
    publisher.ping();
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown}");
    // CONNECT, CONNACK, PINGREQ and PINGRESP; of each PUBLISH the packet and one stage.
    let (mut told, mut missed) = (0, 0);
    while told + missed < 4 + 2 * 20_000 {
        match feed.next().expect("the feed goes on") {
            (name, data) if name == "missed" => {
                missed += data["missed"].as_u64().expect("a number")
            }
            _ => told += 1,
        }
    }
    assert_eq!(told + missed, 4 + 2 * 20_000);
    assert!(missed > 0 && told > 0, "{told} {missed}");
}
