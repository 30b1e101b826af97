//! The dashboard in a real browser: a person's tasks, on a real broker.

mod asking;
mod browser;
mod installed;
mod process;
mod wire;

use std::fs;
use std::path::Path;

use asking::{HTTP, HttpClient, VIEWER, operator};
use browser::Browser;
use process::Sluice;
use serde_json::json;
use sluicemq::codec::{Packet, Publish, QoS, Reason, Version};
use wire::{Client, connect, connect_with_will, message};

/// Keys that are no letters.
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";
const TAB: &str = "\u{E004}";

/// The field for the topic in the form that publishes.
const PUBLISH_TOPIC: &str = "form:has(textarea) input";

/// A name in the form of an attack: markup that would run, and a character that turns the direction of writing. If
/// it ran, its question would stand in the way of every further command.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202E}gnp.exe";

/// How the page shows it.
const SHOWN: &str = "<img src=x onerror=alert(1)>U+202Egnp.exe";

/// The views, by their place in the address, in the order of their shortcuts.
const VIEWS: &[&str] =
    &["overview", "clients", "topics", "groups", "ledger", "trace", "configuration"];

/// A broker, and a browser that looks at its dashboard.
struct Visit {
    browser: Browser,
    broker: Sluice,
}

impl Visit {
    /// With the link that the broker prints; `None` where there is no browser.
    fn start() -> Option<Visit> {
        let visit = Visit::without_token()?;
        visit.open(&format!("#token={}", operator(&visit.broker)));
        visit.browser.see("Last 15 minutes");
        Some(visit)
    }

    /// With nothing open yet.
    fn without_token() -> Option<Visit> {
        Some(Visit { browser: Browser::start()?, broker: Sluice::start(HTTP) })
    }

    fn open(&self, rest: &str) {
        self.browser.open(&format!("http://{}/{rest}", HttpClient::of(&self.broker).address));
    }

    /// A client called `pump-7` that takes two messages and acknowledges none of them; more wait for it.
    fn stuck_client(&self) -> Client {
        let mut narrow = connect(Version::V5, "pump-7");
        narrow.receive_maximum = 2.try_into().expect("not zero");
        let mut stuck = Client::connect_with(self.broker.address("tcp"), &narrow);
        stuck.subscribe(&["work/#"], QoS::AtLeastOnce);
        let mut publisher = Client::connect(self.broker.address("tcp"), Version::V5, "publisher");
        for number in 0..50 {
            assert_eq!(publisher.publish(&format!("work/{number}"), b"do it"), Reason::Success);
        }
        publisher.goodbye();
        stuck
    }
}

#[test]
fn a_wrong_token_is_told_and_a_good_one_leaves_no_trace() {
    let Some(visit) = Visit::without_token() else { return };
    let browser = &visit.browser;
    let token = operator(&visit.broker);

    visit.open("");
    browser.fill_in("Token of this broker", "guessed");
    browser.press(ENTER);
    browser.see("The broker does not know this token.");
    assert!(!browser.text("body").contains("Last 15 minutes"));

    browser.fill_in("Token of this broker", &token);
    browser.click_on("Show the broker");
    browser.see("Last 15 minutes");

    visit.open(&format!("?link#token={token}"));
    browser.see("Last 15 minutes");
    let address = browser.evaluate("return location.href", &[]);
    assert!(!address.as_str().expect("an address").contains(&token), "{address}");

    browser.click_on("Forget token");
    browser.see("Token of this broker");
    assert_eq!(browser.evaluate("return sessionStorage.length + localStorage.length", &[]), 0);
}

#[test]
fn the_views_are_reached_by_keyboard_and_the_shortcuts_are_listed() {
    let Some(visit) = Visit::without_token() else { return };
    let browser = &visit.browser;
    visit.open("");
    browser.see("Token of this broker");
    browser.press(&format!("{}{ENTER}", operator(&visit.broker)));
    browser.see("Last 15 minutes");
    for (number, view) in (1..).zip(VIEWS) {
        browser.press(&number.to_string());
        browser.until(&format!(
            "return document.querySelector('h1')?.innerText.toLowerCase() === '{view}'"
        ));
    }
    browser.press("?");
    browser.see("Keyboard shortcuts");
    browser.press(ESCAPE);
    browser.see_no_more("Keyboard shortcuts");
}

#[test]
fn a_stuck_client_is_found_understood_and_disconnected() {
    let Some(visit) = Visit::start() else { return };
    let mut stuck = visit.stuck_client();
    let _others = ["pump-1", "pump-2"]
        .map(|id| Client::connect(visit.broker.address("tcp"), Version::V5, id));
    let browser = &visit.browser;

    browser.click_on("Clients");
    browser.see("pump-1");
    browser.click_on("Queue");
    browser.until("return document.querySelector('tbody th')?.innerText.trim() === 'pump-7'");
    browser.click_on("pump-7");
    browser.see("Its window is full: 2 of 2 messages are in flight");
    browser.see("48 messages");

    browser.fill_in("Topic", "work/1");
    browser.click_on("Explain");
    browser.see("It would wait.");

    browser.click_on("Look into");
    browser.see("work/49");

    browser.click_on("Disconnect");
    browser.see("Disconnect this client?");
    // The focus is on the safe answer.
    browser.press(&format!("{TAB}{ENTER}"));
    browser.see("Disconnected: pump-7");
    disconnected(&mut stuck);
    // It had a Session for this connection alone.
    browser.see("Not Found");
}

/// Waits until the broker has disconnected a client, as an operator does.
fn disconnected(client: &mut Client) {
    loop {
        let bytes = client.packet();
        if let Packet::Disconnect(disconnect) = wire::decoded(&bytes, Version::V5) {
            assert_eq!(disconnect.reason, Reason::AdministrativeAction);
            return;
        }
    }
}

#[test]
fn a_viewer_is_told_what_it_may_not_do() {
    let Some(visit) = Visit::without_token() else { return };
    let _stuck = visit.stuck_client();
    let browser = &visit.browser;
    visit.open(&format!("#token={VIEWER}"));
    browser.see("Last 15 minutes");
    visit.open("#/clients/pump-7");
    for button in ["Disconnect", "End session", "Purge", "Look into"] {
        browser.see("Its window is full");
        browser.click_on(button);
        browser.see("Not allowed: this token has the rights of a viewer.");
        browser.click_on("×");
        browser.see_no_more("Not allowed");
    }
}

#[test]
fn names_of_strangers_are_text_and_nothing_else() {
    let Some(visit) = Visit::start() else { return };
    let browser = &visit.browser;
    let mut hostile = connect_with_will(Version::V5, HOSTILE, HOSTILE);
    hostile.user_name = Some(HOSTILE);
    let mut client = Client::connect_with(visit.broker.address("tcp"), &hostile);
    let shared = format!("$share/{HOSTILE}/{HOSTILE}");
    client.subscribe(&[HOSTILE, &shared], QoS::AtMostOnce);
    let payload = HOSTILE.as_bytes();
    client.send(&Packet::Publish(Publish { retain: true, ..message(HOSTILE, payload) }));

    for view in ["clients", "groups", "topics"] {
        visit.open(&format!("#/{view}"));
        browser.until(&format!(
            "return document.querySelector('h1')?.innerText.toLowerCase() === '{view}'"
        ));
        browser.see(SHOWN);
    }
    browser.click_on("Clients");
    browser.click_on(SHOWN);
    browser.see("Connection and terms");
    assert_eq!(browser.text("h1"), SHOWN);
    browser.fill_in("Topic", HOSTILE);
    browser.click_on("Explain");
    browser.see("It would arrive.");
    assert_eq!(browser.count("main img, main script"), 0);
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn named_queues_logs_and_delayed_messages_are_shown() {
    let Some(visit) = Visit::start() else { return };
    let browser = &visit.browser;
    let http = HttpClient::of(&visit.broker);
    let queue = r#"{"name": "jobs", "bindings": ["jobs/#"], "keep": {}, "strategy": "hash"}"#;
    let made = http.ask("POST", "/api/v1/queues", &operator(&visit.broker), queue);
    assert_eq!(made.status, 201, "{}", made.body);
    let mut client = Client::connect(visit.broker.address("tcp"), Version::V5, "worker-9");
    client.publish("jobs/1", b"x");
    client.publish("$delayed/3d/valve/7", b"");
    client.subscribe(&["$queue/jobs"], QoS::AtLeastOnce);
    visit.open("#/groups");
    for shown in ["valve/7", "in 2 d 23 h", "worker-9 1,024", "1, of which 1 connected", "hash"] {
        browser.see(shown);
    }
    let rows = "return [...document.querySelectorAll('section')].map((part) =>
        [part.querySelector('h2').innerText, part.querySelectorAll('tbody tr').length].join(' '))";
    let wanted = json!([
        "Shared Subscriptions 2",
        "Named queues 1",
        "Kept messages 1",
        "Delayed messages 1"
    ]);
    assert_eq!(browser.evaluate(rows, &[]), wanted);
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn a_client_is_found_and_disconnected_by_keyboard_and_the_focus_is_seen() {
    let Some(visit) = Visit::start() else { return };
    let mut stuck = visit.stuck_client();
    let browser = &visit.browser;
    browser.press("2");
    browser.see("pump-7");
    browser.press("/");
    browser.press("PUMP");
    browser.until("return location.hash.includes('search=PUMP')");
    browser.see("pump-7");
    tab_to(browser, "pump-7");
    browser.press(ENTER);
    browser.see("Its window is full");
    tab_to(browser, "Disconnect");
    browser.press(ENTER);
    browser.see("Disconnect this client?");
    browser.press(&format!("{TAB}{ENTER}"));
    disconnected(&mut stuck);
}

/// Presses Tab until what has this name has the focus; each stop on the way shows that it has it.
fn tab_to(browser: &Browser, name: &str) {
    let stop = "const at = document.activeElement; const style = getComputedStyle(at);
        return [at.innerText?.trim() ?? '', style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 1]";
    for _ in 0..100 {
        browser.press(TAB);
        let at = browser.evaluate(stop, &[]);
        assert_eq!(at[1], true, "the focus is not to be seen on {:?}", at[0]);
        if at[0] == name {
            return;
        }
    }
    panic!("no Tab leads to {name}");
}

#[test]
fn what_is_published_is_seen_to_arrive_and_a_refusal_is_said_in_words() {
    let Some(visit) = Visit::start() else { return };
    let browser = &visit.browser;
    browser.click_on("Topics");
    browser.click_on("Subscribe");
    browser.see("Subscribed, with QoS 0 at most.");
    browser.type_into(PUBLISH_TOPIC, HOSTILE);
    browser.type_into("textarea", "{\"pressure\": 4.5}");
    browser.click_on("Publish");
    browser.see(&format!("{SHOWN}: 0x00 Success."));
    browser.see("1 received.");
    let row = browser.until_text(".log", SHOWN);
    assert!(row.contains("{\"pressure\": 4.5}"), "{row}");
    assert_eq!(browser.count("main img"), 0);

    browser.type_into(PUBLISH_TOPIC, "hello/#");
    browser.click_on("Publish");
    browser.see("The broker disconnected: 0x90 Topic Name invalid.");
}

/// Stopped for a while, as a machine that swaps or a network that fails looks.
#[test]
fn a_broker_that_does_not_answer_is_told_and_what_was_seen_stays() {
    let Some(visit) = Visit::start() else { return };
    let browser = &visit.browser;
    browser.see("of 0 Sessions");
    visit.broker.signal("STOP");
    browser.see("The broker does not answer.");
    browser.see("of 0 Sessions");
    visit.broker.signal("CONT");
    browser.see_no_more("The broker does not answer.");
}

/// A view that is wider than its window is cut off on a telephone.
#[test]
fn every_view_fits_narrow_and_wide_windows() {
    let Some(visit) = Visit::start() else { return };
    let browser = &visit.browser;
    let _stuck = visit.stuck_client();
    for view in VIEWS.iter().chain(&["clients/pump-7"]) {
        visit.open(&format!("#/{view}"));
        browser.until("return document.querySelector('main .panel .body:not([hidden])')");
        for width in [2000, 1400, 400] {
            browser.resize(width, 800);
            let wider = "return document.documentElement.scrollWidth > innerWidth";
            assert_eq!(browser.evaluate(wider, &[]), false, "{view} at {width} pixels");
        }
    }
}

#[test]
fn the_page_is_small_and_asks_no_other_host() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page");
    let broker = Sluice::start(HTTP);
    let client = HttpClient::of(&broker);
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("the page").map(|entry| entry.expect("a file")) {
        let text = fs::read_to_string(entry.path()).expect("a text");
        let name = entry.file_name().into_string().expect("a name");
        bytes += text.len();
        let path = if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") };
        let answer = client.get(&path, "");
        assert_eq!((answer.status, answer.body == text), (200, true), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'"] {
            assert!(policy.contains(part), "{part} is not in {policy}");
        }
        for address in text.split("://").skip(1) {
            // The name of a namespace, for which nothing is asked, and the page's own host.
            let is_own = address.starts_with("www.w3.org/2000/svg")
                || address.starts_with("${location.host}/");
            assert!(is_own, "{name}: {address:.40}");
        }
    }
    assert!(bytes < 150_000, "{bytes} bytes");
    assert_eq!(client.get("/page/nothing.js", "").status, 404);
    assert_eq!(client.get("/api/v1/status", VIEWER).json()["rights"], "viewer");
}
