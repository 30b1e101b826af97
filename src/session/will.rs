//! The Will: kept with the Session, published when the connection ends abruptly.

use crate::codec::{Properties, QoS, Will};
use crate::message::Draft;
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
}

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
        }
    }

    /// About the bytes that it takes in a store.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
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
