//! `sluice check --live`: is a broker there that takes a message and gives it back?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls::ClientTls;
use crate::codec::{
    self, Connect, DecodeLimits, Decoded, Packet, PacketId, Publish, QoS, Reason, Sender,
    Subscribe, SubscribeOptions, Version,
};

/// Why the broker is not well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// No connection, or it broke.
    #[error("{address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The broker answered something else than it should.
    #[error("{address}: {problem}")]
    Wrong {
        /// Where.
        address: SocketAddr,
        /// What it answered.
        problem: String,
    },
    /// No answer in time.
    #[error("{0}: no answer within 5 s")]
    Timeout(SocketAddr),
}

/// Connects to `address`, through TLS if that is given, subscribes, publishes to itself at `QoS` 1 and
/// waits for the message.
///
/// # Errors
///
/// What the broker did instead.
pub fn live_check(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    user: Option<(&str, &str)>,
) -> Result<(), LiveError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LiveError::Io { address, source })?;
    runtime.block_on(async {
        let check = tokio::time::timeout(Duration::from_secs(5), meet(address, tls, user));
        check.await.map_err(|_| LiveError::Timeout(address))?
    })
}

async fn meet(
    address: SocketAddr,
    tls: Option<&ClientTls>,
    user: Option<(&str, &str)>,
) -> Result<(), LiveError> {
    let fail = |source| failed(address, source);
    let stream = TcpStream::connect(address).await.map_err(fail)?;
    match tls {
        None => talk(address, stream, user).await,
        Some(tls) => talk(address, tls.handshake(stream).await.map_err(fail)?, user).await,
    }
}

fn failed(address: SocketAddr, source: io::Error) -> LiveError {
    match ClientTls::in_words(&source) {
        Some(problem) => LiveError::Wrong { address, problem },
        None => LiveError::Io { address, source },
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    address: SocketAddr,
    mut stream: S,
    user: Option<(&str, &str)>,
) -> Result<(), LiveError> {
    let fail = |source| failed(address, source);
    let topic = format!("sluice/check/{}", std::process::id());
    let mut out = Vec::new();
    for packet in conversation(&topic, user) {
        codec::encode(&packet, Version::V5, usize::MAX, &mut out).expect("short packets encode");
    }
    stream.write_all(&out).await.map_err(fail)?;
    stream.flush().await.map_err(fail)?;
    let mut buf = Vec::new();
    loop {
        if stream.read_buf(&mut buf).await.map_err(fail)? == 0 {
            let problem = "the connection was closed before the message came back".to_owned();
            return Err(LiveError::Wrong { address, problem });
        }
        let mut used = 0;
        while let Decoded::Packet { packet, len } =
            codec::decode(&buf[used..], Some(Version::V5), Sender::Server, &DecodeLimits::NONE)
                .map_err(|error| LiveError::Wrong { address, problem: error.to_string() })?
        {
            match packet {
                Packet::ConnAck(ack) if ack.reason != Reason::Success => {
                    let problem = format!("refused: {}", ack.reason.name());
                    return Err(LiveError::Wrong { address, problem });
                }
                Packet::Publish(publish) if publish.topic == topic => {
                    // Goodbye: a check every few seconds should not look like a lost client.
                    let _ = stream.write_all(&[0xE0, 0]).await;
                    let _ = stream.shutdown().await;
                    return Ok(());
                }
                _ => {}
            }
            used += len;
        }
        buf.drain(..used);
    }
}

fn conversation<'a>(topic: &'a str, user: Option<(&'a str, &'a str)>) -> [Packet<'a>; 3] {
    let connect = Connect {
        keep_alive: 10,
        user_name: user.map(|(name, _)| name),
        password: user.map(|(_, password)| password.as_bytes()),
        ..Connect::default()
    };
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let subscribe = Subscribe {
        rest: &[],
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: codec::Properties::EMPTY,
        filters: vec![(topic, options)],
    };
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        topic,
        packet_id: Some(PacketId::MIN),
        payload: b"well?",
        ..Publish::default()
    };
    [Packet::Connect(Box::new(connect)), Packet::Subscribe(subscribe), Packet::Publish(publish)]
}
