//! Addresses that clients connect to, and their TLS.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::AddressRange;
use super::auth::AuthConfig;
use super::problems::Problems;
use super::rates::{Egress, Ingress};
use super::section::InForce::Restart;
use super::section::{key, optional, rows, section};
use super::transport::{ProxyIdentity, Transport, UnixIdentity, UnixSocket, WebSocket};
use super::units::Span;

/// Time limits of a connection.
const TIMEOUT: RangeInclusive<Span> = Span::millis(100)..=Span::secs(3600);

/// The longest path that a unix socket may have on Linux.
const UNIX_PATH_MAX: usize = 107;

rows! {
    /// Where clients connect: one `[[listener]]` for each address.
    pub struct Listener {
        /// Name in logs; the address if it is empty.
        name: String = key(Restart, String::new()).example("local".to_owned());
        /// Address and port, such as `127.0.0.1:1883`; port 0 takes a free one. Of a unix socket, the path of its
        /// file, such as `/run/sluice/mqtt.sock`.
        address: String = key(Restart, String::new()).required("127.0.0.1:1883".to_owned());
        /// What carries MQTT: `"tcp"`; `"websocket"`, messages of a WebSocket (`[listener.websocket]`); `"quic"`, the
        /// stream of a QUIC connection; `"unix"`, a unix socket (`[listener.unix]`). With `[listener.tls]` the first
        /// two come through TLS; QUIC needs it.
        transport: Transport = key(Restart, Transport::Tcp).words::<Transport>();
        /// Clients without a user name are admitted. If it is not set, they are admitted unless there is
        /// an `auth.password_file`. Where there is `[[auth.step]]`, that says it. For an address that is not loopback and asks for neither passwords
        /// nor certificates, it must be set: `allow_anonymous = true`.
        allow_anonymous: Option<bool> = key(Restart, None).example(Some(true));
        /// Connections at once.
        connections_max: u32 = key(Restart, 100_000).range(1..=10_000_000);
        /// New connections a second, over all addresses; 0 is no limit.
        connect_rate_max: u32 = key(Restart, 0).range(0..=10_000_000);
        /// New connections a second from one address (IPv6: from one network of 64 bits); 0 is no limit. There
        /// is no default: after a power cut a whole fleet comes back from one address of a mobile network.
        connect_rate_per_address_max: u32 = key(Restart, 0).range(0..=10_000_000);
        /// Proxies and load balancers that are believed, by address or network: what they say of the address of a
        /// client, by the PROXY protocol or `X-Forwarded-For`, counts in logs, limits and rules. Of others it counts
        /// for nothing.
        trusted_proxies: Option<Vec<AddressRange>> =
            key(Restart, None).example(Some(vec![AddressRange::example()]));
        /// Connections of `trusted_proxies` begin with a header of the PROXY protocol, version 1 or 2. A header
        /// from another address is garbage.
        proxy_protocol: bool = key(Restart, false);
        /// Where a client of such a proxy has its user name. `"none"`: in its CONNECT. `"cn"`: where the proxy says, in a
        /// header of version 2, that the client has shown it a certificate, and that it is good, the Common Name in it
        /// is the user name, as `identity` of `[listener.tls]` has it; a client whose certificate is not good, or has no
        /// such name, is refused. The proxy must ask clients for certificates, and let in nobody's headers.
        proxy_identity: ProxyIdentity = key(Restart, ProxyIdentity::None).words::<ProxyIdentity>();
        /// A connection on which nothing comes for this long is probed by TCP or QUIC, so that a client that has
        /// vanished is missed also if its Keep Alive is 0, and its Will is sent; `"0s"` is off. Probes wake
        /// a device that sleeps: set it above the longest sleep of devices that have no Keep Alive.
        tcp_keepalive: Span = key(Restart, Span::secs(600)).range(Span::secs(0)..=Span::secs(32_767));
        /// Time between two probes.
        tcp_keepalive_interval: Span =
            key(Restart, Span::secs(60)).range(Span::secs(1)..=Span::secs(3600));
        /// Probes without an answer until the connection counts as lost. What is sent to a client and not
        /// acknowledged for `tcp_keepalive` and all probes together counts as lost too.
        tcp_keepalive_probes: u32 = key(Restart, 5).range(1..=127);
        /// What the clients of this listener may send, all together.
        ingress: Ingress = section().like("limits.client");
        /// What the clients of one address (IPv6: of one network of 64 bits) may send through this listener, all together.
        ingress_per_address: Ingress = section().like("limits.client");
        /// How fast messages leave for the clients of this listener, all together.
        egress: Egress = section().like("broker.egress");
        /// Section `[listener.websocket]`.
        websocket: WebSocket = section();
        /// Section `[listener.unix]`.
        unix: UnixSocket = section();
        /// Section `[listener.tls]`.
        tls: Option<Tls> = optional(Restart);
    }
}

rows! {
    /// TLS of the listener above it. SIGHUP reads the files again.
    pub struct Tls {
        /// Certificate chain, PEM: the server's certificate first.
        certificate: PathBuf =
            key(Restart, PathBuf::new()).required("../certs/server.pem".into()).names_file();
        /// Private key, PEM.
        key: PathBuf =
            key(Restart, PathBuf::new()).required("../certs/server.key".into()).names_file();
        /// Certificates that client certificates must descend from, PEM. Not set: clients are not asked
        /// for certificates.
        client_ca: Option<PathBuf> =
            key(Restart, None).example(Some("../certs/ca.pem".into())).names_file();
        /// Revoked client certificates, PEM.
        client_crl: Option<PathBuf> =
            key(Restart, None).example(Some("../certs/crl.pem".into())).names_file();
        /// Client certificates. `"none"`: not asked for. `"optional"`: checked if there is one.
        /// `"required"`: a client without one cannot connect.
        client_certificate: ClientCertificate =
            key(Restart, ClientCertificate::None).words::<ClientCertificate>();
        /// Where a client certificate has the user name. `"none"`: nowhere. `"cn"`: the Common Name, of
        /// which there must be exactly one. `"san"`: the first DNS name, e-mail address or URI of the
        /// Subject Alternative Name; `"dns"`, `"email"`, `"uri"`: the first one of that kind. `"fingerprint"`: the
        /// SHA-256 of the certificate, in 64 hexadecimal digits, small letters. A client whose certificate has no
        /// such name, or one that is blank or holds control or format characters, is refused. User name and
        /// password of its CONNECT are not looked at.
        identity: CertificateIdentity =
            key(Restart, CertificateIdentity::None).words::<CertificateIdentity>();
        /// Handshakes that compute at once; further ones wait. A handshake that waits for its peer does not
        /// count. Over QUIC: handshakes under way; the clients of further ones must first show that their address is
        /// theirs.
        handshakes_max: u32 = key(Restart, 256).range(1..=100_000);
        /// A client whose first message (ClientHello) is not all there so long after its first byte is
        /// closed; `limits.connect_timeout` holds for the whole handshake. Not for QUIC.
        hello_timeout: Span = key(Restart, Span::secs(5)).range(TIMEOUT);
        /// Plaintext in a TLS record of ours, in bytes: less for devices whose buffers are smaller than
        /// 16 KiB. A client that asks for less by `max_fragment_length` or `record_size_limit` gets less.
        record_bytes_max: u32 = key(Restart, 16_384).range(512..=16_384);
    }
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    None,
    /// Checked if shown.
    Optional,
    /// No certificate, no connection.
    Required,
}

/// Where a client certificate has the user name.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateIdentity {
    /// Not in the certificate.
    #[default]
    None,
    /// Common Name of the subject.
    Cn,
    /// First DNS name, e-mail address or URI of the Subject Alternative Name.
    San,
    /// First DNS name of the Subject Alternative Name.
    Dns,
    /// First e-mail address of the Subject Alternative Name.
    Email,
    /// First URI of the Subject Alternative Name.
    Uri,
    /// SHA-256 of the certificate.
    Fingerprint,
}

impl Listener {
    /// How long a peer may be silent to TCP itself until its connection counts as lost: no probe and
    /// nothing sent is acknowledged. `None`: for ever.
    pub fn tcp_patience(&self) -> Option<Duration> {
        let probes = self.tcp_keepalive_interval.0 * self.tcp_keepalive_probes;
        Some(self.tcp_keepalive.0).filter(|idle| !idle.is_zero()).map(|idle| idle + probes)
    }

    /// Those whose word for the address of a client counts.
    pub fn believed(&self) -> &[AddressRange] {
        self.trusted_proxies.as_deref().unwrap_or_default()
    }

    /// What the configuration calls it: its name, or its address.
    pub fn called(&self) -> &str {
        if self.name.is_empty() { &self.address } else { &self.name }
    }

    /// Where to listen; none if `address` is not an address and a port.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.address.parse().ok()
    }

    /// The file of its socket; none if it has none.
    pub fn socket_path(&self) -> Option<&Path> {
        (self.transport == Transport::Unix).then(|| Path::new(&self.address))
    }

    /// Whether clients without a user name are admitted: as configured, or else unless there is a
    /// password file.
    pub fn admits_anonymous(&self, auth: &AuthConfig) -> bool {
        auth.step.is_empty() && self.allow_anonymous.unwrap_or(auth.password_file.is_none())
    }

    /// Whether a client without a certificate is refused before CONNECT.
    pub fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required)
    }

    /// Whether the certificates of its clients name users: those that they show here, or to a proxy.
    pub fn names_users_by_certificate(&self) -> bool {
        self.proxy_identity != ProxyIdentity::None || self.names_users_by_own_certificate()
    }

    fn names_users_by_own_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.identity != CertificateIdentity::None)
    }

    /// Whether the system says the users of its clients.
    pub fn names_users_by_peer(&self) -> bool {
        self.transport == Transport::Unix && self.unix.identity == UnixIdentity::Peer
    }

    /// Whether the user of a client is known before its CONNECT.
    pub fn names_users(&self) -> bool {
        self.names_users_by_certificate() || self.names_users_by_peer()
    }

    /// Adds what is wrong with all listeners, apart from ranges.
    pub(super) fn check_all(listeners: &[Listener], auth: &AuthConfig, found: &mut Problems) {
        if listeners.is_empty() {
            let wanted = "there is no [[listener]]; add one with address = \"127.0.0.1:1883\"";
            found.add("listener", wanted);
        }
        let mut taken = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let at = format!("listener.{index}");
            listener.check(&at, &listeners[..index], found);
            let is_local = if listener.socket_path().is_some() {
                listener.check_path(&at, &listeners[..index], found);
                true
            } else {
                let Some(address) = listener.check_address(&at, &taken, found) else { continue };
                taken.push((address, listener.transport.is_udp()));
                address.ip().is_loopback()
            };
            if auth.step.is_empty() {
                listener.check_anonymous(auth, is_local, &format!("{at}.allow_anonymous"), found);
            } else {
                listener.check_steps(auth, &at, found);
            }
        }
    }

    fn check(&self, at: &str, before: &[Listener], found: &mut Problems) {
        self.ingress.check(&format!("{at}.ingress"), found);
        self.ingress_per_address.check(&format!("{at}.ingress_per_address"), found);
        self.egress.check(&format!("{at}.egress"), found);
        self.check_transport(at, found);
        if let Some(tls) = &self.tls {
            tls.check(&format!("{at}.tls"), found);
        }
        if !self.name.is_empty() && before.iter().any(|other| other.name == self.name) {
            let problem = format!("{:?} is the name of another listener", self.name);
            found.add(format!("{at}.name"), problem);
        }
    }

    /// Adds what is wrong with how connections come to it.
    fn check_transport(&self, at: &str, found: &mut Problems) {
        if self.proxy_protocol && self.believed().is_empty() {
            found
                .add(format!("{at}.proxy_protocol"), "is true, and trusted_proxies names no proxy");
        }
        if self.proxy_identity != ProxyIdentity::None {
            let key = format!("{at}.proxy_identity");
            if !self.proxy_protocol {
                found.add(key, "is not looked at: say proxy_protocol = true");
            } else if self.names_users_by_own_certificate() {
                found.add(key, "and tls.identity cannot both say the user");
            }
        }
        let is_unread = self.transport == Transport::Tcp && !self.proxy_protocol;
        if is_unread && !self.believed().is_empty() {
            found.add(
                format!("{at}.trusted_proxies"),
                "is set, and nothing that a proxy says is read here: set proxy_protocol = true",
            );
        }
        self.websocket.check(&format!("{at}.websocket"), found);
        self.unix.check(&format!("{at}.unix"), found);
        let mut unused = |name: &str, is_set: bool, transport: Transport| {
            if is_set && self.transport != transport {
                let say =
                    format!("is not looked at: say transport = \"{name}\" in the [[listener]]");
                found.add(format!("{at}.{name}"), say);
            }
        };
        unused("websocket", self.websocket != WebSocket::default(), Transport::WebSocket);
        unused("unix", self.unix != UnixSocket::default(), Transport::Unix);
        let (is_quic, is_unix) =
            (self.transport == Transport::Quic, self.transport == Transport::Unix);
        let foreign = [
            ("tls", self.tls.is_some() && is_unix),
            ("proxy_protocol", self.proxy_protocol && (is_unix || is_quic)),
            ("trusted_proxies", self.trusted_proxies.is_some() && (is_unix || is_quic)),
        ];
        for (key, _) in foreign.into_iter().filter(|(_, is_set)| *is_set) {
            let what = if is_unix { "a unix socket" } else { "QUIC" };
            found.add(format!("{at}.{key}"), format!("is not for {what}"));
        }
        if is_quic && self.tls.is_none() {
            found.add(at, "QUIC is never without TLS: it needs [listener.tls]");
        }
        if is_quic && !cfg!(feature = "quic") {
            let problem = "this program was built without the feature quic";
            found.add(format!("{at}.transport"), problem);
        }
    }

    /// Adds what is wrong with the file of its socket.
    fn check_path(&self, at: &str, before: &[Listener], found: &mut Problems) {
        let key = format!("{at}.address");
        if !Path::new(&self.address).is_absolute() {
            let wanted = "expected the path of a unix socket, from the root, such as \"/run/sluice/mqtt.sock\"";
            found.add(key, format!("{wanted}, found {:?}", self.address));
        } else if self.address.len() > UNIX_PATH_MAX {
            found.add(key, format!("a unix socket has at most {UNIX_PATH_MAX} bytes of path"));
        } else if before.iter().any(|other| other.socket_path() == self.socket_path()) {
            found.add(key, format!("{} is taken by another listener", self.address));
        }
    }

    /// Its address, if it has one; adds what is wrong with it.
    fn check_address(
        &self,
        at: &str,
        taken: &[(SocketAddr, bool)],
        found: &mut Problems,
    ) -> Option<SocketAddr> {
        let key = format!("{at}.address");
        let Some(address) = self.socket_address() else {
            let wanted = "an address and a port such as \"127.0.0.1:1883\" or \"[::1]:1883\"";
            found.add(key, format!("expected {wanted}, found {:?}", self.address));
            return None;
        };
        let is_udp = self.transport.is_udp();
        let mut same = taken.iter().filter(|(_, other)| *other == is_udp).map(|(other, _)| *other);
        if let Some(other) = same.find(|other| collide(*other, address)) {
            found.add(key, format!("{address} is taken by another listener ({other})"));
        }
        Some(address)
    }

    /// Where there are steps, they say all.
    fn check_steps(&self, auth: &AuthConfig, at: &str, found: &mut Problems) {
        if self.allow_anonymous.is_some() {
            found.add(
                format!("{at}.allow_anonymous"),
                "is not looked at where there is [[auth.step]]: a step of kind \"anonymous\" says it",
            );
        }
        let called = self.called();
        if auth.steps_for(called).next().is_none() {
            found.add(at, format!("no [[auth.step]] is for {called:?}: nobody could come in"));
        }
    }

    /// A key that is left out never opens a broker to a network.
    fn check_anonymous(&self, auth: &AuthConfig, is_local: bool, key: &str, found: &mut Problems) {
        if auth.password_file.is_some() {
            return;
        }
        if self.names_users_by_peer() {
            return;
        }
        if self.requires_certificate() {
            if self.allow_anonymous == Some(false) && !self.names_users_by_certificate() {
                found.add(key, "is false, and no client has a user name here: set auth.password_file, or identity");
            }
            return;
        }
        match self.allow_anonymous {
            Some(true) => {}
            Some(false) => found.add(
                key,
                "is false, but nothing checks who comes in: set auth.password_file, or client_certificate = \"required\"",
            ),
            None if is_local => {}
            None => found.add(
                key,
                format!(
                    "{} is not a loopback address and anyone could come in: \
                     set auth.password_file, or say allow_anonymous = true",
                    self.address
                ),
            ),
        }
    }
}

impl Tls {
    /// Adds what is wrong with it; `at` is its name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let files = [
            ("certificate", Some(&self.certificate)),
            ("key", Some(&self.key)),
            ("client_ca", self.client_ca.as_ref()),
            ("client_crl", self.client_crl.as_ref()),
        ];
        for (key, path) in files {
            if path.is_some_and(|path| is_empty(path)) {
                found.add(format!("{at}.{key}"), "a file name is missing");
            }
        }
        let asked = self.client_certificate != ClientCertificate::None;
        let mut add = |key: &str, problem: &str| found.add(format!("{at}.{key}"), problem);
        if asked && self.client_ca.is_none() {
            let problem =
                "needs client_ca: the certificates that clients' certificates descend from";
            add("client_certificate", problem);
        }
        if asked {
            return;
        }
        let unasked = "is set but clients are not asked for certificates";
        let say = "client_certificate = \"optional\" or \"required\"";
        if self.client_ca.is_some() {
            add("client_ca", &format!("{unasked}: say {say}"));
        }
        if self.client_crl.is_some() {
            add("client_crl", unasked);
        }
        if self.identity != CertificateIdentity::None {
            add("identity", &format!("needs {say}"));
        }
    }
}

/// Whether a path is empty: it names no file.
pub(super) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Whether the system would refuse to open both.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() != 0 && one.port() == other.port() && same_ip
}
