//! The PROXY protocol, versions 1 and 2: what a proxy says of the client, before the client's own bytes.

use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::tls::HandshakeError;
use crate::message::RefusalKind;

/// What a proxy says of its client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxied {
    /// Where the client is; `None` if the proxy speaks for itself, as in its health checks, or does not know.
    pub address: Option<SocketAddr>,
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
            Ok(Proxied { address: header.proxied_address().map(|both| both.source) })
        }
        Ok(_) | Err(Error::BufferTooShort) => Err(broken("a PROXY header that does not end")),
        Err(_) => Err(broken("a PROXY header that cannot be read")),
    }
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
