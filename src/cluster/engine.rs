//! The log as the lanes and the feed see it, so that both can be tried on one in memory that fails.

use std::task::{Context, Poll};

use bytes::Bytes;

/// A log with replicas: frames under numbers that leave none out.
pub(super) trait LogEngine: Send + Sync + 'static {
    /// Frames on their way from it.
    type Frames: LogFrames;

    /// Appends a frame. One that has the identifier of another of the last two minutes is not appended again, which is
    /// a success too. After an error the log may have the frame, now or later.
    fn append(
        &self,
        id: &str,
        frame: Bytes,
    ) -> impl Future<Output = Result<Appended, EngineError>> + Send;

    /// Which frames it has.
    fn bounds(&self) -> impl Future<Output = Result<Bounds, EngineError>> + Send;

    /// The frames from this number on, and those that are appended from now on.
    fn read(&self, from: u64) -> impl Future<Output = Result<Self::Frames, EngineError>> + Send;

    /// Nothing was appended for a while: another way to it is tried, if there is one.
    fn move_on(&self) -> impl Future<Output = ()> + Send;
}

/// What the log does with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Appended {
    /// It has it.
    There,
    /// It has no room, and does not take it.
    Full,
}

/// Frames on their way from the log.
pub(super) trait LogFrames: Send {
    /// The next frame, with its number. After an error they are read anew.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(u64, Bytes), EngineError>>;
}

/// Which frames a log has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    /// The number of the first; of the next one if there is none.
    pub first: u64,
    /// The number of the last that there ever was.
    pub last: u64,
    /// Bytes that it takes for them, and may take.
    pub bytes: (u64, u64),
}

/// What the log said, in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct EngineError(pub String);

impl EngineError {
    /// An error of another crate.
    pub fn of(error: impl std::fmt::Display) -> EngineError {
        EngineError(error.to_string())
    }
}
