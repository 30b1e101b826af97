//! The unix socket: MQTT for programs of the same machine, where the rights of a file say which.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Group, Uid, User};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::listener::OpenListener;
use super::serve::ServeContext;
use crate::config::{Listener, UnixSocket};
use crate::time::Clock;

/// A listener on a unix socket. Dropped, it removes the file.
pub struct UnixAcceptor<C> {
    listener: OpenListener<C>,
    socket: UnixListener,
    file: SocketFile,
    /// The user of a client is that of its program.
    names_users: bool,
}

/// The file of a socket, as it was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Its number: a file of another program may be there by now.
    inode: u64,
}

/// Connections the system completes before we accept them.
const BACKLOG: i32 = 4096;

impl<C: Clock> UnixAcceptor<C> {
    /// Opens the socket at `path`, with the rights that `settings` say. A socket that nothing listens on any more,
    /// as after a crash, is replaced.
    ///
    /// # Errors
    ///
    /// Something is there, or the system does not permit it; there is no such owner or group.
    pub fn open(
        shared: &Arc<ServeContext<C>>,
        settings: &Listener,
        path: &Path,
        anonymous: bool,
    ) -> io::Result<UnixAcceptor<C>> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        remove_stale(path)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile { path: path.to_owned(), inode: fs::metadata(path)?.ino() };
        // Before it listens: until then nothing can connect.
        set_rights(path, &settings.unix)?;
        socket.listen(BACKLOG)?;
        let socket = UnixListener::from_std(socket.into())?;
        let listener = OpenListener::new(shared, settings, settings.called(), anonymous);
        Ok(UnixAcceptor { listener, socket, file, names_users: settings.names_users_by_peer() })
    }

    /// Its name, for the ready line.
    pub fn name(&self) -> &str {
        self.listener.name()
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Accepts until the task is dropped.
    pub async fn accept(mut self) {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    self.on_connection(stream);
                    self.listener.pace().await;
                }
                // Out of file descriptors, or the peer has gone already.
                Err(error) => self.listener.pause(&error).await,
            }
        }
    }

    fn on_connection(&mut self, stream: UnixStream) {
        let user = stream.peer_cred().map(|peer| peer.uid()).ok();
        let address = user.map_or("unix".to_owned(), |user| format!("unix:uid={user}"));
        let Some(mut admitted) = self.listener.admit(address, None) else { return };
        if !self.names_users {
            return admitted.serve(stream);
        }
        tokio::spawn(async move {
            // The system may ask a server in the network for it: no worker waits for that.
            let named = tokio::task::spawn_blocking(move || name_of(user?));
            match named.await.ok().flatten() {
                Some(name) => admitted.set_certificate(name),
                None => admitted.refuse_identity("the system has no name for its user"),
            }
            admitted.serve(stream);
        });
    }
}

/// The name of the user with that number, if the system knows one.
fn name_of(user: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(user)).ok().flatten().map(|user| user.name)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a program that has ended.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn set_rights(path: &Path, settings: &UnixSocket) -> io::Result<()> {
    let missing = |what: &str, name: &str| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no {what} {name:?}"))
    };
    let owner = settings.owner.as_deref().map(|name| {
        let user = User::from_name(name)?;
        user.map(|user| user.uid.as_raw()).ok_or_else(|| missing("user", name))
    });
    let group = settings.group.as_deref().map(|name| {
        let group = Group::from_name(name)?;
        group.map(|group| group.gid.as_raw()).ok_or_else(|| missing("group", name))
    });
    let (owner, group) = (owner.transpose()?, group.transpose()?);
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, owner, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(settings.mode_bits().unwrap_or(0)))
}
