//! The HTTP listener of the real process: what is let in, and what is refused and how.

mod asking;
mod process;
mod wire;

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use asking::{HTTP, HttpClient, VIEWER, operator, read_answer};
use process::{Process, Sluice, new_folder, program, sluice};
use serde_json::{Value, json};
use sluicemq::codec::{Connect, QoS, Reason, Version};
use sluicemq::message::Loss;
use wire::{Client, connect};

#[test]
fn without_a_good_token_there_is_health_and_nothing_else() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    for (path, wanted) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = http.get(path, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, wanted));
    }
    for path in ["/api/v1/status", "/api/v1/openapi.json", "/api/v1/nothing", "/metrics", "/else"] {
        for header in ["", "Bearer wrong", "Bearer ", "Bearer", &format!("Basic {VIEWER}"), VIEWER]
        {
            let answer = http.say(&format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\n\r\n"
            ));
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, 401, "{path} {header}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.json()["status"], 401);
        }
    }
    let log = until(&broker, |log| log.contains("reason=http_token"));
    assert!(!log.contains(VIEWER), "{log}");
    let mode = std::fs::metadata(broker.file("token")).expect("a token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_viewer_looks_and_an_operator_changes_with_a_line_in_the_log_for_each() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let operator = operator(&broker);
    for token in [VIEWER, &operator] {
        let status = http.get("/api/v1/status", token);
        assert_eq!(status.status, 200);
        assert_eq!(status.json()["ready"], true);
        assert_eq!(status.json()["version"], env!("CARGO_PKG_VERSION"));
        for (header, wanted) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(status.header(header), Some(wanted));
        }
        let policy = status.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
    }
    assert_eq!(http.get("/api/v1/nothing", VIEWER).status, 404);
    assert_eq!(http.get("/api/v1/status?x=%00", VIEWER).status, 200);
    let refused = http.ask("DELETE", "/api/v1/status", VIEWER, "");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("operator"), "{}", refused.body);
    let wrong = http.ask("DELETE", "/api/v1/status", &operator, "");
    assert_eq!((wrong.status, &wrong.json()["status"]), (405, &405.into()));
    let audit = |line: &str| line.contains("audit") && line.contains("what=DELETE");
    let log = until(&broker, |log| log.lines().filter(|line| audit(line)).count() == 2);
    for wanted in ["token=looks address=127.0.0.1:", "on=/api/v1/status result=403"] {
        assert!(log.contains(wanted), "{log}");
    }
    assert!(log.contains("token=file"), "{log}");
    assert!(!log.contains(&operator) && !log.contains(VIEWER), "{log}");
    assert_eq!(log.matches("audit").count(), 2, "looking is not in the audit: {log}");
}

#[test]
fn pages_of_other_sites_are_refused() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let status = |headers: &str| {
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\n{headers}\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
        );
        http.say(&request).expect("an answer").status
    };
    for good in [
        "Host: broker.example",
        "Host: localhost:18090",
        "Host: broker.example:1\r\nOrigin: http://broker.example:1",
        "Host: localhost\r\nOrigin: https://app.example",
    ] {
        assert_eq!(status(good), 200, "{good}");
    }
    assert_eq!(status("Host: evil.example"), 421);
    assert_eq!(status("X: y"), 400, "no Host");
    assert_eq!(status("Host: localhost\r\nOrigin: https://evil.example"), 403);
    assert_eq!(status("Host: localhost\r\nOrigin: null"), 403);
    let log = until(&broker, |log| log.contains("reason=http_site"));
    let line = log.lines().find(|line| line.contains("reason=http_site")).expect("a line");
    for part in ["address=127.0.0.1:", "key=http.hosts", "evil.example"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn the_page_of_a_listed_origin_may_ask_and_show_its_token() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let ask = |method: &str, headers: &str| {
        let path = "/api/v1/status";
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        http.say(&request).expect("an answer")
    };
    let page = "Origin: https://app.example";
    let asked = "Access-Control-Request-Method: GET";
    let answer = ask("OPTIONS", &format!("{page}\r\n{asked}"));
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(answer.header("access-control-allow-headers").expect("some").contains("authorization"));
    let answer = ask("GET", &format!("{page}\r\nAuthorization: Bearer {VIEWER}"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(ask("GET", page).status, 401, "a token is wanted all the same");
    for (headers, wanted) in [(asked, 401), ("Origin: https://evil.example", 403)] {
        let answer = ask("OPTIONS", headers);
        assert_eq!(answer.status, wanted, "{headers}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_there() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let token = operator(&broker);
    let head = format!(
        "PUT /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    );
    let answer = http.say(&format!("{head}Content-Length: 1048577\r\n\r\n")).expect("an answer");
    assert_eq!(answer.status, 413, "not one byte of the body was sent");
    // In pieces, without a word on how long it is.
    let mut stream = http.connect();
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    stream
        .write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .expect("taken");
    // It may be refused while it is being sent.
    let _ = (0..17).try_for_each(|_| stream.write_all(piece.as_bytes()));
    assert_eq!(read_answer(&mut BufReader::new(stream)).expect("an answer").status, 413);
    let fits = format!("{head}Content-Length: 1048576\r\n\r\n{}", " ".repeat(1_048_576));
    assert_eq!(http.say(&fits).expect("an answer").status, 405, "of the handler");
    let long =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    assert_eq!(http.say(&long).expect("an answer").status, 431);
    let many =
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(http.say(&many).expect("an answer").status, 431);
}

#[test]
fn a_header_or_a_body_that_does_not_come_ends_the_connection() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let token = operator(&broker);
    let mut silent = http.connect();
    let mut slow = http.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").expect("taken");
    let mut idle = http.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
    let mut body = http.connect();
    let head =
        format!("PUT /api/v1/log HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
    body.write_all(format!("{head}Content-Length: 5\r\n\r\n{{").as_bytes()).expect("taken");
    let mut text = String::new();
    for stream in [&mut silent, &mut slow] {
        stream.read_to_string(&mut text).expect("an end");
        assert_eq!(text, "");
    }
    idle.read_to_string(&mut text).expect("an end");
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("ok\n"), "{text}");
    assert_eq!(read_answer(&mut BufReader::new(body)).expect("an answer").status, 408);
}

/// Asks for `path` on a connection that stays, with a viewer's token or none.
fn ask_and_stay(http: &HttpClient, path: &str, token: bool) -> (u16, TcpStream) {
    let token = if token { format!("Authorization: Bearer {VIEWER}\r\n") } else { String::new() };
    let mut stream = http.connect();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
    stream.write_all(ask.as_bytes()).expect("taken");
    let answer = read_answer(&mut BufReader::new(&stream)).expect("an answer");
    (answer.status, stream)
}

#[test]
fn connections_beyond_the_limit_are_turned_away_and_free_places_are_given_again() {
    let broker = Sluice::start(&HTTP.replace("[http]", "[http]\nconnections_max = 3"));
    let http = HttpClient::of(&broker);
    let mut kept: Vec<_> = (0..3).map(|_| ask_and_stay(&http, "/api/v1/status", true)).collect();
    assert!(kept.iter().all(|(status, _)| *status == 200));
    let mut refused = String::new();
    // Nothing is sent, so that nothing but the answer comes back.
    http.connect().read_to_string(&mut refused).expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    until(&broker, |log| log.contains("reason=http_connections value=4 limit=3"));
    kept.pop();
    // The place is free a moment after the connection has gone.
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut tries = 0;
    while http.say(ask).is_err_and(|_| tries < 10_000) {
        tries += 1;
    }
    assert!(tries < 10_000, "the place is not given again");
}

#[test]
fn connections_without_a_token_keep_nobody_out() {
    let broker = Sluice::start(&HTTP.replace("[http]", "[http]\nconnections_max = 3"));
    let http = HttpClient::of(&broker);
    let (status, mut known) = ask_and_stay(&http, "/api/v1/status", true);
    assert_eq!(status, 200);
    let mut silent: Vec<_> = (0..50).map(|_| http.connect()).collect();
    assert_eq!(ask_and_stay(&http, "/healthz", false).0, 200);
    // The oldest of those that said nothing has gone, and the one with a token has not.
    assert_eq!(silent[0].read(&mut [0]).expect("an end"), 0);
    until(&broker, |log| {
        log.lines()
            .any(|line| line.contains("reason=http_connections") && line.contains("makes room"))
    });
    known.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
    assert_eq!(read_answer(&mut BufReader::new(&known)).expect("an answer").status, 200);
}

#[test]
fn ten_thousand_requests_from_many_connections_are_all_answered() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
    );
    // All are sent before the first answer is read: 100 connections with 100 requests each.
    let mut streams: Vec<_> = (0..100).map(|_| http.connect()).collect();
    for stream in &mut streams {
        stream.write_all(request.repeat(100).as_bytes()).expect("taken");
    }
    for stream in streams {
        let mut reader = BufReader::new(stream);
        for _ in 0..100 {
            assert_eq!(read_answer(&mut reader).expect("an answer").status, 200);
        }
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_where_it_is_configured() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = new_folder();
    let config = HTTP.replacen(
        "[http]\naddress = '127.0.0.1:0'",
        &format!("[http]\naddress = '{address}'"),
        1,
    );
    let (code, lines) = Process::start(&mut sluice(folder.path(), &config)).end();
    assert_eq!(code, Some(2));
    let said = lines.join("\n");
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}

/// Without a file, the broker says where it can be looked into; where the port is taken, it goes on without.
#[test]
fn the_development_broker_goes_on_without_http_if_the_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = new_folder();
    let mut command = program();
    command.current_dir(folder.path()).args(["--set", "listener.0.address=127.0.0.1:0"]);
    command.args(["--set", "listener.1.address=127.0.0.1:0", "--set", "store.kind=memory"]);
    let mut broker = Process::start(command.args(["--set", &format!("http.address={address}")]));
    broker.until(|line| line.contains("runs without HTTP"));
    let ready = broker.until(|line| line.contains(r#""sluice":"ready""#));
    assert!(!ready.contains("http"), "{ready}");
    drop(taken);
    drop(broker);
    let mut broker = Process::start(&mut command);
    let link = broker.until(|line| line.contains(&format!("http://{address}/#token=")));
    let token = std::fs::read_to_string(folder.path().join("http-token")).expect("a token");
    assert!(link.ends_with(token.trim()), "{link}");
}

#[test]
fn a_reload_reads_tokens_and_names_again() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let before = operator(&broker);
    std::fs::write(broker.file("token"), "another-token-of-an-operator\n").expect("a file");
    let config = std::fs::read_to_string(broker.file("sluice.toml")).expect("a file");
    let config = config.replace("name = 'looks'", "name = 'also'").replace("e2f5", "e2f6");
    std::fs::write(broker.file("sluice.toml"), config).expect("a file");
    broker.signal("HUP");
    until(&broker, |log| log.contains("overload reloaded"));
    let status = |token: &str| http.get("/api/v1/status", token).status;
    assert_eq!([status(&before), status(VIEWER)], [401, 401]);
    assert_eq!(status("another-token-of-an-operator"), 200);
    std::fs::write(broker.file("token"), "\n").expect("a file");
    broker.signal("HUP");
    until(&broker, |log| log.contains("holds no token"));
    assert_eq!(status("another-token-of-an-operator"), 200);
}

#[test]
fn the_configuration_says_what_is_in_force_and_where_it_came_from() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let config = || http.get("/api/v1/config", VIEWER).json();
    let item = |config: &Value, key: &str| {
        let items = config["items"].as_array().expect("items");
        items.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("no {key}")).clone()
    };
    let before = config();
    let address = item(&before, "listener.0.address");
    assert_eq!((&address["value"], &address["reload"]), (&"127.0.0.1:0".into(), &false.into()));
    assert!(address["origin"].as_str().expect("a text").ends_with("sluice.toml:4"), "{address}");
    let qos = item(&before, "session.qos_max");
    assert_eq!((&qos["value"], &qos["origin"]), (&2.into(), &"built-in".into()));
    assert_eq!(item(&before, "http.hosts")["value"], json!(["broker.example"]));
    assert_eq!(item(&before, "log.file")["value"], Value::Null);
    assert_eq!(item(&before, "http.token.0.sha256")["value"], "***");
    assert!(!before.to_string().contains("e2f53b4a"), "a hash is shown");
    // What a reload has put in force is shown, and what waits for a restart is not.
    let text = std::fs::read_to_string(broker.file("sluice.toml")).expect("a file");
    let text = format!("{text}[broker]\nlinger_max = '7ms'\nworkers = 3\n");
    std::fs::write(broker.file("sluice.toml"), text).expect("a file");
    let reload = http.ask("POST", "/api/v1/reload", &operator(&broker), "");
    let wanted = "broker.workers has changed, and is in force only after a restart";
    assert_eq!(reload.json(), json!({"reloaded": true, "messages": [wanted]}));
    let after = config();
    let linger = item(&after, "broker.linger_max");
    assert_eq!(linger["value"], "7ms");
    assert!(linger["origin"].as_str().expect("a text").contains("sluice.toml:"), "{linger}");
    let workers = item(&after, "broker.workers");
    assert_eq!((&workers["value"], &workers["origin"]), (&0.into(), &"built-in".into()));
}

#[test]
fn a_reload_that_is_refused_answers_with_every_mistake() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let text = std::fs::read_to_string(broker.file("sluice.toml")).expect("a file");
    let text = format!("{text}[broker]\nlinger_max = '7h'\n[session]\nqos_mx = 1\n");
    std::fs::write(broker.file("sluice.toml"), text).expect("a file");
    let answer = http.ask("POST", "/api/v1/reload", &operator(&broker), "").json();
    assert_eq!(answer["reloaded"], false);
    let said = answer["messages"].to_string();
    assert!(said.contains("linger_max: 7h is out of range") && said.contains("qos_mx"), "{said}");
    until(&broker, |log| log.contains("nothing reloaded") && log.contains("on=/api/v1/reload"));
}

#[test]
fn levels_of_the_log_change_while_the_broker_runs_and_the_audit_stays() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let operator = operator(&broker);
    assert_eq!(http.get("/api/v1/log", VIEWER).json(), json!({"level": "info"}));
    let put = |body: &str| http.ask("PUT", "/api/v1/log", &operator, body);
    let answer = put(r#"{"level": "off,sluicemq::http=debug"}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let level = http.get("/api/v1/log", VIEWER).json()["level"].to_string();
    assert!(level.contains("sluicemq::http=debug") && level.contains("audit=info"), "{level}");
    for wrong in [r#"{"level": "loud"}"#, r#"{"level": ""}"#, r#"{"levels": "info"}"#, "{", ""] {
        let answer = put(wrong);
        assert!((400..500).contains(&answer.status), "{wrong}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert!(put(r#"{"level": "loud"}"#).body.contains("unknown level"));
    let log = until(&broker, |log| log.matches("on=/api/v1/log").count() == 7);
    assert!(log.contains("result=200") && log.contains("result=400"), "{log}");
}

#[test]
fn what_the_broker_says_of_its_listeners_store_and_load() {
    let broker = Sluice::start(&format!("{HTTP}[store]\n"));
    let http = HttpClient::of(&broker);
    let listeners = http.get("/api/v1/listeners", VIEWER).json();
    let tcp = &listeners["items"][0];
    assert_eq!((&tcp["name"], &tcp["transport"]), (&"tcp".into(), &"tcp".into()));
    assert_eq!(tcp["address"], broker.address("tcp").to_string());
    assert_eq!((&tcp["connections"], &tcp["connections_max"]), (&0.into(), &100_000.into()));
    let open = TcpStream::connect(broker.address("tcp")).expect("a connection");
    let is_open = || http.get("/api/v1/listeners", VIEWER).json()["items"][0]["connections"] == 1;
    until(&broker, |_| is_open());
    drop(open);
    let store = http.get("/api/v1/store", VIEWER).json();
    assert_eq!(store["durable"], true);
    let figures = store["figures"].as_array().expect("figures");
    let figure = |name: &str| figures.iter().find(|figure| figure["name"] == name);
    assert!(figure("store_journal").expect("a figure")["value"].as_u64() > Some(0), "{store}");
    assert_eq!(figure("store_failed").expect("a figure")["value"], 0);
    let overload = http.get("/api/v1/overload", VIEWER).json();
    assert_eq!((&overload["level"], &overload["cause"]), (&0.into(), &Value::Null));
    let causes = overload["causes"].as_array().expect("causes");
    let of = |name: &str| causes.iter().find(|cause| cause["cause"] == name).expect("a cause");
    assert!(of("lag")["max_seconds"].is_f64() && of("lag")["max_bytes"].is_null(), "{overload}");
    assert!(of("queued")["max_bytes"].is_u64(), "{overload}");
}

#[test]
fn the_ledger_says_what_was_lost_and_refused_and_what_to_do() {
    let class = "[[topic_class]]\nname = 'readings'\nfilters = ['r/#']\n";
    let queue = "[queue]\nmessages_max = 1\n";
    let broker = Sluice::start(&format!("{HTTP}{class}{queue}"));
    let at = broker.address("tcp");
    let session = Connect { clean_start: false, session_expiry: 60, ..connect(Version::V5, "s") };
    let mut receiver = Client::connect_with(at, &session);
    receiver.subscribe(&["r/#"], QoS::AtLeastOnce);
    receiver.send_bytes(&[0xE0, 0]);
    receiver.closed();
    let mut publisher = Client::connect(at, Version::V5, "p");
    assert_eq!(publisher.publish("r/1", b"waits"), Reason::Success);
    assert_eq!(publisher.publish("r/2", b"no room"), Reason::QuotaExceeded);
    let ledger = HttpClient::of(&broker).get("/api/v1/ledger", VIEWER).json();
    let of = |list: &Value, reason: &str| {
        let found = list.as_array().expect("a list").iter().find(|one| one["reason"] == reason);
        found.unwrap_or_else(|| panic!("no {reason}: {list}")).clone()
    };
    let full = of(&ledger["reasons"], "queue_full");
    assert_eq!(full["count"], 1);
    assert!(full["advice"].as_str().expect("a text").contains("queue.messages_max"), "{full}");
    assert_eq!(ledger["reasons"].as_array().expect("reasons").len(), Loss::ALL.len());
    assert_eq!(ledger["classes"][0]["class"], "readings");
    assert_eq!(of(&ledger["classes"][0]["reasons"], "queue_full")["count"], 1);
    Client::open(at, Version::V5).send_bytes(b"GET / HTTP/1.1\r\n\r\n");
    until(&broker, |_| {
        let ledger = HttpClient::of(&broker).get("/api/v1/ledger", VIEWER).json();
        ledger["refused"].as_array().expect("refusals").iter().any(|one| one["count"] == 1)
    });
}

/// The log, once it is so.
#[track_caller]
fn until(broker: &Sluice, so: impl Fn(&str) -> bool) -> String {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let log = broker.log();
        if so(&log) {
            return log;
        }
        assert!(std::time::Instant::now() < end, "the log does not say it: {log}");
        std::thread::yield_now();
    }
}
