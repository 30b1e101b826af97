//! Why a command of `sluice ctl` was not done.

use std::process::ExitCode;

/// Why it was not done, in words.
#[derive(Debug, thiserror::Error)]
pub enum CtlFailure {
    /// The broker has refused it, or what it is about is not there.
    #[error("{0}")]
    Refused(String),
    /// The command or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// The broker cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl CtlFailure {
    /// The exit code of the command.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            CtlFailure::Refused(_) => 1,
            CtlFailure::Usage(_) => 2,
            CtlFailure::Unreachable(_) => 3,
        })
    }
}
