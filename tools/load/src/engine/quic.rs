//! QUIC: a thread of its own speaks it, on one UDP socket for all connections; each is a pair of unix sockets to
//! the thread that makes the load.

use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::socket::Secrets;
use super::wire::waits;
use crate::error::Error;

/// What opens connections to a broker.
pub struct Gateway {
    runtime: Handle,
    endpoint: Endpoint,
    config: ClientConfig,
    address: SocketAddr,
    name: String,
    /// Dropped, the thread ends when all connections have.
    ending: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The near end of a connection.
pub struct Bridged {
    /// What the load is written to.
    pub near: mio::net::UnixStream,
    why: Arc<Mutex<Option<String>>>,
}

impl Gateway {
    /// One to the broker at `address`.
    ///
    /// # Errors
    ///
    /// If the system has no socket or no thread left.
    pub fn start(address: SocketAddr, secrets: &Secrets) -> Result<Gateway, Error> {
        let failed = |source| Error::System { what: "cannot make a socket for QUIC", source };
        let mut tls = rustls::ClientConfig::clone(&secrets.config);
        tls.alpn_protocols = vec![b"mqtt".to_vec()];
        let crypto = QuicClientConfig::try_from(Arc::new(tls))
            .map_err(|error| Error::Input(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        // The broker decides how long a client may be silent.
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).map_err(failed)?;
        let endpoint = {
            let _within = runtime.enter();
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        };
        let endpoint = endpoint.map_err(failed)?;
        let (ending, ended) = oneshot::channel::<()>();
        let (handle, idle) = (runtime.handle().clone(), endpoint.clone());
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let _ = ended.await;
                let _ = tokio::time::timeout(LAST_WORDS, idle.wait_idle()).await;
            });
        });
        Ok(Gateway {
            runtime: handle,
            endpoint,
            config,
            address,
            name: secrets.name.to_str().into_owned(),
            ending: Some(ending),
            thread: Some(thread),
        })
    }

    /// Begins to connect; a failure is the end of what is read.
    ///
    /// # Errors
    ///
    /// If the system has no socket left.
    pub fn dial(&self) -> io::Result<Bridged> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let why = Arc::new(Mutex::new(None));
        let (endpoint, config) = (self.endpoint.clone(), self.config.clone());
        let (address, name, said) = (self.address, self.name.clone(), Arc::clone(&why));
        self.runtime.spawn(async move {
            let Ok(mut far) = tokio::net::UnixStream::from_std(far) else { return };
            let carried = async {
                let connecting = endpoint.connect_with(config, address, &name);
                let connection = connecting.map_err(io::Error::other)?.await?;
                let (send, receive) = connection.open_bi().await?;
                let mut stream = tokio::io::join(receive, send);
                tokio::io::copy_bidirectional(&mut far, &mut stream).await
            };
            if let Err(error) = carried.await {
                *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        });
        Ok(Bridged { near: mio::net::UnixStream::from_std(near), why })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.ending = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Read for Bridged {
    #[inline]
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.near.read(room) {
            Err(error) if waits(&error) => Err(error),
            // What was written and is lost now may be an error, too.
            ended @ (Ok(0) | Err(_)) => {
                match self.why.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(why) => Err(io::Error::other(why)),
                    None => ended,
                }
            }
            read => read,
        }
    }
}

/// How long the end of a run waits for the ends of its connections.
const LAST_WORDS: Duration = Duration::from_secs(2);
