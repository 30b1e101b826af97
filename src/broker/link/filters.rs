//! A SUBSCRIBE or UNSUBSCRIBE of more filters than one turn serves: the rest is served in the turns that
//! follow, and the packet is answered once, after its last filter.
//!
//! Several filters act as several packets with one answer `[MQTT5-3.8.4-5]`, so they need not take effect in
//! one moment. What comes behind the packet waits, unread.

use std::num::NonZeroU32;

use crate::codec::{
    Packet, PacketId, Properties, Reason, SubAck, Subscribe, Unsubscribe, Version, more_filters,
    more_names,
};

/// Filters served in one turn, of one packet or of several. A filter of many levels takes some microseconds,
/// and a subscriber with many filters sends some hundred at once.
pub(in crate::broker::link) const FILTERS_A_TURN: usize = 64;

/// What is left of a SUBSCRIBE or UNSUBSCRIBE, and the answer to it as far as it is known.
#[derive(Debug)]
pub(super) struct FiltersLeft {
    what: FiltersOf,
    packet_id: PacketId,
    /// Beyond the client's rate: every filter is refused.
    over_rate: bool,
    /// Filters as they came, served up to `at`.
    rest: Box<[u8]>,
    at: usize,
    /// Of those that were served.
    reasons: Vec<Reason>,
}

#[derive(Clone, Copy, Debug)]
enum FiltersOf {
    Subscribe(Option<NonZeroU32>),
    Unsubscribe,
}

impl FiltersLeft {
    /// What one turn leaves of a packet; `None` if it serves all of it.
    pub fn of(packet: &Packet<'_>, over_rate: bool) -> Option<FiltersLeft> {
        let (what, packet_id, rest) = match packet {
            Packet::Subscribe(subscribe) => (
                FiltersOf::Subscribe(subscribe.subscription_id),
                subscribe.packet_id,
                subscribe.rest,
            ),
            Packet::Unsubscribe(unsubscribe) => {
                (FiltersOf::Unsubscribe, unsubscribe.packet_id, unsubscribe.rest)
            }
            _ => return None,
        };
        let left = || FiltersLeft {
            what,
            packet_id,
            over_rate,
            rest: rest.into(),
            at: 0,
            reasons: Vec::new(),
        };
        (!rest.is_empty()).then(left)
    }

    /// Filters that were served.
    pub fn served(&self) -> usize {
        self.reasons.len()
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.rest.len() + self.reasons.capacity() * size_of::<Reason>()
    }

    /// Whether every filter is refused.
    pub fn is_over_rate(&self) -> bool {
        self.over_rate
    }

    /// The filters that come next as a packet of their own, made from `rest`: see
    /// [`FiltersLeft::take_rest`]. They end in front of what is returned with it.
    pub fn next<'r>(&self, rest: &'r [u8], version: Version) -> (Packet<'r>, usize) {
        let (packet_id, user_properties) = (self.packet_id, Properties::EMPTY);
        let trusted = "they were checked with their packet";
        let from = &rest[self.at..];
        match self.what {
            FiltersOf::Subscribe(subscription_id) => {
                let (filters, left) = more_filters(from, version, FILTERS_A_TURN).expect(trusted);
                let packet =
                    Subscribe { packet_id, subscription_id, user_properties, filters, rest: &[] };
                (Packet::Subscribe(packet), rest.len() - left.len())
            }
            FiltersOf::Unsubscribe => {
                let (filters, left) = more_names(from, FILTERS_A_TURN).expect(trusted);
                let packet = Unsubscribe { packet_id, user_properties, filters, rest: &[] };
                (Packet::Unsubscribe(packet), rest.len() - left.len())
            }
        }
    }

    /// The filters as they came: what is taken out is put back.
    pub fn take_rest(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.rest)
    }

    /// The filters up to `at` are served. Whether all are.
    pub fn put_back(&mut self, rest: Box<[u8]>, at: usize) -> bool {
        (self.rest, self.at) = (rest, at);
        self.at == self.rest.len()
    }

    /// The answer to those that were served last.
    pub fn answered(&mut self, reasons: &[Reason]) {
        self.reasons.extend_from_slice(reasons);
    }

    /// The answer to the whole packet.
    pub fn into_answer(self) -> Packet<'static> {
        let answer = SubAck {
            packet_id: self.packet_id,
            reason_string: None,
            user_properties: Properties::EMPTY,
            reasons: self.reasons,
        };
        match self.what {
            FiltersOf::Subscribe(_) => Packet::SubAck(answer),
            FiltersOf::Unsubscribe => Packet::UnsubAck(answer),
        }
    }
}
