//! The driver on the real process: sockets of the operating system, plain or with TLS.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::messages::Messages;
#[cfg(feature = "quic")]
use crate::quic::QuicClient;
use crate::script::driver::{Came, Driver, Stage};
use crate::script::language::Script;

/// Starts the process anew for each script.
#[derive(Clone, Debug)]
pub struct Processes {
    /// What carries its connections.
    pub carrier: Carrier,
}

/// What carries connections.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// TLS, with these certificates.
    Tls(Arc<Certificates>),
    /// WebSocket.
    WebSocket,
    /// QUIC, with these certificates.
    #[cfg(feature = "quic")]
    Quic(Arc<Certificates>),
    /// A unix socket.
    Unix,
}

/// Certificates as `sluice certs` makes them, and a client's configuration that trusts them.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    client: Arc<ClientConfig>,
}

impl Certificates {
    /// The sections of a configuration.
    fn section(&self) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (certificate, key) = (path("server.pem"), path("server.key"));
        format!("[listener.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }
}

/// Nothing takes so long: a wait that does is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

impl Certificates {
    /// Has the binary make them.
    pub fn make() -> Result<Certificates, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let made = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["certs", "--name", "localhost", "--out"])
            .arg(folder.path())
            .output()
            .map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(folder.path().join("ca.pem"));
        roots.add(ca.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Certificates { folder, client: Arc::new(client) })
    }
}

impl Stage for Processes {
    type Driver = Process;

    fn set(&self, script: &Script) -> Result<Process, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let file = folder.path().join("sluice.toml");
        let config = configuration(script, folder.path(), &self.carrier)?;
        std::fs::write(&file, config).map_err(|error| error.to_string())?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .arg("--config")
            .arg(&file)
            .env("SLUICE_LOG", "warn")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let ready = child.stdout.take().map(read_ready);
        let mut process = Process {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            carrier: self.carrier.clone(),
            streams: Vec::new(),
            control: None,
            account: script.accounts.first().cloned(),
            folder,
        };
        process.address = ready.unwrap_or(Err("no output".to_owned()))?.unwrap_or(process.address);
        process.control = Some(process.control_client()?);
        Ok(process)
    }
}

/// The ready line names the port, if there is one.
fn read_ready(stdout: impl Read) -> Result<Option<SocketAddr>, String> {
    let mut line = String::new();
    for next in BufReader::new(stdout).lines() {
        line = next.map_err(|error| error.to_string())?;
        if line.starts_with("{\"sluice\":\"ready\"") {
            break;
        }
    }
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    address.map(|address| address.parse().ok()).ok_or(format!("the process is not ready: {line}"))
}

fn configuration(script: &Script, folder: &Path, carrier: &Carrier) -> Result<String, String> {
    let mut text = String::new();
    for (key, value) in &script.settings {
        text.push_str(&format!("{key} = {value}\n"));
    }
    if !script.accounts.is_empty() {
        let file = folder.join("passwords");
        for (user, password) in &script.accounts {
            set_password(&file, user, password).map_err(|error| error.to_string())?;
        }
        text.push_str(&format!("auth.password_file = {:?}\n", file.display().to_string()));
    }
    text.push_str("store.kind = \"memory\"\n");
    text.push_str("[[listener]]\n");
    match carrier {
        Carrier::Unix => {
            let path = folder.join("mqtt.sock").display().to_string();
            text.push_str(&format!("transport = \"unix\"\naddress = {path:?}\n"));
        }
        _ => text.push_str("address = \"127.0.0.1:0\"\n"),
    }
    match carrier {
        Carrier::Tcp | Carrier::Unix => {}
        Carrier::Tls(made) => text.push_str(&made.section()),
        #[cfg(feature = "quic")]
        Carrier::Quic(made) => {
            text.push_str("transport = \"quic\"\n");
            text.push_str(&made.section());
        }
        Carrier::WebSocket => text.push_str("transport = \"websocket\"\n"),
    }
    Ok(text)
}

/// As an operator does it.
fn set_password(file: &Path, user: &str, password: &str) -> std::io::Result<()> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["passwd", "--password-stdin"])
        .args([file.as_os_str(), user.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{password}")?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other("the password was not set")),
    }
}

/// The real process and a script's connections to it.
pub struct Process {
    child: Child,
    address: SocketAddr,
    carrier: Carrier,
    streams: Vec<Stream>,
    control: Option<Stream>,
    account: Option<(String, String)>,
    folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    WebSocket(Box<Messages<TcpStream>>),
    #[cfg(feature = "quic")]
    Quic(QuicClient),
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(space),
            Stream::Tls(stream) => match stream.read(space) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
            Stream::WebSocket(stream) => stream.read(space),
            #[cfg(feature = "quic")]
            Stream::Quic(stream) => stream.read(space),
            Stream::Unix(stream) => stream.read(space),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::WebSocket(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            #[cfg(feature = "quic")]
            Stream::Quic(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Nothing more is written.
    fn shut(&mut self) {
        let _ = match self {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
            Stream::WebSocket(stream) => stream.below().shutdown(Shutdown::Write),
            #[cfg(feature = "quic")]
            Stream::Quic(stream) => stream.finish(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Process {
    fn stream(&self) -> std::io::Result<Stream> {
        if let Carrier::Unix = self.carrier {
            let socket = UnixStream::connect(self.folder.path().join("mqtt.sock"))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            return Ok(Stream::Unix(socket));
        }
        #[cfg(feature = "quic")]
        if let Carrier::Quic(made) = &self.carrier {
            let client = ClientConfig::clone(&made.client);
            return QuicClient::open(self.address, client).map(Stream::Quic);
        }
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        match &self.carrier {
            Carrier::Tls(made) => {
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                let client = ClientConnection::new(made.client.clone(), name)
                    .map_err(std::io::Error::other)?;
                Ok(Stream::Tls(Box::new(StreamOwned::new(client, socket))))
            }
            Carrier::WebSocket => Ok(Stream::WebSocket(Box::new(Messages::open(socket, &[])?))),
            _ => Ok(Stream::Plain(socket)),
        }
    }

    /// A 3.1.1 client that subscribes to the marker.
    fn control_client(&self) -> Result<Stream, String> {
        let text = |text: &str| {
            let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes
        };
        let mut connect = text("MQTT");
        let flags = if self.account.is_some() { 0xC2 } else { 0x02 };
        connect.extend([4, flags, 0, 0]);
        connect.extend(text("control"));
        if let Some((user, password)) = &self.account {
            connect.extend(text(user));
            connect.extend(text(password));
        }
        let mut bytes = vec![0x10, connect.len() as u8];
        bytes.append(&mut connect);
        // SUBSCRIBE to `$b`: no wildcard of a script finds it.
        bytes.extend([0x82, 7, 0, 1, 0, 2, b'$', b'b', 0]);
        let mut stream = self.stream().map_err(|error| error.to_string())?;
        stream.write(&bytes).map_err(|error| error.to_string())?;
        expect(&mut stream, &[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0])?;
        Ok(stream)
    }
}

fn expect(stream: &mut Stream, wanted: &[u8]) -> Result<(), String> {
    let mut came = Vec::new();
    let mut space = [0; 256];
    while came.len() < wanted.len() {
        match stream.read(&mut space) {
            Ok(0) => return Err(format!("the control client was closed after {came:02x?}")),
            Ok(len) => came.extend_from_slice(&space[..len]),
            Err(error) => return Err(format!("the control client waits in vain: {error}")),
        }
    }
    if came == wanted { Ok(()) } else { Err(format!("the control client got {came:02x?}")) }
}

impl Driver for Process {
    fn open(&mut self) -> usize {
        self.streams.push(self.stream().expect("the process takes connections"));
        self.streams.len() - 1
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        // A broker that has closed takes nothing more: the script sees it as an end.
        let _ = self.streams[conn].write(bytes);
    }

    fn cut(&mut self, conn: usize) {
        let stream = &mut self.streams[conn];
        stream.shut();
        // The broker closes its end when it has parked the Session.
        let mut space = [0; 4096];
        while matches!(stream.read(&mut space), Ok(len) if len > 0) {}
    }

    fn advance(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn read(&mut self, conn: usize) -> Came {
        let mut space = vec![0; 64 * 1024];
        match self.streams[conn].read(&mut space) {
            Ok(0) => Came::End,
            Ok(len) => {
                space.truncate(len);
                Came::Bytes(space)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Came::Nothing
            }
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    fn settles(&self) -> bool {
        false
    }

    fn barrier(&mut self) {
        let Some(control) = &mut self.control else { return };
        let marker = [0x30, 5, 0, 2, b'$', b'b', b'!'];
        control.write(&marker).expect("the control client can write");
        expect(control, &marker).expect("the marker comes back");
    }
}
