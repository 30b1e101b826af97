//! The check of client certificates, which keeps what it refused for the log: rustls tells why, and not
//! of which certificate.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// A certificate that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownCertificate {
    /// Its subject, which its maker chose.
    pub subject: String,
    /// Its issuer, the same.
    pub issuer: String,
    /// When its validity ends.
    pub ends: String,
    /// It is of X.509 version 1, which no verifier of today takes.
    pub is_old: bool,
}

/// Another verifier, with a memory.
#[derive(Debug)]
pub struct Explaining(pub Arc<dyn ClientCertVerifier>);

thread_local! {
    /// Refused while this thread polled a handshake, which takes it as soon as that poll is over.
    static REFUSED: RefCell<Option<ShownCertificate>> = const { RefCell::new(None) };
}

impl ShownCertificate {
    /// The certificate that was refused since this thread last asked.
    pub fn take() -> Option<ShownCertificate> {
        REFUSED.take()
    }

    fn read(certificate: &[u8]) -> Option<ShownCertificate> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(ShownCertificate {
            subject: short(&certificate.subject().to_string()),
            issuer: short(&certificate.issuer().to_string()),
            ends: certificate.validity().not_after.to_string(),
            is_old: certificate.version() != X509Version::V3,
        })
    }
}

/// The beginning, without what could break a line.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

impl ClientCertVerifier for Explaining {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        if verified.is_err() {
            REFUSED.set(ShownCertificate::read(end_entity));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }
}
