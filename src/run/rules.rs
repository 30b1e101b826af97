//! The rules of access, from the configuration and the file that it names.

use crate::auth::{ReadRules, RuleSet};
use crate::config::Config;
use crate::settings::{SettingsError, load_rules};

/// Reads the file of rules, if the configuration names one.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read_rules(config: &Config) -> Result<Option<ReadRules>, SettingsError> {
    let Some(path) = &config.access.rules_file else { return Ok(None) };
    let (file, places) = load_rules(path, config.checks_names())?;
    Ok(Some(ReadRules { file, places }))
}

/// All rules of a configuration, with those of its file.
pub fn rule_set<'a>(config: &'a Config, file: Option<&'a ReadRules>) -> RuleSet<'a> {
    RuleSet { access: &config.access, rules: &config.rule, auth: &config.auth, file }
}
