//! Attacks with messages that the broker is to keep, and with receivers that do not take them.

use std::io::{self, Read};
use std::num::NonZeroU16;

use sluicemq::codec::{Connect, PacketId, Properties, Publish, QoS, Will};

use crate::attacker::{Attacker, reset};
use crate::client::{CONNACK, Client, DISCONNECT, PUBACK, PUBREC, WEEK_S, publish};

/// Receivers of a flood.
const RECEIVERS: usize = 100;

/// Retained messages of 4 KiB, each of another topic.
pub fn retained_flood(attacker: &Attacker) -> io::Result<()> {
    let open = |number| Client::named(attacker, &format!("retainer{number}"));
    attacker.again(4, open, |client, number| {
        let mut bytes = Vec::new();
        for i in 0..16 {
            let topic = format!("flood/{number}/{i}");
            let payload = &[b'x'; 4096];
            bytes.extend(publish(Publish {
                topic: &topic,
                payload,
                retain: true,
                ..Publish::default()
            }));
        }
        client.write(&bytes)?;
        client.ping()?;
        Ok(16)
    })
}

/// Clients that break off, each with a retained Will of its own topic.
pub fn will_storm(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| leave_will(attacker, number, 0, &[b'x'; 1024]))
}

/// Wills of 60 kB that are to be published in a week.
pub fn parked_wills(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| leave_will(attacker, number, WEEK_S, &[b'x'; 60_000]))
}

fn leave_will(attacker: &Attacker, number: usize, delay: u32, payload: &[u8]) -> io::Result<()> {
    let (client_id, topic) = (format!("will{number}"), format!("will/{number}"));
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        delay,
        expiry: None,
        topic: &topic,
        payload,
        properties: Properties::EMPTY,
    };
    let will = Some(will);
    let connect =
        Connect { client_id: &client_id, session_expiry: delay, will, ..Connect::default() };
    let client = Client::open(attacker, connect)?;
    reset(&client.stream)
}

/// Clients that stay, and have given all Topic Aliases to long topics.
pub fn alias_fill(attacker: &Attacker) -> io::Result<()> {
    attacker.again(
        4,
        |_| Ok(Vec::new()),
        |clients, number| {
            let mut client = Client::named(attacker, &format!("alias{number}"))?;
            let mut bytes = Vec::new();
            for alias in 1..=16 {
                let topic = format!("{}{number}", format!("{alias:0>60}/").repeat(16));
                let topic_alias = NonZeroU16::new(alias);
                bytes.extend(publish(Publish { topic: &topic, topic_alias, ..Publish::default() }));
            }
            client.write(&bytes)?;
            client.ping()?;
            clients.push(client);
            Ok(1)
        },
    )
}

/// Sessions that stay, each with 4,096 messages of QoS 2 that are received and never released.
pub fn never_released(attacker: &Attacker) -> io::Result<()> {
    attacker.once(4, |number| {
        let mut client = Client::lasting(attacker, &format!("unreleased{number}"))?;
        let count = attacker.amount(4096) as u16;
        for begin in (1..=count).step_by(64) {
            let mut bytes = Vec::new();
            let end = count.min(begin + 63);
            for id in begin..=end {
                let packet_id = PacketId::new(id);
                let message = Publish { topic: "q", payload: b"x", ..Publish::default() };
                bytes.extend(publish(Publish { qos: QoS::ExactlyOnce, packet_id, ..message }));
            }
            client.write(&bytes)?;
            for _ in begin..=end {
                client.until(PUBREC)?;
            }
            attacker.did((end - begin + 1).into());
        }
        reset(&client.stream)
    })
}

/// Receivers that read nothing.
pub fn stalled_reader(attacker: &Attacker) -> io::Result<()> {
    let _held = receivers(attacker, QoS::AtMostOnce);
    flood(attacker, QoS::AtMostOnce, 16 * 1024)
}

/// Receivers that read a byte now and then.
pub fn trickle_reader(attacker: &Attacker) -> io::Result<()> {
    let mut held = receivers(attacker, QoS::AtMostOnce);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(attacker, QoS::AtMostOnce, 16 * 1024));
        while !attacker.is_over() {
            for client in &mut held {
                // One that was closed, or to which nothing was written, is as good as one that waits.
                let _ = client.stream.set_nonblocking(true);
                let _ = client.stream.read(&mut [0]);
            }
        }
    });
    Ok(())
}

/// Receivers that read everything and acknowledge nothing.
pub fn never_acknowledged(attacker: &Attacker) -> io::Result<()> {
    let mut held = receivers(attacker, QoS::AtLeastOnce);
    let mut bytes = vec![0; 64 * 1024];
    std::thread::scope(|scope| {
        scope.spawn(|| flood(attacker, QoS::AtLeastOnce, 4096));
        while !attacker.is_over() {
            for client in &mut held {
                let _ = client.stream.set_nonblocking(true);
                let _ = client.stream.read(&mut bytes);
            }
        }
    });
    Ok(())
}

/// A flood to Sessions without a connection: all of it goes to the disk.
pub fn disk_hoarding(attacker: &Attacker) -> io::Result<()> {
    for mut client in receivers(attacker, QoS::AtLeastOnce) {
        attacker.note(client.write(&DISCONNECT));
    }
    flood(attacker, QoS::AtLeastOnce, 4096)
}

fn receivers(attacker: &Attacker, qos: QoS) -> Vec<Client<'_>> {
    attacker.hold(RECEIVERS, |number| {
        let mut client = Client::lasting(attacker, &format!("receiver{number}"))?;
        client.subscribe(qos, &["flood/#".to_owned()])?;
        Ok(client)
    })
}

/// Messages of `len` bytes to all receivers.
pub fn flood(attacker: &Attacker, qos: QoS, len: usize) -> io::Result<()> {
    let payload = vec![b'x'; len];
    let open = |number| Client::named(attacker, &format!("publisher{number}"));
    attacker.again(4, open, |client, number| {
        let topic = format!("flood/{number}");
        let message = Publish { topic: &topic, payload: &payload, qos, ..Publish::default() };
        let count = 16_u16;
        for id in 1..=count {
            let packet_id = PacketId::new(id).filter(|_| qos != QoS::AtMostOnce);
            client.write(&publish(Publish { packet_id, ..message.clone() }))?;
        }
        match qos {
            QoS::AtMostOnce => client.ping()?,
            _ => (0..count).try_for_each(|_| client.until(PUBACK).map(drop))?,
        }
        Ok(count.into())
    })
}

/// Connections with a PUBLISH of 1 MB of which the last byte does not come.
pub fn unfinished_publish(attacker: &Attacker) -> io::Result<()> {
    let mut bytes =
        publish(Publish { topic: "u", payload: &vec![b'x'; 1_000_000], ..Publish::default() });
    bytes.pop();
    let mut clients = attacker.hold(600, |number| {
        let mut client = Client::named(attacker, &format!("unfinished{number}"))?;
        client.stream.set_write_timeout(Some(std::time::Duration::from_millis(20)))?;
        // What is not read any more, because there is no room for more, is not written either.
        let _ = client.write(&bytes);
        Ok(client)
    });
    if let Some(client) = clients.first_mut() {
        let _ = client.until(CONNACK);
    }
    attacker.rest();
    Ok(())
}
