//! What a configuration names outside of itself: files, ports, the folder of the store. Looked at before
//! a broker is started, by `sluice check --files`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use socket2::{Domain, Protocol, Socket, Type};

use super::http::token_of;
use super::otel::Collector;
use crate::auth::{PasswordAuth, PasswordFile, look_at_keys};
use crate::config::{Config, LogOutput, StoreKind, Transport};
use crate::net::tls::{Finding, LiveTls, findings, use_cryptography};

/// Everything that is wrong with what `config` names, in its order. Nothing is made or changed.
/// `is_development`: as a start without a file, which goes on without HTTP if its port is taken.
pub fn look_at_files(config: &Config, is_development: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let store = match config.store.kind {
        StoreKind::Memory => None,
        _ => look_at_store(&config.store.path),
    };
    let is_running = matches!(store, Some(StorePlace::InUse));
    for listener in &config.listener {
        if let Some(tls) = &listener.tls {
            match LiveTls::load_for(tls, listener.transport) {
                Ok(_) => found.extend(findings(tls)),
                Err(error) => found.push(Finding::serious(error.to_string())),
            }
        }
        let port = listener.socket_address();
        let port = port.and_then(|address| {
            look_at_port(listener.called(), address, listener.transport.is_udp(), is_running)
        });
        found.extend(port.map(Finding::serious));
    }
    found.extend(look_at_http(config, is_development, is_running));
    found.extend(look_at_log(config));
    for path in config.auth.files() {
        match PasswordFile::load(path) {
            Ok(users) if users.is_empty() => found.push(Finding::hint(no_users(path))),
            Ok(_) => {}
            Err(error) => found.push(Finding::serious(error.to_string())),
        }
    }
    found.extend(open_secrets(config));
    use_cryptography();
    let wrong = look_at_keys(&config.auth).into_iter();
    let collector = Collector::of(&config.otel).err();
    found.extend(wrong.chain(collector).map(|error| Finding::serious(error.to_string())));
    found.extend(match store {
        Some(StorePlace::Impossible(problem)) => Some(Finding::serious(problem)),
        Some(StorePlace::InUse) => Some(Finding::hint(format!(
            "a broker runs on the store {}: its ports are not looked at",
            config.store.path.display()
        ))),
        None => None,
    });
    found
}

/// The files with secrets in them that all users of the machine may read.
fn open_secrets(config: &Config) -> impl Iterator<Item = Finding> {
    let passwords = config.auth.files().map(|path| ("password file", path));
    let steps = config.auth.step.iter().filter(|step| step.has_secret_keys());
    let keys = steps.filter_map(|step| Some(("secret of tokens", step.keys.as_deref()?)));
    let tokens =
        config.auth.step.iter().filter_map(|step| step.http.as_ref()?.token_file.as_deref());
    let collector = config.otel.token_file.as_deref().filter(|_| config.otel.endpoint.is_some());
    let tokens = tokens.chain(collector).map(|path| ("token", path));
    let is_served = config.http.socket_address().is_some();
    let operator = config.http.operator_file().filter(|_| is_served);
    let operator = operator.and_then(|path| Finding::of_secret("token of HTTP", &path));
    let cluster = config.cluster.is_on().then_some(&config.cluster).into_iter();
    let cluster = cluster.flat_map(|cluster| [&cluster.password_file, &cluster.credentials]);
    let cluster = cluster.flatten().map(|path| ("login at NATS", path.as_path()));
    let files = passwords.chain(keys).chain(tokens).chain(cluster);
    files.filter_map(|(what, path)| Finding::of_secret(what, path)).chain(operator)
}

/// Says in the log which secrets are open to all users of the machine.
pub(super) fn warn_of_open_secrets(config: &Config) {
    for found in open_secrets(config) {
        tracing::warn!("{}", found.text);
    }
}

/// What keeps a reload from putting files in force: secrets that all users of the machine may read.
pub(super) fn refuse_open_secrets(config: &Config) -> impl Iterator<Item = String> {
    let tls = config.listener.iter().filter_map(|listener| listener.tls.as_ref());
    let keys = tls.filter_map(|tls| Finding::of_secret("key", &tls.key));
    open_secrets(config).chain(keys).map(|found| found.text)
}

/// Says in the log which password files have no users.
pub(super) fn warn_of_no_users(authenticator: &PasswordAuth) {
    for file in authenticator.files().iter().filter(|file| file.is_empty()) {
        tracing::warn!("{}", no_users(file.path()));
    }
}

fn no_users(path: &Path) -> String {
    format!(
        "password file {} has no users: no client with a user name is admitted; `sluice passwd` adds one, and \
         SIGHUP reads the file again",
        path.display()
    )
}

/// What is wrong with the HTTP listener, if there is one.
fn look_at_http(config: &Config, is_development: bool, is_running: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(address) = config.http.socket_address() else { return found };
    if let Some(tls) = &config.http.tls {
        match LiveTls::load_for(tls, Transport::WebSocket) {
            Ok(_) => found.extend(findings(tls)),
            Err(error) => found.push(Finding::serious(error.to_string())),
        }
    }
    let problem = look_at_port("of HTTP", address, false, is_running);
    found.extend(problem.map(if is_development { Finding::hint } else { Finding::serious }));
    let token = config.http.operator_file().and_then(|path| look_at_token(&path));
    found.extend(token.map(Finding::serious));
    found
}

/// What keeps the token file from being used, if anything. It is not made.
fn look_at_token(path: &Path) -> Option<String> {
    match token_of(path, false) {
        Err(_) if !path.exists() => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
            let problem = may_make_files(&folder).err()?;
            Some(format!("http.token_file {}: cannot be made: {problem}", path.display()))
        }
        found => found.err().map(|error| error.to_string()),
    }
}

/// Why the listener that is called so cannot be opened. A broker that runs has its own ports already.
fn look_at_port(
    called: &str,
    address: SocketAddr,
    is_udp: bool,
    is_running: bool,
) -> Option<String> {
    let error = bind(address, is_udp).err()?;
    let problem = match error.kind() {
        io::ErrorKind::AddrInUse if is_running => return None,
        io::ErrorKind::AddrInUse => {
            "is in use: another broker, or another program, listens there".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "is no address of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "needs a right that this user lacks: ports below 1024 are for root or CAP_NET_BIND_SERVICE"
                .to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    };
    Some(format!("listener {called}: {address} {problem}"))
}

/// As a broker opens it.
fn bind(address: SocketAddr, is_udp: bool) -> io::Result<()> {
    if is_udp {
        return UdpSocket::bind(address).map(drop);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// Why the log's file cannot be written, if the log goes to one. It is not made.
fn look_at_log(config: &Config) -> Option<Finding> {
    let path = config.log.file.as_deref().filter(|_| config.log.output == LogOutput::File)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let problem = match path.metadata() {
        Ok(found) if found.is_dir() => Err("it is a folder".to_owned()),
        Ok(_) => may(path, Access::WRITE_OK),
        Err(_) => may_make_files(folder).map_err(|error| format!("its folder: {error}")),
    };
    let problem = problem.err()?;
    Some(Finding::serious(format!("log.file {}: cannot be written: {problem}", path.display())))
}

/// Whether this process may make files in a folder.
pub(super) fn may_make_files(folder: &Path) -> Result<(), String> {
    may(folder, Access::WRITE_OK | Access::EXEC_OK)
}

/// Whether this process may do that with a file or folder.
fn may(path: &Path, rights: Access) -> Result<(), String> {
    accessat(CWD, path, rights, AtFlags::EACCESS)
        .map_err(|error| io::Error::from(error).to_string())
}

/// What is special about the folder of a store.
enum StorePlace {
    Impossible(String),
    /// A process has it open.
    InUse,
}

fn look_at_store(path: &Path) -> Option<StorePlace> {
    let impossible = |at: &Path, why: &str| {
        let of = if at == path { String::new() } else { format!(" {}", at.display()) };
        Some(StorePlace::Impossible(format!("store.path {}:{of} {why}", path.display())))
    };
    let path_of =
        |at: &Path| if at.as_os_str().is_empty() { PathBuf::from(".") } else { at.into() };
    // The nearest that is there decides whether the rest can be made.
    let nearest = path.ancestors().map(path_of).find(|at| at.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or_else(|| PathBuf::from("/"));
    match nearest.metadata() {
        Err(error) => return impossible(&nearest, &format!("cannot be looked at: {error}")),
        Ok(found) if !found.is_dir() => return impossible(&nearest, "is no folder"),
        Ok(_) => {}
    }
    if let Err(error) = may_make_files(&nearest) {
        let why = format!("cannot be written to by this user: {error}");
        return impossible(&nearest, &why);
    }
    (nearest == path && crate::store::engine::is_in_use(path)).then_some(StorePlace::InUse)
}
