//! The upgrade of a connection from HTTP to WebSocket: RFC 6455, section 4.2.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response};
use tungstenite::http::HeaderMap;

use crate::config::{AddressRange, WebSocket};
use crate::message::RefusalKind;
use crate::net::tls::HandshakeError;

/// What a listener asks of an upgrade.
#[derive(Clone, Debug)]
pub struct Upgrade {
    settings: WebSocket,
    proxies: Vec<AddressRange>,
}

/// A connection that is upgraded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upgraded {
    /// The client's address, if a proxy that is trusted says it.
    pub address: Option<IpAddr>,
}

/// What the answer to a request that is granted says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantedUpgrade {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    /// `Sec-WebSocket-Protocol`.
    pub protocol: &'static str,
}

/// Why there is no upgrade: the answer, and what is said of it.
#[derive(Debug)]
struct NoUpgrade {
    /// Status code and phrase.
    status: &'static str,
    reason: &'static str,
    detail: String,
    kind: RefusalKind,
}

/// The most bytes of a request: those of browsers with long cookies have 4 KiB.
const REQUEST_MAX: usize = 8 * 1024;
/// Subprotocols that are served, the first that a client names among them is taken [MQTT5-6.0.0-3, -4].
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Characters of a header that are said in the log.
const SAID_MAX: usize = 100;

impl Upgrade {
    /// As `settings` say. `X-Forwarded-For` is looked at if it comes from `proxies`.
    pub fn new(settings: &WebSocket, proxies: &[AddressRange]) -> Upgrade {
        Upgrade { settings: settings.clone(), proxies: proxies.to_vec() }
    }

    /// Reads the request from `stream`, of a peer with the address `peer`, and answers it. The caller sets the time limit.
    ///
    /// # Errors
    ///
    /// Why there is no upgrade; the peer has its answer then.
    pub async fn answer<S>(
        &self,
        stream: &mut S,
        peer: Option<IpAddr>,
    ) -> Result<Upgraded, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let upgrade = match read_request(stream).await {
            Ok(request) => self.look_at(&request).map(|answer| (request, answer)),
            Err(ReadError::Refused(refused)) => Err(refused),
            Err(ReadError::Lost) => return Err(lost()),
        };
        match upgrade {
            Ok((request, answer)) => {
                stream.write_all(answer.as_bytes()).await.map_err(|_| lost())?;
                stream.flush().await.map_err(|_| lost())?;
                let proxied = peer.filter(|peer| self.believes(*peer));
                let address = proxied.and_then(|_| self.forwarded(request.headers()));
                Ok(Upgraded { address })
            }
            Err(refused) => {
                // It may have gone already; it is refused all the same.
                let _ = stream.write_all(refused.answer().as_bytes()).await;
                let _ = stream.shutdown().await;
                Err(HandshakeError::new(refused.kind, refused.reason, refused.detail))
            }
        }
    }

    /// The answer to a request that a server of HTTP has read; it sees to path and `Origin` itself.
    ///
    /// # Errors
    ///
    /// The status code to answer with, and why there is no upgrade.
    pub fn grant(request: &Request) -> Result<GrantedUpgrade, (u16, HandshakeError)> {
        let refuse = |refused: NoUpgrade| {
            let code = refused.status.split(' ').next().and_then(|code| code.parse().ok());
            let error = HandshakeError::new(refused.kind, refused.reason, refused.detail);
            (code.unwrap_or(400), error)
        };
        let response = create_response(request).map_err(|error| refuse(no_upgrade(&error)))?;
        let protocol = served_protocol(request.headers()).map_err(refuse)?;
        Ok(GrantedUpgrade { accept: text(response.headers(), "sec-websocket-accept"), protocol })
    }

    /// The answer to a request that is granted.
    fn look_at(&self, request: &Request) -> Result<String, NoUpgrade> {
        let (path, headers) = (request.uri().path(), request.headers());
        let response = create_response(request).map_err(|error| no_upgrade(&error))?;
        if self.settings.path != "*" && path != self.settings.path {
            return Err(NoUpgrade {
                status: "404 Not Found",
                reason: "WebSocket on another path",
                detail: format!(
                    "{:?}; listener.websocket.path is {:?}",
                    said(path),
                    self.settings.path
                ),
                kind: RefusalKind::WebSocketUpgrade,
            });
        }
        self.look_at_origin(headers)?;
        let protocol = served_protocol(headers)?;
        let accept = text(response.headers(), "sec-websocket-accept");
        // With the capitals of the standard: some small clients look for them.
        Ok(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        ))
    }

    /// A page of another site may open a WebSocket to any host: a browser says which site it is of.
    fn look_at_origin(&self, headers: &HeaderMap) -> Result<(), NoUpgrade> {
        let Some(origin) = headers.get("origin") else { return Ok(()) };
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let own = origin.split_once("://").is_some_and(|(_, host)| {
            headers
                .get("host")
                .is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        });
        let listed = |listed: &String| listed == "*" || listed.eq_ignore_ascii_case(&origin);
        if own || self.settings.origins.iter().flatten().any(listed) {
            return Ok(());
        }
        Err(NoUpgrade {
            status: "403 Forbidden",
            reason: "WebSocket from a page of another origin",
            detail: format!("{:?} is not in listener.websocket.origins", said(&origin)),
            kind: RefusalKind::WebSocketOrigin,
        })
    }

    fn believes(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(address))
    }

    /// The last address that a proxy which is not trusted, or a client, was seen at.
    fn forwarded(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let all = headers.get_all("x-forwarded-for");
        let addresses = all.iter().filter_map(|header| header.to_str().ok());
        let addresses: Vec<_> = addresses.flat_map(|header| header.split(',')).collect();
        for address in addresses.iter().rev() {
            let address = parse_address(address.trim())?;
            if !self.believes(address) {
                return Some(address);
            }
        }
        None
    }
}

impl NoUpgrade {
    fn answer(&self) -> String {
        let NoUpgrade { status, reason, .. } = self;
        let body = format!("{reason}\n");
        let version = match status.starts_with("426") {
            true => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            false => "",
        };
        format!(
            "HTTP/1.1 {status}\r\n{version}Connection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

enum ReadError {
    Lost,
    Refused(NoUpgrade),
}

/// The request, and nothing of what follows it: a client sends no frame before it has its answer.
async fn read_request<S>(stream: &mut S) -> Result<Request, ReadError>
where
    S: AsyncRead + Unpin,
{
    let refuse = |status, reason, detail| {
        let kind = RefusalKind::WebSocketUpgrade;
        Err(ReadError::Refused(NoUpgrade { status, reason, detail, kind }))
    };
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let n = stream.read_buf(&mut bytes).await.map_err(|_| ReadError::Lost)?;
        if n == 0 {
            return Err(ReadError::Lost);
        }
        if !bytes[0].is_ascii_alphabetic() {
            let what = match bytes[0] {
                0x10 => "MQTT without WebSocket on a WebSocket listener",
                0x16 => "TLS on a WebSocket listener without TLS",
                _ => "no HTTP on a WebSocket listener",
            };
            return refuse("400 Bad Request", what, String::new());
        }
        if bytes.len() > REQUEST_MAX {
            let detail = format!("more than {REQUEST_MAX} bytes");
            return refuse(
                "431 Request Header Fields Too Large",
                "the WebSocket request is too long",
                detail,
            );
        }
        // From before the end of what was there: an end may be cut.
        let from = bytes.len().saturating_sub(n + 3);
        if bytes[from..].windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    match Request::try_parse(&bytes) {
        Ok(Some((len, request))) if len == bytes.len() => Ok(request),
        Ok(_) => {
            let why = "bytes after the WebSocket request, before its answer";
            refuse("400 Bad Request", why, String::new())
        }
        Err(error) => Err(ReadError::Refused(no_upgrade(&error))),
    }
}

/// What the library says of a request that asks for no upgrade.
fn no_upgrade(error: &tungstenite::Error) -> NoUpgrade {
    use ProtocolError as P;
    let (status, reason) = match error {
        tungstenite::Error::Protocol(problem) => match problem {
            P::MissingConnectionUpgradeHeader | P::MissingUpgradeWebSocketHeader => {
                ("426 Upgrade Required", "HTTP that asks for no WebSocket")
            }
            P::MissingSecWebSocketVersionHeader => {
                ("426 Upgrade Required", "WebSocket of another version than 13")
            }
            P::WrongHttpMethod => ("405 Method Not Allowed", "HTTP with another method than GET"),
            _ => ("400 Bad Request", "a WebSocket request that cannot be read"),
        },
        _ => ("400 Bad Request", "a WebSocket request that cannot be read"),
    };
    NoUpgrade { status, reason, detail: error.to_string(), kind: RefusalKind::WebSocketUpgrade }
}

fn lost() -> HandshakeError {
    let reason = "the peer closed before the WebSocket began";
    HandshakeError::silent(RefusalKind::WebSocketUpgrade, reason)
}

/// The first subprotocol that the client names and that is served.
fn served_protocol(headers: &HeaderMap) -> Result<&'static str, NoUpgrade> {
    let offered = text(headers, "sec-websocket-protocol");
    let served = |offered: &str| PROTOCOLS.into_iter().find(|served| *served == offered.trim());
    offered.split(',').find_map(served).ok_or_else(|| NoUpgrade {
        status: "400 Bad Request",
        reason: "WebSocket without the subprotocol \"mqtt\"",
        detail: format!("offered: {:?}", said(&offered)),
        kind: RefusalKind::WebSocketUpgrade,
    })
}

/// The values of a header, in one list.
fn text(headers: &HeaderMap, name: &str) -> String {
    let all = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    all.collect::<Vec<_>>().join(",")
}

/// An address, with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|both| both.ip()))
}

fn said(text: &str) -> String {
    text.chars().take(SAID_MAX).collect()
}
