//! A page in Chromium that speaks MQTT over WebSocket with mqtt.js, plain and within TLS.

mod browser;
mod installed;
#[path = "wire/http.rs"]
mod pages;
mod process;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::fs;
use std::path::Path;

use browser::Browser;
use pages::{HttpServer, Reply};
use process::{Sluice, new_folder};
use secure::certificates;

/// The page: mqtt.js and the conversation, and what a test calls.
fn page() -> Option<String> {
    let library = "target/js/node_modules/mqtt/dist/mqtt.min.js";
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(library)).ok();
    if library.is_none() {
        assert!(std::env::var_os("SLUICE_TEST_ALL").is_none(), "tools/test makes target/js");
        println!("skipped: tools/test installs mqtt.js");
    }
    let conversation = include_str!("mqttjs/conversation.mjs");
    Some(format!(
        "<!doctype html><title>MQTT in a page</title><link rel=icon href='data:,'>\
         <script>{}</script><script type=module>{conversation}\n\
         window.converse = (url) => converse(mqtt, url);</script>",
        library?.replace("</script", "<\\/script")
    ))
}

#[test]
fn a_page_with_mqtt_js_meets_the_broker_plain_and_within_tls_if_its_origin_is_listed() {
    let Some(page) = page() else { return };
    let Some(browser) = Browser::start() else { return };
    let server = HttpServer::start(move |_| Reply::Status(200, page.clone()));
    let other = "http://pages.example";
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let listener = |name: &str, origin: &str| {
        format!(
            "[[listener]]\nname = '{name}'\naddress = '127.0.0.1:0'\ntransport = 'websocket'\n\
             [listener.websocket]\norigins = ['{origin}']\n"
        )
    };
    let origin = format!("http://{}", server.address);
    let tls = "[listener.tls]\ncertificate = 'certs/server.pem'\nkey = 'certs/server.key'\n";
    let config = [
        listener("ws", &origin),
        listener("closed", other),
        listener("wss", &origin),
        tls.to_owned(),
    ];
    let broker = Sluice::start_in(folder, &config.concat());
    let url = |scheme: &str, name: &str| {
        format!("{scheme}://localhost:{}/mqtt", broker.address(name).port())
    };
    browser.open(&origin);
    for (scheme, name) in [("ws", "ws"), ("wss", "wss")] {
        let said = browser.evaluate("return converse(arguments[0])", &[url(scheme, name).into()]);
        assert_eq!(said, "all went well", "{scheme}");
    }
    assert!(browser.errors().is_empty(), "{:?}", browser.errors());
    // Of another site, the page cannot connect.
    let dial = "return new Promise((resolve) => {
        const socket = new WebSocket(arguments[0], 'mqtt');
        socket.onopen = () => resolve('open');
        socket.onerror = () => resolve('refused');
    })";
    assert_eq!(browser.evaluate(dial, &[url("ws", "ws").into()]), "open");
    assert_eq!(browser.evaluate(dial, &[url("ws", "closed").into()]), "refused");
    let errors = browser.errors();
    assert!(errors.iter().any(|error| error.contains("403")), "{errors:?}");
}

#[test]
fn a_person_s_acts_reach_the_page_and_its_state_comes_back() {
    let Some(browser) = Browser::start() else { return };
    let page = "<!doctype html><title>Form</title><link rel=icon href='data:,'><h1>Form</h1>
        <input id=given value=old><button onclick='said.innerText = given.value'>Say</button><p id=said></p>
        <script>addEventListener('keydown', (event) => { if (event.key === 'Enter') throw Error('pressed') });
        const [given, said] = ['given', 'said'].map((id) => document.getElementById(id));</script>";
    let server = HttpServer::start(move |_| Reply::Status(200, page.to_owned()));
    browser.open(&format!("http://{}", server.address));
    assert_eq!((browser.text("h1").as_str(), browser.count("p, button")), ("Form", 2));
    browser.type_into("#given", "new");
    browser.click("button");
    assert_eq!(browser.until_text("#said", "new"), "new");
    assert!(browser.errors().is_empty());
    browser.press("\u{E007}");
    browser.until("return document.hasFocus()");
    let errors = browser.errors();
    assert!(errors.iter().any(|error| error.contains("pressed")), "{errors:?}");
    browser.prefer("dark");
    browser.until("return matchMedia('(prefers-color-scheme: dark)').matches");
    browser.resize(700, 500);
    browser.until("return innerWidth <= 700");
    let folder = new_folder();
    let picture = folder.path().join("form.png");
    browser.screenshot(&picture);
    assert!(fs::read(&picture).expect("a picture").starts_with(b"\x89PNG"));
}
