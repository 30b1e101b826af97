//! A cluster, in a program that was built without them: there is none.

use super::process::LogAway;
use super::watch::{Task, Watch};
use super::{Listening, RunError};
use crate::broker::Broker;
use crate::config::Config;
use crate::time::SystemClock;

/// There is none.
pub(super) enum ClusterNode {}

impl ClusterNode {
    /// None is configured: the check of the configuration refuses it.
    pub async fn of(
        _config: &Config,
        _broker: &Broker,
        _clock: &SystemClock,
    ) -> Result<Option<ClusterNode>, RunError> {
        Ok(None)
    }

    /// There is no log.
    pub fn log_away(&self) -> LogAway {
        match *self {}
    }

    /// It does nothing.
    pub fn start(self, _watch: &Watch, _listening: &[Listening]) -> Vec<Task> {
        match self {}
    }
}
