//! How large the records of the broker are: as the configuration says, and as a client asks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sluicemq::codec::{QoS, Reason, Version};

use super::refusals::{client_hello, client_hello_with};
use super::secure::{TLS_VERSIONS, config};
use super::wire::dial;
use super::{broker, certs, enter};

/// A record's header, and what encryption adds to its plaintext at most.
const ADDED: usize = 5 + 256;

/// The lengths of the records in `bytes`, headers included.
fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, ..] = bytes {
        let len = (5 + usize::from(u16::from_be_bytes([*high, *low]))).min(bytes.len());
        lengths.push(len);
        bytes = &bytes[len..];
    }
    lengths
}

/// Stands between one client and the broker; returns its own address and what the broker has sent.
fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("an address");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let broker = TcpStream::connect(to).expect("a broker that listens");
        let (mut from, mut to) = (client.try_clone().expect("a socket"), &broker);
        thread::scope(|scope| {
            scope.spawn(|| {
                copy(&broker, &client, |bytes| seen.lock().expect("one writer").extend(bytes))
            });
            copy(&mut from, &mut to, |_| {});
        });
    });
    (at, sent)
}

fn copy(mut from: impl Read, mut to: impl Write, mut see: impl FnMut(&[u8])) {
    let mut buf = [0; 32 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buf) {
        see(&buf[..len]);
        if to.write_all(&buf[..len]).is_err() {
            return;
        }
    }
}

#[test]
fn records_are_as_small_as_the_configuration_says() {
    for (more, max) in
        [("", 16 * 1024), ("record_bytes_max = 4096\n", 4096), ("record_bytes_max = 512\n", 512)]
    {
        let broker = broker(more);
        for tls_version in TLS_VERSIONS {
            let (at, sent) = relay(broker.address("tls"));
            let tls = Arc::new(config(&certs(&broker), None, tls_version));
            let (mut client, _) = enter(at, &tls, Version::V5);
            client.subscribe(&["t"], QoS::AtLeastOnce);
            assert_eq!(client.publish("t", &[b'x'; 100_000]), Reason::Success);
            assert_eq!(client.message().1.len(), 100_000);
            client.goodbye();
            let largest = records(&sent.lock().expect("one writer")).into_iter().max();
            let largest = largest.expect("records");
            assert!((max / 2..=max + ADDED).contains(&largest), "{max} {tls_version:?}: {largest}");
        }
    }
}

#[test]
fn a_client_that_asks_for_small_records_gets_them() {
    let broker = broker("");
    let suites = [0xC0, 0x2B];
    let largest = |hello: &[u8]| {
        let mut stream = dial(broker.address("tls"));
        stream.write_all(hello).expect("a connection");
        stream.shutdown(Shutdown::Write).expect("a connection");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer[0], 22, "not a handshake");
        records(&answer).into_iter().max().expect("records")
    };
    assert!(largest(&client_hello([3, 3], &suites)) > 300);
    // record_size_limit, and max_fragment_length beside a smaller one.
    let limit = |bytes: u8| vec![0, 28, 0, 2, 0, bytes];
    assert!(largest(&client_hello_with([3, 3], &suites, &limit(101))) <= 5 + 100);
    let fragment = [0, 1, 0, 1, 1];
    assert!(largest(&client_hello_with([3, 3], &suites, &fragment)) <= 5 + 512);
}
