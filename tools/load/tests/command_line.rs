//! Bad input is one clear line and exit code 2; a requirement that is not met, exit code 1.

mod arena;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use arena::{Arena, Running, load};

/// `line` must be refused with one line on standard error that has all of `words` in it.
#[track_caller]
fn refused(address: SocketAddr, line: &str, words: &[&str]) {
    let finished = load(address, line);
    let said = finished.said.trim_end();
    assert_eq!(finished.code, Some(2), "{line}: {said}{}", finished.printed);
    assert_eq!(said.lines().count(), 1, "{line}: {said}");
    assert!(said.starts_with("sluice-load: "), "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: {said:?} lacks {word:?}");
    }
    assert_eq!(finished.printed, "", "{line}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let address = Arena::get().plain;
    for (line, words) in [
        ("pare", &["pare", "did you mean", "pair"][..]),
        ("fanuot", &["fanout"]),
        ("zebra", &["zebra", "pair", "fanout", "replay"]),
        ("", &["no scenario"]),
        ("pair --pubishers 3", &["--publishers"]),
        ("pair --publishers none", &["none"]),
        ("pair --publishers 3 --subscribers 4", &["3", "4", "pairs"]),
        ("pair --payload 16", &["16", "32", "stamp"]),
        ("pair --payload 64..32", &["64..32"]),
        ("pair --qos 3", &["3", "quality of service"]),
        ("pair --protocol 6", &["6", "protocol"]),
        ("pair --topic load/x", &["{pub}"]),
        ("pair --topic load/{pub}/#", &["load/0/#"]),
        ("pair --require p98<5ms", &["p98"]),
        ("pair --require p99", &["p99"]),
        ("pair --require p99<fast", &["fast"]),
        ("pair --count 5 --duration 3s", &["--count", "--duration"]),
        ("pair --duration 3", &["3"]),
        ("durable --qos 0", &["0", "acknowledged"]),
        ("durable --verify", &["--state"]),
        ("shared --share a/b", &["a/b"]),
        ("pair --engine rumqtt", &["rumqtt"]),
        ("storm --engine rumqttc", &["rumqttc", "pair, fanout, fanin"]),
        ("pair --persistent --engine rumqttc", &["rumqttc", "pair, fanout, fanin"]),
        ("pair --tls-insecure --engine rumqttc", &["rumqttc", "TLS"]),
        ("pair --source 127.0.0.2 --engine rumqttc", &["rumqttc", "address"]),
        ("pair --keep-alive 1 --engine rumqttc", &["rumqttc", "Keep Alive"]),
        ("run", &["<PLAN>"]),
        ("compare a=localhost -- pair", &["BROKERS"]),
        ("compare a=localhost b -- pair", &["\"b\"", "NAME=HOST:PORT"]),
        ("compare a=localhost b=localhost -- pare", &["pare", "pair"]),
    ] {
        refused(address, line, words);
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let address = Arena::get().plain;
    let file = |name: &str, text: &str| {
        let path = Arena::get().file(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let bad_qos = file("bad-qos.csv", "0,a/b,0,0,64\n5,a/b,7,0,64\n");
    let empty = file("empty.csv", "");
    let bad_plan = file("bad.toml", "[[phase]]\nscenario = \"pair\"\nqos = 3\n");
    let no_plan = file("no.toml", "[[phase]\n");
    let no_state = file("no-state", "something else\n");
    let no_certificate = file("none.pem", "nothing\n");
    for (line, words) in [
        ("run /nowhere/plan.toml", vec!["/nowhere/plan.toml"]),
        (&format!("run {bad_plan}"), vec![&*bad_plan, ":3:7:", "quality of service"]),
        (&format!("run {no_plan}"), vec![&*no_plan, ":1:"]),
        ("replay /nowhere/recorded.csv", vec!["/nowhere/recorded.csv"]),
        (&format!("replay {bad_qos}"), vec![&*bad_qos, ":2:"]),
        (&format!("replay {empty}"), vec![&*empty]),
        (&format!("durable --verify --state {no_state}"), vec![&*no_state]),
        ("durable --verify --state /nowhere/state", vec!["/nowhere/state"]),
        ("pair --tls-ca /nowhere/ca.pem", vec!["/nowhere/ca.pem"]),
        (&format!("pair --tls-ca {no_certificate}"), vec![&*no_certificate]),
        ("pair --count 1 --publishers 1 --json /nowhere/found.json", vec!["/nowhere/found.json"]),
        ("pair --count 1 --publishers 1 --csv /nowhere/found.csv", vec!["/nowhere/found.csv"]),
        ("pair --count 1 --publishers 1 --report /nowhere/page.html", vec!["/nowhere/page.html"]),
        ("idle --subscribers 1 --hold 1ms --broker-pid 4294967295", vec!["4294967295"]),
    ] {
        let finished = load(address, line);
        assert_eq!(finished.printed, "", "{line}: it is said before the run");
        let said = finished.said.trim_end();
        assert_eq!(finished.code, Some(2), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        for word in words {
            assert!(said.contains(word), "{line}: {said:?} lacks {word:?}");
        }
    }
}

#[test]
fn a_broker_that_cannot_be_reached_is_named() {
    // The first port has no listener.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    refused(nobody, "pair", &["127.0.0.1:1", "refused"]);
    refused(nobody, "pair --engine rumqttc", &["127.0.0.1:1", "refused"]);
    let mute = answering(b"");
    refused(mute, "pair --publishers 1 --count 1", &[&mute.to_string()]);
    let other = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    refused(other, "pair --publishers 1 --count 1", &[&other.to_string()]);
}

#[test]
fn a_client_that_is_refused_is_told_why() {
    let Arena { locked, tls, plain, .. } = Arena::get();
    for protocol in ["5", "3.1.1"] {
        let line = format!("pair --publishers 1 --count 1 --protocol {protocol}");
        let at = locked.to_string();
        refused(*locked, &line, &[&at, "not authorized"]);
        refused(*locked, &format!("{line} --engine rumqttc"), &[&at, "not authorized"]);
        let wrong = format!("{line} --user ann --password wrong");
        refused(*locked, &wrong, &[&at, "bad user name or password"]);
        // Its certificate is not signed by an authority that the system trusts.
        refused(*tls, &format!("{line} --tls"), &[&tls.to_string(), "certificate"]);
        refused(*plain, &format!("{line} --tls-insecure"), &[&plain.to_string()]);
        refused(*tls, &line, &[&tls.to_string()]);
    }
}

#[test]
fn a_requirement_is_met_or_the_exit_code_is_1() {
    let run = |require: &str| {
        let line =
            "pair --publishers 1 --count 100 --qos 1 --topic require/{pub} --quiet --require";
        load(Arena::get().plain, &format!("{line} {require}"))
    };
    let met = run("loss=0,max<1h,rate>0");
    assert_eq!(met.code, Some(0), "{}{}", met.said, met.printed);
    let unmet = run("loss=0,max<0.1us");
    assert_eq!(unmet.code, Some(1), "{}{}", unmet.said, unmet.printed);
    assert_eq!(unmet.said.lines().count(), 1, "{}", unmet.said);
    assert!(unmet.said.contains("max<0.1us"), "{}", unmet.said);
    assert!(!unmet.printed.contains("passed"), "{}", unmet.printed);
    assert!(unmet.printed.contains("FAILED: required is max<0.1us: it is "), "{}", unmet.printed);
}

#[test]
fn an_interrupted_run_shows_what_there_is() {
    let mut running = Running::start(
        Arena::get().plain,
        "pair --publishers 1 --rate 100 --qos 1 --topic interrupt/{pub} --duration 1h",
    );
    // A line with rates: it publishes.
    running.until_said("publishing: ");
    running.signal("INT");
    let finished = running.end();
    assert_eq!(finished.code, Some(130), "{}{}", finished.said, finished.printed);
    for words in ["published", "delivered", "lost             0", "INTERRUPTED: "] {
        assert!(finished.printed.contains(words), "{words}: {}", finished.printed);
    }
    assert!(!finished.printed.contains("passed"), "{}", finished.printed);
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["--help", "--version", "pair --help"] {
        let finished = load(Arena::get().plain, line);
        assert_eq!((finished.code, finished.said.as_str()), (Some(0), ""), "{line}");
        assert!(finished.printed.contains("sluice-load"), "{line}: {}", finished.printed);
    }
}

/// Something that is no broker: it writes `words` to every connection, and closes it.
fn answering(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(words);
        }
    });
    address
}
