//! Every scenario once, small, against a broker that does nothing wrong: all of it is verified, in
//! both versions of the protocol, and over TLS.

mod arena;

use std::net::SocketAddr;

use arena::proxy::{Fault, Proxy};
use arena::{Arena, Finished, Running, load, load_there};
use serde_json::Value;

/// Runs `line`, which must end well; what it found.
#[track_caller]
fn run(address: SocketAddr, line: &str) -> Value {
    well(line, load(address, &format!("{line} --quiet --json -")))
}

#[track_caller]
fn well(line: &str, finished: Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{line}: {}{}", finished.said, finished.printed);
    let json = finished.json();
    for counter in ["lost", "duplicates", "reordered", "corrupt", "misrouted"] {
        assert_eq!(json["verification"][counter], 0, "{line}: {counter}: {json:#}");
    }
    json
}

/// Runs `line` in both versions; each time so many copies must arrive.
#[track_caller]
fn check(line: &str, copies: u64) {
    for protocol in ["5", "3.1.1"] {
        let line = format!("{line} --protocol {protocol}");
        let json = run(Arena::get().plain, &line);
        assert_eq!(json["traffic"]["expected"], copies, "{line}: {json:#}");
        assert_eq!(json["traffic"]["delivered"], copies, "{line}: {json:#}");
        assert_eq!(json["latency"]["count"], copies, "{line}: {json:#}");
    }
}

#[test]
fn pair_at_every_quality_of_service() {
    for qos in [0, 1, 2] {
        check(&format!("pair --count 500 --qos {qos}"), 500);
    }
}

#[test]
fn pair_by_a_rate_and_with_payloads_of_many_sizes() {
    check("pair --count 300 --rate 3000 --payload 32..2000:3,60000", 300);
}

#[test]
fn pair_on_two_threads() {
    check("pair --count 500 --threads 2 --qos 1", 500);
}

#[test]
fn fanout() {
    check("fanout --subscribers 20 --count 100", 2000);
}

#[test]
fn fanin() {
    check("fanin --publishers 20 --count 400 --qos 1", 400);
}

#[test]
fn wild() {
    let line = "wild --subscriptions 1000 --subscribers 10 --count 300";
    for protocol in ["5", "3.1.1"] {
        let json = run(Arena::get().plain, &format!("{line} --protocol {protocol}"));
        assert!(json["traffic"]["delivered"].as_u64() >= Some(300), "{json:#}");
    }
}

#[test]
fn shared() {
    check("shared --count 400 --qos 1", 400);
    check("shared --queue jobs --topic jobs/{pub} --count 400 --qos 1", 400);
}

#[test]
fn what_is_delayed_arrives_on_its_topic() {
    check("fanin --topic $delayed/1s/late/{pub} --count 100 --qos 1 --drain 60s", 100);
}

#[test]
fn durable() {
    check("durable --publishers 2 --count 300", 300);
}

#[test]
fn durable_in_two_runs_with_what_was_acknowledged_in_a_file() {
    for (protocol, qos) in [("5", 1), ("3.1.1", 2)] {
        let file = Arena::get().file(&format!("acknowledged-{qos}"));
        let file = file.display();
        let address = Arena::get().plain;
        let line = format!("durable --state {file} --publishers 2 --protocol {protocol}");
        let written = run(address, &format!("{line} --qos {qos} --count 300"));
        assert_eq!(written["traffic"]["acknowledged"], 300, "{written:#}");
        let read = run(address, &format!("durable --verify --state {file}"));
        assert_eq!(read["traffic"]["delivered"], 300, "{read:#}");
    }
}

#[test]
fn retained() {
    check("retained --publishers 2 --topics 50 --subscribers 3", 300);
}

#[test]
fn slow() {
    check("slow --subscribers 3 --stalled 2 --publishers 1 --count 200", 600);
}

#[test]
fn shape() {
    let line = "shape --burst 200 --count 1000 --publishers 1 --subscribers 1";
    for protocol in ["5", "3.1.1"] {
        let json = run(Arena::get().plain, &format!("{line} --protocol {protocol}"));
        assert!(json["smoothness"].is_object(), "{json:#}");
    }
}

#[test]
fn replay() {
    let file = Arena::get().file("recorded.csv");
    let mut text = String::from("at_ms,topic,qos,retain,payload\n");
    for message in 0..100 {
        let (topic, qos) = (message % 7, message % 3);
        text += &format!("{message},replayed/{topic},{qos},0,{}\n", 40 + message);
    }
    std::fs::write(&file, text).expect("a file");
    check(&format!("replay {} --filter replayed/#", file.display()), 100);
}

#[test]
fn idle() {
    for protocol in ["5", "3.1.1"] {
        let line = format!("idle --subscribers 50 --hold 200ms --protocol {protocol}");
        let json = run(Arena::get().plain, &line);
        assert_eq!(json["connections"]["opened"], 50, "{json:#}");
        assert_eq!(json["connections"]["lost"], 0, "{json:#}");
    }
}

#[test]
fn storm() {
    for protocol in ["5", "3.1.1"] {
        let line = format!("storm --clients 10 --count 200 --protocol {protocol}");
        let json = run(Arena::get().plain, &line);
        assert!(json["connections"]["opened"].as_u64() >= Some(200), "{json:#}");
    }
}

#[test]
fn with_a_typical_client() {
    for (line, copies) in [
        ("pair --count 300", 300),
        ("pair --count 300 --qos 2 --threads 2", 300),
        ("pair --count 200 --rate 2000 --qos 1 --payload 32..20000", 200),
        ("fanout --subscribers 20 --count 50", 1000),
        ("fanin --publishers 20 --count 200 --qos 1", 200),
        ("shared --share typical --count 200 --qos 1 --topic typical/{pub}", 200),
    ] {
        check(&format!("{line} --engine rumqttc"), copies);
    }
    let line = "pair --publishers 1 --count 10 --user ann --password secret --engine rumqttc";
    run(Arena::get().locked, line);
}

#[test]
fn phases_from_a_file() {
    let plan = Arena::get().file("plan.toml");
    let text = "[[phase]]\nscenario = \"pair\"\ncount = 200\nqos = 1\ntopic = \"plan/{pub}\"\n\n\
                [[phase]]\nscenario = \"idle\"\nsubscribers = 5\nhold = \"50ms\"\n";
    std::fs::write(&plan, text).expect("a file");
    let report = Arena::get().file("plan.html");
    let line = format!("run {} --report {} --quiet --json -", plan.display(), report.display());
    let finished = load(Arena::get().plain, &line);
    assert_eq!(finished.code, Some(0), "{}{}", finished.said, finished.printed);
    let json = finished.json();
    let scenarios = json.as_array().expect("two runs").iter().map(|run| &run["scenario"]);
    assert_eq!(scenarios.collect::<Vec<_>>(), ["pair", "idle"]);
    assert_eq!(json[0]["traffic"]["delivered"], 200, "{json:#}");
    let html = std::fs::read_to_string(&report).expect("a report");
    assert!(html.contains("id=\"run-2\"") && html.contains("2 runs, 200 copies"), "{html}");
}

#[test]
fn brokers_compared_in_rounds() {
    let (a, b) = (Arena::get().plain, Proxy::start(Arena::get().plain, Fault::None, 0).address);
    let line = format!(
        "compare one={a} two={b} --rounds 2 --json - -- \
         pair --count 100 --publishers 1 --topic compared/{{pub}}"
    );
    let finished = load(a, &line);
    assert_eq!(finished.code, Some(0), "{}{}", finished.said, finished.printed);
    let json = finished.json();
    let targets = json.as_array().expect("four runs").iter().map(|run| &run["target"]);
    assert_eq!(targets.collect::<Vec<_>>(), ["one", "one", "two", "two"]);
}

/// All connections are cut; the proxy stands for a broker that was restarted.
#[test]
fn storm_after_a_restart() {
    for protocol in ["5", "3.1.1"] {
        let proxy = Proxy::start(Arena::get().plain, Fault::None, 0);
        let line =
            format!("storm --restart --clients 20 --patience 100s --protocol {protocol} --json -");
        let mut running = Running::start(proxy.address, &line);
        running.until_said("20 clients are connected");
        proxy.cut();
        let finished = running.end();
        assert_eq!(finished.code, Some(0), "{}{}", finished.said, finished.printed);
        let json = finished.json();
        assert_eq!(json["connections"]["lost"], 20, "{json:#}");
        assert!(json["connections"]["recovery"].is_object(), "{json:#}");
    }
}

#[test]
fn over_tls() {
    let arena = Arena::get();
    for protocol in ["5", "3.1.1"] {
        for line in [
            "pair --count 500 --qos 1",
            "pair --count 50 --payload 60000",
            "storm --clients 3 --count 9",
        ] {
            let ca = arena.ca();
            let line = format!("{line} --protocol {protocol} --tls-ca {}", ca.display());
            run(arena.tls, &line);
        }
    }
}

#[test]
fn every_scenario_over_every_transport() {
    for way in Arena::get().ways() {
        for line in [
            "pair --count 300 --qos 2",
            "pair --count 300 --rate 3000",
            "pair --count 50 --payload 60000",
            "fanout --subscribers 20 --count 50",
            "fanin --publishers 20 --count 200 --qos 1",
            "wild --subscriptions 300 --subscribers 10 --count 50",
            "shared --count 200 --qos 1",
            "idle --subscribers 20 --hold 200ms",
            "storm --clients 3 --count 9",
            "durable --publishers 2 --count 100",
            "retained --publishers 2 --topics 50 --subscribers 3",
            "slow --subscribers 3 --stalled 2 --publishers 1 --count 200",
        ] {
            let line = format!("{line} {way} --quiet --json -");
            well(&line, load_there(&line));
        }
    }
}

#[test]
fn what_is_no_such_listener_is_said() {
    let arena = Arena::get();
    let [ws, _, quic] = arena.others;
    let nobody = arena.file("nobody.sock");
    for (way, words) in [
        (format!("--url ws://{}", arena.plain), "closed"),
        (format!("--url ws://{ws}/other"), "404"),
        (format!("--url unix://{}", nobody.display()), "No such file"),
        (format!("--url quic://{quic}"), "certificate"),
    ] {
        let finished = load_there(&format!("pair --count 1 {way} --quiet"));
        assert_eq!(finished.code, Some(2), "{way}");
        assert!(finished.said.contains(words), "{way}: {}", finished.said);
    }
}

#[test]
fn with_user_name_and_password() {
    run(Arena::get().locked, "pair --publishers 1 --count 10 --user ann --password secret");
}

/// A queue of an absent subscriber holds 1,000 messages: the broker refuses the others.
#[test]
fn refusals_are_counted_and_explained_also_where_nothing_is_measured() {
    let run = |to: &str| {
        let line = "durable --publishers 1 --count 3000 --payload 64 --protocol 5 --quiet --topic";
        load(Arena::get().plain, &format!("{line} {to}"))
    };
    let json = run("full-1/{pub} --json -").json();
    let count = |name: &str| json["traffic"][name].as_u64().expect("a count");
    assert_eq!(count("published"), 3000, "{json:#}");
    assert!(count("refused") > 0, "{json:#}");
    assert_eq!(count("refused") + count("expected"), 3000, "{json:#}");
    let shown = run("full-2/{pub}");
    assert_eq!(shown.code, Some(0), "{}{}", shown.printed, shown.said);
    for words in [
        "published        3,000",
        "the broker said no",
        "passed, with PUBLISHes that the broker refused",
    ] {
        assert!(shown.printed.contains(words), "{words}: {}", shown.printed);
    }
    let required = run("full-3/{pub} --require refused=0");
    assert_eq!(required.code, Some(1), "{}{}", required.printed, required.said);
}
