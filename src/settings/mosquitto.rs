//! Recognises a configuration file of mosquitto, and says where Sluice has the same.

/// An option of mosquitto, and where Sluice has it.
const OPTIONS: &[(&str, &str)] = &[
    ("acl_file", "not there"),
    ("allow_anonymous", "allow_anonymous in [[listener]]"),
    ("autosave_interval", "not needed; [store] keeps everything that is acknowledged"),
    ("bind_address", "address in [[listener]]"),
    ("cafile", "client_ca in [listener.tls]"),
    ("certfile", "certificate in [listener.tls]"),
    ("connection", "not there: bridges are run by the other broker"),
    ("crlfile", "client_crl in [listener.tls]"),
    ("include_dir", "--config, more than once"),
    ("keyfile", "key in [listener.tls]"),
    ("listener", "address = \"127.0.0.1:1883\" in [[listener]]"),
    ("log_dest", "output in [log]"),
    ("log_type", "level in [log]"),
    ("max_connections", "connections_max in [[listener]]"),
    ("max_inflight_messages", "inflight_max in [session]"),
    ("max_keepalive", "keep_alive_max_s in [session]"),
    ("max_packet_size", "packet_bytes_max in [limits]"),
    ("max_qos", "qos_max in [session]"),
    ("max_queued_bytes", "bytes_max in [queue]"),
    ("max_queued_messages", "messages_max in [queue]"),
    ("message_size_limit", "packet_bytes_max in [limits]"),
    ("password_file", "password_file in [auth]"),
    ("per_listener_settings", "not needed; each [[listener]] has its own"),
    ("persistence", "kind in [store]"),
    ("persistence_file", "path in [store]"),
    ("persistence_location", "path in [store]"),
    ("persistent_client_expiration", "expiry_max in [session]"),
    ("pid_file", "not needed; see docs/operations.md"),
    ("port", "address = \"127.0.0.1:1883\" in [[listener]]"),
    ("protocol", "not there; a listener speaks MQTT over TCP or TLS"),
    ("queue_qos0_messages", "qos0_offline in [queue]"),
    ("require_certificate", "client_certificate = \"required\" in [listener.tls]"),
    ("retain_available", "retain_available in [session]"),
    ("set_tcp_nodelay", "not needed"),
    ("socket_domain", "address in [[listener]]"),
    ("sys_interval", "sys_interval in [broker]"),
    ("tls_version", "not needed; TLS 1.2 and 1.3 are served"),
    ("use_identity_as_username", "identity in [listener.tls]"),
    ("user", "not there; the service manager sets the user"),
];

/// A line of a file of mosquitto: its number from 1, the option, and where Sluice has it.
pub type Found = (usize, &'static str, &'static str);

/// The options of mosquitto in a text; none if it is not a file of mosquitto, in which an option and its value
/// have nothing but spaces between them.
pub fn options(text: &str) -> Vec<Found> {
    let option = |(line, number): (&str, usize)| {
        let mut words = line.split_whitespace();
        let (word, value) = (words.next()?, words.next()?);
        let (name, ours) = OPTIONS.iter().find(|(name, _)| *name == word)?;
        (!value.starts_with('=')).then_some((number, *name, *ours))
    };
    text.lines().zip(1..).filter_map(option).collect()
}
