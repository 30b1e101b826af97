//! Spans for OpenTelemetry, in a program that was built without them: there are none.

use crate::auth::PasswordFileError;
use crate::broker::Broker;
use crate::config::OtelConfig;

/// There is none.
pub(super) enum NoExport {}

pub(super) use self::NoExport as Collector;
pub(super) use self::NoExport as Exporter;

impl NoExport {
    /// None is configured: the check of the configuration refuses it.
    pub fn of(_config: &OtelConfig) -> Result<Option<NoExport>, PasswordFileError> {
        Ok(None)
    }

    /// It does nothing.
    pub fn start(self, _broker: &Broker) -> std::io::Result<NoExport> {
        match self {}
    }

    /// It does nothing.
    pub async fn finish(self) {
        match self {}
    }
}
