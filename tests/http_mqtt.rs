//! MQTT over WebSocket on the HTTP listener of the real process, and which clients may log in there.

mod asking;
#[path = "wire/websocket.rs"]
mod messages;
mod process;
mod wire;

use asking::{HTTP, HttpClient, VIEWER};
use messages::Messages;
use process::Sluice;
use sluicemq::codec::{Packet, QoS, Reason, Version};
use wire::{Client, connect, dial, message};

fn mqtt(http: &HttpClient, headers: &[(&'static str, &str)]) -> std::io::Result<Client> {
    Messages::open(dial(http.address), headers).map(|stream| Client::over(stream, Version::V5))
}

#[test]
fn a_page_subscribes_and_publishes_through_the_http_listener() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let mut page = mqtt(&http, &[]).expect("an upgrade");
    page.greet(&connect(Version::V5, "page"));
    page.subscribe(&["a/#"], QoS::AtLeastOnce);
    let mut device = Client::connect(broker.address("tcp"), Version::V5, "device");
    device.send(&Packet::Publish(message("a/b", b"from a device")));
    let payload = page.expect(|packet| match packet {
        Packet::Publish(publish) => Some(publish.payload.to_vec()),
        _ => None,
    });
    assert_eq!(payload, b"from a device");
    // It outlives what HTTP gives an idle connection: the place of HTTP is free again, MQTT's is taken.
    let listeners = http.get("/api/v1/listeners", VIEWER).json();
    let own = listeners["items"].as_array().and_then(|items| items.last()).expect("listeners");
    assert_eq!((&own["name"], &own["transport"]), (&"http".into(), &"websocket".into()));
    assert_eq!(
        (&own["connections"], &own["address"]),
        (&1.into(), &http.address.to_string().into())
    );
    // Its end is told as everywhere.
    broker.signal("TERM");
    page.closed_by(Reason::ServerShuttingDown);
}

#[test]
fn what_is_no_upgrade_to_mqtt_is_refused_in_words() {
    let broker = Sluice::start(HTTP);
    let http = HttpClient::of(&broker);
    let answer = http.get("/mqtt", "");
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")));
    assert_eq!(http.ask("POST", "/mqtt", "", "{}").status, 405);
    for (headers, wanted) in [
        (&[("Sec-WebSocket-Protocol", "chat")][..], "400"),
        (&[("Origin", "https://evil.example")], "403"),
        (&[("Host", "evil.example")], "421"),
    ] {
        let error = mqtt(&http, headers).err().expect("a refusal").to_string();
        assert!(error.contains(wanted), "{error}");
    }
    assert!(mqtt(&http, &[("Origin", "https://app.example")]).is_ok());
    let off = Sluice::start(&HTTP.replace("[http]", "[http]\nmqtt = false"));
    let error = mqtt(&HttpClient::of(&off), &[]).err().expect("a refusal").to_string();
    assert!(error.contains("404"), "{error}");
}

/// A client without a user name comes in over HTTP only where it would come in elsewhere.
#[test]
fn it_is_no_wider_a_door_than_the_others() {
    let reason = |config: &str| {
        let broker = Sluice::start(config);
        let mut client = mqtt(&HttpClient::of(&broker), &[]).expect("an upgrade");
        client.send(&Packet::Connect(Box::new(connect(Version::V5, "c"))));
        client.connack()
    };
    let with = |keys: &str| HTTP.replacen("[[listener]]\n", &format!("[[listener]]\n{keys}\n"), 1);
    assert_eq!(reason(HTTP), Reason::Success);
    // On every address of the machine the listener says that anyone may come in, HTTP does not.
    let wide = with("allow_anonymous = true")
        .replace("[http]\naddress = '127.0.0.1:0'", "[http]\naddress = '0.0.0.0:0'");
    assert_eq!(reason(&wide), Reason::NotAuthorized);
    let steps = format!("{HTTP}[[auth.step]]\nkind = 'anonymous'\nlisteners = ['KIND']\n");
    assert_eq!(reason(&steps.replace("KIND", "tcp")), Reason::NotAuthorized);
    assert_eq!(reason(&steps.replace("['KIND']", "['tcp', 'http']")), Reason::Success);
}
