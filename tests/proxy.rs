//! The PROXY protocol on the real process: believed of those that are trusted, garbage from all others.

mod process;
mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use process::Sluice;
use sluicemq::codec::{Packet, Reason, Version};
use wire::{Client, connect, dial, encoded};

const CONFIG: &str = "
[[listener]]
name = 'behind'
address = '127.0.0.1:0'
proxy_protocol = true
trusted_proxies = ['127.0.0.1']
connect_rate_per_address_max = 2

[[listener]]
name = 'apart'
address = '127.0.0.1:0'
proxy_protocol = true
trusted_proxies = ['192.0.2.0/24']
";

/// How long a line of the log may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A header of version 2: `command` 0 is LOCAL, 1 PROXY.
fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// Source and destination of version 2 over IPv4, and TLVs of no interest.
fn ipv4() -> Vec<u8> {
    [&[203, 0, 113, 20, 10, 0, 0, 1, 0x30, 0x39, 7, 0x5B][..], &[0x04, 0, 3, 1, 2, 3]].concat()
}

/// A header and CONNECT, cut in two there.
fn enter(at: SocketAddr, header: &[u8], id: &str, cut: usize) -> Client {
    let connect = encoded(&Packet::Connect(Box::new(connect(Version::V5, id))), Version::V5);
    let bytes = [header, &connect].concat();
    let mut stream = dial(at);
    let (first, rest) = bytes.split_at(cut.min(bytes.len()));
    stream.write_all(first).expect("a broker that reads");
    stream.write_all(rest).expect("a broker that reads");
    Client::over(stream, Version::V5)
}

#[track_caller]
fn logged(broker: &Sluice, parts: &[&str]) {
    let end = Instant::now() + DEADLINE;
    while !broker.log().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(Instant::now() < end, "no line with {parts:?} in:\n{}", broker.log());
        thread::yield_now();
    }
}

#[test]
fn headers_of_both_versions_say_where_the_client_is_cut_anywhere() {
    let broker = Sluice::start(CONFIG);
    let at = broker.address("behind");
    let line = b"PROXY TCP4 203.0.113.10 10.0.0.1 12345 1883\r\n";
    for cut in 1..line.len() + 2 {
        // Each from an address of its own: the rate is the client's, not the proxy's.
        let line = format!("PROXY TCP4 203.0.113.{cut} 10.0.0.1 12345 1883\r\n");
        let mut client = enter(at, line.as_bytes(), "first", cut);
        assert_eq!(client.connack(), Reason::Success, "cut at {cut}");
    }
    for (header, id, seen) in [
        (&b"PROXY TCP6 2001:db8::7 ::1 12345 1883\r\n"[..], "six", "address=[2001:db8::7]:12345"),
        (b"PROXY UNKNOWN\r\n", "unknown", "address=127.0.0.1:"),
        (b"PROXY UNKNOWN 1 2 3 4\r\n", "unknown-more", "address=127.0.0.1:"),
        (&second(1, 0x11, &ipv4()), "second", "address=203.0.113.20:12345"),
        (&second(0, 0, &[]), "local", "address=127.0.0.1:"),
    ] {
        let mut client = enter(at, header, id, 3);
        assert_eq!(client.connack(), Reason::Success, "{id}");
        logged(&broker, &["connected", &format!("client={id}"), seen]);
    }
}

#[test]
fn the_rate_of_an_address_is_that_of_the_client() {
    let broker = Sluice::start(CONFIG);
    let at = broker.address("behind");
    let line = b"PROXY TCP4 203.0.113.99 10.0.0.1 12345 1883\r\n";
    let mut refused = 0;
    for _ in 0..8 {
        refused += usize::from(enter(at, line, "a", 9).connack() == Reason::ConnectionRateExceeded);
    }
    assert!(refused > 0, "no more than 2 a second");
    logged(&broker, &["refused", "address_rate", "address=203.0.113.99:12345"]);
}

#[test]
fn what_is_no_header_and_what_comes_from_others_is_refused() {
    let broker = Sluice::start(CONFIG);
    let long = second(1, 0x11, &[0; 5000]);
    let mut wrong = second(1, 0x11, &ipv4());
    wrong[12] = 0x31;
    for (bytes, why) in [
        (
            &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0][..],
            "no PROXY header from a proxy",
        ),
        (b"PROXY TCP4 1.2.3.4.5 10.0.0.1 12345 1883\r\n", "cannot be read"),
        (b"PROXY TCP4 1.2.3.4 10.0.0.1 123456 1883\r\n", "cannot be read"),
        (b"PROXYTCP4 1.2.3.4 10.0.0.1 12345 1883\r\n", "PROXY header"),
        (&long, "more than 4 KiB"),
        (&wrong, "cannot be read"),
        (&[b"PROXY TCP4 ", &[b'1'; 200][..]].concat(), "PROXY header"),
    ] {
        let mut stream = dial(broker.address("behind"));
        let _ = stream.write_all(bytes);
        Client::over(stream, Version::V5).drain();
        logged(&broker, &["refused", "proxy_protocol", why]);
    }
    let line = b"PROXY TCP4 203.0.113.10 10.0.0.1 12345 1883\r\n";
    enter(broker.address("apart"), line, "spoofed", 99).closed();
    logged(&broker, &["refused", "proxy_protocol", "listener=apart", "address=127.0.0.1:"]);
    assert!(!broker.log().contains("address=203.0.113.10"), "a stranger is not believed");
}

/// The details of TLS in a header of version 2 (PP2_TYPE_SSL), each field by its type.
fn details(flags: u8, verify: u32, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let field =
        |kind: u8, bytes: &[u8]| [&[kind][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let mut value = vec![flags];
    value.extend(verify.to_be_bytes());
    fields.iter().for_each(|(kind, bytes)| value.extend(field(*kind, bytes)));
    [ipv4(), field(0x20, &value)].concat()
}

#[test]
fn a_proxy_that_is_trusted_says_the_user_of_a_client_certificate_where_it_is_asked() {
    const NAME: (u8, &[u8]) = (0x22, b"device");
    let rule = "[[rule]]\nallow = ['all']\nuser = 'device'\ntopics = ['of/%u']\n";
    let broker = |identity: &str, trusted: &str| {
        // Rules with users are refused where nothing says a user.
        let rule = if identity.is_empty() { "" } else { rule };
        Sluice::start(&format!(
            "[[listener]]\nname = 'behind'\naddress = '127.0.0.1:0'\nproxy_protocol = true\n\
             {identity}trusted_proxies = ['{trusted}']\nallow_anonymous = true\n{rule}"
        ))
    };
    let asking = broker("proxy_identity = 'cn'\n", "127.0.0.1");
    let silent = broker("", "127.0.0.1");
    let (user, nobody, refused) = (Some(true), Some(false), None);
    type Fields = &'static [(u8, &'static [u8])];
    let cases: [(u8, u32, Fields, Option<bool>); 11] = [
        (0b011, 0, &[(0x21, b"TLSv1.3"), NAME], user),
        (0b101, 0, &[NAME], user),
        // No certificate, whatever else is said.
        (0b001, 0, &[NAME], nobody),
        (0b010, 0, &[NAME], nobody),
        // A certificate that is not good, or names nobody.
        (0b011, 1, &[NAME], refused),
        (0b011, 0, &[], refused),
        (0b011, 0, &[NAME, (0x22, b"admin")], refused),
        (0b011, 0, &[(0x22, b" ")], refused),
        (0b011, 0, &[(0x22, b"device\n")], refused),
        (0b011, 0, &[(0x22, b"\xFF")], refused),
        (0b011, 0, &[(0x22, b"\xFF"), NAME], refused),
    ];
    for (flags, verify, fields, wanted) in cases {
        let header = second(1, 0x11, &details(flags, verify, fields));
        let mut client = enter(asking.address("behind"), &header, "a", 9);
        let entered = client.connack();
        let found = (entered == Reason::Success)
            .then(|| client.publish("of/device", b"x") != Reason::NotAuthorized);
        assert_eq!(found, wanted, "{flags:#b} {verify} {fields:?}");
        assert!(entered == Reason::Success || entered == Reason::NotAuthorized, "{entered:?}");
        // Where it is not asked for, it says nothing.
        let mut client = enter(silent.address("behind"), &header, "a", 9);
        assert_eq!(client.connack(), Reason::Success);
        client.ping();
    }
    asking.logged("user=device");
    assert!(!silent.log().contains("user=device"), "{}", silent.log());
    logged(
        &asking,
        &["refused", "certificate_user", "the proxy says that its certificate is not good"],
    );
    // Of a proxy that is not trusted it is garbage.
    let apart = broker("proxy_identity = 'cn'\n", "192.0.2.1");
    let header = second(1, 0x11, &details(0b011, 0, &[NAME]));
    enter(apart.address("behind"), &header, "a", 9).drain();
    logged(&apart, &["refused", "proxy_protocol"]);
}
