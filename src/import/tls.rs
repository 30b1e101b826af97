//! TLS of a listener.

use std::fmt::Write;

use super::conf::OptionBlock;
use super::draft::ConfigDraft;
use super::lines::ConfLine;
use super::report::ImportReport;
use super::sections::quoted;

/// Options that Sluice has no counterpart for, and why.
const MISSING: &[(&str, &str)] = &[
    ("ciphers", "the ciphers are those of TLS 1.2 and 1.3 that are safe"),
    ("ciphers_tls1.3", "the ciphers are those of TLS 1.3 that are safe"),
    ("disable_client_cert_date_checks", "dates of certificates are always checked"),
    ("tls_engine", "keys are read from files"),
    ("tls_engine_kpass_sha1", "keys are read from files"),
    (
        "use_subject_as_username",
        "a user name is the Common Name (identity = \"cn\") or a name of the SAN",
    ),
];

/// The section `[listener.tls]`; none without TLS. An error says why the listener cannot be served.
pub fn translate(
    block: &OptionBlock,
    draft: &ConfigDraft,
    report: &mut ImportReport,
) -> Result<Option<String>, &'static str> {
    if block.get("psk_hint").is_some() {
        return Err("TLS with pre-shared keys is not there");
    }
    let (certificate, key) = match (block.get("certfile"), block.get("keyfile")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => return Err("certfile and keyfile belong together"),
    };
    let mut text = String::from("[listener.tls]\n");
    let mut file = |name: &str, setting: &ConfLine, report: &mut ImportReport| {
        let path = draft.path(setting.value());
        let _ = writeln!(text, "{name} = {}", quoted(&path.display().to_string()));
        report
            .carried(setting.place(), format!("{} is {name} of [listener.tls]", setting.option()));
    };
    file("certificate", certificate, report);
    file("key", key, report);
    let asked = block.is_set("require_certificate");
    let mut has_ca = false;
    for (name, ours) in [("cafile", "client_ca"), ("crlfile", "client_crl")] {
        match block.get(name) {
            Some(setting) if asked => {
                has_ca |= name == "cafile";
                file(ours, setting, report);
            }
            Some(setting) => {
                let why = "clients are not asked for certificates, so it is not needed";
                report.carried(setting.place(), format!("{}: {why}", setting.option()));
            }
            None => {}
        }
    }
    if asked && !has_ca {
        return Err(
            "client certificates are asked for, and there is no cafile: write client_ca yourself",
        );
    }
    if asked {
        text.push_str("client_certificate = \"required\"\n");
    }
    if asked && block.is_set("use_identity_as_username") {
        text.push_str("identity = \"cn\"\n");
    }
    block.options().iter().for_each(|setting| other(setting, asked, report));
    Ok(Some(text))
}

/// What is said of the other options.
fn other(setting: &ConfLine, asked: bool, report: &mut ImportReport) {
    let (place, option) = (setting.place(), setting.option());
    match setting.name() {
        "capath" if asked => {
            report.missing(
                place,
                format!("{option}: write its certificates into one file, client_ca"),
            );
        }
        "capath" => {
            report.carried(place, format!("{option}: clients are not asked for certificates"))
        }
        "dhparamfile" => report.carried(place, format!("{option}: not needed, no cipher uses it")),
        "tls_keyform" if setting.value() == "pem" => {
            report.carried(place, format!("{option}: as here"))
        }
        "tls_keyform" => report.missing(place, format!("{option}: keys are read from PEM files")),
        "tls_version" if setting.value() == "tlsv1.2" => {
            report.carried(place, format!("{option}: TLS 1.2 and 1.3 are served"));
        }
        "tls_version" => report.differs(place, format!("{option}: TLS 1.2 and 1.3 are served")),
        "require_certificate" => {
            let is = if asked { "required" } else { "none" };
            report.carried(place, format!("{option} is client_certificate = \"{is}\""));
        }
        "use_identity_as_username" => {
            let is = if asked && setting.flag() == Some(true) { "cn" } else { "none" };
            report.carried(place, format!("{option} is identity = \"{is}\""));
        }
        name => {
            let found = MISSING.iter().find(|(missing, _)| *missing == name);
            if let Some((_, why)) = found.filter(|_| setting.flag() != Some(false)) {
                report.missing(place, format!("{option}: {why}"));
            }
        }
    }
}
