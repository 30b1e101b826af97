//! A message on its way to one receiver.

use super::content::Message;
use super::ids::{GroupId, Mid};
use super::lane::Lane;
use crate::codec::QoS;

/// Subscription Identifiers of one delivery: mostly none or one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SubscriptionIds {
    /// The only one, 0 if there is none; unused if `more` is there.
    one: u32,
    #[allow(clippy::box_collection)] // A thin pointer: a queued entry stays at 32 bytes.
    more: Option<Box<Vec<u32>>>,
}

impl SubscriptionIds {
    /// No identifier if `id` is 0, else that one.
    pub fn new(id: u32) -> SubscriptionIds {
        SubscriptionIds { one: id, more: None }
    }

    /// Adds another subscription's identifier; 0 adds nothing. Equal ones stay twice
    /// `[MQTT5-3.3.4-4]`.
    pub fn add(&mut self, id: u32) {
        match (&mut self.more, self.one) {
            (_, _) if id == 0 => {}
            (Some(more), _) => more.push(id),
            (None, 0) => self.one = id,
            (None, one) => self.more = Some(Box::new(vec![one, id])),
        }
    }

    /// All of them, in the order added.
    pub fn as_slice(&self) -> &[u32] {
        match (&self.more, self.one) {
            (Some(more), _) => more,
            (None, 0) => &[],
            (None, _) => std::slice::from_ref(&self.one),
        }
    }
}

/// One message for one receiver.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The lower of published and granted `[MQTT5-3.8.4-8]`.
    pub qos: QoS,
    /// RETAIN flag to send.
    pub retain: bool,
    /// Subscription Identifiers to send.
    pub ids: SubscriptionIds,
    /// The group it was pulled from.
    pub group: Option<GroupId>,
    /// The lane of the group that it was taken from, which waits for its end.
    pub lane: Lane,
    /// The store keeps this copy for its receiver until it is settled.
    pub stored: bool,
}

const _: () = assert!(size_of::<Delivery>() <= 48, "a copy in flight should stay small");

impl Delivery {
    /// The number to settle with the store at the end of this copy; `None` if the store does not
    /// keep it.
    pub fn mid(&self) -> Option<Mid> {
        if self.stored { self.message.mid() } else { None }
    }

    /// Whether the receiver's account counts it as `QoS` above 0. A group counts by the message,
    /// since each member may have granted another `QoS`.
    pub fn counts_above_qos0(&self) -> bool {
        let qos = if self.group.is_some() { self.message.qos } else { self.qos };
        qos > QoS::AtMostOnce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_identifiers_keep_order_and_repeats() {
        let mut ids = SubscriptionIds::default();
        assert!(ids.as_slice().is_empty());
        ids.add(0);
        ids.add(5);
        assert_eq!(ids.as_slice(), [5]);
        ids.add(5);
        ids.add(7);
        assert_eq!(ids.as_slice(), [5, 5, 7]);
    }
}
