//! A message in the packet that it came in.

use std::time::Duration;

use super::content::{Message, Parts};
use super::identity::Identity;
use crate::codec::{Properties, QoS};
use crate::time::Time;
use crate::topic::TopicName;

/// A message that has no receiver yet: borrowed from the packet that it came in.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Topic Name.
    pub topic: TopicName<'a>,
    /// Quality of service it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    /// What is forwarded with it.
    pub properties: Properties<'a>,
    /// Application Message.
    pub payload: &'a [u8],
}

impl Draft<'_> {
    /// Bytes that the message will take in memory.
    pub fn bytes(&self, publisher: &Identity) -> usize {
        self.parts(publisher, Time::START).bytes()
    }

    /// Makes the owned message, received at `now`.
    pub fn into_message(&self, publisher: &Identity, now: Time) -> Message {
        Message::new(&self.parts(publisher, now), publisher.meter())
    }

    fn parts<'p>(&'p self, publisher: &'p Identity, now: Time) -> Parts<'p> {
        Parts {
            topic: self.topic.as_str(),
            properties: self.properties,
            payload: self.payload,
            publisher: publisher.client_id.as_str(),
            user_name: publisher.user_name.as_deref(),
            qos: self.qos,
            retain: self.retain,
            received: now,
            expires: match self.expiry {
                Some(seconds) => now.after(Duration::from_secs(seconds.into())),
                None => Time::NEVER,
            },
        }
    }
}

impl Message {
    /// It, to be published again: with the expiry that it came with.
    pub fn draft(&self) -> Draft<'_> {
        let seconds = self.expires.since(self.received).as_secs();
        let expiry = u32::try_from(seconds).unwrap_or(u32::MAX);
        Draft {
            topic: self.topic(),
            qos: self.qos,
            retain: self.retain,
            expiry: (self.expires != Time::NEVER).then_some(expiry),
            properties: self.properties(),
            payload: self.payload(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientId, Meter};
    use super::*;

    fn identity() -> Identity {
        Identity::new(ClientId::new("c"), None, Meter::forever())
    }

    fn draft(expiry: Option<u32>) -> Draft<'static> {
        Draft {
            topic: TopicName::trusted("a/b"),
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry,
            properties: Properties::EMPTY,
            payload: b"hello",
        }
    }

    #[test]
    fn a_message_keeps_its_parts_and_is_counted_once() {
        let publisher = identity();
        let message = draft(None).into_message(&publisher, Time::from_secs(1));
        assert_eq!(message.topic().as_str(), "a/b");
        assert_eq!(message.payload(), b"hello");
        assert!(message.properties().is_empty());
        assert_eq!((message.publisher(), message.user_name()), ("c", None));
        let again = message.clone();
        assert_eq!(publisher.meter().bytes(), message.bytes() as u64);
        drop((message, again));
        assert_eq!(publisher.meter().bytes(), 0);
    }

    #[test]
    fn a_message_knows_its_publisher() {
        for user in ["", "ann"] {
            let publisher = Identity::new(ClientId::new("c"), Some(user.into()), Meter::forever());
            let message = draft(None).into_message(&publisher, Time::from_secs(1));
            assert_eq!((message.publisher(), message.user_name()), ("c", Some(user)));
            assert_eq!(message.payload(), b"hello");
            assert_eq!(message.bytes(), draft(None).bytes(&publisher));
        }
    }

    #[test]
    fn bytes_of_two_brokers_are_counted_apart() {
        let publishers = [identity(), identity()];
        let make = |index: usize| draft(None).into_message(&publishers[index], Time::from_secs(1));
        let (first, second) = (make(0), make(1));
        assert_eq!(publishers[0].meter().bytes(), first.bytes() as u64);
        drop((first, make(0), second));
        assert_eq!(publishers[0].meter().bytes(), 0);
        assert_eq!(publishers[1].meter().bytes(), 0);
    }

    #[test]
    fn seconds_left_are_rounded_up_and_zero_means_over() {
        let message = draft(Some(10)).into_message(&identity(), Time::from_secs(100));
        assert_eq!(message.expiry_left(Time::from_secs(100)), Some(10));
        assert_eq!(message.expiry_left(Time::from_nanos(99_999_999_999)), Some(10));
        assert_eq!(message.expiry_left(Time::from_nanos(100_500_000_000)), Some(10));
        assert_eq!(message.expiry_left(Time::from_secs(103)), Some(7));
        assert_eq!(message.expiry_left(Time::from_secs(110)), Some(0));
        assert!(message.expired(Time::from_secs(110)));
        assert!(!message.expired(Time::from_secs(109)));
        let unlimited = draft(None).into_message(&identity(), Time::from_secs(100));
        assert_eq!(unlimited.expiry_left(Time::from_secs(200)), None);
    }
}
