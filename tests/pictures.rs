//! Every view of the dashboard under load complains of nothing. With `PICTURES=FOLDER` the pictures are kept:
//! `tools/screenshots` takes those for the documents with it.

mod asking;
mod browser;
mod installed;
mod process;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use asking::{HTTP, HttpClient, operator};
use browser::Browser;
use process::Sluice;
use sluicemq::codec::{Ack, Connect, Packet, Publish, QoS, Reason, Version};
use wire::{Client, connect, decoded, message};

/// Its queues are soon full.
const SMALL_QUEUES: &str = "
[queue]
messages_max = 300
pause_max = '0s'
[store]
path = 'data'
";

/// Each view and client page: the name of its picture, its place in the address, and what to wait for.
const VIEWS: &[(&str, &str, &str)] = &[
    ("overview", "overview", "Last 15 minutes"),
    ("clients", "clients?sort=queue_messages&order=desc", "display-4"),
    ("client", "clients/display-4", "Its window is full"),
    ("topics", "topics", "site"),
    ("groups", "groups", "workers"),
    ("ledger", "ledger", "queue_full"),
    ("trace", "trace?filter=site/4/%23", "What to trace"),
    ("configuration", "configuration", "Values in force"),
];

#[test]
fn every_view_shows_a_broker_under_load_without_complaints() {
    let forgotten = process::new_folder();
    let folder = std::env::var_os("PICTURES").map_or(forgotten.path().into(), PathBuf::from);
    let seconds =
        std::env::var("SECONDS_OF_LOAD").map_or(0, |text| text.parse().expect("a number"));
    let Some(browser) = Browser::start() else { return };
    let broker = Sluice::start(&[HTTP, SMALL_QUEUES].concat());
    let mut stuck = connect(Version::V5, "display-4");
    stuck.receive_maximum = 20.try_into().expect("not zero");
    let mut stuck = Client::connect_with(broker.address("tcp"), &stuck);
    stuck.subscribe(&["site/4/#"], QoS::AtLeastOnce);
    let load = Load::start(&broker);

    browser.resize(1400, 800);
    let page = format!("http://{}/", HttpClient::of(&broker).address);
    browser.open(&format!("{page}#token={}", operator(&broker)));
    browser.see("Last 15 minutes");
    // The charts need something to show.
    thread::sleep(Duration::from_secs(seconds));
    for (name, place, wanted) in VIEWS {
        browser.resize(1400, 800);
        browser.open(&format!("{page}#/{place}"));
        browser.see(wanted);
        match *name {
            "topics" => {
                browser.click_on("Subscribe");
                browser.until("return document.querySelectorAll('.log details').length > 20");
            }
            "trace" => {
                browser.click_on("Start");
                browser.until("return document.querySelectorAll('.log details').length > 20");
            }
            "client" => {
                browser.fill_in("Topic", "site/4/pump/state");
                browser.click_on("Explain");
                browser.see("It would");
                browser.see(" /s");
            }
            _ => {}
        }
        for width in [1400, 400] {
            browser.resize(width, 800);
            for shade in ["light", "dark"] {
                browser.prefer(shade);
                browser.evaluate("document.activeElement.blur(); scrollTo(0, 0)", &[]);
                browser.screenshot(&folder.join(format!("{name}-{width}-{shade}.png")));
            }
        }
    }
    assert_eq!(browser.errors(), Vec::<String>::new());
    load.stop();
}

/// Clients that publish until they are stopped, and others that receive.
struct Load {
    over: Arc<AtomicBool>,
    publisher: JoinHandle<()>,
}

impl Load {
    fn start(broker: &Sluice) -> Load {
        let at = broker.address("tcp");
        let over = Arc::new(AtomicBool::new(false));
        for (client_id, filter) in [
            ("wall", "site/#"),
            ("worker-1", "$share/workers/site/+/job"),
            ("worker-2", "$share/workers/site/+/job"),
            ("worker-3", "$share/workers/site/+/job"),
        ] {
            // A Session that lasts, so that the store has something to commit.
            let mut client = Client::connect_with(at, &lasting(client_id));
            client.subscribe(&[filter], QoS::AtLeastOnce);
            thread::spawn(move || receive(client));
        }
        let mut archive = Client::connect_with(at, &lasting("archive"));
        archive.subscribe(&["site/+/alarm"], QoS::AtLeastOnce);
        archive.goodbye();
        let sensors = (1..=120).map(|number| format!("sensor-{number:03}"));
        let sensors: Vec<Client> =
            sensors.map(|client_id| Client::connect(at, Version::V5, &client_id)).collect();
        let publisher = thread::spawn({
            let over = over.clone();
            move || publish(sensors, &over)
        });
        Load { over, publisher }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.publisher.join().expect("a publisher without trouble");
    }
}

/// CONNECT of a client that comes back within a day.
fn lasting(client_id: &str) -> Connect<'_> {
    Connect { session_expiry: 86_400, ..connect(Version::V5, client_id) }
}

/// Takes and acknowledges what comes, until the broker ends.
fn receive(mut client: Client) {
    while let Some(bytes) = client.next() {
        if let Packet::Publish(publish) = decoded(&bytes, Version::V5)
            && let Some(packet_id) = publish.packet_id
        {
            client.send(&Packet::PubAck(Ack::new(packet_id, Reason::Success)));
        }
    }
}

/// Each sensor in its turn, at a rate that comes and goes.
fn publish(mut sensors: Vec<Client>, over: &AtomicBool) {
    let start = Instant::now();
    for (round, number) in (0..sensors.len()).cycle().enumerate() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let site = number % 6;
        let what = ["pump", "valve", "meter", "job", "alarm"][round % 5];
        let topic = match what {
            "job" | "alarm" => format!("site/{site}/{what}"),
            _ => format!("site/{site}/{what}/{number}/state"),
        };
        let payload = format!(r#"{{"value": {}, "unit": "bar"}}"#, round % 90);
        let retain = round < sensors.len();
        let said = Publish { retain, ..message(&topic, payload.as_bytes()) };
        sensors[number].send(&Packet::Publish(said));
        sensors[number].puback();
        let wave = (start.elapsed().as_secs_f64() / 9.0).sin() + 1.2;
        thread::sleep(Duration::from_secs_f64(0.004 / wave));
    }
}
