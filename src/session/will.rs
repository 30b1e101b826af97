//! The Will: kept with the Session, published when the connection ends abruptly.

use std::sync::Arc;

use super::will_meter::{WillCount, WillMeter};
use crate::codec::{Properties, QoS, Will};
use crate::message::{Draft, Holdings};
use crate::topic::TopicName;

/// A Will, owned.
#[derive(Debug)]
pub struct WillMessage {
    topic: Box<str>,
    properties: Box<[u8]>,
    payload: Box<[u8]>,
    qos: QoS,
    retain: bool,
    expiry: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// What it says is in the store only.
    stored: bool,
    count: Option<WillCount>,
}

/// A Will above so many bytes need not stay in memory while its client is away.
const STORED_ABOVE: usize = 512;

impl WillMessage {
    /// An owned copy of the Will of a CONNECT.
    pub fn new(will: &Will<'_>) -> WillMessage {
        let mut properties = Vec::with_capacity(will.properties.forwarded_len());
        will.properties.forwarded(&mut properties);
        WillMessage {
            topic: will.topic.into(),
            properties: properties.into_boxed_slice(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            expiry: will.expiry,
            delay: will.delay,
            stored: false,
            count: None,
        }
    }

    /// The Will that a store kept: what it publishes, and its delay.
    pub fn restore(draft: &Draft<'_>, delay: u32) -> WillMessage {
        WillMessage {
            topic: draft.topic.as_str().into(),
            properties: draft.properties.as_bytes().into(),
            payload: draft.payload.into(),
            qos: draft.qos,
            retain: draft.retain,
            expiry: draft.expiry,
            delay,
            stored: false,
            count: None,
        }
    }

    /// The same, counted by `meter` and for its owner.
    #[must_use]
    pub fn counted(mut self, meter: &'static WillMeter, owner: Arc<Holdings>) -> WillMessage {
        self.count = Some(meter.add(self.bytes(), owner));
        self
    }

    /// Whether memory would be saved if what it says were in the store only.
    pub fn is_worth_storing(&self) -> bool {
        !self.stored && self.bytes() > STORED_ABOVE
    }

    /// A Will that is in the store only, with the delay of this one and counted as it is.
    #[must_use]
    pub fn stored(&self) -> WillMessage {
        WillMessage {
            topic: Box::default(),
            properties: Box::default(),
            payload: Box::default(),
            qos: self.qos,
            retain: self.retain,
            expiry: self.expiry,
            delay: self.delay,
            stored: true,
            count: self.count.as_ref().map(WillCount::again_stored),
        }
    }

    /// Whether what it says is in the store only: it is to be read there before it is published.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// About the bytes that it takes in a store.
    pub fn bytes(&self) -> usize {
        match &self.count {
            Some(count) if self.stored => count.own_bytes(),
            _ => self.topic.len() + self.properties.len() + self.payload.len(),
        }
    }

    /// The message to publish. Its expiry starts when it is published, not before.
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            topic: TopicName::trusted(&self.topic),
            qos: self.qos,
            retain: self.retain,
            expiry: self.expiry,
            properties: Properties::trusted(&self.properties),
            payload: &self.payload,
        }
    }
}
