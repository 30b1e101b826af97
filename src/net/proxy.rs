//! The PROXY protocol, versions 1 and 2: what a proxy says of the client, before the client's own bytes.

use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader, Tlv};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::tls::{CertificateUser, HandshakeError};
use crate::message::RefusalKind;

/// What a proxy says of its client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxied {
    /// Where the client is; `None` if the proxy speaks for itself, as in its health checks, or does not know.
    pub address: Option<SocketAddr>,
    /// Who it is by the certificate that it has shown to the proxy.
    pub user: CertificateUser,
}

/// The shortest header, `PROXY UNKNOWN` with its line end: so much can be read without reading past the header.
const SHORTEST: usize = 15;
/// The fixed part of version 2: signature, command, family and the length of what follows.
const FIXED: usize = 16;
/// The longest line of version 1.
const LINE_MAX: usize = 107;
/// The most that follows the fixed part of version 2: addresses, and details of TLS.
const FOLLOWING_MAX: usize = 4096;

/// Reads the header from `stream`, and nothing of what follows it. The caller sets the time limit.
///
/// # Errors
///
/// There is none, or one that cannot be read.
pub async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Proxied, HandshakeError> {
    let mut bytes = vec![0; SHORTEST];
    stream.read_exact(&mut bytes).await.map_err(lost)?;
    match bytes[0] {
        b'P' => {
            while bytes.last() != Some(&b'\n') && bytes.len() < LINE_MAX && is_line(&bytes) {
                bytes.push(stream.read_u8().await.map_err(lost)?);
            }
        }
        b'\r' => {
            bytes.push(stream.read_u8().await.map_err(lost)?);
            let following = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
            if following > FOLLOWING_MAX {
                return Err(broken("a PROXY header of more than 4 KiB"));
            }
            bytes.resize(FIXED + following, 0);
            stream.read_exact(&mut bytes[FIXED..]).await.map_err(lost)?;
        }
        _ => return Err(broken("no PROXY header from a proxy that is trusted")),
    }
    match ProxyHeader::parse(&bytes, ParseConfig::default()) {
        Ok((header, len)) if len == bytes.len() => {
            let address = header.proxied_address().map(|both| both.source);
            Ok(Proxied { address, user: user(&header) })
        }
        Ok(_) | Err(Error::BufferTooShort) => Err(broken("a PROXY header that does not end")),
        Err(_) => Err(broken("a PROXY header that cannot be read")),
    }
}

/// The Common Name of the certificate that the client has shown to the proxy over TLS.
fn user(header: &ProxyHeader<'_>) -> CertificateUser {
    let mut details = header.tlvs().filter_map(|tlv| match tlv {
        Ok(Tlv::Ssl(details)) => Some(details),
        _ => None,
    });
    let Some(details) = details.next() else { return CertificateUser::Unasked };
    let is_shown = details.client_cert_conn() || details.client_cert_sess();
    if !details.client_ssl() || !is_shown {
        return CertificateUser::Unasked;
    }
    if details.verify() != 0 {
        return CertificateUser::Unusable("the proxy says that its certificate is not good");
    }
    let Ok(details) = details.tlvs().collect::<Result<Vec<_>, _>>() else {
        return CertificateUser::Unusable("what the proxy says of its certificate cannot be read");
    };
    let mut names = details.iter().filter_map(|detail| match detail {
        Tlv::SslCn(name) => Some(&**name),
        _ => None,
    });
    CertificateUser::named(match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (Some(_), Some(_)) => Err("its certificate has several Common Names"),
        (None, _) => Err("its certificate has no Common Name"),
    })
}

/// Whether it can still become a line of version 1.
fn is_line(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ")
}

fn lost(_: io::Error) -> HandshakeError {
    HandshakeError::silent(RefusalKind::ProxyProtocol, "the proxy closed within its PROXY header")
}

fn broken(reason: &'static str) -> HandshakeError {
    HandshakeError::new(RefusalKind::ProxyProtocol, reason, "listener.proxy_protocol is true")
}
