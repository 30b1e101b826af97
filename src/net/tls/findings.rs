//! What is wrong with files that can be used all the same: a certificate that has expired, a key that all
//! may read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::files::read;
use crate::config::Tls;

/// Something that is wrong and keeps no broker from starting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Clients cannot connect, or a secret is open: no mere hint.
    pub serious: bool,
    /// What it is, and what to do.
    pub text: String,
}

/// How long before its end a certificate is worth a warning at each load.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

impl Finding {
    /// A finding that is serious.
    pub fn serious(text: impl Into<String>) -> Finding {
        Finding { serious: true, text: text.into() }
    }

    /// A hint.
    pub fn hint(text: impl Into<String>) -> Finding {
        Finding { serious: false, text: text.into() }
    }

    /// A file with a secret in it that all users of the machine may read.
    pub fn of_secret(what: &str, path: &Path) -> Option<Finding> {
        let mode = fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then(|| {
            let path = path.display();
            let text = format!(
                "{what} {path} can be read by all users of this machine: `chmod o-rwx {path}`, and let \
                 the broker's user or group own it"
            );
            Finding::serious(text)
        })
    }
}

/// What is wrong with the files of a listener that can be read.
pub fn findings(settings: &Tls) -> Vec<Finding> {
    let chain: Vec<CertificateDer<'static>> =
        read("certificate", &settings.certificate).unwrap_or_default();
    let mut found = Vec::from_iter(Finding::of_secret("key", &settings.key));
    found.extend(of_chain(&settings.certificate, &chain, now()));
    found
}

/// What is wrong with a certificate chain, at `now` seconds after 1970.
fn of_chain(path: &Path, chain: &[CertificateDer<'_>], now: i64) -> Vec<Finding> {
    let path = path.display();
    let parsed: Vec<_> =
        chain.iter().filter_map(|one| Some(X509Certificate::from_der(one).ok()?.1)).collect();
    let mut found = Vec::new();
    for (index, one) in parsed.iter().enumerate() {
        let which = if index == 0 { String::new() } else { format!("number {} in ", index + 1) };
        let (begin, end) = (one.validity().not_before, one.validity().not_after);
        let soon = i64::try_from(EXPIRES_SOON.as_secs()).unwrap_or(i64::MAX);
        let of = |what: &str, time: ASN1Time| {
            format!("certificate {which}{path} {what} {time}: clients refuse it")
        };
        if end.timestamp() < now {
            found.push(Finding::serious(of("has expired at", end)));
        } else if now < begin.timestamp() {
            found.push(Finding::serious(of("is not valid before", begin)));
        } else if end.timestamp() - now < soon {
            let days = (end.timestamp() - now) / 86_400;
            let text = format!("certificate {which}{path} expires soon, in {days} days, at {end}");
            found.push(Finding::hint(text));
        }
    }
    for (index, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer() != pair[1].subject() {
            let (one, next) = (index + 1, index + 2);
            found.push(Finding::hint(format!(
                "certificate {path}: number {next} did not sign number {one}; in the right order each is \
                 signed by the next, and some clients want that"
            )));
        }
    }
    if let Some(leaf) = parsed.first()
        && !leaf.subject_alternative_name().is_ok_and(|names| names.is_some())
    {
        found.push(Finding::hint(format!(
            "certificate {path} has no Subject Alternative Name: most clients refuse it"
        )));
    }
    found
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::certs;

    #[test]
    fn a_chain_is_looked_at_with_the_eyes_of_a_client() {
        let dir = tempfile::tempdir().unwrap();
        certs::make(dir.path(), &["localhost".to_owned()], "client").unwrap();
        let one = |name: &str| CertificateDer::from_pem_file(dir.path().join(name)).unwrap();
        let (server, ca, client) = (one("server.pem"), one("ca.pem"), one("client.pem"));
        let day = 86_400;
        let texts = |chain: &[&CertificateDer<'static>], now: i64| -> Vec<(bool, String)> {
            let chain: Vec<_> = chain.iter().map(|one| (*one).clone()).collect();
            let found = of_chain(Path::new("s.pem"), &chain, now).into_iter();
            found.map(|found| (found.serious, found.text)).collect()
        };
        assert_eq!(texts(&[&server, &ca], now()), []);
        for (chain, days, serious, wanted) in [
            (vec![&server], 900, true, "certificate s.pem has expired at "),
            (vec![&server], -30, true, "certificate s.pem is not valid before "),
            (vec![&server], 815, false, "certificate s.pem expires soon, in 9 days"),
            (vec![&server, &client], 0, false, "s.pem: number 2 did not sign number 1"),
            (vec![&ca], 0, false, "has no Subject Alternative Name"),
        ] {
            let found = texts(&chain, now() + days * day);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0 == serious && found[0].1.contains(wanted), "{found:?}");
        }
        let both = texts(&[&server, &ca], now() + 5000 * day);
        assert!(both[1].1.starts_with("certificate number 2 in s.pem has expired"), "{both:?}");
    }
}
