//! Exclusive Subscriptions that several threads ask for.

use std::cell::Cell;
use std::sync::Arc;

use shuttle::thread;
use sluicemq::broker::Broker;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{
    Packet, Properties, Publish, QoS, Reason, Subscribe, SubscribeOptions, Unsubscribe,
};
use sluicemq::config::{Config, SessionConfig, Span};
use sluicemq::store::MemoryStore;

use super::client::Client;
use super::{NOW, broker_of, id, schedules};

const FILTER: &str = "$exclusive/t";

fn connect(broker: &Broker, name: &str) -> Client {
    let mut client = Client::connect(broker, name);
    assert!(client.hear(|p| matches!(p, Packet::ConnAck(_))));
    client
}

/// Asks for the filter; whether it is granted.
fn asks(client: &mut Client) -> bool {
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    client.say(&Packet::Subscribe(Subscribe {
        rest: &[],
        packet_id: id(1),
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: vec![(FILTER, options)],
    }));
    let granted = Cell::new(false);
    assert!(client.hear(|p| match p {
        Packet::SubAck(ack) => {
            granted.set(!ack.reasons[0].is_error());
            true
        }
        _ => false,
    }));
    granted.get()
}

/// Ends the Subscription; whether there was one.
fn ends(client: &mut Client) -> bool {
    let (user_properties, filters) = (Properties::EMPTY, vec![FILTER]);
    let unsubscribe = Unsubscribe { packet_id: id(2), user_properties, filters, rest: &[] };
    client.say(&Packet::Unsubscribe(unsubscribe));
    let ended = Cell::new(false);
    assert!(client.hear(|p| match p {
        Packet::UnsubAck(ack) => {
            ended.set(ack.reasons[0] == Reason::Success);
            true
        }
        _ => false,
    }));
    ended.get()
}

fn publish(client: &mut Client) {
    client.say(&Packet::Publish(Publish { topic: "t", payload: b"x", ..Publish::default() }));
}

#[test]
fn of_two_that_ask_at_once_one_has_it_until_it_ends_it() {
    schedules(|| {
        let broker = broker_of(&Config::default(), Arc::new(MemoryStore));
        let threads = ["a", "b"].map(|name| {
            let broker = broker.clone();
            thread::spawn(move || {
                let mut client = connect(&broker, name);
                let granted = asks(&mut client);
                (client, granted)
            })
        });
        let [one, two] = threads.map(|thread| thread.join().unwrap());
        let (mut winner, mut loser) = match (one, two) {
            ((winner, true), (loser, false)) | ((loser, false), (winner, true)) => (winner, loser),
            ((_, one), (_, two)) => panic!("granted: {one} {two}"),
        };
        publish(&mut loser);
        assert!(winner.hear(|p| matches!(p, Packet::Publish(_))));
        assert_eq!(broker.metrics().sum(Counter::Routed), 1);
        // One ends it while the other asks: it has it then, or was too early.
        let asking = thread::spawn(move || (asks(&mut loser), loser));
        assert!(ends(&mut winner));
        let (granted, mut loser) = asking.join().unwrap();
        assert_eq!(broker.view().subscriptions, usize::from(granted));
        assert!(granted || asks(&mut loser));
        publish(&mut winner);
        assert!(loser.hear(|p| matches!(p, Packet::Publish(_))));
    });
}

/// A client comes back in the moment in which another one asks for what it was away from for too long.
#[test]
fn a_client_that_returns_has_it_or_the_one_that_asks_for_it() {
    schedules(|| {
        let exclusive_max = Span::secs(0);
        let session = SessionConfig { exclusive_max, ..SessionConfig::default() };
        let config = Config { session, ..Config::default() };
        let broker = broker_of(&config, Arc::new(MemoryStore));
        let mut first = connect(&broker, "a");
        assert!(asks(&mut first));
        first.link.hang_up(NOW, &mut first.turn);
        let other = {
            let broker = broker.clone();
            thread::spawn(move || {
                let mut client = connect(&broker, "b");
                let granted = asks(&mut client);
                (client, granted)
            })
        };
        let mut first = connect(&broker, "a");
        let (mut other, granted) = other.join().unwrap();
        assert_eq!(broker.view().subscriptions, 1);
        let has = if granted { &mut other } else { &mut first };
        publish(has);
        assert!(has.hear(|p| matches!(p, Packet::Publish(_))));
        assert_eq!(broker.metrics().sum(Counter::Routed), 1);
        // Each Session knows whether it has it.
        assert_eq!(ends(&mut first), !granted);
        assert_eq!(ends(&mut other), granted);
        assert_eq!(broker.view().subscriptions, 0);
    });
}
