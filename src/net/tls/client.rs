//! The client's side of TLS, for a check of a running broker.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::cryptography;
use super::files::{TlsError, read, read_key};

/// What a client trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Which server is the right one.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// One with a certificate by a CA in this file, for the name that was asked for.
    Authority(PathBuf),
    /// One that shows the first certificate in this file.
    Certificate(PathBuf),
}

impl ClientTls {
    /// Reads the files. `identity`: client certificate and key.
    ///
    /// # Errors
    ///
    /// A file that cannot be used.
    pub fn load(
        trust: &ServerTrust,
        identity: Option<(PathBuf, PathBuf)>,
        name: ServerName<'static>,
    ) -> Result<ClientTls, TlsError> {
        let provider = Arc::new(cryptography::default_provider());
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)?;
        let config = match trust {
            ServerTrust::Authority(path) => {
                let mut roots = RootCertStore::empty();
                for authority in read("CA", path)? {
                    roots.add(authority)?;
                }
                config.with_root_certificates(roots)
            }
            ServerTrust::Certificate(path) => {
                let mut chain: Vec<CertificateDer<'static>> = read("certificate", path)?;
                let only = OnlyThis { certificate: chain.swap_remove(0), provider };
                config.dangerous().with_custom_certificate_verifier(Arc::new(only))
            }
        };
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read("client certificate", &certificate)?;
                config.with_client_auth_cert(chain, read_key(&key)?)?
            }
        };
        Ok(ClientTls { config: Arc::new(config), name })
    }

    /// The client's side of a handshake.
    ///
    /// # Errors
    ///
    /// Why it failed: [`ClientTls::in_words`] has better words.
    pub async fn handshake<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(self.config.clone()).connect(self.name.clone(), stream).await
    }

    /// Why a connection failed, as far as it was TLS.
    pub fn in_words(error: &std::io::Error) -> Option<String> {
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match inner {
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
                "it shows another certificate than that of its configuration: after a renewal, SIGHUP \
                 puts the new one in force"
                    .to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => "its certificate is for another name: give --server-name".to_owned(),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "its certificate is not of the CA in --ca".to_owned()
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => "its certificate has expired".to_owned(),
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "it wants a client certificate: give --cert and --key".to_owned()
            }
            rustls::Error::AlertReceived(alert) => {
                format!("it refuses the handshake, with the alert {alert:?}")
            }
            rustls::Error::InvalidMessage(_) => "it does not speak TLS there".to_owned(),
            other => other.to_string(),
        })
    }
}

/// Accepts one certificate and no other, however long it is valid: to be told from another server, a
/// broker that is known need not show a CA.
#[derive(Debug)]
struct OnlyThis {
    certificate: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
