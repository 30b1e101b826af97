//! The configuration of Sluice as it is made.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::lines::ConfLine;
use super::report::ImportReport;
use super::sections::{ConfigSections, bytes, seconds};
use super::write::ImportFiles;

/// Longest packet that is set.
pub const PACKET_MAX: u64 = 256 << 20;
/// Sessions last for ever.
pub const NEVER: u64 = u32::MAX as u64;
/// Defaults of Sluice that a value is compared with.
/// Packets.
pub const PACKET_BYTES: u64 = 4 << 20;
/// What all connections hold.
pub const CONNECTION_BYTES: u64 = 48 << 20;
pub const QUEUE_BYTES: u64 = 8 << 20;
pub const QUEUED_BYTES: u64 = 1 << 30;

/// The configuration as it is made.
#[derive(Debug)]
pub struct ConfigDraft {
    /// What was set.
    pub sections: ConfigSections,
    /// What is made.
    pub files: ImportFiles,
    /// The folder of mosquitto's configuration.
    base: PathBuf,
    packet: Option<u64>,
    queue_bytes: Option<u64>,
    persistence: bool,
    expiry_max: u64,
    location: Option<String>,
    database: Option<String>,
    levels: Vec<&'static str>,
}

impl ConfigDraft {
    /// Nothing yet, of a configuration in the folder `base`.
    pub fn new(base: PathBuf, files: ImportFiles) -> ConfigDraft {
        ConfigDraft {
            sections: ConfigSections::default(),
            files,
            base,
            packet: None,
            queue_bytes: None,
            persistence: false,
            expiry_max: NEVER,
            location: None,
            database: None,
            levels: Vec::new(),
        }
    }

    /// A file that mosquitto's configuration names. A relative path begins where mosquitto was started, which
    /// is not known: where its configuration is, if the file is there, else here.
    pub fn path(&self, named: &str) -> PathBuf {
        let beside = self.base.join(named);
        if beside.exists() {
            return beside;
        }
        std::path::absolute(Path::new(named)).unwrap_or(beside)
    }

    /// Adds a level of the log.
    pub fn log_at(&mut self, level: &'static str) {
        self.levels.push(level);
    }

    /// Sets the longest packet: the lowest limit counts.
    pub fn limit_packet(&mut self, limit: u64) {
        let limit = limit.clamp(256, PACKET_MAX);
        self.packet = Some(self.packet.map_or(limit, |other| other.min(limit)));
    }

    /// The longest packet so far.
    pub fn packet_max(&self) -> u64 {
        self.packet.unwrap_or(PACKET_BYTES)
    }

    /// Sets how many bytes may wait for one receiver.
    pub fn limit_queue(&mut self, limit: u64) {
        self.queue_bytes = Some(limit);
    }

    /// The longest Session Expiry Interval, in seconds.
    pub fn expiry_max(&self) -> u32 {
        u32::try_from(self.expiry_max).unwrap_or(u32::MAX)
    }

    /// Sets it.
    pub fn limit_expiry(&mut self, limit: u64) {
        self.expiry_max = limit;
        self.sections.set("session.expiry_max", seconds(limit));
    }

    /// The database of mosquitto, if it keeps one.
    pub fn database(&self) -> Option<PathBuf> {
        let folder = self.location.as_deref().unwrap_or("");
        let file = self.database.as_deref().unwrap_or("mosquitto.db");
        self.persistence.then(|| self.path(&Path::new(folder).join(file).display().to_string()))
    }

    /// What is kept outlasts a restart, whatever mosquitto did.
    pub fn keep(&mut self) {
        self.sections.set("store.kind", "sled");
    }

    /// `persistence`.
    pub fn set_persistence(&mut self, setting: &ConfLine, report: &mut ImportReport) {
        let Some(value) = setting.flag() else { return unreadable(setting, report) };
        self.persistence = value;
        let kind = if value { "sled" } else { "memory" };
        report.carried(setting.place(), format!("{} is store.kind = \"{kind}\"", setting.option()));
    }

    /// `persistence_file`.
    pub fn set_database(&mut self, setting: &ConfLine, report: &mut ImportReport) {
        self.database = Some(setting.value().to_owned());
        report.carried(
            setting.place(),
            format!("{}: the store is a folder, store.path", setting.option()),
        );
    }

    /// `persistence_location`.
    pub fn set_location(&mut self, setting: &ConfLine, report: &mut ImportReport) {
        self.location = Some(setting.value().to_owned());
        report.carried(
            setting.place(),
            format!("{}: the store is a folder, store.path", setting.option()),
        );
    }

    /// Writes `sluice.toml`.
    pub fn write_config(&self, listeners: &str, bridges: &[ConfLine]) -> Result<(), ImportError> {
        let mut text = String::from("# Made by `sluice import mosquitto`.\n");
        text.push_str(listeners);
        let _ = write!(text, "{}", self.sections);
        if !bridges.is_empty() {
            text.push_str("\n# Bridges, as mosquitto had them: Sluice has none yet.\n");
        }
        for line in bridges {
            let _ = writeln!(text, "#   {}", line.option());
        }
        self.files.write("sluice.toml", &text).map(|_| ())
    }

    /// Makes values fit each other.
    pub fn fit(&mut self) {
        let kind = if self.persistence { "sled" } else { "memory" };
        self.sections.set("store.kind", kind);
        if let Some(level) = most_verbose(&self.levels) {
            self.sections.set("log.level", level);
        }
        let packet = self.packet.unwrap_or(PACKET_BYTES);
        if self.packet.is_some() {
            self.sections.set("limits.packet_bytes_max", bytes(packet));
            if packet < 64 << 10 {
                self.sections.set("limits.connect_bytes_max", bytes(packet));
            }
            if packet * 2 > CONNECTION_BYTES {
                self.sections.set("totals.connection_bytes_max", bytes(packet * 2));
            }
            if packet < 8 << 10 {
                self.sections.set("limits.properties_bytes_max", bytes(packet));
            }
        }
        let queue = self.queue_bytes.unwrap_or(QUEUE_BYTES).max(packet);
        if queue != QUEUE_BYTES {
            self.sections.set("queue.bytes_max", bytes(queue));
        }
        if queue > QUEUED_BYTES {
            self.sections.set("totals.queued_bytes_max", bytes(queue));
        }
    }
}

/// The number that is the value.
pub fn number(setting: &ConfLine, report: &mut ImportReport) -> Option<u64> {
    let number = setting.value().parse().ok();
    if number.is_none() {
        unreadable(setting, report);
    }
    number
}

/// Says that the value is none of this option.
pub fn unreadable(setting: &ConfLine, report: &mut ImportReport) {
    report.differs(setting.place(), format!("{}: the value is not understood", setting.option()));
}

/// Levels, the most silent first.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug"];

/// The level that shows all that was asked for.
fn most_verbose(asked: &[&'static str]) -> Option<&'static str> {
    if asked.contains(&"off") {
        return Some("off");
    }
    LEVELS.iter().copied().rfind(|level| asked.contains(level))
}
