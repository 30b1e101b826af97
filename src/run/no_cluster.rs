//! A cluster, in a program that was built without them: there is none.

use std::borrow::Cow;

use super::process::LogAway;
use super::watch::{Task, Watch};
use super::{Listening, RunError};
use crate::broker::Broker;
use crate::config::Config;
use crate::time::SystemClock;

/// There are none.
pub(super) enum ClusterServers {}

/// There is none.
pub(super) enum ClusterNode {}

impl ClusterServers {
    /// None is configured: the check of the configuration refuses it.
    pub async fn connect(
        _config: &Config,
        _clock: &SystemClock,
    ) -> Result<Option<ClusterServers>, RunError> {
        Ok(None)
    }

    /// They set no limit.
    pub fn limit<'a>(&self, _config: &'a Config) -> Cow<'a, Config> {
        match *self {}
    }

    /// It does nothing.
    pub async fn join(self, _config: &Config, _broker: &Broker) -> Result<ClusterNode, RunError> {
        match self {}
    }
}

impl ClusterNode {
    /// There is no log.
    pub fn log_away(&self) -> LogAway {
        match *self {}
    }

    /// It does nothing.
    pub fn start(self, _watch: &Watch, _listening: &[Listening]) -> Vec<Task> {
        match self {}
    }
}
