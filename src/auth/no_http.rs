//! Servers that are asked over HTTP, in a program that was built without them: there are none.

use std::sync::Arc;

use super::file::PasswordFileError;
use super::means::ServerSays;
use super::pool::CheckTicket;
use crate::broker::ports::{Accepted, AuthRequest};
use crate::config::HttpConfig;

/// There are none.
#[derive(Debug)]
pub(super) struct NoServer(std::convert::Infallible);

pub(super) use self::NoServer as Callout;
#[cfg(feature = "jwt")]
pub(super) use self::NoServer as HttpClient;

#[cfg(feature = "jwt")]
impl NoServer {
    /// Says that there are none.
    pub fn of(config: &HttpConfig) -> Result<NoServer, PasswordFileError> {
        Err(missing(config))
    }

    /// There is no answer.
    pub fn get(&self) -> Result<Vec<u8>, String> {
        match self.0 {}
    }

    /// It is nowhere.
    pub fn url(&self) -> &str {
        match self.0 {}
    }
}

impl NoServer {
    /// Says that there are none.
    pub fn new(config: &HttpConfig, _queue_max: usize) -> Result<NoServer, PasswordFileError> {
        Err(missing(config))
    }

    /// It knows nothing.
    pub fn known(&self, _request: &AuthRequest<'_>) -> Option<Accepted> {
        match self.0 {}
    }

    /// It says nothing.
    pub fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        _request: &AuthRequest<'_>,
        _then: impl FnOnce(ServerSays) -> T + Send + 'static,
    ) -> CheckTicket<T> {
        match self.0 {}
    }
}

fn missing(config: &HttpConfig) -> PasswordFileError {
    let problem = "this program was built without the feature auth-http".to_owned();
    PasswordFileError::Http { from: config.url.clone(), problem }
}
