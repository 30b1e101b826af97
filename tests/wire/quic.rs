//! The client's side of QUIC, as a stream of bytes.
#![allow(dead_code)] // Each test file uses its part.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, ReadError, RecvStream, SendStream,
    TokioRuntime,
};
use rustls::ClientConfig;
use tokio::runtime::Runtime;

/// Nothing takes so long: a wait that does is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the packets of all clients are looked after.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

/// A connection, and the one stream on it.
pub struct QuicClient {
    /// Its socket.
    pub endpoint: Endpoint,
    /// What carries the stream.
    pub connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// Waits for what is to come.
pub fn wait<T>(coming: impl Future<Output = T>) -> io::Result<T> {
    let came = RUNTIME.block_on(async { tokio::time::timeout(PATIENCE, coming).await });
    came.map_err(|_| ErrorKind::TimedOut.into())
}

/// A connection without a stream, and its socket; `tls` names the protocols that it offers.
pub fn dial(at: SocketAddr, tls: ClientConfig) -> io::Result<(Endpoint, Connection)> {
    let _within = RUNTIME.enter();
    let crypto = QuicClientConfig::try_from(Arc::new(tls)).map_err(io::Error::other)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
    let connecting = endpoint.connect_with(config, at, "localhost").map_err(io::Error::other)?;
    let connection = wait(connecting)??;
    Ok((endpoint, connection))
}

/// The same connections through another socket.
pub fn move_to_another_port(endpoint: &Endpoint) {
    let _within = RUNTIME.enter();
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    endpoint.rebind(socket).expect("another socket");
}

impl QuicClient {
    /// A connection that names MQTT, and its stream.
    pub fn open(at: SocketAddr, mut tls: ClientConfig) -> io::Result<QuicClient> {
        tls.alpn_protocols = vec![b"mqtt".to_vec()];
        let (endpoint, connection) = dial(at, tls)?;
        let (send, receive) = wait(connection.open_bi())??;
        Ok(QuicClient { endpoint, connection, send, receive })
    }

    /// Nothing more is written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.send.finish().map_err(io::Error::other)
    }

    /// What was written and has not arrived may be forgotten.
    pub fn reset(&mut self) {
        let _ = self.send.reset(7u8.into());
    }
}

impl Read for QuicClient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use ConnectionError::{ApplicationClosed, LocallyClosed};
        match wait(self.receive.read(into))? {
            Ok(read) => Ok(read.unwrap_or(0)),
            // The broker has said all that it had to say.
            Err(ReadError::ConnectionLost(ApplicationClosed(_) | LocallyClosed)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for QuicClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(wait(self.send.write(bytes))??)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
