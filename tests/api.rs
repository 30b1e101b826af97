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

#[test]
fn delayed_messages_are_listed_in_pages_and_cancelled_by_an_operator() {
    let house = House::new("");
    let mut publisher = house.client("p");
    for span in ["3h", "1h", "2h"] {
        publisher.publish(&format!("$delayed/{span}/valve/{span}"), b"x");
    }
    publisher.ping();
    let page = house.get("/delayed?limit=2");
    assert_eq!(texts(&page, "topic"), ["valve/1h", "valve/2h"]);
    assert_eq!(texts(&page, "client_id"), ["p", "p"]);
    assert!(page["items"][0]["message_bytes"].as_u64().expect("a number") > 0);
    let next = page["next"].as_str().expect("a next page");
    let rest = house.get(&format!("/delayed?cursor={next}"));
    assert_eq!((texts(&rest, "topic"), &rest["next"]), (vec!["valve/3h".to_owned()], &Value::Null));
    let path = format!("/delayed/{}", page["items"][1]["id"].as_str().expect("an id"));
    let refused = house.http.ask("DELETE", &format!("/api/v1{path}"), VIEWER, "");
    assert_eq!(refused.status, 403, "a viewer changes nothing");
    assert_eq!(house.ask("DELETE", &path, ""), (200, json!({"cancelled_messages": 1})));
    assert_eq!(house.ask("DELETE", &path, "").0, 404);
    assert_eq!(house.ask("DELETE", "/delayed/x", "").0, 404);
    assert_eq!(texts(&house.get("/delayed"), "topic"), ["valve/1h", "valve/3h"]);
    assert_eq!(house.ask("GET", "/delayed?cursor=x", "").0, 400);
}

#[test]
fn named_queues_are_listed_made_and_removed() {
    let house = House::new(
        "
        [[named_queue]]
        name = 'orders'
        bindings = ['orders/#']
        policy = 'drop_oldest'
        ",
    );
    let body = json!({
        "name": "jobs",
        "bindings": ["jobs/#", {"filter": "more/+", "where": {"region": "eu"}}],
        "messages_max": 7,
        "ttl": "1h",
    });
    let refused = house.http.ask("POST", "/api/v1/queues", VIEWER, &body.to_string());
    assert_eq!(refused.status, 403, "a viewer changes nothing");
    assert_eq!(house.ask("POST", "/queues", &body.to_string()), (201, json!({"name": "jobs"})));
    assert_eq!(house.ask("POST", "/queues", &body.to_string()).0, 409);
    let taken = json!({"name": "orders", "bindings": ["x"]});
    assert_eq!(house.ask("POST", "/queues", &taken.to_string()).0, 409);
    for (wrong, words) in [
        (json!({"name": "a b", "bindings": ["x"]}), "named_queue.name: expected 1 to 64 letters"),
        (json!({"name": "a"}), "named_queue.bindings: 0 of them: expected 1 to 100"),
        (
            json!({"name": "a", "binding": ["x"]}),
            "unknown key 'binding' in [[named_queue]]; did you mean",
        ),
        (
            json!({"name": "a", "bindings": ["x"], "policy": "drop"}),
            "named_queue.policy: expected one of",
        ),
        (
            json!({"name": "a", "bindings": ["x"], "messages_max": "9"}),
            "expected an integer such as",
        ),
        (json!({"name": "a", "bindings": ["x"], "ttl": null}), "named_queue: "),
        (
            json!({"name": "a", "bindings": ["x"], "keep": {"messages": 0}}),
            "named_queue.keep.messages: 0 is out of range",
        ),
        (json!({"name": "a", "bindings": ["x/#/y"]}), "is not a Topic Filter"),
        (json!([]), "expected a section, found a list"),
    ] {
        let (status, problem) = house.ask("POST", "/queues", &wrong.to_string());
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(words), "{wrong}: {status} {problem}");
    }
    let mut publisher = house.client("p");
    for _ in 0..3 {
        publisher.publish("jobs/a", b"x");
    }
    publisher.ping();
    let all = house.get("/queues");
    assert_eq!(texts(&all, "name"), ["jobs", "orders"]);
    assert_eq!(texts(&all, "source"), ["api", "configuration"]);
    let jobs = &all["items"][0];
    assert_eq!((&jobs["queue_messages"], &jobs["consumers_total"]), (&json!(3), &json!(0)));
    assert!(jobs["oldest"].as_str().expect("a moment").ends_with('Z'));
    assert_eq!(jobs["messages_max"], 7);
    assert_eq!(jobs["ttl_seconds"], 3600.0);
    assert_eq!(jobs["bindings"][1], json!({"filter": "more/+", "where": {"region": "eu"}}));
    assert_eq!(all["items"][1]["policy"], "drop_oldest");
    let page = house.get("/queues?limit=1");
    assert_eq!((texts(&page, "name"), &page["next"]), (vec!["jobs".to_owned()], &json!("jobs")));
    assert_eq!(texts(&house.get("/queues?cursor=jobs"), "name"), ["orders"]);
    assert_eq!(house.ask("DELETE", "/queues/orders?discard=9", "").0, 409);
    let (status, problem) = house.ask("DELETE", "/queues/jobs?discard=2", "");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 409 && detail.starts_with("3 messages wait"), "{problem}");
    let removed = house.ask("DELETE", "/queues/jobs?discard=3", "");
    assert_eq!(removed, (200, json!({"discarded_messages": 3})));
    assert_eq!(house.ask("DELETE", "/queues/jobs", "").0, 404);
    assert_eq!(house.ask("DELETE", "/queues/a+b", "").0, 404);
    let ledger = house.get("/ledger").to_string();
    assert!(ledger.contains("\"purged\""), "{ledger}");
}

/// What has failed is seen with its attempts and when it is due; a log, with what it has and its readers.
#[test]
fn messages_of_a_named_queue_and_its_log_are_seen() {
    let house = House::new("");
    let body = json!({
        "name": "jobs",
        "bindings": ["jobs/#"],
        "backoff": "1h..2h",
        "strategy": "single_active",
        "keep": {"messages": 2, "span": "1h"},
    });
    assert_eq!(house.ask("POST", "/queues", &body.to_string()).0, 201);
    let mut consumer = house.client("c");
    consumer.subscribe(&["$queue/jobs"], QoS::AtLeastOnce);
    let mut publisher = house.client("p");
    publisher.publish("jobs/a", b"x");
    let packet_id = consumer.expect(|packet| match packet {
        Packet::Publish(publish) => publish.packet_id,
        _ => None,
    });
    consumer.send(&Packet::PubAck(Ack::new(packet_id, Reason::ImplementationSpecificError)));
    consumer.ping();
    publisher.publish("jobs/b", b"yz");
    publisher.publish("jobs/c", b"");
    let queue = &house.get("/queues")["items"][0];
    assert_eq!((&queue["queue_messages"], &queue["postponed_messages"]), (&json!(3), &json!(1)));
    assert_eq!(queue["strategy"], "single_active");
    assert_eq!(queue["lanes"], json!([{"client_id": "c", "lanes": 1}]));
    let viewer = house.http.get("/api/v1/queues/jobs/messages", VIEWER);
    assert_eq!(viewer.status, 403, "topics are an operator's");
    let (status, messages) = house.ask("GET", "/queues/jobs/messages?payload=true", "");
    assert_eq!(
        (status, texts(&messages, "topic").join(" ")),
        (200, "jobs/b jobs/c jobs/a".to_owned())
    );
    let failed = &messages["items"][2];
    assert_eq!((&failed["attempts"], &messages["items"][0]["attempts"]), (&json!(1), &json!(0)));
    assert_eq!((&failed["publisher"], &failed["payload_base64"]), (&json!("p"), &json!("eA==")));
    assert!(failed["due"].as_str().expect("a moment") > failed["received"].as_str().unwrap());
    assert_eq!(messages["items"][0]["due"], Value::Null);
    assert_eq!(house.ask("GET", "/queues/job/messages", "").0, 404);
    let mut reader = house.client("r");
    reader.subscribe(&["$replay/jobs/all"], QoS::AtLeastOnce);
    assert_eq!(reader.message().0, "jobs/b");
    assert_eq!(reader.message().0, "jobs/c");
    reader.ping();
    let log = &house.get("/keeps")["items"][0];
    let wanted = json!({
        "name": "jobs",
        "source": "api",
        "kept_messages": 2,
        "kept_bytes": log["kept_bytes"],
        "first": log["first"],
        "last": log["last"],
        "readers_connected": 1,
        "unread_messages": 0,
        "missed_messages": 0,
        "bindings": [{"filter": "jobs/#", "where": {}}],
        "messages_max": 2,
        "bytes_max": log["bytes_max"],
        "span_seconds": 3600.0,
    });
    assert_eq!(*log, wanted);
    assert!(log["first"].as_str().expect("a moment") <= log["last"].as_str().unwrap());
    assert_eq!(house.ask("DELETE", "/keeps/jobs?discard=2", "").0, 409, "its queue has it");
    assert_eq!(house.ask("DELETE", "/queues/jobs?discard=3", "").0, 200);
    let (status, problem) = house.ask("DELETE", "/keeps/jobs", "");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 409 && detail.contains("has 2 messages"), "{problem}");
    let removed = house.ask("DELETE", "/keeps/jobs?discard=2", "");
    assert_eq!(removed, (200, json!({"discarded_messages": 2})));
    assert_eq!(house.ask("DELETE", "/keeps/jobs", "").0, 404);
}
