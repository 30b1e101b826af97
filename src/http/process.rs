//! What the HTTP listener asks of the process that it is part of.

use crate::time::Time;

/// The process around the broker. `run` implements it; a call does not wait.
pub trait Process: Send + Sync {
    /// The present moment.
    fn now(&self) -> Time;

    /// The process has been told to end.
    fn is_stopping(&self) -> bool;

    /// The name of the machine.
    fn node(&self) -> String;
}
