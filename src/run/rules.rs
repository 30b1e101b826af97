//! The rules of access, from the configuration and the file that it names.

use crate::auth::{ReadRules, RuleSet};
use crate::config::Config;
use crate::settings::{Settings, SettingsError, load_rules};

/// Reads the file of rules, if `config` names one. `settings`: where the rules of `config` come from.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read_rules(config: &Config, settings: &Settings) -> Result<ReadRules, SettingsError> {
    let origins = settings.rule_origins();
    let Some(path) = &config.access.rules_file else {
        return Ok(ReadRules { origins, ..ReadRules::default() });
    };
    let (file, places) = load_rules(path, config.checks_names())?;
    Ok(ReadRules { origins, file, places })
}

/// All rules of a configuration, with what was read for it.
pub fn rule_set<'a>(config: &'a Config, read: &'a ReadRules) -> RuleSet<'a> {
    RuleSet { access: &config.access, rules: &config.rule, auth: &config.auth, read: Some(read) }
}
