//! Which option belongs to what: to the whole, to a listener, to a bridge.

use super::lines::{ConfLine, LineScope};
use super::plugins;

/// Options of a listener. Before the first `listener` they are of the default one.
const LISTENER: &[&str] = &[
    "accept_protocol_versions",
    "bind_address",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "disable_client_cert_date_checks",
    "enable_proxy_protocol",
    "http_dir",
    "keyfile",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "max_topic_alias_broker",
    "mount_point",
    "port",
    "protocol",
    "proxy_protocol_v2_require_tls",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_headers_size",
    "websockets_origin",
];

/// Options of a listener only with `per_listener_settings true`.
const SECURITY: &[&str] = &[
    "acl_file",
    "allow_anonymous",
    "allow_zero_length_clientid",
    "auth_plugin",
    "auth_plugin_deny_special_chars",
    "auto_id_prefix",
    "password_file",
    "psk_file",
    plugins::DYNAMIC_SECURITY,
    plugins::PLUGIN_HARMLESS,
    plugins::PLUGIN_KNOWN,
    plugins::PLUGIN_UNKNOWN,
];

/// Options that say of one listener what is asked of its clients, also without `per_listener_settings`.
const OF_ONE: &[&str] = &["listener_allow_anonymous", "listener_auto_id_prefix", "plugin_use"];

/// Options of a bridge.
const BRIDGE: &[&str] = &[
    "address",
    "addresses",
    "clientid",
    "cleansession",
    "connection",
    "idle_timeout",
    "keepalive_interval",
    "local_cleansession",
    "local_clientid",
    "local_password",
    "local_username",
    "notification_topic",
    "notifications",
    "notifications_local_only",
    "password",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "topic",
    "try_private",
    "username",
];

/// A listener, or all of them: where it begins and its options.
#[derive(Debug)]
pub struct OptionBlock {
    /// The line `listener`; none for the default listener and for what holds for all.
    head: Option<ConfLine>,
    options: Vec<ConfLine>,
}

/// A configuration, sorted.
#[derive(Debug)]
pub struct SortedConf {
    general: Vec<ConfLine>,
    /// The default listener first.
    listeners: Vec<OptionBlock>,
    /// What is asked of clients of all listeners.
    security: OptionBlock,
    bridges: Vec<ConfLine>,
    per_listener: bool,
}

impl OptionBlock {
    fn new(head: Option<ConfLine>) -> OptionBlock {
        OptionBlock { head, options: Vec::new() }
    }

    /// The line `listener`.
    pub fn head(&self) -> Option<&ConfLine> {
        self.head.as_ref()
    }

    /// All options.
    pub fn options(&self) -> &[ConfLine] {
        &self.options
    }

    /// An option: the last one of its name counts.
    pub fn get(&self, name: &str) -> Option<&ConfLine> {
        self.options.iter().rfind(|setting| setting.name() == name)
    }

    /// Whether it is the default listener, and nothing opens it.
    pub fn is_closed(&self) -> bool {
        self.head.is_none() && self.get("port").is_none() && self.get("bind_address").is_none()
    }

    /// Whether the option is there and true.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).and_then(ConfLine::flag) == Some(true)
    }
}

impl SortedConf {
    /// Sorts.
    pub fn of(settings: Vec<ConfLine>) -> SortedConf {
        let settings = plugins::resolve(settings);
        let per_listener = settings.iter().any(|setting| {
            setting.name() == "per_listener_settings" && setting.flag() == Some(true)
        });
        let mut sorted = SortedConf {
            general: Vec::new(),
            listeners: vec![OptionBlock::new(None)],
            security: OptionBlock::new(None),
            bridges: Vec::new(),
            per_listener,
        };
        let of_one = settings.iter().any(|setting| OF_ONE.contains(&setting.name()));
        settings.into_iter().for_each(|setting| sorted.add(setting));
        if per_listener || of_one {
            sorted.separate();
        }
        sorted
    }

    /// Gives each listener its own of what is asked of all clients.
    fn separate(&mut self) {
        self.per_listener = true;
        let shared = std::mem::take(&mut self.security.options);
        for listener in self.listeners.iter_mut().filter(|listener| !listener.is_closed()) {
            // What a listener says itself comes behind, and counts.
            listener.options.splice(..0, shared.iter().cloned());
        }
    }

    fn add(&mut self, setting: ConfLine) {
        let name = setting.name();
        let of_plugin = name.starts_with("auth_opt_") || name.starts_with("plugin_opt_");
        if name == "listener" {
            self.listeners.push(OptionBlock::new(Some(setting)));
        } else if BRIDGE.contains(&name) || name.starts_with("bridge_") {
            self.bridges.push(setting);
        } else if SECURITY.contains(&name) || of_plugin {
            let is_own = match setting.scope() {
                LineScope::Shared => self.per_listener,
                LineScope::All => false,
                LineScope::One => true,
            };
            let listener = self.listeners.last_mut().filter(|_| is_own);
            listener.unwrap_or(&mut self.security).options.push(setting);
        } else if let Some(means) = name.strip_prefix("listener_") {
            let setting = setting.clone().renamed(means, setting.value());
            self.listeners.last_mut().expect("the default one").options.push(setting);
        } else if LISTENER.contains(&name) || name == "plugin_use" {
            self.listeners.last_mut().expect("the default one").options.push(setting);
        } else {
            self.general.push(setting);
        }
    }

    /// Whether each listener says for itself what is asked of its clients.
    pub fn is_per_listener(&self) -> bool {
        self.per_listener
    }

    /// Options of the whole.
    pub fn general(&self) -> &[ConfLine] {
        &self.general
    }

    /// The lines of bridges.
    pub fn bridges(&self) -> &[ConfLine] {
        &self.bridges
    }

    /// The listeners that mosquitto opens; none: only the one that it opens without being told.
    pub fn listeners(&self) -> Vec<&OptionBlock> {
        self.listeners.iter().filter(|block| !block.is_closed()).collect()
    }

    /// What was said of the default listener.
    pub fn default_listener(&self) -> &OptionBlock {
        &self.listeners[0]
    }

    /// What is asked of clients of this listener.
    pub fn security<'a>(&'a self, listener: &'a OptionBlock) -> &'a OptionBlock {
        if self.per_listener { listener } else { &self.security }
    }

    /// Everything that says what is asked of clients.
    pub fn securities(&self) -> Vec<&OptionBlock> {
        if self.per_listener { self.listeners.iter().collect() } else { vec![&self.security] }
    }
}
