//! A browser that a test looks through and works with, as a person does: headless Chromium, told what to do by
//! WebDriver over HTTP (https://www.w3.org/TR/webdriver2/).
//!
//! ```ignore
//! let Some(browser) = Browser::start() else { return };
//! browser.open(&url);
//! browser.type_into("#token", "secret");
//! browser.click("button");
//! assert_eq!(browser.text("h1"), "Clients");
//! assert!(browser.errors().is_empty());
//! ```
#![allow(dead_code)] // Each test file uses its part.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::installed;

/// A browser with one window. Dropped, it is closed.
pub struct Browser {
    driver: Driver,
    agent: Agent,
    /// Address of its session at the driver.
    session: String,
    /// Its profile.
    _profile: TempDir,
}

/// The program that drives it; it ends the browser when it ends.
struct Driver(Child);

/// How long something may take to appear before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at a page.
const LOOK: Duration = Duration::from_millis(20);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// A browser of 1,400 by 900 pixels; `None`, and a word why, if it is not installed.
    #[track_caller]
    pub fn start() -> Option<Browser> {
        if !installed::all(&["chromium", "chromedriver"]) {
            return None;
        }
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = Driver(driver.expect("chromedriver starts"));
        let port = driver.port();
        let profile = tempfile::tempdir().expect("a folder");
        let config = Agent::config_builder().http_status_as_error(false).build();
        let mut browser = Browser {
            driver,
            agent: config.new_agent(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let arguments = [
            "--headless=new".to_owned(),
            // It refuses to run as root with one.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1400,900".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.ask("", Some(&wanted));
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        browser.ask("/timeouts", Some(&json!({"script": DEADLINE.as_millis() as u64})));
        Some(browser)
    }

    /// Goes to `url`, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("/url", Some(&json!({"url": url})));
    }

    /// Waits for the first element that `selector` finds and can be seen, and clicks on it.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.with(selector, "/click", Some(&json!({})));
    }

    /// Waits for the field that `selector` finds, empties it and types `text` as a person at a keyboard.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        self.with(selector, "/clear", Some(&json!({})));
        self.with(selector, "/value", Some(&json!({"text": text})));
    }

    /// Waits for a button, a link or a line to open that can be seen and is called `name`, and clicks on it.
    #[track_caller]
    pub fn click_on(&self, name: &str) {
        self.click(&self.mark(
            "button, a, summary",
            "each.innerText.trim() === arguments[1]",
            name,
        ));
    }

    /// Waits for the field with the label `label`, empties it and types `text`.
    #[track_caller]
    pub fn fill_in(&self, label: &str, text: &str) {
        let labelled = "each.labels?.[0]?.innerText.trim().split('\\n')[0] === arguments[1]";
        self.type_into(&self.mark("input, textarea", labelled, label), text);
    }

    /// Waits until a text can be seen anywhere on the page.
    #[track_caller]
    pub fn see(&self, text: &str) {
        self.until_text("body", text);
    }

    /// Waits until a text cannot be seen any more.
    #[track_caller]
    pub fn see_no_more(&self, text: &str) {
        self.wait_for(&format!("no {text:?}"), || {
            let seen = self.evaluate(TEXT_OF, &["body".into()]);
            (!seen.as_str().is_some_and(|seen| seen.contains(text))).then_some(())
        });
    }

    /// Marks the element among those of `selector` that can be seen and is as `wanted` says; a selector of it.
    #[track_caller]
    fn mark(&self, selector: &str, wanted: &str, name: &str) -> String {
        let body = format!(
            "document.querySelector('[data-marked]')?.removeAttribute('data-marked');
             const found = [...document.querySelectorAll(arguments[0])].find((each) =>
                 each.checkVisibility() && !each.disabled && {wanted});
             found?.setAttribute('data-marked', '');
             return Boolean(found);"
        );
        let arguments = [selector.into(), name.into()];
        let found = || self.evaluate(&body, &arguments).as_bool().filter(|found| *found);
        self.wait_for(name, found);
        "[data-marked]".to_owned()
    }

    /// Presses keys, one after the other, where the focus is: characters, or names of WebDriver's such as
    /// `"\u{E004}"` for Tab and `"\u{E007}"` for Enter.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        });
        let keyboard =
            json!({"type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>()});
        self.ask("/actions", Some(&json!({"actions": [keyboard]})));
    }

    /// Waits for the element that `selector` finds; its text, as it can be seen.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        self.with(selector, "/text", None).as_str().unwrap_or_default().to_owned()
    }

    /// How many elements `selector` finds now.
    #[track_caller]
    pub fn count(&self, selector: &str) -> usize {
        let query = json!({"using": "css selector", "value": selector});
        self.ask("/elements", Some(&query)).as_array().map_or(0, Vec::len)
    }

    /// What the body of a function gives in the page; its arguments are `arguments`. A promise is waited for.
    ///
    /// # Panics
    ///
    /// It throws.
    #[track_caller]
    pub fn evaluate(&self, body: &str, arguments: &[Value]) -> Value {
        self.ask("/execute/sync", Some(&json!({"script": body, "args": arguments})))
    }

    /// Waits until the body of a function gives something that is true in JavaScript; gives it.
    #[track_caller]
    pub fn until(&self, body: &str) -> Value {
        let is_true = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
        self.wait_for(body, || Some(self.evaluate(body, &[])).filter(is_true))
    }

    /// Waits until the text of the element that `selector` finds has `part` in it; gives all of it.
    #[track_caller]
    pub fn until_text(&self, selector: &str, part: &str) -> String {
        let found = || self.count(selector) > 0;
        self.wait_for(&format!("{selector} with {part:?}"), || {
            let text = found().then(|| self.evaluate(TEXT_OF, &[selector.into()]))?;
            text.as_str().filter(|text| text.contains(part)).map(str::to_owned)
        })
    }

    /// Makes the page so large, in pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        // A window cannot be as narrow as a telephone.
        let params =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params});
        self.ask("/goog/cdp/execute", Some(&command));
    }

    /// Says that the person prefers `"light"` or `"dark"`.
    #[track_caller]
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let command =
            json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.ask("/goog/cdp/execute", Some(&command));
    }

    /// Writes a picture of what can be seen, as PNG.
    #[track_caller]
    pub fn screenshot(&self, file: &Path) {
        let picture = self.ask("/screenshot", None);
        let bytes = STANDARD.decode(picture.as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("a file");
    }

    /// The errors on the page's console since this was last asked: what scripts threw or wrote with `console.error`,
    /// and what was not loaded or not permitted.
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        let entries = self.ask("/se/log", Some(&json!({"type": "browser"})));
        let severe =
            entries.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Asks for something of the first element that `selector` finds, until it is there and it can be done.
    #[track_caller]
    fn with(&self, selector: &str, command: &str, body: Option<&Value>) -> Value {
        let query = json!({"using": "css selector", "value": selector});
        self.wait_for(selector, || {
            let found = self.try_ask("/element", Some(&query)).ok()?;
            let id = found[ELEMENT].as_str().expect("an element");
            // It may have gone, or be covered still.
            self.try_ask(&format!("/element/{id}{command}"), body).ok()
        })
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "not there: {what}; errors: {:#?}", self.errors());
            thread::sleep(LOOK);
        }
    }

    #[track_caller]
    fn ask(&self, command: &str, body: Option<&Value>) -> Value {
        self.try_ask(command, body).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// # Errors
    ///
    /// What WebDriver says instead of an answer.
    fn try_ask(&self, command: &str, body: Option<&Value>) -> Result<Value, String> {
        let url = format!("{}{command}", self.session);
        let sent = match body {
            None => self.agent.get(&url).call(),
            Some(body) => {
                let request = self.agent.post(&url).content_type("application/json");
                request.send(body.to_string())
            }
        };
        let mut answer = sent.expect("a driver that answers");
        let is_good = answer.status() == 200;
        let text = answer.body_mut().read_to_string().expect("an answer");
        let mut said: Value = serde_json::from_str(&text).expect("JSON");
        match is_good {
            true => Ok(said["value"].take()),
            false => Err(said["value"]["message"].to_string()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

impl Driver {
    /// The port that it has taken, from what it prints.
    fn port(&mut self) -> u16 {
        let mut lines = BufReader::new(self.0.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        // It must not find its output closed.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        port.expect("chromedriver says its port")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The text of an element, also of one that a page replaces at this moment.
const TEXT_OF: &str = "return document.querySelector(arguments[0])?.innerText ?? ''";
