//! Waits until the whole ClientHello of a connection is there, in the system's buffer: a peer that sends
//! a byte, or none, costs its socket and its task, and no handshake.

use std::io;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::hello::{ClientHello, FirstBytes, HELLO_MAX};
use super::refusal::HandshakeError;

/// The ClientHello of `stream`, which can be read from it still; at most `patience` after its first byte.
/// The caller bounds the time until that.
///
/// # Errors
///
/// What came instead.
pub async fn client_hello(
    stream: &TcpStream,
    patience: Duration,
) -> Result<ClientHello, HandshakeError> {
    stream.readable().await.map_err(HandshakeError::lost)?;
    match tokio::time::timeout(patience, whole(stream)).await {
        Ok(arrived) => arrived,
        Err(_) => Err(HandshakeError::hello_too_slow(patience)),
    }
}

async fn whole(stream: &TcpStream) -> Result<ClientHello, HandshakeError> {
    loop {
        let ready = stream.ready(Interest::READABLE).await.map_err(HandshakeError::lost)?;
        let looked = stream.try_io(Interest::READABLE, || {
            let mut bytes = [0; HELLO_MAX];
            // What is looked at stays: to look again is to read it from the start.
            let (len, _) = recv(stream, &mut bytes, RecvFlags::PEEK)?;
            match FirstBytes::of(&bytes[..len]) {
                _ if len == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                FirstBytes::Incomplete if ready.is_read_closed() => {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
                // Only this forgets that it was readable: the next byte wakes.
                FirstBytes::Incomplete => Err(io::ErrorKind::WouldBlock.into()),
                found => Ok(found),
            }
        });
        match looked {
            Ok(FirstBytes::Hello(hello)) => return Ok(hello),
            Ok(FirstBytes::Foreign(what)) => return Err(HandshakeError::foreign(what)),
            Ok(FirstBytes::Incomplete) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(HandshakeError::lost(error)),
        }
    }
}
