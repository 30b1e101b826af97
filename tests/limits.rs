//! What happens at each limit: on the real process, or on a link where a socket adds nothing.
//!
//! Nothing sleeps, and no time is measured but what must have passed at least: every step waits for
//! what the broker does.

#[path = "limits/held.rs"]
mod held;
#[path = "limits/hoarding.rs"]
mod hoarding;
#[path = "limits/links.rs"]
mod links;
mod process;
#[path = "limits/rates.rs"]
mod rates;
#[path = "limits/system.rs"]
mod system;
#[path = "limits/totals.rs"]
mod totals;
#[path = "limits/wills.rs"]
mod wills;
mod wire;
#[path = "limits/work.rs"]
mod work;

use std::net::SocketAddr;
use std::num::NonZeroU16;

use process::Sluice;
use sluicemq::codec::{Ack, Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use wire::{Client, Flood, VERSIONS, connect, connect_with_will, encoded, message};

/// A broker with `settings`, which begin inside the section of its listener.
fn broker(settings: &str) -> Sluice {
    Sluice::start(&format!("[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n{settings}"))
}

/// What version 5 is told, or 3.1.1.
fn told<T>(version: Version, new: T, old: T) -> T {
    if version == Version::V5 { new } else { old }
}

#[test]
fn a_client_that_does_not_get_to_its_connect_is_closed() {
    let broker = broker("[limits]\nconnect_timeout = '300ms'");
    let at = broker.address("tcp");
    let mut silent = Client::open(at, Version::V5);
    let mut halfway = Client::open(at, Version::V5);
    halfway.send_bytes(
        &encoded(&Packet::Connect(Box::new(connect(Version::V5, "a"))), Version::V5)[..9],
    );
    let mut polite = Client::connect(at, Version::V5, "polite");
    silent.closed();
    halfway.closed();
    polite.ping();
}

#[test]
fn a_connect_of_64_kib_is_taken_and_no_byte_more() {
    let broker = broker("");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let with = |password: &[u8]| {
            let user_name = Some("u");
            let connect = Connect { user_name, password: Some(password), ..connect(version, "a") };
            encoded(&Packet::Connect(Box::new(connect)), version)
        };
        // Of the length field one byte, which becomes three.
        let fitting = 64 * 1024 - (with(&[]).len() + 2);
        let mut client = Client::open(at, version);
        client.send_bytes(&with(&vec![b'x'; fitting]));
        assert_eq!(client.connack(), Reason::Success);

        let mut client = Client::open(at, version);
        client.send_bytes(&with(&vec![b'x'; fitting + 1]));
        if version == Version::V5 {
            assert_eq!(client.connack(), Reason::PacketTooLarge);
        }
        client.closed();
        // The length is enough: the broker does not wait for the rest.
        let mut client = Client::open(at, version);
        client.send_bytes(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]);
        client.closed();
    }
}

#[test]
fn a_packet_of_4_mib_is_taken_and_a_larger_one_refused_by_its_header_alone() {
    let broker = broker("");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut client = Client::connect(at, version, "a");
        client.subscribe(&["t"], QoS::AtMostOnce);
        let empty = encoded(&Packet::Publish(message("t", b"")), version).len();
        let payload = vec![b'x'; 4 * 1024 * 1024 - (empty + 3)];
        assert_eq!(client.publish("t", &payload), Reason::Success);
        assert_eq!(client.message().1.len(), payload.len());
        // A Remaining Length of 4,194,300: with its header one byte too many.
        client.send_bytes(&[0x30, 0xFC, 0xFF, 0xFF, 0x01]);
        client.closed_by(Reason::PacketTooLarge);
    }
}

#[test]
fn topics_of_1024_bytes_and_32_levels_are_taken_and_no_more() {
    let broker = broker("");
    let at = broker.address("tcp");
    let (long, deep) = ("x".repeat(1024), vec!["l"; 32].join("/"));
    let (longer, deeper) = ("x".repeat(1025), vec!["l"; 33].join("/"));
    for version in VERSIONS {
        let mut witness = Client::connect(at, version, "witness");
        witness.subscribe(&["#"], QoS::AtMostOnce);
        let mut client = Client::connect(at, version, "a");
        for topic in [&longer, &deeper] {
            let code = told(version, Reason::TopicNameInvalid, Reason::Success);
            assert_eq!(client.publish(topic, b""), code);
            let code = told(version, Reason::TopicFilterInvalid, Reason::UnspecifiedError);
            assert_eq!(client.subscribe(&[topic], QoS::AtMostOnce), [code]);
        }
        for topic in [&long, &deep] {
            assert_eq!(client.subscribe(&[topic], QoS::AtMostOnce), [Reason::Success]);
            assert_eq!(client.publish(topic, b""), Reason::Success);
            assert_eq!(client.message().0, **topic);
            // The first that comes: the others were not routed.
            assert_eq!(witness.message().0, **topic);
        }
    }
}

#[test]
fn a_client_identifier_of_256_bytes_is_taken_and_no_longer_one() {
    let broker = broker("");
    let at = broker.address("tcp");
    for version in VERSIONS {
        Client::connect(at, version, &"x".repeat(256)).goodbye();
        let mut client = Client::open(at, version);
        client.send(&Packet::Connect(Box::new(connect(version, &"x".repeat(257)))));
        // 0x85; on 3.1.1 0x02.
        assert_eq!(client.connack(), Reason::ClientIdentifierNotValid);
        client.closed();
    }
}

#[test]
fn a_client_has_ten_thousand_subscriptions_and_each_further_filter_is_refused() {
    let broker = broker("");
    let at = broker.address("tcp");
    let filters: Vec<String> = (0..10_500).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    for version in VERSIONS {
        let mut client = Client::connect(at, version, "a");
        let full = told(version, Reason::QuotaExceeded, Reason::UnspecifiedError);
        let told = client.subscribe(&filters, QoS::AtMostOnce);
        assert_eq!(told[..10_000], vec![Reason::Success; 10_000]);
        assert_eq!(told[10_000..], vec![full; 500]);
        assert_eq!(client.subscribe(&filters[..1], QoS::AtMostOnce), [Reason::Success]);
        assert_eq!(client.publish("f/9999", b""), Reason::Success);
        assert_eq!(client.message().0, "f/9999");
        // Another client has its own.
        let mut other = Client::connect(at, version, "b");
        assert_eq!(other.subscribe(&filters[10_000..10_001], QoS::AtMostOnce), [Reason::Success]);
    }
}

#[test]
fn a_subscribe_has_as_many_filters_as_are_configured_and_the_others_are_refused() {
    let broker = broker("[limits]\nfilters_max = 2");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut client = Client::connect(at, version, "a");
        let full = told(version, Reason::QuotaExceeded, Reason::UnspecifiedError);
        let told = client.subscribe(&["t", "u", "v"], QoS::AtMostOnce);
        assert_eq!(told, [Reason::Success, Reason::Success, full]);
        client.ping();
    }
}

#[test]
fn a_packet_has_64_user_properties_and_8_kib_of_properties_and_no_more() {
    let broker = broker("");
    let at = broker.address("tcp");
    let pair: &[u8] = &[0x26, 0, 1, b'k', 0, 1, b'v'];
    // Two pairs of the same length, five bytes of each around name and value.
    let long = |bytes: usize| {
        let half = bytes / 2;
        [half, bytes - half].map(|len| pair_of(len - 5)).concat()
    };
    for (fits, exceeds, reason) in [
        (pair.repeat(64), pair.repeat(65), Reason::QuotaExceeded),
        (long(8192), long(8193), Reason::PacketTooLarge),
    ] {
        let mut client = Client::connect(at, Version::V5, "a");
        client.send_bytes(&publish_with(&fits));
        client.ping();
        client.send_bytes(&publish_with(&exceeds));
        client.closed_by(reason);
        // In CONNECT too.
        let with = |properties| {
            let connect = connect(Version::V5, "a");
            let bytes = encoded(&Packet::Connect(Box::new(connect)), Version::V5);
            // Behind the Keep Alive its property length is 0.
            packet(0x10, &[&bytes[2..12], &block(properties), &bytes[13..]].concat())
        };
        let mut client = Client::open(at, Version::V5);
        client.send_bytes(&with(&fits));
        assert_eq!(client.connack(), Reason::Success);
        let mut client = Client::open(at, Version::V5);
        client.send_bytes(&with(&exceeds));
        assert_eq!(client.connack(), reason);
        client.closed();
    }
}

/// A User Property with an empty name and a value of `len` bytes.
fn pair_of(len: usize) -> Vec<u8> {
    let length = u16::try_from(len).expect("a short value").to_be_bytes();
    [&[0x26, 0, 0][..], &length, &vec![b'v'; len]].concat()
}

fn publish_with(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[&[0, 1, b't'], &block(properties)[..]].concat())
}

fn block(properties: &[u8]) -> Vec<u8> {
    [&variable(properties.len())[..], properties].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &variable(body.len())[..], body].concat()
}

/// A Variable Byte Integer.
fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7F) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

#[test]
fn a_client_has_32_messages_in_flight_or_what_it_asks_for_if_less() {
    let broker = broker("");
    let at = broker.address("tcp");
    for (version, asked, granted) in
        [(Version::V311, 65_535, 32), (Version::V5, 65_535, 32), (Version::V5, 5, 5)]
    {
        let receive_maximum = NonZeroU16::new(asked).unwrap();
        let wishes = Connect { receive_maximum, ..connect(version, "slow") };
        let mut slow = Client::connect_with(at, &wishes);
        slow.subscribe(&["t"], QoS::AtLeastOnce);
        let mut publisher = Client::connect(at, version, "p");
        for number in 0..40_u8 {
            assert_eq!(publisher.publish("t", &[number]), Reason::Success);
        }
        let mut ids = Vec::new();
        for number in 0..granted {
            ids.push(unanswered(&mut slow, number));
        }
        // The answer to a PINGREQ is the next to come: nothing else was on its way.
        slow.send(&Packet::PingReq);
        assert_eq!(slow.packet(), [0xD0, 0]);
        slow.send(&Packet::PubAck(Ack::new(ids[0], Reason::Success)));
        unanswered(&mut slow, granted);
        slow.goodbye();
    }
}

/// The Packet Identifier of the PUBLISH that comes, with `payload`.
fn unanswered(client: &mut Client, payload: u8) -> PacketId {
    client.expect(|packet| match packet {
        Packet::Publish(publish) if publish.payload == [payload] => publish.packet_id,
        _ => None,
    })
}

#[test]
fn a_version_5_client_has_4096_messages_open_and_an_old_one_as_many_identifiers_as_configured() {
    let broker = broker("[limits]\nunreleased_max = 100");
    let at = broker.address("tcp");
    for (version, open_max) in [(Version::V5, 4096), (Version::V311, 100)] {
        let mut client = Client::connect(at, version, "a");
        let publish = |id| {
            let packet_id = PacketId::new(id);
            Packet::Publish(Publish { qos: QoS::ExactlyOnce, packet_id, ..message("t", b"") })
        };
        for id in 1..=open_max {
            client.send(&publish(id));
            client.expect(|packet| match packet {
                Packet::PubRec(ack) if ack.packet_id.get() == id => Some(()),
                _ => None,
            });
        }
        client.send(&publish(open_max + 1));
        client.closed_by(Reason::ReceiveMaximumExceeded);
    }
}

#[test]
fn a_full_queue_refuses_its_copy_and_the_ledger_has_it() {
    // Each message holds some bytes beside its own: of 400 two fit, of 4 more than ten.
    let mut missed = 0;
    let broker = broker(
        "[queue]\nmessages_max = 10\nbytes_max = '1KiB'\n[limits]\npacket_bytes_max = '1KiB'\n\
         connect_bytes_max = '1KiB'\nproperties_bytes_max = '1KiB'",
    );
    let at = broker.address("tcp");
    for version in VERSIONS {
        for (payload, most) in [(vec![b'x'; 400], 2), (Vec::new(), 10)] {
            let lasting = Connect {
                session_expiry: told(version, 60, u32::MAX),
                clean_start: version == Version::V5,
                ..connect(version, "absent")
            };
            let mut absent = Client::connect_with(at, &lasting);
            absent.subscribe(&["t"], QoS::AtLeastOnce);
            absent.goodbye();
            let mut publisher = Client::connect(at, Version::V5, "p");
            let mut admitted = 0;
            while publisher.publish("t", &payload) == Reason::Success {
                admitted += 1;
            }
            assert!((1..=most).contains(&admitted), "{admitted} of {} bytes", payload.len());
            missed += 1;
            // 3.1.1 has no word for it.
            let mut old = Client::connect(at, Version::V311, "old");
            assert_eq!(old.publish("t", &payload), Reason::Success);
            missed += 1;
            assert_eq!(ledger(at, "queue_full"), missed);
            // A fan-out is no refusal if one receiver takes it.
            let mut present = Client::connect(at, version, "present");
            present.subscribe(&["t"], QoS::AtMostOnce);
            assert_eq!(publisher.publish("t", &payload), Reason::Success);
            assert_eq!(present.message().1, payload);
            missed += 1;
            present.goodbye();

            let mut back = Client::open(at, version);
            back.send(&Packet::Connect(Box::new(Connect { clean_start: false, ..lasting })));
            assert_eq!(back.connack(), Reason::Success);
            for _ in 0..admitted {
                assert_eq!(back.message().1, payload);
            }
            back.ping();
            back.goodbye();
            let clean = Client::connect(at, version, "absent");
            clean.goodbye();
        }
    }
}

/// What the ledger says of a reason.
fn ledger(at: SocketAddr, reason: &str) -> u64 {
    let mut client = Client::connect(at, Version::V5, "ledger");
    client.subscribe(&[&format!("$SYS/broker/ledger/{reason}")], QoS::AtMostOnce);
    let (_, count) = client.message();
    client.goodbye();
    String::from_utf8(count).expect("digits").parse().expect("a number")
}

#[test]
fn a_client_sets_16_aliases_and_no_more() {
    let broker = broker("");
    let mut client = Client::connect(broker.address("tcp"), Version::V5, "a");
    client.subscribe(&["#"], QoS::AtMostOnce);
    let publish = |topic: &'static str, alias| {
        let topic_alias = NonZeroU16::new(alias);
        Packet::Publish(Publish { topic, topic_alias, ..Publish::default() })
    };
    client.send(&publish("t", 16));
    client.send(&publish("", 16));
    for _ in 0..2 {
        assert_eq!(client.message().0, "t");
    }
    client.send(&publish("t", 17));
    client.closed_by(Reason::TopicAliasInvalid);
}

#[test]
fn a_session_expiry_interval_is_lowered_to_seven_days_and_connack_says_so() {
    let broker = broker("");
    let at = broker.address("tcp");
    for (asked, told) in [(u32::MAX, Some(604_800)), (604_801, Some(604_800)), (604_800, None)] {
        let mut client = Client::open(at, Version::V5);
        let session_expiry = asked;
        let connect = Connect { session_expiry, ..connect(Version::V5, "a") };
        client.send(&Packet::Connect(Box::new(connect)));
        let granted = client.expect(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_expiry),
            _ => None,
        });
        assert_eq!(granted, told);
    }
}

#[test]
fn a_listener_has_as_many_connections_as_configured() {
    let broker = broker("connections_max = 2");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut first = until_accepted(at, version, "first");
        let second = until_accepted(at, version, "second");
        let mut third = Client::open(at, version);
        third.send(&Packet::Connect(Box::new(connect(version, "third"))));
        let refused = told(version, Reason::QuotaExceeded, Reason::ServerUnavailable);
        assert_eq!(third.connack(), refused);
        third.closed();
        second.goodbye();
        until_accepted(at, version, "third").goodbye();
        first.ping();
    }
}

/// Tries until there is a place: the broker counts a connection until it has seen its end.
fn until_accepted(at: SocketAddr, version: Version, client_id: &str) -> Client {
    loop {
        let mut client = Client::open(at, version);
        client.send(&Packet::Connect(Box::new(connect(version, client_id))));
        if client.connack() == Reason::Success {
            return client;
        }
        client.closed();
    }
}

#[test]
fn a_listener_takes_so_many_new_connections_a_second_and_no_more() {
    for version in VERSIONS {
        let broker = broker("connect_rate_max = 1");
        let mut first = Client::connect(broker.address("tcp"), version, "first");
        let refused = until_refused(broker.address("tcp"), version);
        assert_eq!(refused, too_fast(version));
        first.ping();
    }
}

#[test]
fn one_address_opens_so_many_connections_a_second_and_others_as_many_more() {
    for version in VERSIONS {
        let broker = broker("connect_rate_per_address_max = 1");
        let at = broker.address("tcp");
        let mut first = Client::connect(at, version, "first");
        assert_eq!(until_refused(at, version), too_fast(version));
        let mut other = Client::over(wire::dial_from("127.0.0.2", at), version);
        other.greet(&connect(version, "other"));
        first.ping();
    }
}

/// Opens connections until the broker refuses one.
fn until_refused(at: SocketAddr, version: Version) -> Reason {
    loop {
        let mut client = Client::open(at, version);
        client.send(&Packet::Connect(Box::new(connect(version, "many"))));
        match client.connack() {
            Reason::Success => {}
            refused => {
                client.closed();
                return refused;
            }
        }
    }
}

fn too_fast(version: Version) -> Reason {
    told(version, Reason::ConnectionRateExceeded, Reason::ServerUnavailable)
}

#[test]
fn a_peer_that_stops_reading_is_closed_and_its_will_published() {
    let broker = broker("[limits]\nwrite_timeout = '300ms'");
    let at = broker.address("tcp");
    for version in VERSIONS {
        let mut witness = Client::connect(at, version, "witness");
        witness.subscribe(&["will"], QoS::AtMostOnce);
        let stream = wire::dial_narrow(at);
        let mut stuck = Client::over(stream, version);
        stuck.greet(&connect_with_will(version, "stuck", "will"));
        stuck.subscribe(&["flood"], QoS::AtMostOnce);
        let _flood = Flood::start(at, version, "flood");
        assert_eq!(witness.message().0, "will");
    }
    // It is told of as any other that is closed for a limit.
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&["$SYS/broker/refused/write_timeout"], QoS::AtMostOnce);
    assert_eq!(watcher.message().1, b"2");
}

#[test]
fn clients_that_flood_or_dribble_delay_nobody_for_ever() {
    let broker = broker("");
    let at = broker.address("tcp");
    let _floods = VERSIONS.map(|version| Flood::start(at, version, "flood"));
    let mut stuck = Client::over(wire::dial_narrow(at), Version::V5);
    stuck.greet(&connect(Version::V5, "stuck"));
    stuck.subscribe(&["flood"], QoS::AtMostOnce);
    let mut dribbling = Client::connect(at, Version::V5, "dribbling");
    dribbling.send_bytes(&[0x30]);
    for version in VERSIONS {
        let mut live = Client::connect(at, version, "live");
        live.subscribe(&["live"], QoS::AtLeastOnce);
        for _ in 0..100 {
            live.ping();
            assert_eq!(live.publish("live", b"on"), Reason::Success);
            assert_eq!(live.message().1, b"on");
        }
        live.goodbye();
    }
}
