//! One message as it takes its place in the order.

use std::sync::Arc;

use super::router::{Retain, Retaining};
use crate::message::{Draft, Identity, Message};
use crate::time::Time;
use crate::topic::TopicName;

/// One message as it takes its place in the order: all that a broker needs to know to apply it.
pub(super) struct Record<'a> {
    pub(super) draft: &'a Draft<'a>,
    pub(super) publisher: &'a Arc<Identity>,
    /// When it came in.
    pub(super) received: Time,
    /// Bytes that it takes in memory.
    pub(super) bytes: usize,
    /// What it retains is given to the store.
    pub(super) kept: bool,
    /// It changes the retained message of its topic.
    pub(super) retains: bool,
    /// Made when the first receiver wants it.
    pub(super) message: Option<Message>,
    /// The number that traces follow it by; 0: none does.
    pub(super) follow: u32,
}

impl<'a> Record<'a> {
    /// Its topic.
    pub fn topic(&self) -> TopicName<'a> {
        self.draft.topic
    }

    /// It, as it came.
    pub fn draft(&self) -> &'a Draft<'a> {
        self.draft
    }

    /// Its publisher.
    pub fn publisher(&self) -> &'a Identity {
        self.publisher
    }

    /// When it came in.
    pub fn received(&self) -> Time {
        self.received
    }

    /// A trace follows it.
    pub fn is_followed(&self) -> bool {
        self.follow != 0
    }

    /// Traces follow it by this number.
    pub fn follow(&mut self, number: u32) {
        self.follow = number;
        if let Some(message) = &self.message {
            message.follow(number);
        }
    }

    /// The message, for one receiver of several.
    pub fn share(&mut self) -> Message {
        let message = self.give_away();
        self.message = Some(message.clone());
        message
    }

    /// The message, for the last that wants it: nothing is counted up and down again.
    pub fn give_away(&mut self) -> Message {
        let make = || {
            let message = self.draft.into_message(self.publisher, self.received);
            if self.follow != 0 {
                message.follow(self.follow);
            }
            message
        };
        self.message.take().unwrap_or_else(make)
    }

    /// What it does to the retained message of its topic.
    pub fn retaining(&mut self) -> Option<Retaining> {
        let what = match (self.retains, self.draft.payload.is_empty()) {
            (false, _) => return None,
            (true, true) => Retain::Clear,
            (true, false) => Retain::Set(self.share()),
        };
        Some(Retaining { what, kept: self.kept, owner: self.publisher.holdings().cloned() })
    }
}
