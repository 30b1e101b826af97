//! The folder of `sluice cluster dev`: data, configurations, logs.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// The folder of a cluster. As long as a process of the cluster runs, no other start has it.
pub struct DevFolder {
    path: PathBuf,
    lock: File,
}

/// What the configuration of a node says.
pub struct NodePlan<'a> {
    /// Its name.
    pub name: &'a str,
    /// Ports of MQTT and HTTP.
    pub ports: [u16; 2],
    /// Where the engine is.
    pub servers: &'a [String],
}

/// Bytes that the log keeps: less than by default, for the folder may be anywhere.
const LOG_BYTES_MAX: &str = "256MiB";
/// What no argument of a server of the engine says: it takes packets as large as a broker does by default.
const ENGINE_CONFIG: &str =
    "# Written anew at each start of `sluice cluster dev`.\nmax_payload: 8MB\n";

impl DevFolder {
    /// The folder at `path`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be made, or its name is no text.
    pub fn open(path: &Path) -> io::Result<DevFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        if path.to_str().is_none() {
            return Err(io::Error::other("the name of the folder is no UTF-8"));
        }
        let lock = File::options().create(true).append(true).open(path.join("lock"))?;
        // The processes of the cluster have it too: the folder is free when the last of them has ended.
        fcntl_setfd(&lock, FdFlags::empty())?;
        Ok(DevFolder { path, lock })
    }

    /// Takes it, if no process of another start has it.
    ///
    /// # Errors
    ///
    /// The system has no locks there.
    pub fn take(&self) -> io::Result<bool> {
        match flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one process, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn of(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The log of one process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Writes the configuration of the servers of the engine, and says where it is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_engine_config(&self) -> io::Result<PathBuf> {
        let file = self.path.join("engine.conf");
        fs::write(&file, ENGINE_CONFIG)?;
        Ok(file)
    }

    /// Writes the configuration of a node, and says where it is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_config(&self, plan: &NodePlan<'_>) -> io::Result<PathBuf> {
        let folder = self.of(plan.name)?;
        let file = folder.join("sluice.toml");
        fs::write(&file, config(plan, &folder))?;
        Ok(file)
    }
}

fn config(plan: &NodePlan<'_>, folder: &Path) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let path = |name: &str| text(&folder.join(name).to_string_lossy());
    let servers: Vec<String> = plan.servers.iter().map(|server| text(server)).collect();
    let (token, store, servers) = (path("http-token"), path("store"), servers.join(", "));
    let (name, [mqtt, http]) = (text(plan.name), plan.ports);
    format!(
        "# Written anew at each start of `sluice cluster dev`.\n\
         [[listener]]\n\
         name = \"tcp\"\n\
         address = \"127.0.0.1:{mqtt}\"\n\n\
         [http]\n\
         address = \"127.0.0.1:{http}\"\n\
         token_file = {token}\n\n\
         [store]\n\
         path = {store}\n\n\
         [cluster]\n\
         servers = [{servers}]\n\
         node = {name}\n\
         replicas = 3\n\
         log_bytes_max = \"{LOG_BYTES_MAX}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_node_is_one_whatever_the_folder_is_called() {
        let servers = ["nats://127.0.0.1:4222".to_owned(), "nats://127.0.0.1:4223".to_owned()];
        let plan = NodePlan { name: "node2", ports: [1884, 18_091], servers: &servers };
        let text = config(&plan, Path::new("/a \"b\" \\ 'c'/node2"));
        let config: toml::Table = text.parse().expect("TOML");
        let store = config["store"]["path"].as_str();
        assert_eq!(store, Some("/a \"b\" \\ 'c'/node2/store"));
        assert_eq!(config["cluster"]["servers"].as_array().map(Vec::len), Some(2));
        assert_eq!(config["listener"][0]["address"].as_str(), Some("127.0.0.1:1884"));
    }

    #[test]
    fn a_folder_is_of_one_start() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let (first, second) = (DevFolder::open(&path).unwrap(), DevFolder::open(&path).unwrap());
        assert!(first.take().unwrap());
        assert!(!second.take().unwrap());
        drop(first);
        assert!(second.take().unwrap());
    }
}
