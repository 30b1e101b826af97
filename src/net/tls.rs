//! TLS of a listener: the server's side of the handshake, made from `[listener.tls]`, and replaced
//! whole at a reload.
//!
//! A reload that fails changes nothing. A reload that changes the trusted clients (CA, CRL, whether
//! certificates are asked for) also changes the ticket keys, so that no resumed handshake keeps an
//! earlier verdict.

mod arrival;
mod client;
mod files;
mod findings;
mod hello;
mod identity;
#[cfg(feature = "quic")]
mod quic;
mod refusal;
mod verifier;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate};

pub use client::{ClientTls, ServerTrust};
pub use files::TlsError;
use files::{check_chain, content, content_of, read, read_key, unusable_key};
pub use findings::{Finding, findings};
pub use hello::ClientHello;
pub use identity::CertificateUser;
#[cfg(feature = "quic")]
pub use quic::shown;
pub use refusal::HandshakeError;
pub use rustls::pki_types::CertificateDer;
use verifier::{Explaining, ShownCertificate};

use crate::broker::ports::Voucher;
use crate::config::{CertificateIdentity, ClientCertificate, Tls, Transport};

#[cfg(feature = "tls-aws-lc")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
use rustls::crypto::ring as cryptography;
#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
compile_error!("one of the features `tls-aws-lc` and `tls-ring` is needed");

/// What binds an authentication to a channel of TLS 1.3 (RFC 9266).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// TLS of one listener, in force and replaceable.
#[derive(Debug)]
pub struct LiveTls {
    settings: Tls,
    /// What is spoken through it.
    transport: Transport,
    current: ArcSwap<HandshakeTerms>,
    /// When the certificate ends, in seconds since 1970.
    certificate_ends: Arc<AtomicU64>,
    /// One permit a handshake that computes: their number is bounded, more wait.
    handshakes: Semaphore,
}

/// What the files of a listener hold now: see [`LiveTls::read_again`].
#[derive(Debug)]
pub struct TlsReadAgain(HandshakeTerms);

/// The configuration of handshakes, from one reload to the next.
#[derive(Debug)]
struct HandshakeTerms {
    server: Arc<ServerConfig>,
    trust: Trust,
    /// Another one for each other `trust`, from 1.
    trust_number: u64,
    verifier: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
    /// The names in the certificate, for logs.
    names: String,
    /// When it ends, in seconds since 1970.
    certificate_ends: u64,
}

/// The clients that are trusted, byte for byte: compared at a reload.
#[derive(Debug, Eq, PartialEq)]
struct Trust {
    asked: ClientCertificate,
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// Makes the cryptography of the listeners that of all TLS in this process.
pub fn use_cryptography() {
    // If it was made so before, it is.
    let _ = cryptography::default_provider().install_default();
}

impl LiveTls {
    /// Reads the files that `settings` names; MQTT is spoken through it.
    pub fn load(settings: &Tls) -> Result<LiveTls, TlsError> {
        LiveTls::load_for(settings, Transport::Tcp)
    }

    /// Reads the files that `settings` names, for a listener of `transport`.
    pub fn load_for(settings: &Tls, transport: Transport) -> Result<LiveTls, TlsError> {
        let terms = HandshakeTerms::load(settings, transport, None)?;
        Ok(LiveTls {
            settings: settings.clone(),
            transport,
            certificate_ends: Arc::new(AtomicU64::new(terms.certificate_ends)),
            current: ArcSwap::from_pointee(terms),
            handshakes: Semaphore::new(settings.handshakes_max as usize),
        })
    }

    /// The configuration of the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// When the certificate in force ends, in seconds since 1970: of the first one in its file.
    pub fn certificate_ends(&self) -> &Arc<AtomicU64> {
        &self.certificate_ends
    }

    /// The user that the certificate of a peer stands for, the first of those that it has shown.
    pub fn user(&self, shown: &[CertificateDer<'_>]) -> CertificateUser {
        user(shown, self.settings.identity)
    }

    /// What binds an authentication to the channel of `conn` (RFC 9266); TLS 1.2 has nothing that is safe without
    /// an extension, and gets none.
    pub fn binding(&self, conn: &rustls::ServerConnection) -> Option<Box<[u8; 32]>> {
        if conn.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
            return None;
        }
        let binding = conn.export_keying_material([0; 32], BINDING_LABEL, Some(b""));
        binding.ok().map(Box::new)
    }

    /// Reads the files again.
    ///
    /// # Errors
    ///
    /// One cannot be used.
    pub fn read_again(&self) -> Result<TlsReadAgain, TlsError> {
        let before = self.current.load();
        HandshakeTerms::load(&self.settings, self.transport, Some(&before)).map(TlsReadAgain)
    }

    /// Puts in force, for new connections, what was read. Whether other clients are trusted than before.
    pub fn put_in_force(&self, TlsReadAgain(terms): TlsReadAgain) -> bool {
        let terms = Arc::new(terms);
        self.certificate_ends.store(terms.certificate_ends, Ordering::Relaxed);
        self.current.swap(Arc::clone(&terms)).trust != terms.trust
    }

    /// What vouches for the certificate of a peer, as long as the connection lasts; `None` if it has shown none.
    pub fn voucher(self: &Arc<Self>, shown: &[CertificateDer<'_>]) -> Option<Arc<dyn Voucher>> {
        shown.first()?;
        let chain = shown.iter().map(|one| one.clone().into_owned()).collect();
        Some(Arc::new(ShownChain { tls: Arc::clone(self), chain, trusted: AtomicU64::new(0) }))
    }

    /// Waits until the whole ClientHello of `stream` is there, `hello_timeout` at most after its first byte.
    /// Until then a peer costs its socket and a small task.
    ///
    /// # Errors
    ///
    /// What came instead.
    pub async fn client_hello(&self, stream: &TcpStream) -> Result<ClientHello, HandshakeError> {
        arrival::client_hello(stream, self.settings.hello_timeout.0).await
    }

    /// The server's side of a handshake with a client that offers `hello`, which is not read yet. It has a
    /// place among `handshakes_max` while it computes, and none while it waits for its peer: a slow
    /// peer keeps none out. The caller sets the time limit, from accept to CONNECT.
    ///
    /// # Errors
    ///
    /// Why it failed.
    pub async fn handshake<S>(
        &self,
        stream: S,
        hello: &ClientHello,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let terms = self.current.load_full();
        let mut accept = TlsAcceptor::from(terms.server_for(hello)).accept(stream);
        let mut shown = None;
        loop {
            let place = self.handshakes.acquire().await;
            // Those with a place stand in one line with all other tasks.
            tokio::task::yield_now().await;
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut accept).poll(cx))).await;
            shown = ShownCertificate::take().or(shown);
            drop(place);
            match polled {
                Poll::Ready(Ok(stream)) => return Ok(stream),
                Poll::Ready(Err(error)) => {
                    let (names, shown) = (&terms.names, shown.as_ref());
                    let protocol = self.transport.within_tls();
                    return Err(HandshakeError::of(&error, hello, shown, names, protocol));
                }
                Poll::Pending => woken().await,
            }
        }
    }
}

/// The certificates that a client has shown: they may come to be revoked, or their CA to be trusted no more.
#[derive(Debug)]
struct ShownChain {
    tls: Arc<LiveTls>,
    chain: Box<[CertificateDer<'static>]>,
    /// The number of the trust under which they were last found good, since the handshake.
    trusted: AtomicU64,
}

impl Voucher for ShownChain {
    fn stands(&self) -> bool {
        let terms = self.tls.current.load();
        let Some((first, others)) = self.chain.split_first() else { return true };
        if self.trusted.load(Ordering::Relaxed) == terms.trust_number {
            return true;
        }
        let stands = terms.verifier.verify_client_cert(first, others, UnixTime::now()).is_ok();
        if stands {
            self.trusted.store(terms.trust_number, Ordering::Relaxed);
        }
        stands
    }
}

/// Waits for the next wake of this task, for whatever the last poll of something is waiting.
async fn woken() {
    let mut slept = false;
    poll_fn(|_| if std::mem::replace(&mut slept, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

impl HandshakeTerms {
    fn load(
        settings: &Tls,
        transport: Transport,
        before: Option<&HandshakeTerms>,
    ) -> Result<HandshakeTerms, TlsError> {
        let chain: Vec<CertificateDer<'static>> = read("certificate", &settings.certificate)?;
        let key = read_key(&settings.key)?;
        check_pair(settings, &chain, &key)?;
        for finding in findings(settings) {
            warn!("{}", finding.text);
        }
        let trust = Trust::load(settings)?;
        let (tickets, trust_number) = match before {
            Some(before) if before.trust == trust => {
                (Arc::clone(&before.tickets), before.trust_number)
            }
            _ => {
                let number = before.map_or(0, |before| before.trust_number) + 1;
                (cryptography::Ticketer::new()? as Arc<dyn ProducesTickets>, number)
            }
        };

        let provider = Arc::new(cryptography::default_provider());
        let (names, certificate_ends) = (names_of(&chain), end_of(&chain));
        let verifier = trust.verifier(settings, Arc::clone(&provider))?;
        let asked = match transport {
            // Its handshakes are polled by tasks that take no explanation.
            Transport::Quic => Arc::clone(&verifier),
            _ => Arc::new(Explaining(Arc::clone(&verifier))),
        };
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(asked)
            .with_single_cert(chain, key)
            .map_err(|error| {
                let problem = format!("cannot be used: {error}");
                content("certificate", &settings.certificate, problem)
            })?;
        // A client that offers no protocol is let in (not over QUIC); one that offers only others is not.
        server.alpn_protocols = vec![transport.within_tls().into()];
        server.ticketer = Arc::clone(&tickets);
        server.send_tls13_tickets = 1;
        server.max_fragment_size = Some(record_bytes(settings.record_bytes_max as usize));
        let server = Arc::new(server);
        Ok(HandshakeTerms {
            server,
            trust,
            trust_number,
            verifier,
            tickets,
            names,
            certificate_ends,
        })
    }

    /// The configuration for a client that offers `hello`: with smaller records if it has little room.
    fn server_for(&self, hello: &ClientHello) -> Arc<ServerConfig> {
        let wanted = hello.record_max.map(record_bytes);
        match wanted.filter(|wanted| self.server.max_fragment_size.is_none_or(|max| *wanted < max))
        {
            None => Arc::clone(&self.server),
            wanted => {
                let mut server = ServerConfig::clone(&self.server);
                server.max_fragment_size = wanted;
                Arc::new(server)
            }
        }
    }
}

impl Trust {
    fn load(settings: &Tls) -> Result<Trust, TlsError> {
        let mut trust = Trust {
            asked: settings.client_certificate,
            authorities: Vec::new(),
            revoked: Vec::new(),
        };
        if trust.asked == ClientCertificate::None {
            return Ok(trust);
        }
        if let Some(path) = &settings.client_ca {
            trust.authorities = read("client_ca", path)?;
        }
        if let Some(path) = &settings.client_crl {
            trust.revoked = read("client_crl", path)?;
        }
        Ok(trust)
    }

    fn verifier(
        &self,
        settings: &Tls,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        if self.asked == ClientCertificate::None {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let path = settings.client_ca.clone().unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for (index, authority) in self.authorities.iter().enumerate() {
            roots
                .add(authority.clone())
                .map_err(|error| content_of(index, "client_ca", &path, error.to_string()))?;
        }
        // Revoked clients are refused; so are clients of a CA that has no list in the file.
        // An outdated list still counts: an update that fails must not lock out a fleet.
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(self.revoked.iter().cloned())
            .only_check_end_entity_revocation();
        if self.asked == ClientCertificate::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        let built = verifier.build().map(|verifier| verifier as Arc<dyn ClientCertVerifier>);
        built.map_err(|error| match (&error, &settings.client_crl) {
            (rustls::server::VerifierBuilderError::InvalidCrl(_), Some(crl)) => {
                let unreadable = |list: &CertificateRevocationListDer<'_>| {
                    CertificateRevocationList::from_der(list).is_err()
                };
                let index = self.revoked.iter().position(unreadable).unwrap_or_default();
                content_of(index, "client_crl", crl, error.to_string())
            }
            _ => content("client_ca", &path, error.to_string()),
        })
    }
}

fn user(shown: &[CertificateDer<'_>], from: CertificateIdentity) -> CertificateUser {
    CertificateUser::of(shown.first().map(|certificate| &**certificate), from)
}

/// Whether the certificate and the key can be used, together.
fn check_pair(
    settings: &Tls,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), TlsError> {
    let signing = cryptography::sign::any_supported_type(key)
        .map_err(|error| unusable_key(&settings.key, key, &error))?;
    let public = signing.public_key();
    let is_of_key = |one: &[u8]| public.as_ref().map(|public| **public == *one);
    check_chain(&settings.certificate, &settings.key, chain, is_of_key)
}

/// The maximum as rustls counts it, with the header of a record, for so many bytes of plaintext.
fn record_bytes(plaintext: usize) -> usize {
    /// Of a record: its type, version and length.
    const HEADER: usize = 5;
    plaintext + HEADER
}

/// When the first certificate ends, in seconds since 1970; 0 if that cannot be read.
fn end_of(chain: &[CertificateDer<'static>]) -> u64 {
    let parsed = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let end = parsed.map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp());
    u64::try_from(end).unwrap_or(0)
}

/// The names that a server certificate is for.
fn names_of(chain: &[CertificateDer<'static>]) -> String {
    let parsed = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let names = parsed.as_ref().and_then(|(_, leaf)| leaf.subject_alternative_name().ok()?);
    let names = names.map(|names| {
        names.value.general_names.iter().map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => other.to_string(),
        })
    });
    names.map_or_else(|| "nameless".to_owned(), |names| names.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};
    use std::{fs, io};

    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::certs;

    /// A directory with a full set for `localhost`, the client being `client`.
    fn set() -> (TempDir, Tls) {
        let dir = tempfile::tempdir().unwrap();
        certs::make(dir.path(), &["localhost".to_owned()], "client").unwrap();
        let tls = Tls {
            certificate: dir.path().join("server.pem"),
            key: dir.path().join("server.key"),
            ..Tls::default()
        };
        (dir, tls)
    }

    /// The same, asking for client certificates.
    fn asking(asked: ClientCertificate) -> (TempDir, Tls) {
        let (dir, tls) = set();
        let client_ca = Some(dir.path().join("ca.pem"));
        (dir, Tls { client_ca, client_certificate: asked, ..tls })
    }

    fn client(
        dir: &Path,
        certificate: bool,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
        let client =
            ClientConfig::builder_with_provider(Arc::new(cryptography::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots);
        if !certificate {
            return client.with_no_client_auth();
        }
        let chain = vec![CertificateDer::from_pem_file(dir.join("client.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.join("client.key")).unwrap();
        client.with_client_auth_cert(chain, key).unwrap()
    }

    fn said(error: HandshakeError) -> io::Error {
        io::Error::other(format!("{}: {}", error.reason, error.detail))
    }

    /// One handshake and a byte each way: how it went, the protocol chosen, the client's names.
    async fn shake(
        live: &LiveTls,
        client: &Arc<ClientConfig>,
    ) -> io::Result<(HandshakeKind, Option<Vec<u8>>, [CertificateUser; 2])> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = async {
            let hello = ClientHello::default();
            let mut stream = live.handshake(near, &hello).await.map_err(said)?;
            stream.write_all(b"!").await?;
            stream.read_exact(&mut [0]).await?;
            let conn = stream.get_ref().1;
            let shown = conn.peer_certificates().unwrap_or_default();
            let names =
                [CertificateIdentity::Cn, CertificateIdentity::San].map(|from| user(shown, from));
            assert_eq!(user(shown, CertificateIdentity::None), CertificateUser::Unasked);
            Ok((conn.handshake_kind().unwrap(), conn.alpn_protocol().map(<[u8]>::to_vec), names))
        };
        let client = async {
            let name = "localhost".try_into().unwrap();
            let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, far).await?;
            stream.read_exact(&mut [0]).await?;
            stream.write_all(b"!").await
        };
        let (server, client) = tokio::join!(server, client);
        server.and_then(|done| client.map(|()| done))
    }

    const VERSIONS: [&SupportedProtocolVersion; 2] =
        [&rustls::version::TLS12, &rustls::version::TLS13];

    #[tokio::test]
    async fn the_protocol_is_offered_and_not_required() {
        let (dir, tls) = set();
        let live = LiveTls::load(&tls).unwrap();
        for version in VERSIONS {
            let mut client = client(dir.path(), false, version);
            let silent = shake(&live, &Arc::new(client.clone())).await.unwrap();
            assert_eq!(silent.1, None);
            client.alpn_protocols = vec![b"h2".to_vec(), b"mqtt".to_vec()];
            let speaking = shake(&live, &Arc::new(client.clone())).await.unwrap();
            assert_eq!(speaking.1.as_deref(), Some(&b"mqtt"[..]));
            client.alpn_protocols = vec![b"h2".to_vec()];
            assert!(shake(&live, &Arc::new(client)).await.is_err());
        }
    }

    #[tokio::test]
    async fn the_client_is_known_by_its_certificate() {
        for version in VERSIONS {
            let (dir, tls) = asking(ClientCertificate::Optional);
            let live = LiveTls::load(&tls).unwrap();
            let shown = shake(&live, &Arc::new(client(dir.path(), true, version))).await.unwrap();
            let client_name = || CertificateUser::Name("client".to_owned());
            assert_eq!(shown.2, [client_name(), client_name()]);
            let hidden = shake(&live, &Arc::new(client(dir.path(), false, version))).await.unwrap();
            assert_eq!(hidden.2, [CertificateUser::Unasked, CertificateUser::Unasked]);
        }
    }

    #[tokio::test]
    async fn a_required_certificate_is_required_and_a_stranger_s_is_refused() {
        for version in VERSIONS {
            let (dir, tls) = asking(ClientCertificate::Required);
            let live = LiveTls::load(&tls).unwrap();
            assert!(shake(&live, &Arc::new(client(dir.path(), true, version))).await.is_ok());
            assert!(shake(&live, &Arc::new(client(dir.path(), false, version))).await.is_err());
            let (other, _) = set();
            fs::copy(dir.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
            assert!(shake(&live, &Arc::new(client(other.path(), true, version))).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_reload_keeps_tickets_unless_it_changes_whom_we_trust() {
        for version in VERSIONS {
            let (dir, tls) = asking(ClientCertificate::Required);
            let live = LiveTls::load(&tls).unwrap();
            let client = Arc::new(client(dir.path(), true, version));
            let kind = async || shake(&live, &client).await.unwrap().0;
            let full = |kind| {
                matches!(kind, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            };
            assert!(full(kind().await));
            assert_eq!(kind().await, HandshakeKind::Resumed);
            live.put_in_force(live.read_again().unwrap());
            assert_eq!(kind().await, HandshakeKind::Resumed, "{version:?}");

            let ca = dir.path().join("ca.pem");
            let (other, _) = set();
            let mut authorities = fs::read(&ca).unwrap();
            authorities.extend(fs::read(other.path().join("ca.pem")).unwrap());
            fs::write(&ca, authorities).unwrap();
            live.put_in_force(live.read_again().unwrap());
            assert!(full(kind().await), "{version:?}");
        }
    }

    #[tokio::test]
    async fn a_revoked_client_is_refused_even_with_a_ticket() {
        for version in VERSIONS {
            let (dir, tls) = asking(ClientCertificate::Required);
            let crl = dir.path().join("crl.pem");
            let tls = Tls { client_crl: Some(crl.clone()), ..tls };
            fs::write(&crl, revocation_list(dir.path(), false)).unwrap();
            let live = LiveTls::load(&tls).unwrap();
            let client = Arc::new(client(dir.path(), true, version));
            assert!(shake(&live, &client).await.is_ok());
            fs::write(&crl, revocation_list(dir.path(), true)).unwrap();
            live.put_in_force(live.read_again().unwrap());
            let error = shake(&live, &client).await.unwrap_err().to_string();
            assert!(error.contains("is revoked"), "{error}");
        }
    }

    fn revocation_list(dir: &Path, with_client: bool) -> String {
        let key =
            rcgen::KeyPair::from_pem(&fs::read_to_string(dir.join("ca.key")).unwrap()).unwrap();
        let ca = fs::read_to_string(dir.join("ca.pem")).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, key).unwrap();
        let client = CertificateDer::from_pem_file(dir.join("client.pem")).unwrap();
        let (_, client) = X509Certificate::from_der(&client).unwrap();
        let now = SystemTime::now();
        let revoked = rcgen::RevokedCertParams {
            serial_number: client.raw_serial().to_vec().into(),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        rcgen::CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: if with_client { vec![revoked] } else { Vec::new() },
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
        .signed_by(&issuer)
        .unwrap()
        .pem()
        .unwrap()
    }

    #[tokio::test]
    async fn a_failed_reload_leaves_what_is_in_force() {
        let (dir, tls) = set();
        let (other, _) = set();
        let live = LiveTls::load(&tls).unwrap();
        fs::copy(other.path().join("server.key"), dir.path().join("server.key")).unwrap();
        let error = live.read_again().unwrap_err().to_string();
        assert!(error.contains("server.key does not belong to certificate"), "{error}");
        let client = Arc::new(client(dir.path(), false, &rustls::version::TLS13));
        assert!(shake(&live, &client).await.is_ok());
    }

    #[test]
    fn when_the_certificate_ends_is_that_of_the_one_in_force() {
        let (dir, tls) = set();
        let make = |year| {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            fs::write(dir.path().join("server.pem"), pem).unwrap();
            fs::write(dir.path().join("server.key"), key.serialize_pem()).unwrap();
        };
        make(2100);
        let live = LiveTls::load(&tls).unwrap();
        let ends = Arc::clone(live.certificate_ends());
        assert_eq!(ends.load(Ordering::Relaxed), 4_102_444_800);
        make(2101);
        let read = live.read_again().unwrap();
        assert_eq!(ends.load(Ordering::Relaxed), 4_102_444_800, "not in force yet");
        live.put_in_force(read);
        assert_eq!(ends.load(Ordering::Relaxed), 4_133_980_800);
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong_with_it() {
        let key = "server.key";
        for (name, content, wanted) in [
            (key, None, "cannot read key "),
            (key, Some(""), "server.key:1:1: is empty; it should hold a private key"),
            (
                key,
                Some(
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                "server.key:1:1: is encrypted",
            ),
            (
                key,
                Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                "server.key:1:1: holds no key that can be read",
            ),
            ("server.pem", None, "cannot read certificate "),
            ("server.pem", Some("words"), "server.pem:1:1: holds no certificate in PEM form"),
            (
                "server.pem",
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "server.pem:1:1: its certificate 1 of 1 cannot be read",
            ),
            ("ca.pem", None, "cannot read client_ca "),
            ("ca.pem", Some("-----BEGIN CERTIFICATE-----\nAA"), "ca.pem:2:1: is damaged PEM"),
        ] {
            let (dir, tls) = asking(ClientCertificate::Optional);
            let path = dir.path().join(name);
            match content {
                None => fs::remove_file(&path).unwrap(),
                Some(content) => fs::write(&path, content).unwrap(),
            }
            let error = LiveTls::load(&tls).unwrap_err().to_string();
            assert!(error.contains(wanted), "{name}: {error}");
        }
    }
}
