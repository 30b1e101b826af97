//! Listeners.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use super::conf::{OptionBlock, SortedConf};
use super::draft::{ConfigDraft, number};
use super::lines::ConfLine;
use super::passwords::{self, ImportedLogins};
use super::plugins;
use super::report::{ImportReport, Place};
use super::sections::quoted;
use super::tls;

/// Options that Sluice has no counterpart for, and why.
const MISSING: &[(&str, &str)] = &[
    (
        "bind_interface",
        "write the address of that interface; until then only this machine can connect",
    ),
    ("http_dir", "no files are served"),
    ("mount_point", "topics are as the clients name them"),
    ("use_username_as_clientid", "Client Identifiers are as the clients name them"),
    ("websockets_headers_size", "limits of [listener.websocket] hold"),
];

/// The same of what is asked of clients.
const SECURITY_MISSING: &[(&str, &str)] = &[
    ("allow_zero_length_clientid", "a client without Client Identifier is given one"),
    ("auth_plugin_deny_special_chars", "there are no plugins"),
    ("auto_id_prefix", "Client Identifiers that are given are random"),
    (plugins::PLUGIN_HARMLESS, "there are no plugins; this one asks nothing of clients"),
    (plugins::PLUGIN_UNKNOWN, "there are no plugins"),
    ("psk_file", "TLS with pre-shared keys is not there"),
];

/// Where a listener listens.
#[derive(Clone, Debug)]
enum ListenPlace {
    Address(SocketAddr),
    Path(String),
}

/// A listener that is served.
#[derive(Debug)]
pub struct ServedListener<'a> {
    name: String,
    block: &'a OptionBlock,
    text: String,
}

impl<'a> ServedListener<'a> {
    /// Its name here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was said of it.
    pub fn block(&self) -> &'a OptionBlock {
        self.block
    }

    /// Its section.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What mosquitto opens without being told; no listener at all is none of ours.
    fn local(sorted: &'a SortedConf, logins: &ImportedLogins) -> ServedListener<'a> {
        let (name, block) = ("mqtt-1883".to_owned(), sorted.default_listener());
        let mut text = LOCAL.to_owned();
        if logins.are_steps() {
            text.push_str(&logins.steps(&name, sorted.security(block), false, true));
        } else {
            text.push_str("allow_anonymous = true\n");
        }
        ServedListener { name, block, text }
    }
}

/// Says what becomes of every listener, and which are served.
pub fn translate<'a>(
    sorted: &'a SortedConf,
    logins: &ImportedLogins,
    draft: &mut ConfigDraft,
    report: &mut ImportReport,
) -> Vec<ServedListener<'a>> {
    let listeners = sorted.listeners();
    let mut served = Vec::new();
    for block in &listeners {
        let next = section(block, sorted, logins, &served, draft, report);
        served.extend(next);
    }
    if served.is_empty() {
        served.push(ServedListener::local(sorted, logins));
    }
    for block in sorted.securities() {
        if !std::ptr::eq(block, sorted.default_listener()) || !block.is_closed() {
            security(block, report);
        }
    }
    if sorted.default_listener().is_closed() {
        for setting in sorted.default_listener().options() {
            let why =
                "it stands before the first listener, and there is no port: it is for no listener";
            report.differs(setting.place(), format!("{}: {why}", setting.option()));
        }
    }
    limit_qos(&listeners, draft, report);
    served
}

/// What mosquitto opens without being told.
const LOCAL: &str = "
[[listener]]
name = \"mqtt-1883\"
address = \"127.0.0.1:1883\"
";

fn section<'a>(
    block: &'a OptionBlock,
    sorted: &SortedConf,
    logins: &ImportedLogins,
    before: &[ServedListener<'a>],
    draft: &ConfigDraft,
    report: &mut ImportReport,
) -> Option<ServedListener<'a>> {
    let head = block.head().or_else(|| block.get("port")).or_else(|| block.get("bind_address"))?;
    let lost = |why: &str, report: &mut ImportReport| {
        report.missing(head.place(), format!("{}: not served: {why}", head.option()));
        for setting in block.options() {
            report.missing(
                setting.place(),
                format!("{}: its listener is not served", setting.option()),
            );
        }
        None
    };
    let protocol = block.get("protocol").map_or("mqtt", ConfLine::value);
    if !matches!(protocol, "mqtt" | "websockets") {
        return lost("it does not speak MQTT", report);
    }
    if block.get("enable_proxy_protocol").is_some_and(is_on) {
        let why = "the proxy protocol: write it yourself, with proxy_protocol and trusted_proxies";
        return lost(why, report);
    }
    let place = match place(block, head, report) {
        Ok(place) => place,
        Err(why) => return lost(&why, report),
    };
    let name = name(&place, before);
    let tls = match tls::translate(block, &name, draft, report) {
        Ok(tls) => tls,
        Err(why) => return lost(&why, report),
    };
    let is_path = matches!(place, ListenPlace::Path(_));
    if is_path && (tls.is_some() || protocol == "websockets") {
        return lost("a unix socket speaks MQTT here, without TLS", report);
    }
    let mut text = opening(&name, &place, protocol, head, report);
    let security = sorted.security(block);
    let is_open = admits_anonymous(block, security, logins, head.place(), report);
    if !logins.are_steps() {
        let _ = writeln!(text, "allow_anonymous = {is_open}");
    }
    block.options().iter().for_each(|setting| option(setting, &mut text, report));
    if protocol == "websockets" {
        text.push_str(&websocket(block));
    }
    if let Some(tls) = &tls {
        let _ = write!(text, "\n{tls}");
    }
    if logins.are_steps() {
        let by_certificate = tls.is_some_and(|tls| tls.contains("\nidentity = "));
        text.push_str(&logins.steps(&name, security, by_certificate, is_open));
    }
    Some(ServedListener { name, block, text })
}

fn is_on(setting: &ConfLine) -> bool {
    setting.flag() == Some(true) || setting.value().parse::<u32>().is_ok_and(|number| number > 0)
}

/// The first keys of a section.
fn opening(
    name: &str,
    place: &ListenPlace,
    protocol: &str,
    head: &ConfLine,
    report: &mut ImportReport,
) -> String {
    let (address, mut transport) = match place {
        ListenPlace::Address(address) => (address.to_string(), ""),
        ListenPlace::Path(path) => (path.clone(), "unix"),
    };
    report.carried(head.place(), format!("{} is [[listener]] {name}, {address}", head.option()));
    if transport == "unix" {
        let why = "the file of the socket has the rights 0660: listener.unix.mode";
        report.differs(head.place(), format!("{}: {why}", head.option()));
    }
    if protocol == "websockets" {
        transport = "websocket";
    }
    let mut text =
        format!("\n[[listener]]\nname = {}\naddress = {}\n", quoted(name), quoted(&address));
    if !transport.is_empty() {
        let _ = writeln!(text, "transport = \"{transport}\"");
    }
    text
}

/// `[listener.websocket]`: mosquitto upgrades on every path, and asks for no origin unless it is told one.
fn websocket(block: &OptionBlock) -> String {
    let origin = block.get("websockets_origin").map_or("*", ConfLine::value);
    format!("\n[listener.websocket]\npath = \"*\"\norigins = [{}]\n", quoted(origin))
}

/// A name that no other listener has.
fn name(place: &ListenPlace, before: &[ServedListener<'_>]) -> String {
    let first = match place {
        ListenPlace::Address(address) => format!("mqtt-{}", address.port()),
        ListenPlace::Path(_) => "mqtt-unix".to_owned(),
    };
    let later = (2..).map(|number| format!("{first}-{number}"));
    let free = std::iter::once(first.clone())
        .chain(later)
        .find(|name| before.iter().all(|served| served.name != *name));
    free.expect("there is always another number")
}

/// Where a listener listens.
fn place(
    block: &OptionBlock,
    head: &ConfLine,
    report: &mut ImportReport,
) -> Result<ListenPlace, String> {
    let (port, host) = match block.head() {
        Some(head) => {
            let (port, host) = head.value().split_once(' ').unwrap_or((head.value(), ""));
            (port, host.trim())
        }
        None => (block.get("port").map_or("1883", ConfLine::value), ""),
    };
    let host = block.get("bind_address").map_or(host, ConfLine::value);
    if host.starts_with('/') {
        return Ok(ListenPlace::Path(host.to_owned()));
    }
    if host.starts_with('@') {
        return Err("an abstract unix socket is not there".to_owned());
    }
    let port: u16 = port.parse().map_err(|_| format!("{port} is no port"))?;
    address(block, head, host, port, report).map(ListenPlace::Address)
}

/// The address of a listener for `host`, which may be empty or a name.
fn address(
    block: &OptionBlock,
    head: &ConfLine,
    host: &str,
    port: u16,
    report: &mut ImportReport,
) -> Result<SocketAddr, String> {
    if block.get("bind_interface").is_some() && host.is_empty() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let domain = block.get("socket_domain").map(ConfLine::value);
    if host.is_empty() {
        let every: IpAddr = match domain {
            Some("ipv4") => Ipv4Addr::UNSPECIFIED.into(),
            Some(_) => Ipv6Addr::UNSPECIFIED.into(),
            None if has_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::UNSPECIFIED.into(),
        };
        return Ok((every, port).into());
    }
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let wanted = |address: &SocketAddr| match domain {
        Some("ipv4") => address.is_ipv4(),
        Some(_) => address.is_ipv6(),
        None => true,
    };
    let mut found: Vec<SocketAddr> = found.filter(wanted).collect();
    // The same on each machine.
    found.sort_by_key(SocketAddr::is_ipv6);
    let address = *found.first().ok_or_else(|| format!("{host} has no address"))?;
    report.differs(head.place(), format!("{host}: an address is written, {}", address.ip()));
    Ok(address)
}

/// Whether this machine has IPv6: an address of all families is one of IPv6 then.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Whether clients without a user name are let in.
fn admits_anonymous(
    block: &OptionBlock,
    security: &OptionBlock,
    logins: &ImportedLogins,
    place: &Place,
    report: &mut ImportReport,
) -> bool {
    let open = security.is_set("allow_anonymous");
    let needs_certificate = block.is_set("require_certificate");
    let checked = passwords::named(security).next().is_some();
    if open && !checked {
        let why = if logins.are_checked() && !logins.are_steps() {
            "clients with a user name need its password here too"
        } else {
            "a user name that nothing checks counts as none"
        };
        report.differs(place, format!("allow_anonymous true without password_file: {why}"));
    }
    if !open && !checked && needs_certificate && !block.is_set("use_identity_as_username") {
        let why = "a certificate is enough; mosquitto wants some user name too";
        report.differs(place, format!("allow_anonymous false without password_file: {why}"));
        return true;
    }
    if !open && !checked && !needs_certificate {
        let why = if logins.have_users() && !logins.are_steps() {
            "users of the password file can connect"
        } else {
            "no client can connect; set users with `sluice passwd`, or allow_anonymous"
        };
        report.differs(place, format!("allow_anonymous false without password_file: {why}"));
    }
    open
}

/// An option of a listener that is not of TLS.
fn option(setting: &ConfLine, text: &mut String, report: &mut ImportReport) {
    let (place, option) = (setting.place(), setting.option());
    match setting.name() {
        "max_connections" if setting.value().starts_with('-') => {
            text.push_str("connections_max = 10_000_000\n");
            report.carried(place, format!("{option} is connections_max = 10_000_000"));
        }
        "max_connections" => {
            let Some(count) = number(setting, report) else { return };
            let most = count.clamp(1, 10_000_000);
            let _ = writeln!(text, "connections_max = {most}");
            report.either(
                place,
                format!("{option} is connections_max = {most}"),
                (count != most).then(|| "1 to 10,000,000".to_owned()),
            );
        }
        "accept_protocol_versions" => {
            report.missing(place, format!("{option}: MQTT 3.1, 3.1.1 and 5 are served"));
        }
        "port" | "bind_address" | "socket_domain" => {
            report.carried(place, format!("{option} is in address"));
        }
        "protocol" => report.carried(place, format!("{option} is transport")),
        "websockets_origin" => {
            report.carried(place, format!("{option} is listener.websocket.origins"));
        }
        name => {
            let found = MISSING.iter().find(|(missing, _)| *missing == name);
            if let Some((_, why)) = found.filter(|_| setting.flag() != Some(false)) {
                report.missing(place, format!("{option}: {why}"));
            }
        }
    }
}

/// What is asked of clients, as far as nothing else tells of it.
fn security(block: &OptionBlock, report: &mut ImportReport) {
    for setting in block.options() {
        let (place, option) = (setting.place(), setting.option());
        match setting.name() {
            "allow_anonymous" => report.carried(place, format!("{option} is allow_anonymous")),
            plugins::PLUGIN_KNOWN => {
                report.carried(place, format!("{option}: its options say what becomes of it"));
            }
            "plugin_use" => report.carried(place, format!("{option}: as if it stood here")),
            "allow_zero_length_clientid" if setting.flag() == Some(true) => {
                report.carried(place, format!("{option}: as here"));
            }
            name if name.starts_with("plugin_opt_") || name.starts_with("auth_opt_") => {
                report.missing(place, format!("{option}: there are no plugins"));
            }
            name => {
                let found = SECURITY_MISSING.iter().find(|(missing, _)| *missing == name);
                if let Some((_, why)) = found {
                    report.missing(place, format!("{option}: {why}"));
                }
            }
        }
    }
}

/// `max_qos` and `max_topic_alias`, which hold for all listeners here.
fn limit_qos(listeners: &[&OptionBlock], draft: &mut ConfigDraft, report: &mut ImportReport) {
    for (name, key, unset) in [
        ("max_qos", "session.qos_max", 2),
        ("max_topic_alias", "session.topic_alias_maximum", 10),
        ("max_topic_alias_broker", "session.topic_alias_out_max", 10),
    ] {
        let settings: Vec<&ConfLine> =
            listeners.iter().filter_map(|block| block.get(name)).collect();
        let values: Vec<u64> =
            settings.iter().filter_map(|setting| number(setting, report)).collect();
        let Some(lowest) = values.iter().min().copied() else { continue };
        let same = values.iter().all(|value| *value == lowest)
            && (values.len() == listeners.len() || lowest == unset);
        draft.sections.set(key, i64::try_from(lowest).unwrap_or(i64::MAX));
        for setting in settings {
            let difference = (!same).then(|| "it holds for all listeners".to_owned());
            let said = format!("{} is {key} = {lowest}", setting.option());
            report.either(setting.place(), said, difference);
        }
    }
}
