//! A client that the broker is told to disconnect.

use sluicemq::codec::Reason;
use sluicemq::message::ClientId;

use super::{Client, hex, rights};

#[test]
fn a_kicked_client_is_told_why_and_its_session_waits() {
    let (broker, _) = rights::broker();
    let name = ClientId::new("c");
    assert!(!broker.kick(&name, Reason::AdministrativeAction), "it is not there");
    let mut client = Client::of(&broker);
    client.send(rights::CONNECT);
    assert!(broker.client(&name).is_some_and(|client| client.connected));
    assert!(broker.kick(&name, Reason::AdministrativeAction));
    assert_eq!(client.send(""), hex("e0 02 98 00"));
    assert!(client.link.is_closed());
    let parked = broker.client(&name).expect("its Session lasts");
    assert!(!parked.connected);
    assert!(!broker.kick(&name, Reason::AdministrativeAction), "it is not connected");
    let mut client = Client::of(&broker);
    assert_eq!(client.send(rights::CONNECT)[2], 1, "the Session is there, and the kick is over");
    assert!(!client.link.is_closed());
}
