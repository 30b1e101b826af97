//! The HTTP listener of the process: its socket, TLS, tokens, and the thread that it runs on.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::listeners::ListenError;
use super::process::ProcessEnd;
use crate::broker::RefusalNote;
use crate::config::{Config, Transport};
use crate::http::{HttpPlace, HttpServer, HttpTokens};
use crate::net::serve::ServeContext;
use crate::net::tls::LiveTls;
use crate::settings::Settings;
use crate::time::SystemClock;

/// The HTTP listener, open. Dropped, it ends.
pub(super) struct HttpEnd {
    server: HttpServer,
    process: Arc<ProcessEnd>,
    tls: Option<Arc<LiveTls>>,
    listening: HttpListening,
    _thread: HttpThread,
}

/// The thread that serves; dropped, it has ended.
struct HttpThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An HTTP listener that is open.
#[derive(Clone, Debug)]
pub struct HttpListening {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    /// It wants TLS.
    pub tls: bool,
    /// The token of an operator, if it has one of a file.
    pub token: Option<String>,
}

/// Accepts connections.
struct Door {
    shared: Arc<ServeContext<SystemClock>>,
    process: Arc<ProcessEnd>,
    server: HttpServer,
    tls: Option<Arc<LiveTls>>,
}

/// Connections that the system completes before they are accepted.
const BACKLOG: i32 = 1024;
/// A TLS handshake takes no longer.
const TLS_TIME: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const PAUSE_FAILED: Duration = Duration::from_millis(100);
/// How much less the thread has of a processor that is wanted by others: the workers come first.
const NICE: i32 = 10;
/// Bytes of a token that is made.
const TOKEN_BYTES: usize = 32;
/// Least length of a token in a file.
const TOKEN_MIN: usize = 16;
/// What a connection beyond `http.connections_max` is told, if there is no TLS.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Opens the HTTP listener, if there is to be one, and starts its thread. `may_fail`: if its port is taken, it is
/// left out, and the log says so.
pub(super) fn open(
    config: &Config,
    shared: &Arc<ServeContext<SystemClock>>,
    process: Arc<ProcessEnd>,
    may_fail: bool,
) -> Result<Option<HttpEnd>, ListenError> {
    let settings = &config.http;
    let Some(address) = settings.socket_address() else { return Ok(None) };
    let tls = match &settings.tls {
        Some(tls) => Some(Arc::new(LiveTls::load_for(tls, Transport::WebSocket)?)),
        None => None,
    };
    let failed = |source: io::Error, hint: &str| ListenError::Address {
        address: settings.address.clone(),
        source,
        hint: hint.to_owned(),
    };
    let socket = match bind(address) {
        Ok(socket) => socket,
        Err(error) if may_fail && error.kind() == io::ErrorKind::AddrInUse => {
            warn!(%address, "the port of HTTP is taken by another program: there is no HTTP here");
            return Ok(None);
        }
        Err(error) => return Err(failed(error, " (http.address)")),
    };
    let token = settings.operator_file().map(|path| token_of(&path, true)).transpose()?;
    let address = socket.local_addr().map_err(|error| failed(error, ""))?;
    let tokens = HttpTokens::new(settings, token.as_deref());
    let server = HttpServer::new(shared.broker.clone(), process.clone(), settings, tokens);
    if settings.mqtt {
        process.open_mqtt(config, address);
    }
    let door = Door {
        shared: shared.clone(),
        process: process.clone(),
        server: server.clone(),
        tls: tls.clone(),
    };
    let thread = start(door, socket).map_err(|error| failed(error, ""))?;
    let listening = HttpListening { address, tls: tls.is_some(), token };
    Ok(Some(HttpEnd { server, process, tls, listening, _thread: thread }))
}

impl HttpEnd {
    /// Its TLS.
    pub fn tls(&self) -> Option<&Arc<LiveTls>> {
        self.tls.as_ref()
    }

    /// What is said of it.
    pub fn listening(&self) -> &HttpListening {
        &self.listening
    }

    /// The tokens that `config` names now.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub fn read_again(&self, config: &Config) -> Result<HttpTokens, ListenError> {
        let path = config.http.token_file.as_deref();
        let token = path.map(|path| token_of(path, false)).transpose()?;
        Ok(HttpTokens::new(&config.http, token.as_deref()))
    }

    /// Puts in force what was read: `config`, which is what `read` says but for the keys `left`.
    pub fn put_in_force(
        &self,
        config: &Config,
        read: &Settings,
        left: &[String],
        tokens: HttpTokens,
    ) {
        self.process.reloaded(read, config, left);
        self.server.reload(&config.http, tokens);
    }
}

impl HttpListening {
    /// Where a browser on this machine finds it, with the token where no server sees it.
    pub fn link(&self) -> String {
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("#token={token}"));
        format!("{self}/{token}")
    }
}

impl fmt::Display for HttpListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}", if self.tls { "s" } else { "" }, self.address)
    }
}

/// Says in the log that it is open.
pub(super) fn say_listening(config: &Config, http: &HttpListening) {
    info!(address = %http.address, tls = http.tls, "HTTP is served");
    if !http.tls && !http.address.ip().is_loopback() {
        let address = &config.http.address;
        warn!(%address, "tokens of HTTP can be read on the way: set [http.tls], or serve it on a loopback address");
    }
}

/// The token in the file at `path`; if there is no file and `make`, it is made.
///
/// # Errors
///
/// The file cannot be read or made, or holds no token.
pub(super) fn token_of(path: &Path, make: bool) -> Result<String, ListenError> {
    let wrong = |problem: String| ListenError::Token { path: path.to_owned(), problem };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let token = text.trim();
            let is_token = token.len() >= TOKEN_MIN && token.bytes().all(|b| b.is_ascii_graphic());
            let problem = format!(
                "holds no token, which is one line of at least {TOKEN_MIN} letters and digits; without the \
                 file a start makes one"
            );
            if is_token { Ok(token.to_owned()) } else { Err(wrong(problem)) }
        }
        Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
            let token = new_token();
            let made =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = made.and_then(|mut file| writeln!(file, "{token}"));
            written.map_err(|error| wrong(format!("cannot be made: {error}")))?;
            info!(path = %path.display(), "made a token for HTTP, of an operator");
            Ok(token)
        }
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

fn new_token() -> String {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts the thread that serves HTTP.
fn start(door: Door, socket: StdListener) -> io::Result<HttpThread> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(1).enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let body = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            warn!(%error, "HTTP is served at the priority of the workers");
        }
        run(&runtime, Arc::new(door), socket, stopped);
        // With it go the connections.
        drop(runtime);
    };
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(body)?;
    Ok(HttpThread { stop: Some(stop), thread: Some(thread) })
}

fn run(runtime: &Runtime, door: Arc<Door>, socket: StdListener, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let accept = async {
            match TcpListener::from_std(socket) {
                Ok(socket) => door.clone().accept(socket).await,
                Err(error) => warn!(%error, "HTTP cannot be served"),
            }
        };
        tokio::select! {
            _ = stopped => {}
            () = accept => {}
            () = door.server.watch() => {}
        }
    });
}

impl Drop for HttpThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, the log has it.
            let _ = thread.join();
        }
    }
}

impl Door {
    /// Accepts until the task is dropped.
    async fn accept(self: Arc<Self>, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, address)) => match self.server.admit() {
                    Some(place) => drop(tokio::spawn(self.clone().keep(stream, address, place))),
                    None => self.turn_away(&stream, address),
                },
                Err(error) => {
                    debug!(%error, "a connection of HTTP cannot be accepted");
                    tokio::time::sleep(PAUSE_FAILED).await;
                }
            }
        }
    }

    /// There is no place for a connection.
    fn turn_away(&self, stream: &TcpStream, address: SocketAddr) {
        if self.tls.is_none() {
            // There is room for so little, or the peer has gone.
            let _ = stream.try_write(NO_PLACE);
        }
        self.process.note_refusal(RefusalNote::new(self.server.no_place()), address);
    }

    /// Serves a connection until it ends, or its place is wanted by another one.
    async fn keep(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Arc<HttpPlace>) {
        tokio::select! {
            () = self.enter(stream, address, place.clone()) => {}
            () = place.is_wanted() => {
                let note = RefusalNote::new(self.server.no_place());
                self.process.note_refusal(note.why(&"it has shown no token, and makes room"), address);
            }
        }
    }

    /// Takes a connection through TLS, and serves it.
    async fn enter(&self, stream: TcpStream, address: SocketAddr, place: Arc<HttpPlace>) {
        let Some(_counted) = self.shared.sockets.count_other() else { return };
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some(tls) = &self.tls else { return self.server.serve(stream, address, place).await };
        let handshake = async {
            let hello = tls.client_hello(&stream).await?;
            // As large as a handshake: a peer that only begins one does not pay for it.
            Box::pin(tls.handshake(stream, &hello)).await
        };
        match tokio::time::timeout(TLS_TIME, handshake).await {
            Ok(Ok(stream)) => self.server.serve(Box::new(stream), address, place).await,
            Ok(Err(error)) => self.process.note_handshake(&error, address),
            Err(_) => debug!(%address, "the TLS handshake took too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(token_of(&path, false).is_err());
        let token = token_of(&path, true).unwrap();
        assert_eq!(token.len(), 43);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(token_of(&path, true).unwrap(), token);
        assert_ne!(new_token(), token);
        for wrong in ["", "\n", "short\n", "two words of a sentence\n"] {
            std::fs::write(&path, wrong).unwrap();
            let error = token_of(&path, true).unwrap_err().to_string();
            assert!(error.contains("holds no token"), "{error}");
        }
    }
}
