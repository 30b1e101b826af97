//! The form of log lines, as far as it can be told while something in the configuration is wrong.

use std::path::PathBuf;

use crate::config::LogFormat;

/// `log.format` of the last layer that has it: `files`, `environment` (the value of the variable), `sets`. What
/// cannot be read is passed over: it is reported elsewhere.
pub fn log_format(files: &[PathBuf], environment: Option<&str>, sets: &[String]) -> LogFormat {
    let set = sets.iter().rev().find_map(|set| set.trim().strip_prefix("log.format="));
    let word = set.or(environment).map(str::to_owned);
    let in_files =
        || files.iter().rev().find_map(|file| in_file(&std::fs::read_to_string(file).ok()?));
    match word.or_else(in_files) {
        Some(word) if word.trim().trim_matches(['"', '\'']) == "json" => LogFormat::Json,
        _ => LogFormat::Human,
    }
}

/// The word in one file: as TOML, or line by line where that is not TOML.
fn in_file(text: &str) -> Option<String> {
    if let Ok(table) = text.parse::<toml::Table>() {
        return table.get("log")?.get("format")?.as_str().map(str::to_owned);
    }
    let mut section = "";
    let lines = text.lines().map(str::trim);
    let mut keys = lines.filter_map(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let value = line.strip_prefix("format").filter(|_| section == "[log]")?;
        value.trim_start().strip_prefix('=')
    });
    keys.next().map(|value| value.split('#').next().unwrap_or(value).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_decides_though_others_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let json = file("json.toml", "[log]\nformat = 'json'\n");
        let broken = file("broken.toml", "[log]\nformat = \"json\" # for the machine\n[queue\nx");
        let human = file("human.toml", "[log]\nformat = 'human'\n");
        let of = |files: &[&PathBuf], environment, sets: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            log_format(&files, environment, &sets)
        };
        let missing = folder.path().join("missing.toml");
        assert_eq!(of(&[], None, &[]), LogFormat::Human);
        assert_eq!(of(&[&json, &missing], None, &[]), LogFormat::Json);
        assert_eq!(of(&[&broken], None, &[]), LogFormat::Json);
        assert_eq!(of(&[&json, &human], None, &[]), LogFormat::Human);
        assert_eq!(of(&[&human], Some("json"), &[]), LogFormat::Json);
        assert_eq!(of(&[&json], Some("json"), &["log.format=human"]), LogFormat::Human);
    }
}
