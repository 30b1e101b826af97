//! What fails before MQTT begins: a line in words for each kind, and no peer that dawdles keeps others
//! out.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::{ClientConfig, SupportedProtocolVersion};
use sluicemq::codec::Version;

use super::process::{Sluice, new_folder};
use super::secure::{TLS_VERSIONS, certificates, config, handshake, handshake_over};
use super::wire::{Client, connect, dial, dial_from};
use super::{MUTUAL, TLS, broker, certs, enter, until};

/// A ClientHello that offers `suites` in this version of TLS.
pub fn client_hello(version: [u8; 2], suites: &[u8]) -> Vec<u8> {
    client_hello_with(version, suites, &[])
}

/// The same with further extensions.
pub fn client_hello_with(version: [u8; 2], suites: &[u8], more: &[u8]) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    // Groups, signatures of RSA and of P-256.
    let groups = [&[0, 10][..], &long(&long(&[0, 23]))].concat();
    let signatures = [&[0, 13][..], &long(&long(&[4, 1, 4, 3]))].concat();
    let extensions = long(&[&groups, &signatures, more].concat());
    let body = [&version[..], &[7; 32], &[0], &long(suites), &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &long(&body)].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

/// Makes a client certificate in `folder`, by the CA in `authority` or, if there is none, by itself.
fn client_certificate(
    folder: &Path,
    authority: Option<&Path>,
    edit: impl FnOnce(&mut CertificateParams),
) {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "device");
    edit(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = match authority {
        None => params.self_signed(&key),
        Some(authority) => {
            let read = |name: &str| fs::read_to_string(authority.join(name)).expect("a CA's file");
            let pair = KeyPair::from_pem(&read("ca.key")).expect("the CA's key");
            let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), pair).expect("a CA");
            params.signed_by(&key, &issuer)
        }
    };
    let certificate = certificate.expect("a certificate").pem();
    for (name, text) in [("client.pem", certificate), ("client.key", key.serialize_pem())] {
        fs::write(folder.join(name), text).expect("a file");
    }
}

/// Tries a handshake from an address of its own, and reads until the broker has closed.
fn try_from(address: &str, at: SocketAddr, config: ClientConfig) {
    if let Ok((stream, _)) = handshake_over(dial_from(address, at), &Arc::new(config)) {
        Client::over(stream, Version::V5).drain();
    }
}

#[test]
fn whatever_fails_before_mqtt_is_told_in_words() {
    let broker = broker(MUTUAL);
    let at = broker.address("tls");
    let (ca, made) = (certs(&broker), new_folder());
    let from = |n: usize| format!("127.0.0.{}", 10 + n);
    let mut expected = Vec::new();
    let mut expect = |wanted: &'static str| {
        expected.push((from(expected.len()), wanted));
        expected.last().expect("just pushed").0.clone()
    };

    for (bytes, wanted) in [
        (b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03abc".to_vec(), "MQTT without TLS"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP"),
        (client_hello([3, 1], &[0, 0x2F]), "TLS version too old"),
        (client_hello([3, 3], &[0, 0x2F, 0, 0x35]), "no common cipher suite"),
    ] {
        let mut stream = dial_from(&expect(wanted), at);
        stream.write_all(&bytes).expect("a connection");
        Client::over(stream, Version::V5).drain();
    }
    let version: &'static SupportedProtocolVersion = TLS_VERSIONS[1];
    try_from(&expect("no client certificate"), at, config(&ca, None, version));
    let mut other = config(&ca, Some(&ca), version);
    other.alpn_protocols = vec![b"h2".to_vec()];
    try_from(&expect("no common protocol (ALPN)"), at, other);

    client_certificate(made.path(), None, |_| {});
    let shown = || config(&ca, Some(made.path()), version);
    try_from(&expect("the client certificate is self-signed"), at, shown());
    certificates(&made.path().join("other"), "stranger");
    client_certificate(made.path(), Some(&made.path().join("other")), |_| {});
    try_from(&expect("the client certificate is not of a CA in client_ca"), at, shown());
    client_certificate(made.path(), Some(&ca), |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    });
    try_from(&expect("the client certificate has expired"), at, shown());
    client_certificate(made.path(), Some(&ca), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    try_from(&expect("the client certificate is not for clients"), at, shown());
    // The client does not know our CA, and says so.
    let stranger = config(&made.path().join("other"), None, version);
    try_from(&expect("the client does not know our CA"), at, stranger);

    let log = || fs::read_to_string(broker.file("log")).expect("the broker's log");
    for (address, wanted) in &expected {
        let line = |line: &str| line.contains(&format!("{address}:")) && line.contains(wanted);
        until(|| log().lines().any(|text| line(text) && text.contains("INFO")));
    }
    // It is not a debugging aid.
    assert!(
        !log().contains("PeerIncompatible") && !log().contains("InvalidCertificate"),
        "{}",
        log()
    );
}

#[test]
fn a_peer_that_dawdles_takes_no_place_from_a_client() {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let slow = "handshakes_max = 1\nhello_timeout = '10m'\n";
    let config = format!("{TLS}{slow}[limits]\nconnect_timeout = '10m'\n");
    let broker = Sluice::start_in(folder, &config);
    let at = broker.address("tls");
    let tls = Arc::new(super::config(&certs(&broker), None, TLS_VERSIONS[1]));
    let hello = client_hello([3, 3], &[0xC0, 0x2B, 0xC0, 0x2F]);
    // Each that took a place would keep it for a second at least.
    let dawdle = |bytes: &[u8]| {
        let mut stream = dial(at);
        stream.write_all(bytes).expect("a connection");
        stream
    };
    let begun = || (0..60).map(|_| dawdle(&hello[..1]));
    let nearly = || (0..60).map(|_| dawdle(&hello[..hello.len() - 1]));
    // These are answered, and do not go on.
    let answered = || (0..60).map(|_| dawdle(&hello));
    let dawdling: Vec<TcpStream> = begun().chain(nearly()).chain(answered()).collect();
    let (client, _) = enter(at, &tls, Version::V5);
    client.goodbye();
    // They are as welcome as before.
    let mut one = dawdling.into_iter().nth(60).expect("one that lacks a byte");
    one.write_all(&hello[hello.len() - 1..]).expect("a connection");
    assert!(matches!(std::io::Read::read(&mut one, &mut [0; 1]), Ok(1)), "no answer of TLS");
}

#[test]
fn a_client_hello_has_a_time_limit_of_its_own() {
    let slow = "hello_timeout = '100ms'\n[limits]\nconnect_timeout = '10m'\n";
    let broker = broker(slow);
    let at = broker.address("tls");
    let mut begun = Client::open(at, Version::V5);
    begun.send_bytes(&[22]);
    begun.closed();
    // One that ends its side has no more to say.
    let half = dial(at);
    (&half).write_all(&[22, 3, 1]).expect("a connection");
    half.shutdown(std::net::Shutdown::Write).expect("a connection");
    Client::over(half, Version::V5).closed();
    let tls = Arc::new(config(&certs(&broker), None, TLS_VERSIONS[0]));
    let mut client = Client::over(handshake(at, &tls).expect("a handshake").0, Version::V5);
    client.greet(&connect(Version::V5, "a"));
    client.ping();
}
