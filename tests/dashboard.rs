//! The dashboard in a real browser: a person's tasks, on a real broker.

mod asking;
mod browser;
mod installed;
mod process;

use std::fs;
use std::path::Path;

use asking::{HTTP, HttpClient, VIEWER, operator};
use browser::Browser;
use process::Sluice;

/// Keys that are no letters.
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";

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
    for view in VIEWS {
        visit.open(&format!("#/{view}"));
        browser.until("return document.querySelector('main .panel')");
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
