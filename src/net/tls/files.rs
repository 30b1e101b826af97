//! The files of `[listener.tls]`: read, and if they cannot be used, what they are instead and what to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::der_parser::ber::BerObjectContent;
use x509_parser::der_parser::der::parse_der;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::place::{LineColumn, pem_damage, pem_section};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} {}:{}:{}: {problem}", path.display(), place.0, place.1)]
    Content {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Line and column.
        place: LineColumn,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate and the key are not a pair.
    #[error("key {} does not belong to certificate {}: each certificate has a key of its own", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The cryptography failed for another reason.
    #[error("TLS cannot be set up: {0}")]
    Cryptography(#[from] rustls::Error),
}

/// What to do about a key that is of no use.
const NEW_KEY: &str = "make a new key, as with `openssl genpkey -algorithm EC -pkeyopt \
                       ec_paramgen_curve:P-256 -out FILE`, and have a certificate made for it";
/// Kinds of keys by their object identifiers, as far as they are told apart.
const ALGORITHMS: [(&str, &str); 9] = [
    ("1.2.840.113549.1.1.10", "a key for RSA-PSS only"),
    ("1.3.101.110", "a key for X25519, which cannot sign"),
    ("1.3.101.111", "a key for X448, which cannot sign"),
    ("1.3.101.112", "an Ed25519 key"),
    ("1.3.101.113", "an Ed448 key"),
    ("1.2.840.10040.4.1", "a DSA key"),
    ("2.16.840.1.101.3.4.3.17", "an ML-DSA key"),
    ("2.16.840.1.101.3.4.3.18", "an ML-DSA key"),
    ("2.16.840.1.101.3.4.3.19", "an ML-DSA key"),
];
/// Curves by their object identifiers.
const CURVES: [(&str, &str); 8] = [
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
];
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

/// All items of one kind in a PEM file; an error if there is none.
pub fn read<T: PemObject>(what: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    let text = read_text(what, path)?;
    let found: Vec<T> = T::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(what, path, &text, &error))?;
    if found.is_empty() {
        return Err(content(what, path, instead(what, &text)));
    }
    Ok(found)
}

/// The private key in a PEM file.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read_text("key", path)?;
    let lines = String::from_utf8_lossy(&text);
    if lines.contains("BEGIN ENCRYPTED PRIVATE KEY") || lines.contains("Proc-Type: 4,ENCRYPTED") {
        let problem = "is encrypted, and the broker asks for no passphrase: take that off, as with \
                       `openssl pkey -in FILE -out NEW`, and protect the file by its permissions";
        return Err(content("key", path, problem.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => instead("key", &text),
            error => return damaged("key", path, &text, &error),
        };
        content("key", path, problem)
    })
}

/// A key that the cryptography does not take: what it is, and what to do.
pub fn unusable_key(path: &Path, key: &PrivateKeyDer<'_>, error: &rustls::Error) -> TlsError {
    let kind = match kind_of(key) {
        Some(Kind::Rsa(bits @ ..2048)) => {
            format!("is an RSA key of {bits} bits, and at least 2048 are needed: {NEW_KEY}")
        }
        Some(Kind::Rsa(bits)) => {
            format!("is an RSA key of {bits} bits that cannot be used: {NEW_KEY}")
        }
        Some(Kind::Other(kind)) => format!("is {kind}, which cannot be used here: {NEW_KEY}"),
        None => format!("holds no key that can be read ({error}): {NEW_KEY}"),
    };
    content("key", path, kind)
}

/// What is wrong with the chain beside its key: `is_of_key` says whether a certificate has the key's
/// public half, by its `SubjectPublicKeyInfo`.
pub fn check_chain(
    certificate: &Path,
    key: &Path,
    chain: &[CertificateDer<'_>],
    is_of_key: impl Fn(&[u8]) -> Option<bool>,
) -> Result<(), TlsError> {
    let problem = |index, problem| Err(content_of(index, "certificate", certificate, problem));
    let mut belongs = Vec::new();
    for (index, one) in chain.iter().enumerate() {
        let Ok((_, parsed)) = X509Certificate::from_der(one) else {
            let which = format!("its certificate {} of {} cannot be read", index + 1, chain.len());
            return problem(index, which);
        };
        if index == 0 && parsed.version() != X509Version::V3 {
            return problem(
                index,
                "is a certificate of X.509 version 1, and version 3 is needed: sign it with extensions, as \
                 with `openssl x509 -req … -extfile FILE`, where FILE has a line subjectAltName=DNS:NAME"
                    .to_owned(),
            );
        }
        belongs.push(is_of_key(parsed.public_key().raw));
    }
    match belongs.iter().position(|belongs| *belongs != Some(false)) {
        Some(0) => Ok(()),
        None => Err(TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned() }),
        Some(index) => {
            let number = index + 1;
            let order = format!(
                "its order is wrong: the certificate of the key is number {number}, and must be the first; \
                 those between it and the CA follow"
            );
            problem(index, order)
        }
    }
}

/// A file's content, without a byte order mark.
fn read_text(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let bytes = fs::read(path);
    let mut bytes =
        bytes.map_err(|source| TlsError::Read { what, path: path.to_owned(), source })?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// What is wrong with the first section of a file.
pub fn content(what: &'static str, path: &Path, problem: String) -> TlsError {
    content_of(0, what, path, problem)
}

/// What is wrong with section number `index`, counted from 0.
pub fn content_of(index: usize, what: &'static str, path: &Path, problem: String) -> TlsError {
    let place = pem_section(&fs::read(path).unwrap_or_default(), index);
    TlsError::Content { what, path: path.to_owned(), place, problem }
}

fn damaged(what: &'static str, path: &Path, text: &[u8], error: &pem::Error) -> TlsError {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        error => error.to_string(),
    };
    let problem = format!("is damaged PEM: {why}");
    TlsError::Content { what, path: path.to_owned(), place: pem_damage(text), problem }
}

/// What a file holds in which nothing of the wanted kind was found.
fn instead(what: &'static str, bytes: &[u8]) -> String {
    let wanted = match what {
        "key" => "private key",
        "client_crl" => "revocation list",
        _ => "certificate",
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return format!("is empty; it should hold a {wanted} in PEM form");
    }
    if let [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] = bytes {
        return "is text in UTF-16: save it as plain ASCII".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    let found = match wanted {
        _ if !text.contains("-----BEGIN ") => return binary(what, bytes, wanted),
        "private key" if has("CERTIFICATE") => {
            "a certificate: are the certificate and the key exchanged?"
        }
        "private key" if has("PUBLIC KEY") => "a public key: the private half is needed",
        "private key" if has("OPENSSH PRIVATE KEY") => "a key for SSH, which TLS has no use for",
        "private key" if has("EC PARAMETERS") => {
            "the parameters of a curve, and no key: `openssl genpkey` writes one"
        }
        "certificate" if has("TRUSTED CERTIFICATE") => {
            "a certificate in a form of OpenSSL's: `openssl x509 -in FILE -out NEW` makes a plain one"
        }
        "certificate" if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") => {
            "a request for a certificate: have a CA sign it"
        }
        "certificate" if has("PKCS7") => {
            "PKCS #7: `openssl pkcs7 -print_certs -in FILE -out NEW` takes the certificates out"
        }
        "certificate" if text.contains("PRIVATE KEY-----") => {
            "a private key: are the certificate and the key exchanged?"
        }
        _ => "something else",
    };
    format!("holds no {wanted} in PEM form, but {found}")
}

/// The same of a file without any PEM.
fn binary(what: &'static str, bytes: &[u8], wanted: &str) -> String {
    let is_pkcs12 = bytes.windows(3).take(8).any(|bytes| bytes == [2, 1, 3]);
    let command = match what {
        "key" => "pkey",
        "client_crl" => "crl",
        _ => "x509",
    };
    let is_der = match bytes {
        [0x30, 0x81..=0x84, ..] => true,
        [0x30, len, rest @ ..] => usize::from(*len) == rest.len(),
        _ => false,
    };
    match bytes {
        _ if is_der && is_pkcs12 => format!(
            "is PKCS #12 (.p12, .pfx): `openssl pkcs12 -in FILE -nodes` takes the {wanted} out"
        ),
        _ if is_der => format!(
            "is DER, and PEM is needed: `openssl {command} -inform der -in FILE -out NEW` makes it"
        ),
        [0xFE, 0xED, 0xFE, 0xED, ..] => {
            format!("is a key store of Java: `keytool -exportcert -rfc` takes the {wanted} out")
        }
        _ => format!("holds no {wanted} in PEM form: there is no line with -----BEGIN"),
    }
}

/// Kinds of private keys.
#[derive(Debug, Eq, PartialEq)]
enum Kind {
    /// With so many bits.
    Rsa(usize),
    Other(String),
}

/// What a private key says of itself.
fn kind_of(key: &PrivateKeyDer<'_>) -> Option<Kind> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            let (_, object) = parse_der(key.secret_sec1_der()).ok()?;
            // Tagged with [0].
            let tagged = object.as_sequence().ok()?.get(2)?.as_slice().ok()?;
            let (_, curve) = parse_der(tagged).ok()?;
            Some(Kind::Other(on_curve(&curve.as_oid().ok()?.to_id_string())))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let (_, object) = parse_der(key.secret_pkcs8_der()).ok()?;
            let [_, algorithm, inner, ..] = &object.as_sequence().ok()?[..] else { return None };
            let algorithm = algorithm.as_sequence().ok()?;
            let id = algorithm.first()?.as_oid().ok()?.to_id_string();
            match &*id {
                RSA => rsa(inner.as_slice().ok()?),
                EC => {
                    let curve = algorithm.get(1)?.as_oid().ok();
                    let curve = curve.map(x509_parser::asn1_rs::Oid::to_id_string);
                    Some(Kind::Other(on_curve(curve.as_deref().unwrap_or("written out in full"))))
                }
                _ => {
                    let known = ALGORITHMS.iter().find(|(known, _)| *known == id);
                    let kind = known.map(|(_, kind)| (*kind).to_owned());
                    Some(Kind::Other(kind.unwrap_or_else(|| format!("a key of the kind {id}"))))
                }
            }
        }
        _ => None,
    }
}

fn on_curve(id: &str) -> String {
    let name = CURVES.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name);
    format!("an EC key on the curve {name}")
}

/// An RSA key by its modulus.
fn rsa(der: &[u8]) -> Option<Kind> {
    let (_, object) = parse_der(der).ok()?;
    let BerObjectContent::Integer(modulus) = &object.as_sequence().ok()?.get(1)?.content else {
        return None;
    };
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?.leading_zeros() as usize;
    Some(Kind::Rsa((modulus.len() - zeros) * 8 - first))
}

#[cfg(test)]
mod tests {
    use super::super::LiveTls;
    use crate::config::Tls;

    use super::*;

    /// The error about a broker with these files of `tests/fixtures/tls`, changed by `edit`.
    fn problem(certificate: &str, key: &str, edit: impl Fn(Vec<u8>) -> Vec<u8>) -> Option<String> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let dir = tempfile::tempdir().unwrap();
        let copy = |name: &str, to: &str| {
            let path = dir.path().join(to);
            fs::write(&path, edit(fs::read(fixtures.join(name)).unwrap())).unwrap();
            path
        };
        let certificate = copy(certificate, "server.pem");
        let key = copy(key, "server.key");
        LiveTls::load(&Tls { certificate, key, ..Tls::default() })
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn an_error_says_what_a_file_is_and_what_to_do() {
        for (certificate, key, wanted) in [
            (
                "server.pem",
                "rsa1024.key",
                "is an RSA key of 1024 bits, and at least 2048 are needed",
            ),
            ("server.pem", "rsa1024-old.key", "is an RSA key of 1024 bits"),
            (
                "server.pem",
                "rsa-pss.key",
                "is a key for RSA-PSS only, which cannot be used here: make",
            ),
            ("server.pem", "secp256k1.key", "is an EC key on the curve secp256k1, which cannot"),
            ("server.pem", "secp256k1-old.key", "is an EC key on the curve secp256k1"),
            ("server.pem", "ed448.key", "is an Ed448 key, which cannot be used"),
            ("server.pem", "x25519.key", "is a key for X25519, which cannot sign"),
            ("server.pem", "encrypted.key", "is encrypted, and the broker asks for no passphrase"),
            (
                "server.pem",
                "encrypted-old.key",
                "is encrypted, and the broker asks for no passphrase",
            ),
            ("server.pem", "public.key", "but a public key: the private half is needed"),
            ("server.pem", "key.der", "`openssl pkey -inform der"),
            ("server.pem", "server.p12", "takes the private key out"),
            ("server.pem", "server.pem", "but a certificate: are the certificate and the key exch"),
            ("server.pem", "server-old.key", "does not belong to certificate"),
            ("server.key", "server.key", "but a private key: are the certificate and the key exch"),
            ("server.der", "server.key", "is DER, and PEM is needed: `openssl x509 -inform der"),
            ("server.p12", "server.key", "is PKCS #12 (.p12, .pfx)"),
            ("request.pem", "server.key", "but a request for a certificate: have a CA sign it"),
            ("trusted.pem", "server.key", "`openssl x509 -in FILE -out NEW` makes a plain one"),
            ("pkcs7.pem", "server.key", "but PKCS #7: `openssl pkcs7 -print_certs"),
            ("version1.pem", "server.key", "of X.509 version 1, and version 3 is needed"),
            (
                "wrong-order.pem",
                "server.key",
                "the certificate of the key is number 2, and must be",
            ),
            ("ca.pem", "server.key", "does not belong to certificate"),
        ] {
            let found = problem(certificate, key, |bytes| bytes).expect("not good");
            assert!(found.contains(wanted), "{certificate} {key}: {found}");
            for debug in ["Error(", "OtherError", "Parse"] {
                assert!(!found.contains(debug), "{found}");
            }
        }
    }

    #[test]
    fn how_lines_end_and_what_stands_before_them_does_not_matter() {
        let pair = |edit: fn(Vec<u8>) -> Vec<u8>| problem("server.pem", "server.key", edit);
        assert_eq!(pair(|bytes| bytes), None);
        assert_eq!(
            pair(|bytes| String::from_utf8(bytes).unwrap().replace('\n', "\r\n").into()),
            None
        );
        assert_eq!(pair(|bytes| [&b"\xEF\xBB\xBF"[..], &bytes].concat()), None);
        assert_eq!(pair(|bytes| [&b"Bag Attributes\n  a: b\n"[..], &bytes].concat()), None);
        let wide = |bytes: Vec<u8>| [&b"\xFF\xFE"[..], &bytes].concat();
        assert!(pair(wide).expect("not good").contains("is text in UTF-16"));
        for empty in [Vec::new(), b" \r\n".to_vec()] {
            let found = problem("server.pem", "server.key", move |_| empty.clone());
            assert!(found.expect("not good").contains("is empty; it should hold a"));
        }
    }
}
