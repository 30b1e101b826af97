//! Attacks with topics, properties and Subscriptions.

use std::io;

use sluicemq::codec::{Properties, Publish, QoS};

use crate::attacker::{Attacker, reset};
use crate::client::{Client, DISCONNECT, UNSUBACK, publish, subscribe, unsubscribe};

/// Topics of 31 levels, each another; and from time to time one of 30,000.
pub fn deep_topics(attacker: &Attacker) -> io::Result<()> {
    let open = |number| Client::named(attacker, &format!("deep{number}"));
    attacker.again(4, open, |client, number| {
        let mut bytes = Vec::new();
        let few = if number % 64 == 0 { 1 } else { 100 };
        for i in 0..few {
            let levels = if few == 1 { 30_000 } else { 29 };
            let topic = format!("{}{number}/{i}", "a/".repeat(levels));
            bytes.extend(publish(Publish { topic: &topic, payload: b"x", ..Publish::default() }));
        }
        client.write(&bytes)?;
        client.ping()?;
        Ok(few)
    })
}

/// A name and a filter of nothing but 65,535 slashes.
pub fn slashes(attacker: &Attacker) -> io::Result<()> {
    let topic = "/".repeat(65_535);
    let open = |number| Client::named(attacker, &format!("slash{number}"));
    attacker.again(4, open, |client, number| {
        if number % 2 == 0 {
            client.write(&publish(Publish { topic: &topic, ..Publish::default() }))?;
        } else {
            client.write(&subscribe(QoS::AtMostOnce, std::slice::from_ref(&topic)))?;
        }
        client.ping()?;
        Ok(1)
    })
}

/// As many User Properties as may be; and from time to time 10,000.
pub fn property_bombs(attacker: &Attacker) -> io::Result<()> {
    let block = |count: usize, len: usize| {
        let mut text = (len as u16).to_be_bytes().to_vec();
        text.resize(2 + len, b'x');
        [&[0x26], &text[..], &text[..]].concat().repeat(count)
    };
    let (most, more) = (block(64, 60), block(10_000, 1));
    let open = |number| Client::named(attacker, &format!("property{number}"));
    attacker.again(4, open, |client, number| {
        let few = if number % 64 == 0 { 1 } else { 16 };
        let properties = Properties::trusted(if few == 1 { &more } else { &most });
        let bytes = publish(Publish { topic: "p", properties, ..Publish::default() });
        client.write(&bytes.repeat(few))?;
        client.ping()?;
        Ok(few)
    })
}

/// Sessions that stay, with 1,000 Subscriptions each.
pub fn subscription_bombs(attacker: &Attacker) -> io::Result<()> {
    pile_up(attacker, |client, number| format!("bomb{client}/+/{number}/x"))
}

/// The same with Shared Subscriptions, each of a group of its own.
pub fn share_bombs(attacker: &Attacker) -> io::Result<()> {
    pile_up(attacker, |client, number| format!("$share/g{client}-{number}/bomb/{number}"))
}

fn pile_up(attacker: &Attacker, filter: impl Fn(usize, usize) -> String + Sync) -> io::Result<()> {
    attacker.once(4, |number| {
        let mut client = Client::lasting(attacker, &format!("bomber{number}"))?;
        for begin in (0..attacker.amount(1000)).step_by(100) {
            let filters: Vec<String> = (begin..begin + 100).map(|i| filter(number, i)).collect();
            client.subscribe(QoS::AtLeastOnce, &filters)?;
            attacker.did(filters.len());
        }
        client.write(&DISCONNECT)
    })
}

/// A hundred filters come and go.
pub fn churn(attacker: &Attacker) -> io::Result<()> {
    let open = |number| Client::named(attacker, &format!("churn{number}"));
    attacker.again(8, open, |client, number| {
        let filters: Vec<String> = (0..100).map(|i| format!("churn/{number}/+/{i}")).collect();
        client.write(&subscribe(QoS::AtMostOnce, &filters))?;
        client.write(&unsubscribe(&filters))?;
        client.until(UNSUBACK)?;
        Ok(filters.len())
    })
}

/// Levels of a filter that are `a` or `+`.
const DEPTH: usize = 16;
/// Filters that are parked.
const FILTERS: usize = 1 << DEPTH;
/// Bytes of one write.
const WRITE: usize = 64 * 1024;

pub fn park_that_match(attacker: &Attacker) -> io::Result<()> {
    park(attacker, FILTERS, |number| wild(number, "+"))
}

pub fn park_in_vain(attacker: &Attacker) -> io::Result<()> {
    park(attacker, FILTERS, |number| wild(number, "q"))
}

/// 120,000 filters of 31 levels, no two of which begin alike.
pub fn park_deep(attacker: &Attacker) -> io::Result<()> {
    park(attacker, 120_000, |number| format!("site{number}/{}+", "level/".repeat(29)))
}

fn wild(number: usize, last: &str) -> String {
    let level = |bit| if number >> bit & 1 == 0 { "a/" } else { "+/" };
    (0..DEPTH).map(level).collect::<String>() + last
}

/// A thousand filters in each of the Sessions.
fn park(attacker: &Attacker, count: usize, filter: impl Fn(usize) -> String) -> io::Result<()> {
    let all: Vec<String> = (0..attacker.amount(count)).map(filter).collect();
    for (number, own) in all.chunks(1000).enumerate() {
        let mut client = Client::lasting(attacker, &format!("parked{number}"))?;
        for some in own.chunks(100) {
            client.subscribe(QoS::AtMostOnce, some)?;
        }
        client.write(&DISCONNECT)?;
    }
    Ok(())
}

/// PUBLISHes to topics that lead to all of those filters, as many as fit into 64 KiB at once.
pub fn match_filters(attacker: &Attacker) -> io::Result<()> {
    let open = |number| Client::named(attacker, &format!("writer{number}"));
    attacker.again(2, open, |client, number| {
        let mut bytes = Vec::new();
        let mut count = 0;
        while bytes.len() < attacker.amount(WRITE) {
            let topic = "a/".repeat(DEPTH) + &format!("z{number}-{count}");
            bytes.extend(publish(Publish { topic: &topic, payload: b"x", ..Publish::default() }));
            count += 1;
        }
        client.write(&bytes)?;
        client.ping()?;
        Ok(count)
    })
}

/// 100,000 retained messages.
pub fn retain_many(attacker: &Attacker) -> io::Result<()> {
    retain(attacker, attacker.amount(100_000), b"x")
}

/// 10,000 retained messages of 1 KiB.
pub fn retain_large(attacker: &Attacker) -> io::Result<()> {
    retain(attacker, attacker.amount(10_000), &[b'x'; 1024])
}

fn retain(attacker: &Attacker, count: usize, payload: &[u8]) -> io::Result<()> {
    let mut client = Client::named(attacker, "retainer")?;
    for begin in (0..count).step_by(1000) {
        let mut bytes = Vec::new();
        for number in begin..count.min(begin + 1000) {
            let topic = format!("site{}/device{number}/state/x", number % 1000);
            let message = Publish { topic: &topic, payload, retain: true, ..Publish::default() };
            bytes.extend(publish(message));
        }
        client.write(&bytes)?;
        client.ping()?;
    }
    Ok(())
}

/// Filters that look through what is retained and find nothing.
pub fn seek_retained(attacker: &Attacker) -> io::Result<()> {
    let open = |number| Client::named(attacker, &format!("seeker{number}"));
    attacker.again(8, open, |client, _| {
        let filters: Vec<String> = (0..128).map(|i| format!("+/+/{i}/y")).collect();
        client.subscribe(QoS::AtMostOnce, &filters)?;
        Ok(1)
    })
}

/// Asks for all that is retained, takes the first of it, leaves, and comes back.
pub fn amplification(attacker: &Attacker) -> io::Result<()> {
    attacker.once(16, |number| {
        let mut client = Client::named(attacker, &format!("taker{number}"))?;
        client.subscribe(QoS::AtMostOnce, &["#".to_owned()])?;
        client.ping()?;
        reset(&client.stream)
    })
}
