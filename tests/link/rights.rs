//! Rights that are denied or taken away: of a publisher before its message is routed, of a receiver
//! before a message is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluicemq::auth::PasswordAuth;
use sluicemq::broker::Broker;
use sluicemq::broker::metrics::Counter;
use sluicemq::message::{Identity, Loss};
use sluicemq::session::{Access, Asked, Decision};

use super::{Client, broker_with, hex};

/// CONNECT of version 5 as `c`: its Session lasts for an hour.
pub const CONNECT: &str = "10 13 0004 4d515454 05 00 0000 05 11 00000e10 0001 63";

/// No client may publish to `a`; while it is set, none may receive anything.
#[derive(Default)]
pub struct Denies(AtomicBool);

impl Access for Denies {
    fn may(&self, _who: &Identity, asked: &Asked<'_>) -> Decision {
        Decision::of(match asked {
            Asked::Publish { topic, .. } => topic.as_str() != "a",
            Asked::Subscribe { .. } => true,
            Asked::Receive { .. } => !self.0.load(Ordering::Relaxed),
        })
    }
}

pub fn broker() -> (Broker, Arc<Denies>) {
    let denies = Arc::new(Denies::default());
    (broker_with(Arc::new(PasswordAuth::new(None)), denies.clone()), denies)
}

#[test]
fn a_refused_publish_is_counted_once_and_frees_its_identifier() {
    let (broker, _) = broker();
    let mut client = Client::of(&broker);
    client.send(CONNECT);
    let sum = |counter| broker.metrics().sum(counter);
    // At QoS 0 no client is told.
    client.send("30 05 0001 61 00 78");
    assert_eq!((sum(Counter::Unrouted), sum(Counter::Refused)), (1, 0));
    // PUBACK and PUBREC with 0x87 and no Reason String.
    assert_eq!(client.send("32 07 0001 61 0001 00 78"), hex("40 04 0001 87 00"));
    assert_eq!(client.send("34 07 0001 61 0002 00 78"), hex("50 04 0002 87 00"));
    assert_eq!((sum(Counter::Refused), sum(Counter::Accepted)), (2, 0));
    // The identifier is free: this is no repeat. Of a repeat rights are not asked again.
    assert_eq!(client.send("34 07 0001 62 0002 00 78"), hex("50 04 0002 10 00"));
    assert_eq!(client.send("3c 07 0001 61 0002 00 78"), hex("50 02 0002"));
    let counts = [Counter::Refused, Counter::Accepted, Counter::Repeats, Counter::Unrouted];
    assert_eq!(counts.map(sum), [2, 1, 1, 1]);
}

#[test]
fn topics_of_the_broker_are_refused_whatever_access_says() {
    let (broker, _) = broker();
    let mut client = Client::of(&broker);
    client.send(CONNECT);
    let publish = "32 0d 0007 24535953 2f 6162 0001 00 78";
    assert_eq!(client.send(publish), hex("40 04 0001 87 00"));
}

#[test]
fn what_may_not_be_received_any_more_is_not_sent_again() {
    let (broker, denies) = broker();
    let mut client = Client::of(&broker);
    client.send(CONNECT);
    assert_eq!(client.send("82 07 0001 00 0001 62 02"), hex("90 04 0001 00 02"));
    for publish in ["32 07 0001 62 0001 00 78", "34 07 0001 62 0002 00 79"] {
        client.send(publish);
    }
    client.link.hang_up(client.now, &mut client.turn);
    denies.0.store(true, Ordering::Relaxed);

    let mut client = Client::of(&broker);
    let answer = client.send(CONNECT);
    let connack = usize::from(answer[1]) + 2;
    assert_eq!(answer[..3], [0x20, answer[1], 1], "the Session is there");
    // Of QoS 2 the client may have the identifier: the flow ends with PUBREL.
    assert_eq!(answer[connack..], hex("62 02 0002"));
    assert_eq!(broker.metrics().lost(Loss::NotAuthorized), 2);
}
