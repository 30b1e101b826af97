//! mosquitto's plugins: what those that it ships are told becomes options that stand for the same.

use std::collections::BTreeMap;
use std::path::Path;

use super::lines::{ConfLine, LineScope};

/// A plugin of mosquitto, by the name of its file.
struct KnownPlugin {
    file: &'static str,
    /// Its option that names a file.
    option: &'static str,
    /// What that is called here.
    means: &'static str,
}

const KNOWN: &[KnownPlugin] = &[
    KnownPlugin {
        file: "mosquitto_dynamic_security",
        option: "config_file",
        means: DYNAMIC_SECURITY,
    },
    KnownPlugin {
        file: "mosquitto_password_file",
        option: "password_file",
        means: "password_file",
    },
    KnownPlugin { file: "mosquitto_acl_file", option: "acl_file", means: "acl_file" },
];

/// Plugins that ask nothing of clients.
const HARMLESS: &[&str] = &["mosquitto_persist_sqlite", "mosquitto_sparkplug_aware"];

/// The option that names the file of the dynamic security.
pub const DYNAMIC_SECURITY: &str = "dynamic_security_file";
/// A plugin that became other options.
pub const PLUGIN_KNOWN: &str = "plugin_known";
/// A plugin of which nothing is known.
pub const PLUGIN_UNKNOWN: &str = "plugin";
/// A plugin or an option of one that has no counterpart and asks nothing of clients.
pub const PLUGIN_HARMLESS: &str = "plugin_harmless";

/// Reads what belongs to plugins: `plugin`, `global_plugin`, `plugin_load` with `plugin_use`, and their options.
pub fn resolve(lines: Vec<ConfLine>) -> Vec<ConfLine> {
    let mut resolved = Vec::new();
    let mut loaded: BTreeMap<String, Vec<ConfLine>> = BTreeMap::new();
    // The file of the last plugin, the listeners that it is for, and its name if it waits for its use.
    let mut current = (String::new(), LineScope::Shared, None);
    for line in lines {
        let option = line.name().to_owned();
        let option_of_plugin =
            option.strip_prefix("plugin_opt_").or_else(|| option.strip_prefix("auth_opt_"));
        match option.as_str() {
            "plugin_use" => {
                resolved.extend(loaded.get(line.value()).into_iter().flatten().cloned());
                resolved.push(line);
                continue;
            }
            "plugin" | "auth_plugin" | "global_plugin" => {
                let is_global = option == "global_plugin";
                let scope = if is_global { LineScope::All } else { LineScope::Shared };
                current = (stem(line.value()), scope, None);
            }
            "plugin_load" => {
                let (name, file) = line.value().split_once([' ', '\t']).unwrap_or_default();
                current = (stem(file), LineScope::One, Some(name.to_owned()));
            }
            _ if option_of_plugin.is_none() => {
                resolved.push(line);
                continue;
            }
            _ => {}
        }
        let (file, scope, waits) = &current;
        let line = translated(line, file, option_of_plugin).scoped(*scope);
        match waits {
            Some(name) => loaded.entry(name.clone()).or_default().push(line),
            None => resolved.push(line),
        }
    }
    resolved
}

/// The name of a file without its folder and its ending.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a line of the plugin in `file` means; `option`: its option, if it is one.
fn translated(line: ConfLine, file: &str, option: Option<&str>) -> ConfLine {
    let value = line.value().to_owned();
    let known = KNOWN.iter().find(|known| known.file == file);
    let name = match (known, option) {
        (Some(known), Some(option)) if option == known.option => known.means,
        (Some(_), None) => PLUGIN_KNOWN,
        _ if HARMLESS.contains(&file) => PLUGIN_HARMLESS,
        (None, None) => PLUGIN_UNKNOWN,
        _ => return line,
    };
    line.renamed(name, &value)
}
