//! Why a handshake failed, in words: what the peer did and, where that helps, what it should do.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::hello::ClientHello;
use super::verifier::ShownCertificate;
use crate::message::RefusalKind;

/// Why a handshake failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandshakeError {
    /// What it is counted as.
    pub kind: RefusalKind,
    /// One of few: what is said at most so often of an address.
    pub reason: &'static str,
    /// More of it; empty if there is no more to say. It may hold text that the peer chose.
    pub detail: String,
    /// The peer only looked whether the port is open, as health checks do.
    pub silent: bool,
}

/// Cipher suites of a client that are named.
const SUITES_NAMED: usize = 4;
/// Characters of what is said in more detail.
const TEXT_MAX: usize = 400;
/// Suites of old clients, which rustls has no names for.
const OLD_SUITES: [(u16, &str); 14] = [
    (0x0005, "TLS_RSA_WITH_RC4_128_SHA"),
    (0x000A, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x002F, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x003C, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x003D, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x009C, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009D, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x00A8, "TLS_PSK_WITH_AES_128_GCM_SHA256"),
    (0xC013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0xC014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xC0A8, "TLS_PSK_WITH_AES_128_CCM_8"),
];

impl HandshakeError {
    /// Something is refused: counted as `kind`, said once in a while with `reason`, and with `detail` where that
    /// is said.
    pub(in crate::net) fn new(
        kind: RefusalKind,
        reason: &'static str,
        detail: impl Into<String>,
    ) -> HandshakeError {
        let detail = detail.into().chars().take(TEXT_MAX).collect();
        HandshakeError { kind, reason, detail, silent: false }
    }

    /// The peer left before it had begun.
    pub(in crate::net) fn silent(kind: RefusalKind, reason: &'static str) -> HandshakeError {
        HandshakeError { silent: true, ..HandshakeError::new(kind, reason, "") }
    }

    /// The connection ended or broke before the whole ClientHello had come.
    pub(super) fn lost(_: io::Error) -> HandshakeError {
        HandshakeError::silent(RefusalKind::TlsHandshake, "the peer closed before TLS began")
    }

    /// The ClientHello did not come in time.
    pub(super) fn hello_too_slow(patience: Duration) -> HandshakeError {
        let detail = format!("listener.tls.hello_timeout is {patience:?}");
        HandshakeError::new(RefusalKind::TlsHello, "the ClientHello took too long", detail)
    }

    /// What came is no TLS.
    pub(super) fn foreign(what: &'static str) -> HandshakeError {
        HandshakeError::new(RefusalKind::TlsNotTls, what, "it came to a listener with TLS")
    }

    /// What rustls says of a peer that offered `hello` and showed a certificate that was refused, where `protocol`
    /// is served with a certificate for `names`.
    pub(super) fn of(
        error: &io::Error,
        hello: &ClientHello,
        shown: Option<&ShownCertificate>,
        names: &str,
        protocol: &str,
    ) -> HandshakeError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::PeerIncompatible(why)) => incompatible(why, hello),
            Some(rustls::Error::NoApplicationProtocol) => {
                let offered = hello.protocols.join(", ");
                let detail =
                    format!("the client offers {offered}; {protocol} is served, or none named");
                HandshakeError::new(RefusalKind::TlsNotCommon, "no common protocol (ALPN)", detail)
            }
            Some(rustls::Error::NoCertificatesPresented) => HandshakeError::new(
                RefusalKind::TlsClientCertificate,
                "no client certificate",
                "listener.tls.client_certificate is \"required\"",
            ),
            Some(rustls::Error::InvalidCertificate(why)) => certificate(why, shown),
            Some(rustls::Error::AlertReceived(alert)) => {
                let asked = hello.server_name.as_deref().unwrap_or("no name");
                told(*alert, &format!("it asked for {asked}, we are {names}"))
            }
            Some(other) => HandshakeError::new(
                RefusalKind::TlsHandshake,
                "TLS handshake failed",
                other.to_string(),
            ),
            None => HandshakeError::new(
                RefusalKind::TlsHandshake,
                "the peer left inside the handshake",
                error.to_string(),
            ),
        }
    }
}

/// What QUIC says of handshakes: numbers for alerts of TLS, and texts.
#[cfg(feature = "quic")]
impl HandshakeError {
    /// We closed with the error `code`, because of `why`.
    pub(in crate::net) fn of_code(code: u64, why: &str) -> HandshakeError {
        use AlertDescription as Alert;
        let (kind, reason) = match alert_of(code) {
            Some(Alert::NoApplicationProtocol) => {
                (RefusalKind::TlsNotCommon, "no common protocol (ALPN)")
            }
            Some(Alert::HandshakeFailure | Alert::ProtocolVersion) => {
                (RefusalKind::TlsNotCommon, "TLS without what the broker needs")
            }
            Some(Alert::CertificateRequired) => {
                (RefusalKind::TlsClientCertificate, "no client certificate")
            }
            Some(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::DecryptError,
            ) => (RefusalKind::TlsClientCertificate, "the client certificate is refused"),
            Some(_) => (RefusalKind::TlsHandshake, "TLS handshake failed"),
            None => (RefusalKind::Quic, "the client broke a rule of QUIC"),
        };
        HandshakeError::new(kind, reason, why)
    }

    /// The client closed with the error `code`, because of `why`.
    pub(in crate::net) fn told_by_code(code: u64, why: &str) -> HandshakeError {
        match alert_of(code) {
            Some(alert) => told(alert, why),
            None => {
                HandshakeError::new(RefusalKind::Quic, "the client gave up the connection", why)
            }
        }
    }
}

/// The alert in an error of QUIC (RFC 9001, 4.8).
#[cfg(feature = "quic")]
fn alert_of(code: u64) -> Option<AlertDescription> {
    (code >> 8 == 1).then(|| AlertDescription::from(code as u8))
}

/// No version, suite, group or signature in common: what the client offers tells which.
fn incompatible(why: &PeerIncompatible, hello: &ClientHello) -> HandshakeError {
    let version = match hello.version {
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        _ => "",
    };
    if !version.is_empty() {
        let detail = format!("the client speaks {version} at most; 1.2 and 1.3 are served");
        return HandshakeError::new(RefusalKind::TlsNotCommon, "TLS version too old", detail);
    }
    let served = super::cryptography::DEFAULT_CIPHER_SUITES;
    let common = |suite: &u16| served.iter().any(|served| u16::from(served.suite()) == *suite);
    // rustls may complain of groups first, which such a client has no use for.
    if !hello.suites.is_empty() && !hello.suites.iter().any(common) {
        let mut detail = "the client offers ".to_owned();
        for (index, suite) in hello.suites.iter().take(SUITES_NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let named = OLD_SUITES.iter().find(|(number, _)| number == suite);
            let _ = match named {
                Some((_, name)) => write!(detail, "{comma}{name}"),
                None => write!(detail, "{comma}0x{suite:04X}"),
            };
        }
        if let Some(more @ 1..) = hello.suites.len().checked_sub(SUITES_NAMED) {
            let _ = write!(detail, " and {more} more");
        }
        detail.push_str("; suites with ECDHE and GCM or ChaCha20 are served");
        return HandshakeError::new(RefusalKind::TlsNotCommon, "no common cipher suite", detail);
    }
    let reason = match why {
        PeerIncompatible::NoKxGroupsInCommon => "no common key exchange group",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no common signature algorithm"
        }
        PeerIncompatible::NoCipherSuitesInCommon => "no common cipher suite",
        _ => "TLS without what the broker needs",
    };
    HandshakeError::new(RefusalKind::TlsNotCommon, reason, format!("{why:?}"))
}

/// The client's certificate is refused.
fn certificate(why: &CertificateError, shown: Option<&ShownCertificate>) -> HandshakeError {
    use CertificateError as Why;
    let is_own = shown.is_some_and(|shown| shown.subject == shown.issuer);
    let reason = match why {
        _ if shown.is_some_and(|shown| shown.is_old) => {
            "the client certificate is of X.509 version 1: version 3 is needed"
        }
        Why::Expired | Why::ExpiredContext { .. } => "the client certificate has expired",
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "the client certificate is not valid yet: is a clock wrong?"
        }
        Why::Revoked => "the client certificate is revoked",
        Why::UnknownIssuer if is_own => "the client certificate is self-signed",
        Why::UnknownIssuer => "the client certificate is not of a CA in client_ca",
        Why::UnknownRevocationStatus => {
            "client_crl has no list of the CA of the client certificate"
        }
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => {
            "the client certificate is not for clients (extended key usage)"
        }
        Why::BadSignature => "the client certificate is forged or damaged",
        Why::UnsupportedSignatureAlgorithmContext { .. }
        | Why::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the client certificate has a signature that is not supported (RSA below 2048 bits, SHA-1?)"
        }
        Why::BadEncoding => "the client certificate cannot be read",
        _ => "the client certificate is refused",
    };
    let detail = match shown {
        Some(ShownCertificate { subject, issuer, ends, .. }) => {
            format!("subject {subject}, issuer {issuer}, valid until {ends}")
        }
        None => why.to_string(),
    };
    HandshakeError::new(RefusalKind::TlsClientCertificate, reason, detail)
}

/// The client refuses us, and said why; `more` is said where it may be of our certificate.
fn told(alert: AlertDescription, more: &str) -> HandshakeError {
    use AlertDescription as Alert;
    let reason = match alert {
        Alert::UnknownCA => "the client does not know our CA",
        Alert::CertificateExpired => "the client says that our certificate has expired",
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::UnrecognisedName
        | Alert::CertificateRevoked => "the client does not accept our certificate",
        _ => {
            let (kind, reason) = (RefusalKind::TlsHandshake, "the client gave up the handshake");
            return HandshakeError::new(kind, reason, format!("with the alert {alert:?}"));
        }
    };
    HandshakeError::new(RefusalKind::TlsServerCertificate, reason, format!("{alert:?}; {more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(error: rustls::Error, hello: &ClientHello) -> HandshakeError {
        HandshakeError::of(&io::Error::other(error), hello, None, "localhost", "mqtt")
    }

    #[test]
    fn what_a_client_offers_tells_why_nothing_is_in_common() {
        let no_group = || rustls::Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon);
        let hello = |version, suites: &[u16]| ClientHello {
            version,
            suites: suites.to_vec(),
            ..ClientHello::default()
        };
        for (hello, wanted) in [
            (hello(0x0301, &[0x002F]), "TLS version too old"),
            (hello(0x0303, &[0x002F, 0x0035, 0x009C, 0x003C, 0x000A]), "no common cipher suite"),
            (hello(0x0303, &[0xC02F]), "no common key exchange group"),
            (hello(0, &[]), "no common key exchange group"),
        ] {
            assert_eq!(reason(no_group(), &hello).reason, wanted, "{hello:?}");
        }
        let named = reason(no_group(), &hello(0x0303, &[0x002F, 0x0035, 0x009C, 0x003C, 0x000A]));
        let wanted = "the client offers TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA";
        assert!(
            named.detail.starts_with(wanted) && named.detail.contains(" and 1 more;"),
            "{named:?}"
        );
    }

    #[test]
    fn a_certificate_signed_by_itself_is_told_from_one_of_another_ca() {
        let unknown = io::Error::other(rustls::Error::from(CertificateError::UnknownIssuer));
        let shown = |issuer: &str| ShownCertificate {
            subject: "CN=a".to_owned(),
            issuer: issuer.to_owned(),
            ends: "then".to_owned(),
            is_old: false,
        };
        for (issuer, wanted) in [
            ("CN=a", "the client certificate is self-signed"),
            ("CN=b", "the client certificate is not of a CA in client_ca"),
        ] {
            let hello = ClientHello::default();
            let error = HandshakeError::of(&unknown, &hello, Some(&shown(issuer)), "", "mqtt");
            assert_eq!(error.reason, wanted);
            assert!(error.detail.contains("subject CN=a"), "{error:?}");
        }
    }

    #[test]
    fn what_a_peer_says_is_cut_short() {
        let protocols = vec!["ü".repeat(10_000)];
        let hello = ClientHello { protocols, ..ClientHello::default() };
        let error = reason(rustls::Error::NoApplicationProtocol, &hello);
        assert_eq!(error.detail.chars().count(), TEXT_MAX);
    }
}
