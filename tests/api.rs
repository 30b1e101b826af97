//! The HTTP API on the real process, with real clients: what it shows of clients, queues and topics, and what it
//! changes.

mod asking;
mod process;
mod wire;

use asking::{HTTP, HttpClient, VIEWER, operator};
use process::Sluice;
use serde_json::{Value, json};
use sluicemq::codec::{Ack, Connect, Packet, QoS, Reason, Version};
use wire::{Client, connect};

/// A broker, its HTTP listener, and an operator's token.
struct House {
    broker: Sluice,
    http: HttpClient,
    token: String,
}

impl House {
    fn new(more: &str) -> House {
        let broker = Sluice::start(&format!("{HTTP}{more}"));
        let (http, token) = (HttpClient::of(&broker), operator(&broker));
        House { broker, http, token }
    }

    fn client(&self, client_id: &str) -> Client {
        let asked = Connect { session_expiry: 3600, ..connect(Version::V5, client_id) };
        Client::connect_with(self.broker.address("tcp"), &asked)
    }

    /// Looks as a viewer.
    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = self.http.get(&format!("/api/v1{path}"), VIEWER);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// As an operator; the status and the body.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = self.http.ask(method, &format!("/api/v1{path}"), &self.token, body);
        let json = if answer.body.is_empty() { Value::Null } else { answer.json() };
        (answer.status, json)
    }
}

fn texts(items: &Value, key: &str) -> Vec<String> {
    let items = items["items"].as_array().expect("items");
    items.iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn clients_are_listed_searched_and_sorted_in_pages() {
    let house = House::new("");
    let mut connected: Vec<_> = (0..5).map(|n| house.client(&format!("meter-{n}"))).collect();
    connected[3].subscribe(&["t"], QoS::AtLeastOnce);
    connected.pop().unwrap().goodbye();
    let mut stuck = connected.remove(3);
    let mut publisher = house.client("Publisher");
    for _ in 0..40 {
        publisher.publish("t", b"x");
    }
    let all = house.get("/clients?search=METER&limit=3");
    assert_eq!(texts(&all, "client_id"), ["meter-0", "meter-1", "meter-2"]);
    assert_eq!((&all["total"], &all["next"]), (&json!(5), &json!("3")));
    let rest = house.get("/clients?search=meter&limit=3&cursor=3");
    assert_eq!(texts(&rest, "client_id"), ["meter-3", "meter-4"]);
    assert_eq!(rest["next"], Value::Null);
    let first = &all["items"][0];
    assert_eq!((&first["connected"], &first["version"]), (&json!(true), &json!("5")));
    assert_eq!(first["listener"], "tcp");
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(rest["items"][1]["connected"], false);
    let most = house.get("/clients?sort=queue_messages&limit=1");
    assert_eq!(texts(&most, "client_id"), ["meter-3"]);
    // A window of 32.
    assert_eq!(most["items"][0]["queue_messages"], 8);
    assert_eq!(most["items"][0]["inflight_messages"], 32);
    let least = house.get("/clients?sort=inflight_messages&order=asc&search=meter-");
    assert_eq!(texts(&least, "client_id").last().unwrap(), "meter-3");
    assert_eq!(house.get("/clients?connected=false")["total"], 1);
    for wrong in ["cursor=x", "sort=age", "limit=many"] {
        assert_eq!(house.ask("GET", &format!("/clients?{wrong}"), "").0, 400, "{wrong}");
    }
    stuck.ping();
}

#[test]
fn a_client_is_shown_in_full_kicked_and_ended() {
    let house = House::new("");
    let asked = Connect {
        keep_alive: 77,
        maximum_packet_size: 5000.try_into().ok(),
        ..wire::connect_with_will(Version::V5, "a/b c", "gone")
    };
    let asked = Connect { session_expiry: 3600, ..asked };
    let mut client = Client::connect_with(house.broker.address("tcp"), &asked);
    client.subscribe(&["t/#", "$share/g/s"], QoS::AtLeastOnce);
    let path = "/clients/a%2Fb%20c";
    let full = house.get(path);
    for (key, value) in [
        ("client_id", json!("a/b c")),
        ("keep_alive_seconds", json!(77)),
        ("maximum_packet_bytes", json!(5000)),
        ("session_expiry_seconds", json!(3600)),
        ("subscriptions_total", json!(2)),
        ("window", json!({"used": 0, "size": 32})),
        ("ledger", json!({})),
        ("pace", Value::Null),
    ] {
        assert_eq!(full[key], value, "{key}: {full}");
    }
    assert_eq!(full["subscriptions"][1]["filter"], "t/#");
    assert_eq!(full["will"]["topic"], "gone");
    assert!(full["connected_since"].as_str().unwrap().ends_with('Z'));
    // A viewer changes nothing.
    assert_eq!(house.http.ask("DELETE", &format!("/api/v1{path}"), VIEWER, "").status, 403);
    assert_eq!(house.ask("DELETE", &format!("{path}/connection"), "").0, 204);
    client.closed_by(Reason::AdministrativeAction);
    let parked = house.get(path);
    assert_eq!((&parked["connected"], &parked["connected_since"]), (&json!(false), &Value::Null));
    let (status, problem) = house.ask("DELETE", &format!("{path}/connection"), "");
    assert_eq!(
        (status, problem["detail"].as_str().unwrap()),
        (409, "the client \"a/b c\" is not connected")
    );
    assert_eq!(house.ask("DELETE", path, "").0, 204);
    for (method, path) in [("GET", path), ("DELETE", path), ("GET", "/clients/nobody/queue")] {
        assert_eq!(house.ask(method, path, "").0, 404, "{method} {path}");
    }
    // One that is connected ends too.
    let mut client = house.client("c");
    assert_eq!(house.ask("DELETE", "/clients/c", "").0, 204);
    client.closed_by(Reason::AdministrativeAction);
    assert_eq!(house.get("/clients")["total"], 0);
}

#[test]
fn a_queue_is_looked_into_and_emptied() {
    for store in ["", "[store]\npath = 'data'\n"] {
        let house = House::new(store);
        let mut client = house.client("c");
        client.subscribe(&["t/#"], QoS::AtLeastOnce);
        client.goodbye();
        let mut publisher = house.client("p");
        for (topic, payload) in [("t/1", "one"), ("t/2", "two"), ("t/3", "three")] {
            assert_eq!(publisher.publish(topic, payload.as_bytes()), Reason::Success);
        }
        let (status, queue) = house.ask("GET", "/clients/c/queue?payload=true&limit=2", "");
        assert_eq!(
            (status, texts(&queue, "topic")),
            (200, vec!["t/1".to_owned(), "t/2".to_owned()])
        );
        let one = &queue["items"][0];
        for (key, value) in [
            ("state", json!("queued")),
            ("payload_base64", json!("b25l")),
            ("payload_bytes", json!(3)),
            ("publisher", json!("p")),
            ("qos", json!(1)),
        ] {
            assert_eq!(one[key], value, "{key}");
        }
        let (_, without) = house.ask("GET", "/clients/c/queue", "");
        assert_eq!(without["items"][0].get("payload_base64"), None);
        assert_eq!(house.http.get("/api/v1/clients/c/queue", VIEWER).status, 403);
        let purged = house.ask("DELETE", "/clients/c/queue", "");
        assert_eq!(purged, (200, json!({"purged_messages": 3})));
        let full = house.get("/clients/c");
        assert_eq!((&full["ledger"], &full["queue_messages"]), (&json!({"purged": 3}), &json!(0)));
        // In flight.
        let mut client = Client::connect_with(
            house.broker.address("tcp"),
            &Connect { clean_start: false, session_expiry: 3600, ..connect(Version::V5, "c") },
        );
        publisher.publish("t/4", b"four");
        let packet_id = client.expect(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id,
            _ => None,
        });
        let (_, queue) = house.ask("GET", "/clients/c/queue", "");
        assert_eq!(
            (&queue["items"][0]["topic"], &queue["items"][0]["state"]),
            (&json!("t/4"), &json!("inflight"))
        );
        client.send(&Packet::PubAck(Ack::new(packet_id, Reason::Success)));
        client.ping();
        assert_eq!(house.ask("GET", "/clients/c/queue", "").1["items"], json!([]));
    }
}

#[test]
fn topics_tell_their_receivers_subscriptions_and_groups() {
    let house = House::new("");
    let mut clients: Vec<_> = ["a", "b"].iter().map(|name| house.client(name)).collect();
    for client in &mut clients {
        client.subscribe(&["t/+", "$share/g/t/#"], QoS::AtLeastOnce);
    }
    let receivers = house.get("/receivers?topic=t/1");
    assert_eq!(
        (texts(&receivers, "client_id"), &receivers["total"]),
        (vec!["a".into(), "b".into(), String::new()], &json!(3))
    );
    assert_eq!(texts(&receivers, "filter"), ["t/+", "t/+", "$share/g/t/#"]);
    assert!(receivers["items"].as_array().unwrap().iter().all(|item| item["permitted"] == true));
    let second = house.get("/receivers?topic=t/1&limit=2");
    let cursor = second["next"].as_str().expect("one more");
    let third = house.get(&format!("/receivers?topic=t/1&limit=2&cursor={cursor}"));
    assert_eq!(
        (texts(&third, "group"), &third["next"]),
        (vec!["$share/g/t/#".to_owned()], &Value::Null)
    );
    let (status, problem) = house.ask("GET", "/receivers?topic=t/%23", "");
    assert_eq!(status, 400, "{problem}");
    let own = house.get("/subscriptions?client=a&limit=1");
    let cursor = own["next"].as_str().expect("one more").to_owned();
    let rest = house.get(&format!("/subscriptions?client=a&cursor={}", cursor.replace('#', "%23")));
    assert_eq!([texts(&own, "filter"), texts(&rest, "filter")].concat(), ["$share/g/t/#", "t/+"]);
    let mut all = texts(&house.get("/subscriptions?filter=%2B"), "client_id");
    all.sort();
    assert_eq!(all, ["a", "b"]);
    let group = &house.get("/groups")["items"][0];
    assert_eq!(
        (&group["name"], &group["filter"], &group["members"]),
        (&json!("g"), &json!("t/#"), &json!(["a", "b"]))
    );
}

#[test]
fn messages_are_published_and_what_is_retained_is_looked_at_and_deleted() {
    for store in ["", "[store]\npath = 'data'\n"] {
        let house = House::new(store);
        let mut client = house.client("c");
        client.subscribe(&["t/#"], QoS::AtLeastOnce);
        let body = json!({
            "topic": "t/1", "payload": "hi", "qos": 1, "retain": true, "expiry_seconds": 600,
            "content_type": "text/plain", "user_properties": [["k", "v"]],
        });
        let (status, answer) = house.ask("POST", "/publish", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["reason_code"], &answer["receivers"]), (&json!(0), &json!(1)));
        let (payload, properties) = client.expect(|packet| match packet {
            Packet::Publish(publish) => {
                Some((publish.payload.to_vec(), publish.properties.as_bytes().to_vec()))
            }
            _ => None,
        });
        assert_eq!(payload, b"hi");
        // Content Type, then a User Property.
        let wanted = b"\x03\0\x0atext/plain\x26\0\x01k\0\x01v";
        assert!(properties.ends_with(wanted), "{properties:?}");
        let nobody = json!({"topic": "u", "payload_base64": "AP8=", "retain": true}).to_string();
        assert_eq!(house.ask("POST", "/publish", &nobody).1["reason"], "NoMatchingSubscribers");
        for wrong in [
            json!({"topic": "t/#"}),
            json!({"topic": "t", "qos": 3}),
            json!({"topic": "t", "payload": "x", "payload_base64": "eA=="}),
            json!({"topic": "t", "payload_base64": "?"}),
        ] {
            assert_eq!(house.ask("POST", "/publish", &wrong.to_string()).0, 400, "{wrong}");
        }
        assert_eq!(house.ask("POST", "/publish", r#"{"topic": "t", "typo": 1}"#).0, 422);
        let answer = house.http.ask("POST", "/api/v1/publish", VIEWER, r#"{"topic": "t"}"#);
        assert_eq!(answer.status, 403);
        let kept = house.get("/retained");
        assert_eq!(texts(&kept, "topic"), ["t/1", "u"]);
        assert!(kept["items"][0]["expires_in_seconds"].as_f64().unwrap() > 500.0);
        assert_eq!(kept["items"][0]["publisher"], "http/file");
        assert_eq!(house.http.get("/api/v1/retained?payload=true", VIEWER).status, 403);
        let (_, kept) = house.ask("GET", "/retained?payload=true&filter=u", "");
        assert_eq!(kept["items"][0]["payload_base64"], "AP8=");
        let deleted = house.ask("DELETE", "/retained?filter=t/%23", "");
        assert_eq!(deleted, (200, json!({"deleted_messages": 1})));
        assert_eq!(house.ask("DELETE", "/retained", "").0, 400, "not all by mistake");
        assert_eq!(texts(&house.get("/retained"), "topic"), ["u"]);
    }
}

#[test]
fn why_says_what_stands_in_the_way() {
    let house = House::new("[session]\ninflight_max = 1\n");
    let why = |query: &str| house.get(&format!("/why?{query}"));
    assert_eq!(why("client=c&topic=t")["reason"], "unknown_client");
    let mut client = house.client("c");
    client.subscribe(&["t"], QoS::AtLeastOnce);
    assert_eq!(why("client=c&topic=u")["reason"], "not_subscribed");
    let fine = why("client=c&topic=t");
    assert_eq!((&fine["verdict"], &fine["reason"]), (&json!("would_arrive"), &json!("nothing")));
    let mut publisher = house.client("p");
    publisher.publish("t", b"x");
    let full = why("client=c&topic=t&qos=1");
    assert_eq!((&full["verdict"], &full["reason"]), (&json!("would_wait"), &json!("window_full")));
    let step = full["steps"].as_array().unwrap().iter().find(|step| step["step"] == "window");
    assert_eq!(step.expect("a step")["ok"], false);
    assert!(full["advice"].as_str().unwrap().contains("`session.inflight_max`"));
    client.goodbye();
    assert_eq!(why("client=c&topic=t")["reason"], "offline");
    for wrong in ["client=c", "client=c&topic=%23", "client=c&topic=t&qos=7", "client=&topic=t"] {
        assert_eq!(house.ask("GET", &format!("/why?{wrong}"), "").0, 400, "{wrong}");
    }
}
