//! A build without tokens.

use super::file::PasswordFileError;
use super::means::Vouched;
use super::pool::CheckPool;
use crate::config::LoginStep;
use crate::time::Time;

/// There are none.
#[derive(Debug)]
pub(super) struct Tokens(std::convert::Infallible);

impl Tokens {
    /// Says that there are none.
    pub fn load(
        step: &LoginStep,
        _before: Option<&Tokens>,
        _queue_max: usize,
    ) -> Result<Tokens, PasswordFileError> {
        let from = format!("[[auth.step]] of {:?}", step.kind);
        let problem = "this program was built without the feature jwt".to_owned();
        Err(PasswordFileError::Keys { from, problem })
    }

    /// Nothing does.
    pub fn is_token(_bytes: &[u8]) -> bool {
        false
    }

    /// Nowhere.
    pub fn fetching(&self, _token: &[u8], _now: Time) -> Option<(&CheckPool, bool)> {
        match self.0 {}
    }

    /// Fetches none.
    pub fn fetch(&self) -> Result<(), PasswordFileError> {
        match self.0 {}
    }

    /// There are none.
    pub fn has_no_keys(&self) -> bool {
        match self.0 {}
    }

    /// None does.
    pub fn check(&self, _token: &[u8], _now: Time) -> Option<Vouched> {
        match self.0 {}
    }
}
