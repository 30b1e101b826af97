//! Where mosquitto logs, and what.

use super::draft::{ConfigDraft, unreadable};
use super::lines::ConfLine;
use super::report::ImportReport;
use super::sections::quoted;

/// `log_dest`.
pub fn destination(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let (place, option) = (setting.place(), setting.option());
    let (kind, rest) = setting.value().split_once(' ').unwrap_or((setting.value(), ""));
    match kind {
        "stderr" => report.carried(place, format!("{option} is log.output = \"stderr\"")),
        "stdout" | "syslog" => {
            report.differs(
                place,
                format!("{option}: the log is on standard error, which journald has"),
            );
        }
        "file" => {
            let file = rest.trim();
            draft.sections.set("log.output", "file");
            draft.sections.set("log.file", quoted(file));
            report.carried(place, format!("{option} is log.file"));
        }
        "none" => {
            draft.log_at("off");
            report.carried(place, format!("{option} is log.level = \"off\""));
        }
        "topic" => report.missing(place, format!("{option}: the log is in no topic")),
        "dlt" | "android" => report.missing(place, format!("{option}: there is no such log")),
        _ => unreadable(setting, report),
    }
}

/// `log_type`.
pub fn kind(setting: &ConfLine, draft: &mut ConfigDraft, report: &mut ImportReport) {
    let level = match setting.value() {
        "all" | "debug" | "websockets" => "debug",
        "information" | "notice" | "subscribe" | "unsubscribe" => "info",
        "warning" => "warn",
        "error" => "error",
        "none" => "off",
        "internal" => {
            return report.carried(setting.place(), format!("{}: not needed", setting.option()));
        }
        _ => return unreadable(setting, report),
    };
    draft.log_at(level);
    report.carried(
        setting.place(),
        format!("{} is log.level = \"{level}\" at least", setting.option()),
    );
}
