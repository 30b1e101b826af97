//! What tells a message from others.

use super::content::Message;
use super::ids::Mid;
use crate::time::Time;
use crate::topic::spread;

/// What tells a message from others, however often it was tried: its number in the store, or what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageMark {
    /// The store has it.
    Stored(Mid),
    /// It is in memory only: when it was received, and a hash of its topic, publisher and payload.
    Unstored(Time, u64),
}

impl MessageMark {
    /// The mark of a message.
    pub fn of(message: &Message) -> MessageMark {
        match message.mid() {
            Some(mid) => MessageMark::Stored(mid),
            None => {
                let texts = [message.topic().as_str(), message.publisher()];
                let parts = [texts[0].as_bytes(), texts[1].as_bytes(), message.payload()];
                let mix = |hash, byte: &u8| spread(hash ^ u64::from(*byte));
                let hash = parts
                    .into_iter()
                    .fold(0, |hash, part| part.iter().fold(spread(hash ^ part.len() as u64), mix));
                MessageMark::Unstored(message.received, hash)
            }
        }
    }

    /// The number of the message in the store, if it has one.
    pub fn mid(self) -> Option<Mid> {
        match self {
            MessageMark::Stored(mid) => Some(mid),
            MessageMark::Unstored(..) => None,
        }
    }
}
