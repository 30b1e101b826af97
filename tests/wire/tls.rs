//! Certificates, and the client's side of TLS.
#![allow(dead_code)] // Each test file uses its part.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

#[cfg(feature = "tls-aws-lc")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
use rustls::crypto::ring as cryptography;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use crate::process::{Process, program};
use crate::wire::dial;

/// Both versions of TLS.
pub const TLS_VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// The cryptography.
pub fn provider() -> rustls::crypto::CryptoProvider {
    cryptography::default_provider()
}

/// Makes in `folder` a CA if there is none, a certificate for localhost and one for `client`.
pub fn certificates(folder: &Path, client: &str) {
    let mut command = program();
    command.args(["certs", "--name", "localhost", "--client", client, "--out"]).arg(folder);
    let (code, lines) = Process::start(command.stdin(Stdio::null())).end();
    assert_eq!(code, Some(0), "{lines:?}");
}

/// A client that trusts the CA in `folder`, and shows the client certificate in `identity`.
pub fn config(
    folder: &Path,
    identity: Option<&Path>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&folder.join("ca.pem"))).expect("a CA's certificate");
    let provider = Arc::new(cryptography::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version that is there")
        .with_root_certificates(roots);
    let Some(identity) = identity else { return config.with_no_client_auth() };
    let key = PrivateKeyDer::from_pem_file(identity.join("client.key")).expect("a key");
    config
        .with_client_auth_cert(vec![certificate(&identity.join("client.pem"))], key)
        .expect("a certificate with its key")
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("a certificate")
}

/// What a handshake agreed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agreed {
    pub resumed: bool,
    pub protocol: Option<Vec<u8>>,
}

/// A connection of TLS after its handshake, as far as the client sees it.
pub fn handshake(
    at: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<(StreamOwned<ClientConnection, std::net::TcpStream>, Agreed)> {
    handshake_over(dial(at), config)
}

/// The same over a connection that is there.
pub fn handshake_over(
    stream: std::net::TcpStream,
    config: &Arc<ClientConfig>,
) -> std::io::Result<(StreamOwned<ClientConnection, std::net::TcpStream>, Agreed)> {
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(config.clone(), name).expect("a good configuration");
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let agreed = Agreed {
        resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        protocol: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
    };
    Ok((stream, agreed))
}
