//! Certificates made on the spot: a CA, a server and a client, for development and small sites.
//!
//! Keys are created for their owner alone (0600), and nothing is ever overwritten.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Files of a set, in the order they are written.
const FILES: [&str; 6] =
    ["ca.key", "ca.pem", "server.key", "server.pem", "client.key", "client.pem"];
/// Names in a development server's certificate.
const DEVELOPMENT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// For clients with slow clocks.
const BEFORE_NOW: Duration = Duration::from_secs(86_400);
const CA_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// The longest that common clients accept in a server's certificate.
const LEAF_LIFE: Duration = Duration::from_secs(825 * 86_400);

/// Why certificates were not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A file could not be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there already.
    #[error("{} is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// A set that lacks files.
    #[error("{} holds {present} but not {missing}: add what is missing, or remove them to have a set made", dir.display())]
    Incomplete {
        /// The directory.
        dir: PathBuf,
        /// The files it holds.
        present: String,
        /// The files it lacks.
        missing: String,
    },
    /// A name that no certificate can carry.
    #[error("{0:?} is neither a host name nor an address")]
    Name(String),
    /// The CA in the directory cannot be used.
    #[error("{}: {problem}", path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: rcgen::Error,
    },
    /// The cryptography failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes a development set in `dir` if it holds none; true if it did.
///
/// A set with files missing is an error: it may be the user's own, half copied.
pub fn ensure_development(dir: &Path) -> Result<bool, CertsError> {
    let (present, missing): (Vec<_>, Vec<_>) =
        FILES.into_iter().partition(|name| dir.join(name).exists());
    let lacking: Vec<_> = missing
        .into_iter()
        .filter(|name| ["ca.pem", "server.key", "server.pem"].contains(name))
        .collect();
    if lacking.is_empty() {
        return Ok(false);
    }
    if !present.is_empty() {
        return Err(CertsError::Incomplete {
            dir: dir.to_owned(),
            present: present.join(", "),
            missing: lacking.join(", "),
        });
    }
    make(dir, &DEVELOPMENT_NAMES.map(str::to_owned), "client")?;
    Ok(true)
}

/// Makes a server certificate for `names` and a client certificate for `client` in `dir`, signed by
/// the CA there, which is made first if there is none. The files written.
pub fn make(dir: &Path, names: &[String], client: &str) -> Result<Vec<PathBuf>, CertsError> {
    let server = server_params(names)?;
    let client = client_params(client)?;
    fs::create_dir_all(dir).map_err(file("create", dir))?;
    let has_ca = dir.join("ca.pem").exists() && dir.join("ca.key").exists();
    let fresh = if has_ca { &FILES[2..] } else { &FILES[..] };
    if let Some(taken) = fresh.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        return Err(CertsError::Exists(taken));
    }

    let mut written = Vec::new();
    let authority = if has_ca { load_ca(dir)? } else { make_ca(dir, &mut written)? };
    for (name, params) in [("server", server), ("client", client)] {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        write_pair(dir, name, &key, &certificate, &mut written)?;
    }
    Ok(written)
}

fn make_ca(dir: &Path, written: &mut Vec<PathBuf>) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    validity(&mut params, CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    // Two CAs of one name would confuse clients that keep both: the key tells them apart.
    let mark: String =
        params.key_identifier(&key).iter().take(4).map(|b| format!("{b:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("Sluice CA {mark}"));
    let certificate = params.self_signed(&key)?;
    write_pair(dir, "ca", &key, &certificate, written)?;
    Ok(Issuer::new(params, key))
}

fn load_ca(dir: &Path) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let read = |path: &Path| fs::read_to_string(path).map_err(file("read", path));
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |problem| CertsError::Authority { path, problem }
    };
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    let pair = KeyPair::from_pem(&read(&key)?).map_err(broken(&key))?;
    Issuer::from_ca_cert_pem(&read(&certificate)?, pair).map_err(broken(&certificate))
}

fn server_params(names: &[String]) -> Result<CertificateParams, CertsError> {
    let mut params = leaf_params(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
        .distinguished_name
        .push(DnType::CommonName, names.first().map_or("sluice", String::as_str));
    Ok(params)
}

fn client_params(name: &str) -> Result<CertificateParams, CertsError> {
    let mut params = leaf_params(&[name.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn leaf_params(names: &[String]) -> Result<CertificateParams, CertsError> {
    for name in names {
        // What is not an address must be a name that clients can look up, or ask for.
        let host = name.parse::<std::net::IpAddr>().is_ok()
            || !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b));
        if !host {
            return Err(CertsError::Name(name.clone()));
        }
    }
    let mut params = CertificateParams::new(names)?;
    validity(&mut params, LEAF_LIFE);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn validity(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE_NOW).into();
    params.not_after = (now - BEFORE_NOW + life).into();
}

/// The key first: a certificate without its key would look like a set to keep.
fn write_pair(
    dir: &Path,
    name: &str,
    key: &KeyPair,
    certificate: &rcgen::Certificate,
    written: &mut Vec<PathBuf>,
) -> Result<(), CertsError> {
    for (suffix, mode, text) in
        [("key", 0o600, key.serialize_pem()), ("pem", 0o644, certificate.pem())]
    {
        let path = dir.join(format!("{name}.{suffix}"));
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(file("write", &path))?;
        written.push(path);
    }
    Ok(())
}

fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertsError + use<> {
    let path = path.to_owned();
    move |source| CertsError::File { verb, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_development_set_is_made_once_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ensure_development(dir.path()).unwrap());
        let before = fs::read(dir.path().join("server.pem")).unwrap();
        assert!(!ensure_development(dir.path()).unwrap());
        assert_eq!(fs::read(dir.path().join("server.pem")).unwrap(), before);
        for name in FILES {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            let open = mode & 0o077 != 0;
            assert_eq!(open, name.ends_with(".pem"), "{name}: {mode:o}");
        }
    }

    #[test]
    fn a_set_with_files_missing_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server.pem"), "mine").unwrap();
        let error = ensure_development(dir.path()).unwrap_err().to_string();
        assert!(error.contains("holds server.pem but not ca.pem, server.key"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_set_is_never_overwritten_and_a_ca_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["broker.example.com".to_owned(), "192.0.2.7".to_owned()];
        assert_eq!(make(dir.path(), &names, "device-1").unwrap().len(), 6);
        let error = make(dir.path(), &names, "device-1").unwrap_err().to_string();
        assert!(error.ends_with("server.key is there already and is not overwritten"), "{error}");
        for name in &FILES[2..] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert_eq!(make(dir.path(), &names, "device-2").unwrap().len(), 4);
    }

    #[test]
    fn a_name_no_certificate_can_carry_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "two words", "bücher.example", "a/b"] {
            let error = make(dir.path(), &[name.to_owned()], "client").unwrap_err().to_string();
            assert_eq!(error, format!("{name:?} is neither a host name nor an address"));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
