//! What a script is played on: the doors every driver has.

use std::time::Duration;

use super::language::Script;

/// A broker under test, with its clients' ends of the connections and its clock.
pub trait Driver {
    /// Opens a connection; its number.
    fn open(&mut self) -> usize;

    /// Writes all of `bytes`.
    fn send(&mut self, conn: usize, bytes: &[u8]);

    /// Ends the connection without a word, and returns when the broker has noticed.
    fn cut(&mut self, conn: usize);

    /// Moves the clock, or waits.
    fn advance(&mut self, span: Duration);

    /// What has come since the last call. A driver of real time waits for something to come.
    fn read(&mut self, conn: usize) -> Came;

    /// Whether everything that will come has come when a call returns. If not, the player makes
    /// sure with PINGREQ and [`Driver::barrier`].
    fn settles(&self) -> bool;

    /// Sends a marker through the broker and waits for it.
    fn barrier(&mut self);
}

/// What [`Driver::read`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    Bytes(Vec<u8>),
    /// Nothing, and the stream is open.
    Nothing,
    /// The stream has ended and everything before its end was read.
    End,
}

/// Makes a fresh broker for a script.
pub trait Stage {
    type Driver: Driver;
    fn set(&self, script: &Script) -> Result<Self::Driver, String>;
}
