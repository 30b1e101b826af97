//! What is attacked: a broker, or the sink in its place.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::Outcome;
use crate::classes::Class;
use crate::http::HTTP;

/// The healthy client's name and password.
pub const USER: &str = "healthy";
pub const PASSWORD: &str = "known to two";

/// A process; killed when dropped.
pub struct Victim {
    process: Child,
    /// Kept, so that it may go on writing to it.
    _said: BufReader<ChildStdout>,
    folder: TempDir,
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    pub http: SocketAddr,
}

impl Victim {
    /// A broker at its defaults, but for what the class sets, over the store in `folder`. `common` has
    /// certificates and passwords.
    pub fn broker(
        folder: TempDir,
        program: &Path,
        common: &Path,
        class: &Class,
    ) -> Outcome<Victim> {
        let (listener, at) = ("[[listener]]", "address = '127.0.0.1:0'");
        let (listeners, rest) = (class.logins.listener(), class.logins.rest(common));
        let pair =
            format!("certificate = '{0}/server.pem'\nkey = '{0}/server.key'", common.display());
        let tls = format!("{listener}\n{at}\n{listeners}\n[listener.tls]\n{pair}");
        let config = format!("{listener}\n{at}\n{listeners}\n{tls}\n{rest}\n{HTTP}");
        fs::write(folder.path().join("sluice.toml"), config)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(folder.path().join("sluice.toml"));
        Victim::start(&mut command, folder)
    }

    /// Ends it as `kill -9` does; its folder stays.
    pub fn kill(mut self) -> Outcome<TempDir> {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir()?);
        drop(self);
        Ok(folder)
    }

    pub fn sink(common: &Path) -> Outcome<Victim> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--part", "sink", "--folder"]).arg(common);
        Victim::start(&mut command, tempfile::tempdir()?)
    }

    fn start(command: &mut Command, folder: TempDir) -> Outcome<Victim> {
        let log = File::create(folder.path().join("log"))?;
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut said = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let ready = loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 {
                let log = fs::read_to_string(folder.path().join("log"))?;
                let _ = process.wait();
                return Err(format!("what is to be attacked ended: {log}").into());
            }
            let json: Option<Value> = serde_json::from_str(&line).ok();
            if let Some(ready) = json.filter(|json| json.pointer("/listeners/1").is_some()) {
                break ready;
            }
        };
        let at = |place: &str| -> Outcome<SocketAddr> {
            let address = ready.pointer(place).and_then(Value::as_str);
            Ok(address.ok_or("no address")?.parse()?)
        };
        let [plain, tls] = [at("/listeners/0/address")?, at("/listeners/1/address")?];
        Ok(Victim { process, _said: said, folder, plain, tls, http: at("/http/address")? })
    }

    /// CPU of all its threads so far.
    pub fn cpu(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // Behind the name, which is in brackets, the twelfth and thirteenth word are ticks.
        let (_, words) = stat.rsplit_once(')').ok_or("no name")?;
        let words = words.split_whitespace().skip(11).take(2);
        let ticks = words.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> Outcome<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id()))?;
        let pages: u64 = statm.split(' ').nth(1).ok_or("no memory")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Certificates and a password file that the rounds share, made by the broker's program.
pub fn common(program: &Path) -> Outcome<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut certs = Command::new(program);
    certs.args(["certs", "--name", "localhost", "--out"]).arg(folder.path());
    done(&mut certs, "")?;
    let mut passwd = Command::new(program);
    passwd.args(["passwd", "--batch"]).arg(folder.path().join("passwords"));
    done(&mut passwd, &format!("{USER}:{PASSWORD}\n"))?;
    Ok(folder)
}

fn done(command: &mut Command, input: &str) -> Outcome<()> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    child.stdin.take().ok_or("no standard input")?.write_all(input.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
