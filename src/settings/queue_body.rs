//! A named queue that is described by JSON, judged as a section `[[named_queue]]` of a file is.

use serde_json::Value;

use super::file::judge_table;
use super::keys::{Keys, bare, plain};
use super::load::Settings;
use crate::config::{Config, NamedQueue, Problem};

impl Settings {
    /// The named queue that `body` describes, with the keys of `[[named_queue]]`, beside this configuration.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the words of `sluice check`; at least one line.
    pub fn named_queue(&self, body: &Value) -> Result<NamedQueue, Vec<String>> {
        let one = |error: &str| vec![format!("named_queue: {}", plain(error))];
        let section = toml::Value::try_from(body).map_err(|error| one(&error.to_string()))?;
        let list = toml::Value::Array(vec![section]);
        let table = toml::Table::from_iter([("named_queue".to_owned(), list.clone())]);
        let wrong = judge_table(&table, &Keys::all());
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let read: Result<Vec<NamedQueue>, _> = list.try_into();
        let queue = read.map_err(|error| one(error.message()))?.pop().unwrap_or_default();
        let config = Config { named_queue: vec![queue.clone()], ..self.config().clone() };
        let line = |problem: &Problem| format!("{}: {}", bare(&problem.key), problem.message);
        config.check().map_err(|problems| problems.iter().map(line).collect::<Vec<_>>())?;
        Ok(queue)
    }
}
