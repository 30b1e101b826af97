//! What is wrong with a configuration: a list of problems, each with its key.

use std::fmt::{self, Display};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The key, such as `session.qos_max` or `listener.0.tls.key`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem with `key`.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }

    /// Adds a problem if `value` is more than the value `most` of the key `other`.
    pub fn at_most<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        (other, most): (&str, T),
    ) {
        if value > most {
            self.add(key, format!("{value} is more than {other}, which is {most}"));
        }
    }

    /// The problems in the order in which they were found; `Ok` if there are none.
    pub fn into_result(self) -> Result<(), Vec<Problem>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}
