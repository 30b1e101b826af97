//! Options of the whole broker: one table says what each becomes.

use super::draft::{ConfigDraft, NEVER, PACKET_MAX, QUEUED_BYTES, number, unreadable};
use super::lines::ConfLine;
use super::logs;
use super::report::ImportReport;
use super::sections::{bytes, seconds};

/// What becomes of an option.
enum Counterpart {
    /// A number under a key: at most this, and what stands for 0 if that is no limit in mosquitto.
    Number(&'static str, u64, Option<u64>),
    /// A truth value under a key.
    Flag(&'static str),
    /// Sluice needs no such option, for this reason.
    Needless(&'static str),
    /// With this value it is as Sluice does it; with another there is nothing like it.
    Only(&'static str, &'static str),
    /// Sluice has nothing like it, for this reason.
    Missing(&'static str),
    /// It is done here.
    By(fn(&ConfLine, &mut ConfigDraft, &mut ImportReport)),
}
use Counterpart::{By, Flag, Missing, Needless, Number, Only};

const OPTIONS: &[(&str, Counterpart)] = &[
    ("allow_duplicate_messages", Needless("a message comes once, however many Subscriptions fit")),
    ("autosave_interval", Needless("what is acknowledged is on the disk")),
    ("autosave_on_changes", Needless("what is acknowledged is on the disk")),
    ("check_retain_source", Flag("access.check_retain_source")),
    (
        "clientid_prefixes",
        Missing("a rule may name Client Identifiers (client_id), but does not refuse them"),
    ),
    ("connection_messages", Only("true", "log.level says what is logged")),
    ("enable_control_api", Only("false", "there is no control API")),
    ("global_max_clients", Number("totals.sessions_max", 100_000_000, None)),
    ("global_max_connections", Missing("connections_max of each [[listener]] limits them")),
    ("log_dest", By(logs::destination)),
    ("log_facility", Needless("journald has what is on standard error")),
    ("log_timestamp", Needless("log.format says what a line looks like")),
    ("log_timestamp_format", Needless("times in the log are as RFC 3339 has them")),
    ("log_type", By(logs::kind)),
    (
        "max_inflight_bytes",
        Only("0", "messages in flight are limited by session.inflight_max alone"),
    ),
    ("max_inflight_messages", Number("session.inflight_max", 65_535, Some(65_535))),
    ("max_keepalive", Number("session.keep_alive_max_s", 65_535, None)),
    ("max_packet_size", By(max_packet_size)),
    ("max_queued_bytes", By(max_queued_bytes)),
    ("max_queued_messages", Number("queue.messages_max", 10_000_000, Some(10_000_000))),
    ("memory_limit", By(memory_limit)),
    ("message_size_limit", By(message_size_limit)),
    ("packet_buffer_size", Needless("buffers grow as they must")),
    ("per_listener_settings", Needless("each [[listener]] has its own")),
    ("persistence", By(|setting, draft, report| draft.set_persistence(setting, report))),
    ("persistence_file", By(|setting, draft, report| draft.set_database(setting, report))),
    ("persistence_location", By(|setting, draft, report| draft.set_location(setting, report))),
    ("persistent_client_expiration", By(expiration)),
    ("pid_file", Needless("the service manager knows its processes")),
    ("queue_qos0_messages", Flag("queue.qos0_offline")),
    ("retain_available", Flag("session.retain_available")),
    (
        "retain_expiry_interval",
        Only("0", "retained messages end with their Message Expiry Interval"),
    ),
    ("retry_interval", Needless("messages are sent again at a new connection only")),
    ("set_tcp_nodelay", Needless("it is always set")),
    ("store_clean_interval", Needless("what has no receiver is gone at once")),
    ("sys_interval", By(sys_interval)),
    ("upgrade_outgoing_qos", Only("false", "a message keeps the lower of both QoS, as MQTT says")),
    ("user", Needless("the service manager sets the user")),
    ("websockets_headers_size", Missing("limits of [listener.websocket] hold")),
    ("websockets_log_level", Missing("log.level says what is logged")),
];

/// Says what becomes of every option.
pub fn translate(settings: &[ConfLine], draft: &mut ConfigDraft, report: &mut ImportReport) {
    // As mosquitto does without being told.
    draft.limit_expiry(NEVER);
    draft.sections.set("queue.policy", "drop_newest");
    for setting in settings {
        match OPTIONS.iter().find(|(name, _)| *name == setting.name()) {
            Some((_, means)) => one(setting, means, draft, report),
            None => report.missing(
                setting.place(),
                format!("{}: this option is unknown here", setting.option()),
            ),
        }
    }
    draft.fit();
}

fn one(
    setting: &ConfLine,
    means: &Counterpart,
    draft: &mut ConfigDraft,
    report: &mut ImportReport,
) {
    let (place, option) = (setting.place(), setting.option());
    match *means {
        Number(key, max, unlimited) => {
            let Some(number) = number(setting, report) else { return };
            let (value, difference) = match unlimited {
                Some(most) if number == 0 => {
                    (most, Some("there is always a limit here".to_owned()))
                }
                _ if number > max => (max, Some("this is the highest value".to_owned())),
                _ => (number, None),
            };
            let said = format!("{option} is {key} = {value}");
            report.either(place, said, difference);
            draft.sections.set(key, i64::try_from(value).unwrap_or(i64::MAX));
        }
        Flag(key) => match setting.flag() {
            Some(value) => {
                report.carried(place, format!("{option} is {key} = {value}"));
                draft.sections.set(key, value);
            }
            None => unreadable(setting, report),
        },
        Needless(why) => report.carried(place, format!("{option}: {why}")),
        Only(value, why) if setting.value() == value => {
            report.carried(place, format!("{option}: {why}"));
        }
        Only(_, why) | Missing(why) => report.missing(place, format!("{option}: {why}")),
        By(translate) => translate(setting, draft, report),
    }
}

fn max_packet_size(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let Some(limit) = number(setting, report) else { return };
    draft.limit_packet(limit);
    let said = format!("{} is limits.packet_bytes_max", setting.option());
    let beyond =
        (!(256..=PACKET_MAX).contains(&limit)).then(|| "it is 256 B to 256 MiB".to_owned());
    report.either(setting.place(), said, beyond);
}

fn message_size_limit(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let Some(limit) = number(setting, report) else { return };
    let option = setting.option();
    if limit == 0 {
        draft.limit_packet(PACKET_MAX);
        report
            .carried(setting.place(), format!("{option} is limits.packet_bytes_max = \"256MiB\""));
        return;
    }
    // Topic and properties count too.
    draft.limit_packet(limit.saturating_add(16 << 10));
    let why = "the whole packet is measured, 16 KiB are added for topic and properties; a client that sends \
               more is disconnected";
    report.differs(setting.place(), format!("{option} is limits.packet_bytes_max: {why}"));
}

fn max_queued_bytes(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let Some(limit) = number(setting, report) else { return };
    let said = format!("{} is queue.bytes_max", setting.option());
    let difference = match limit {
        0 => Some("there is always a limit here: 1 GiB".to_owned()),
        limit if limit < draft.packet_max() => {
            Some("a queue has room for one packet of the longest at least".to_owned())
        }
        _ => None,
    };
    draft.limit_queue(if limit == 0 { QUEUED_BYTES } else { limit });
    report.either(setting.place(), said, difference);
}

fn memory_limit(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let Some(limit) = number(setting, report) else { return };
    draft.sections.set("overload.memory_max", bytes(limit.min(1 << 40)));
    let why = "towards it publishers are slowed down, then new connections are refused; nothing is disconnected";
    report.differs(setting.place(), format!("{} is overload.memory_max: {why}", setting.option()));
}

fn sys_interval(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let Some(interval) = number(setting, report) else { return };
    let most = interval.min(86_400);
    draft.sections.set("broker.sys_interval", seconds(most));
    let said = format!("{} is broker.sys_interval = \"{most}s\"", setting.option());
    report.either(
        setting.place(),
        said,
        (interval > most).then(|| "a day is the longest".to_owned()),
    );
}

fn expiration(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let value = setting.value();
    let (count, unit) = value.split_at(value.len().saturating_sub(1));
    let unit: u64 = match unit {
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "m" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return unreadable(setting, report),
    };
    let Ok(count) = count.trim().parse::<u64>() else { return unreadable(setting, report) };
    let span = count.saturating_mul(unit).min(NEVER);
    draft.limit_expiry(span);
    report.carried(
        setting.place(),
        format!("{} is session.expiry_max = \"{span}s\"", setting.option()),
    );
}
