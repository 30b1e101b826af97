//! TLS of a listener.

use std::fmt::Write;
use std::path::Path;

use super::conf::OptionBlock;
use super::draft::ConfigDraft;
use super::lines::{self, ConfLine};
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
        "a user name is the Common Name (identity = \"cn\") or a name of the SAN; without one of them the \
         clients have no user name",
    ),
];

/// The section `[listener.tls]`; none without TLS. An error says why the listener cannot be served.
pub fn translate(
    block: &OptionBlock,
    listener: &str,
    draft: &ConfigDraft,
    report: &mut ImportReport,
) -> Result<Option<String>, String> {
    if block.get("psk_hint").is_some() {
        return Err("TLS with pre-shared keys is not there".to_owned());
    }
    let (certificate, key) = match (block.get("certfile"), block.get("keyfile")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => return Err("certfile and keyfile belong together".to_owned()),
    };
    let asked = block.is_set("require_certificate");
    let names = ["use_identity_as_username", "use_subject_as_username"];
    if let Some(name) = names.into_iter().find(|name| block.is_set(name) && !asked) {
        return Err(format!("{name} without require_certificate: it lets no client in"));
    }
    let mut text = String::from("[listener.tls]\n");
    file("certificate", certificate, draft, &mut text, report);
    file("key", key, draft, &mut text, report);
    authorities(block, listener, draft, &mut text, report)?;
    if asked {
        text.push_str("client_certificate = \"required\"\n");
    }
    if asked && block.is_set("use_identity_as_username") {
        text.push_str("identity = \"cn\"\n");
    }
    block.options().iter().for_each(|setting| other(setting, asked, report));
    Ok(Some(text))
}

/// Writes a key that names a file.
fn file(
    name: &str,
    setting: &ConfLine,
    draft: &ConfigDraft,
    text: &mut String,
    report: &mut ImportReport,
) {
    let path = draft.path(setting.value());
    let _ = writeln!(text, "{name} = {}", quoted(&path.display().to_string()));
    report.carried(setting.place(), format!("{} is {name} of [listener.tls]", setting.option()));
}

/// Writes what client certificates must descend from, and which are revoked.
fn authorities(
    block: &OptionBlock,
    listener: &str,
    draft: &ConfigDraft,
    text: &mut String,
    report: &mut ImportReport,
) -> Result<(), String> {
    let (single, folder) = (block.get("cafile"), block.get("capath"));
    if !block.is_set("require_certificate") {
        for setting in [single, folder, block.get("crlfile")].into_iter().flatten() {
            let why = "clients are not asked for certificates, so it is not needed";
            report.carried(setting.place(), format!("{}: {why}", setting.option()));
        }
        return Ok(());
    }
    match (single, folder) {
        (_, Some(folder)) => {
            let path = write_authorities(folder, single, listener, draft)?;
            let _ = writeln!(text, "client_ca = {}", quoted(&path));
            for setting in [single, Some(folder)].into_iter().flatten() {
                let said = format!("{} is client_ca of [listener.tls]", setting.option());
                report.carried(setting.place(), said);
            }
        }
        (Some(single), None) => file("client_ca", single, draft, text, report),
        (None, None) => {
            let why = "client certificates are asked for, and there is no cafile and no capath";
            return Err(why.to_owned());
        }
    }
    if let Some(revoked) = block.get("crlfile") {
        file("client_crl", revoked, draft, text, report);
    }
    Ok(())
}

/// Writes all certificates of `capath` and `cafile` into one file; its name.
fn write_authorities(
    folder: &ConfLine,
    single: Option<&ConfLine>,
    listener: &str,
    draft: &ConfigDraft,
) -> Result<String, String> {
    let path = draft.path(folder.value());
    let found = lines::files_of(&path, is_authority).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err(format!("{}: no file is named by a hash, such as 5ed36f99.0", path.display()));
    }
    let mut all = String::new();
    for path in single.map(|single| draft.path(single.value())).into_iter().chain(found) {
        let (text, _) = lines::text(&path, 0).map_err(|error| error.to_string())?;
        all.push_str(&text);
        all.push('\n');
    }
    let name = format!("client-ca-{listener}.pem");
    draft.files.write(&name, &all).map_err(|error| error.to_string())?;
    Ok(name)
}

/// Whether OpenSSL looks for a certificate under this name: its hash and a number.
fn is_authority(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && number.parse::<u32>().is_ok()
    })
}

/// What is said of the other options.
fn other(setting: &ConfLine, asked: bool, report: &mut ImportReport) {
    let (place, option) = (setting.place(), setting.option());
    match setting.name() {
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
