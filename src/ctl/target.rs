//! Which broker is asked: where it is, and the token that it takes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::failure::CtlFailure;
use crate::check_command::reachable;
use crate::command_line::Layers;
use crate::command_line::ctl::CtlOptions;

/// A broker, and what is shown to it.
#[derive(Clone)]
pub struct CtlTarget {
    /// Where its HTTP listener is, without a path: `http://127.0.0.1:18090`.
    pub url: String,
    /// The token.
    pub token: String,
    /// Where the token is from.
    pub token_from: String,
    /// Certificates to trust instead of those of the system.
    pub ca: Option<PathBuf>,
    /// How a broker with that configuration is started; none: it was named by a URL.
    pub start: Option<String>,
}

/// Where packages have the configuration.
const INSTALLED: &str = "/etc/sluice/sluice.toml";
/// What a start without a file leaves in its folder.
const OF_A_START_WITHOUT_A_FILE: &str = "http-token";

impl CtlTarget {
    /// The broker that the command line, the environment or the configuration names.
    ///
    /// # Errors
    ///
    /// There is none, or no token for it.
    pub fn find(layers: &Layers, options: &CtlOptions) -> Result<CtlTarget, CtlFailure> {
        let given = given_token(options)?;
        let ca = options.ca.clone();
        let Some(url) = &options.url else { return CtlTarget::local(layers, given, ca) };
        let url = checked(url)?;
        let Some((token, token_from)) = given else {
            return Err(CtlFailure::Usage(
                "--url names a broker, but not its token: give --token-file, or set SLUICE_TOKEN"
                    .to_owned(),
            ));
        };
        Ok(CtlTarget { url, token, token_from, ca, start: None })
    }

    fn local(
        layers: &Layers,
        given: Option<(String, String)>,
        ca: Option<PathBuf>,
    ) -> Result<CtlTarget, CtlFailure> {
        let files = files(layers);
        for file in &files {
            if let Err(error) = File::open(file)
                && error.kind() == io::ErrorKind::PermissionDenied
            {
                return Err(CtlFailure::Unreachable(not_readable("the configuration", file)));
            }
        }
        let settings =
            layers.load_with(&files).map_err(|error| CtlFailure::Usage(error.to_string()))?;
        let http = settings.from_here().http;
        let named = match files.last() {
            Some(file) => file.display().to_string(),
            None => "the configuration".to_owned(),
        };
        let Some(address) = http.socket_address() else {
            return Err(CtlFailure::Unreachable(format!(
                "HTTP is off in {named}: add a section [http] with address = \"127.0.0.1:18090\" and start the broker \
                 again; for another broker: --config FILE, or --url URL"
            )));
        };
        if address.port() == 0 {
            return Err(CtlFailure::Unreachable(format!(
                "http.address in {named} takes a free port, which the broker prints at its start: give --url"
            )));
        }
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let (token, token_from) = match given {
            Some(given) => given,
            None => {
                let file = http.token_file.ok_or_else(|| {
                    CtlFailure::Usage(format!(
                        "{named} names no http.token_file: give --token-file, or set SLUICE_TOKEN"
                    ))
                })?;
                (token_in(&file)?, file.display().to_string())
            }
        };
        let start = match files.last() {
            Some(file) if file == Path::new(INSTALLED) => "systemctl start sluice".to_owned(),
            Some(file) => format!("sluice --config {}", file.display()),
            None => "sluice".to_owned(),
        };
        let url = format!("{scheme}://{}", reachable(address));
        Ok(CtlTarget { url, token, token_from, ca, start: Some(start) })
    }
}

/// The configuration files: those of the command line, or of a usual place; none for a start without a file.
pub fn files(layers: &Layers) -> Vec<PathBuf> {
    if !layers.files().is_empty() {
        return layers.files().to_vec();
    }
    if let Some(file) = std::env::var_os("SLUICE_CONFIG").filter(|file| !file.is_empty()) {
        return vec![file.into()];
    }
    let is_here = Path::new(OF_A_START_WITHOUT_A_FILE).exists();
    if !is_here && Path::new(INSTALLED).exists() { vec![INSTALLED.into()] } else { Vec::new() }
}

/// The token of the command line or the environment, and where it is from.
fn given_token(options: &CtlOptions) -> Result<Option<(String, String)>, CtlFailure> {
    if let Some(file) = &options.token_file {
        return Ok(Some((token_in(file)?, file.display().to_string())));
    }
    let Some(token) = std::env::var_os("SLUICE_TOKEN") else { return Ok(None) };
    let from = "SLUICE_TOKEN";
    Ok(Some((usable(&token.to_string_lossy(), from)?, from.to_owned())))
}

fn token_in(file: &Path) -> Result<String, CtlFailure> {
    let unreachable = |text: String| CtlFailure::Unreachable(text);
    let text = fs::read_to_string(file).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => unreachable(not_readable("the token", file)),
        io::ErrorKind::NotFound => unreachable(format!(
            "there is no token at {}: the broker makes it at its first start with HTTP; if it has another: \
             --token-file FILE, or SLUICE_TOKEN",
            file.display()
        )),
        _ => unreachable(format!("cannot read the token at {}: {error}", file.display())),
    })?;
    usable(&text, &file.display().to_string())
}

/// A token as it may stand in a header.
fn usable(text: &str, from: &str) -> Result<String, CtlFailure> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("{from} holds no token, which is one word of letters and digits");
        return Err(CtlFailure::Usage(text));
    }
    Ok(token.to_owned())
}

/// Scheme, host and port of a URL.
fn checked(url: &str) -> Result<String, CtlFailure> {
    let bare = url.trim_end_matches('/');
    let host = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@']) => {
            Ok(bare.to_owned())
        }
        _ => Err(CtlFailure::Usage(format!(
            "--url {url}: expected a scheme and a host, as in https://broker.example:18090"
        ))),
    }
}

/// Why a file cannot be read, and as which user it can.
fn not_readable(what: &str, file: &Path) -> String {
    // The file, or the folder that hides it.
    let found = file.ancestors().find_map(|path| Some((path, path.metadata().ok()?)));
    let Some((path, metadata)) = found else {
        return format!("this user may not read {what} at {}", file.display());
    };
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let user = User::from_uid(uid).ok().flatten().map_or(uid.to_string(), |user| user.name);
    let group = Group::from_gid(gid).ok().flatten().map_or(gid.to_string(), |group| group.name);
    let is_for_group = metadata.mode() & 0o040 != 0;
    let of_group =
        if is_for_group { format!(", or a member of its group {group},") } else { String::new() };
    format!(
        "this user may not read {what} at {}: {} belongs to {user}{of_group} (mode {:04o}); run this as {user} or root: \
         sudo -u {user} sluice ctl …",
        file.display(),
        path.display(),
        metadata.mode() & 0o7777,
    )
}
