//! Attacks on a listener with TLS.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sluicemq::codec::Connect;

use crate::attacker::{Attacker, reset};
use crate::client::Client;
use crate::opening::{noise, throw};

/// A byte of a ClientHello on each connection, and then nothing.
pub fn slow_handshakes(attacker: &Attacker) -> io::Result<()> {
    let _held = attacker.hold(10_000, |_| {
        let mut stream = attacker.dial_tls()?;
        stream.write_all(&[0x16])?;
        attacker.wrote(1);
        Ok(stream)
    });
    attacker.rest();
    Ok(())
}

/// Handshakes that break after the ClientHello, within it, and before it.
pub fn broken_handshakes(attacker: &Attacker) -> io::Result<()> {
    let config = config(attacker)?;
    attacker.once(8, |number| {
        let mut bytes = Vec::new();
        client(&config)?.write_tls(&mut bytes)?;
        match number % 3 {
            0 => bytes.extend(noise(number, 4096)),
            1 => bytes.truncate(bytes.len() / 2),
            _ => bytes = [&[0x16, 3, 3, 0x3F, 0xFF][..], &noise(number, 0x3FFF)].concat(),
        }
        throw(attacker, attacker.dial_tls()?, &bytes)
    })
}

/// Handshakes resumed by tickets, each followed by twenty changes of the keys: what version 1.3 has in the
/// place of renegotiation.
pub fn tickets(attacker: &Attacker) -> io::Result<()> {
    let config = config(attacker)?;
    attacker.once(8, |number| {
        let client_id = format!("ticket{number}");
        let connect = Connect { client_id: &client_id, ..Connect::default() };
        let mut client = Client::over(attacker, shake(attacker, &config)?, connect)?;
        for _ in 0..20 {
            client.stream.conn.refresh_traffic_keys().map_err(io::Error::other)?;
        }
        client.ping()?;
        reset(&client.stream.sock)
    })
}

/// Garbage in the place of a handshake, and behind one.
pub fn garbage(attacker: &Attacker) -> io::Result<()> {
    let config = config(attacker)?;
    attacker.once(8, |number| {
        let bytes = noise(number, 16 * 1024);
        if number % 8 != 0 {
            return throw(attacker, attacker.dial_tls()?, &bytes);
        }
        let mut stream = shake(attacker, &config)?;
        stream.write_all(&bytes)?;
        attacker.wrote(bytes.len());
        reset(&stream.sock)
    })
}

fn shake(
    attacker: &Attacker,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = StreamOwned::new(client(config)?, attacker.dial_tls()?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn client(config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let name = "localhost".try_into().expect("a name");
    ClientConnection::new(config.clone(), name).map_err(io::Error::other)
}

fn config(attacker: &Attacker) -> io::Result<Arc<ClientConfig>> {
    let file = attacker.target.folder.join("ca.pem");
    let certificate = CertificateDer::from_pem_file(file).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
