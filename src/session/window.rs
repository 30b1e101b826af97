//! The window: what is in flight to the client, in the order it was first sent.

use std::collections::VecDeque;

use crate::codec::{PacketId, QoS};
use crate::message::{Delivery, GroupId, Lane, MessageMark, Mid};

/// How far a delivery has come.
#[derive(Clone, Debug)]
pub enum FlightStage {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Sent(Delivery),
    /// `QoS` 2: PUBREC received, PUBREL sent; PUBCOMP awaited. The message is not needed any more, only
    /// what the receiver's account needs of it.
    Released {
        /// The group it came from.
        group: Option<GroupId>,
        /// The message, if the store keeps it for the receiver until PUBCOMP.
        mid: Option<Mid>,
        /// It is counted as lost already: it became too large for the client after its first sending.
        lost: bool,
    },
    /// The client has not answered a message of a named queue in time: the queue has it back. Its identifier stays in
    /// use until the answer or the end of the connection.
    GivenAway(MessageMark, GroupId),
}

/// One message in flight.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Chosen by us; free in this Session `[MQTT5-2.2.1-4]`.
    pub packet_id: PacketId,
    /// How far it has come.
    pub state: FlightStage,
    /// It takes a slot of the client's Receive Maximum: its PUBLISH was sent on this connection.
    counted: bool,
}

/// What a PUBREC of success did.
#[derive(Debug)]
pub enum Release {
    /// It was the first: the message is not needed any more.
    First(Delivery),
    /// It came again.
    Again,
    /// No such `QoS` 2 message is in flight.
    Unknown,
}

/// An answer of the wrong kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WrongKind;

/// What is in flight to one client.
#[derive(Debug, Default)]
pub struct Window {
    flights: VecDeque<Flight>,
    /// Slots of the Receive Maximum in use on this connection.
    counted: u16,
    last_id: u16,
    /// Identifiers behind `last_id` that are free for certain.
    free_ahead: u16,
    /// Most flights at once since the window was last empty.
    most: u16,
    /// How many flights at the front have been sent on this connection; the rest awaits its resend.
    resent: u16,
}

/// Flights that an empty window keeps memory for.
const KEPT: usize = 32;

impl Window {
    /// Slots free under `max`; none while an older message awaits its resend, so that nothing
    /// overtakes it `[MQTT5-4.6.0-1]`.
    pub fn free(&self, max: u16) -> usize {
        if self.sent() < self.flights.len() {
            return 0;
        }
        usize::from(max.saturating_sub(self.counted))
    }

    /// An identifier that is free in this Session, for the next [`Window::admit`]. No two in a row
    /// are the same `[MQTT5-2.2.1-4]`.
    #[inline]
    pub fn next_id(&mut self) -> PacketId {
        assert!(self.flights.len() < usize::from(u16::MAX), "no packet identifier is free");
        loop {
            if self.free_ahead == 0 {
                self.look_ahead();
            }
            self.last_id = self.last_id.wrapping_add(1);
            let free = self.free_ahead > 0;
            self.free_ahead = self.free_ahead.saturating_sub(1);
            match PacketId::new(self.last_id) {
                Some(packet_id) if free => return packet_id,
                _ => {}
            }
        }
    }

    /// Puts `delivery` in flight under an identifier from [`Window::next_id`]. The caller has seen a
    /// free slot.
    #[inline]
    pub fn admit(&mut self, packet_id: PacketId, delivery: Delivery) {
        assert!(self.sent() == self.flights.len(), "admitted before the resend was done");
        let state = FlightStage::Sent(delivery);
        self.flights.push_back(Flight { packet_id, state, counted: true });
        self.counted += 1;
        self.resent += 1;
        self.most = self.most.max(self.resent);
    }

    /// PUBACK, PUBCOMP, or a refusing PUBREC: the flight ends. `None` if there is none such, or it still
    /// awaits its resend: an answer of another connection, and the client answers the resend too.
    ///
    /// # Errors
    ///
    /// The answer is of the wrong kind: it never completes another flow.
    pub fn finish(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        released: bool,
    ) -> Result<Option<Flight>, WrongKind> {
        let Some(index) = self.position(packet_id) else { return Ok(None) };
        if index >= self.sent() {
            return Ok(None);
        }
        let fits = match &self.flights[index].state {
            FlightStage::Sent(delivery) => !released && delivery.qos == qos,
            FlightStage::Released { .. } => released,
            FlightStage::GivenAway(..) => !released && qos == QoS::AtLeastOnce,
        };
        if !fits {
            return Err(WrongKind);
        }
        let Some(flight) = self.flights.remove(index) else { return Ok(None) };
        self.resent -= 1;
        self.counted -= u16::from(flight.counted);
        if self.flights.is_empty() {
            // A window that was large lately will be again; else its memory is freed.
            if self.flights.capacity() > KEPT
                && usize::from(self.most) * 4 < self.flights.capacity()
            {
                self.flights = VecDeque::new();
            }
            self.most = 0;
        }
        Ok(Some(flight))
    }

    /// PUBREC: from now on only PUBREL is sent. It may be of a message that awaits its resend: the client
    /// had it from another connection, and must not get it again.
    ///
    /// # Errors
    ///
    /// What was sent on this connection is no `QoS` 2 message.
    pub fn release(&mut self, packet_id: PacketId) -> Result<Release, WrongKind> {
        let Some(index) = self.position(packet_id) else { return Ok(Release::Unknown) };
        let sent = index < self.sent();
        let flight = &mut self.flights[index];
        match &flight.state {
            FlightStage::Released { .. } => Ok(Release::Again),
            FlightStage::GivenAway(..) => Err(WrongKind),
            FlightStage::Sent(delivery) if delivery.qos != QoS::ExactlyOnce => {
                if sent {
                    Err(WrongKind)
                } else {
                    Ok(Release::Unknown)
                }
            }
            FlightStage::Sent(delivery) => {
                let (group, mid) = (delivery.group, delivery.mid());
                let released = FlightStage::Released { group, mid, lost: false };
                match std::mem::replace(&mut flight.state, released) {
                    FlightStage::Sent(delivery) => Ok(Release::First(delivery)),
                    FlightStage::Released { .. } | FlightStage::GivenAway(..) => Ok(Release::Again),
                }
            }
        }
    }

    /// Releases a `QoS` 2 message that cannot be sent again: the client may have it, and its identifier
    /// must not stay in use. Returns it.
    pub fn give_up(&mut self, packet_id: PacketId) -> Option<Delivery> {
        let index = self.position(packet_id)?;
        let flight = &mut self.flights[index];
        let FlightStage::Sent(delivery) = &flight.state else { return None };
        let released = FlightStage::Released { group: delivery.group, mid: None, lost: true };
        self.counted -= u16::from(std::mem::take(&mut flight.counted));
        match std::mem::replace(&mut flight.state, released) {
            FlightStage::Sent(delivery) => Some(delivery),
            FlightStage::Released { .. } | FlightStage::GivenAway(..) => None,
        }
    }

    /// The group, and its lane, of a `QoS` 1 message that was sent on this connection and is not answered.
    pub fn unanswered(&self, packet_id: PacketId) -> Option<(GroupId, Lane)> {
        let index = self.position(packet_id).filter(|index| *index < self.sent())?;
        match &self.flights[index].state {
            FlightStage::Sent(delivery) if delivery.qos == QoS::AtLeastOnce => {
                delivery.group.map(|group| (group, delivery.lane))
            }
            _ => None,
        }
    }

    /// What was sent last.
    pub fn newest(&self) -> Option<PacketId> {
        self.flights.back().map(|flight| flight.packet_id)
    }

    /// The queue has the message back. Its identifier stays in use.
    pub fn give_away(&mut self, packet_id: PacketId) -> Option<Delivery> {
        let (queue, _) = self.unanswered(packet_id)?;
        let index = self.position(packet_id)?;
        let state = &mut self.flights[index].state;
        let FlightStage::Sent(delivery) = state else { return None };
        let given = FlightStage::GivenAway(MessageMark::of(&delivery.message), queue);
        match std::mem::replace(state, given) {
            FlightStage::Sent(delivery) => Some(delivery),
            FlightStage::Released { .. } | FlightStage::GivenAway(..) => None,
        }
    }

    /// A window of what was in flight when the broker stopped, in order: all of it awaits its resend.
    pub fn restore(flights: Vec<(PacketId, FlightStage)>) -> Window {
        let last_id = flights.last().map_or(0, |(packet_id, _)| packet_id.get());
        let flight = |(packet_id, state)| Flight { packet_id, state, counted: false };
        let flights = flights.into_iter().map(flight).collect();
        Window { flights, last_id, ..Window::default() }
    }

    /// A new connection: everything in flight awaits its resend.
    pub fn reconnect(&mut self) {
        self.counted = 0;
        self.resent = 0;
        for flight in &mut self.flights {
            flight.counted = false;
        }
    }

    /// The next flight to send again, in order, if `max` leaves a slot for it; a PUBREL needs none.
    pub fn resend(&mut self, max: u16) -> Option<&Flight> {
        let flight = self.flights.get_mut(usize::from(self.resent))?;
        if let FlightStage::Sent(_) = flight.state {
            if self.counted >= max {
                return None;
            }
            flight.counted = true;
            self.counted += 1;
        }
        self.resent += 1;
        Some(flight)
    }

    /// Whether flights still await their resend.
    pub fn resending(&self) -> bool {
        self.sent() < self.flights.len()
    }

    /// How many flights still await their resend.
    pub fn awaiting_resend(&self) -> usize {
        self.flights.len() - self.sent()
    }

    /// Takes out the `QoS` 1 messages that came from a group and for which `take` returns something, in order;
    /// it is told whether the message was sent on this connection. Afterwards all flights await their resend.
    pub fn take_shared<T>(
        &mut self,
        mut take: impl FnMut(GroupId, bool) -> Option<T>,
    ) -> Vec<(PacketId, Delivery, T)> {
        let mut taken = Vec::new();
        let sent = self.sent();
        let flights = std::mem::take(&mut self.flights);
        for (index, flight) in flights.into_iter().enumerate() {
            let what = match &flight.state {
                FlightStage::Sent(delivery) if delivery.qos == QoS::AtLeastOnce => {
                    delivery.group.and_then(|group| take(group, index < sent))
                }
                _ => None,
            };
            match (what, flight.state) {
                (Some(what), FlightStage::Sent(delivery)) => {
                    taken.push((flight.packet_id, delivery, what));
                }
                (_, FlightStage::GivenAway(..)) => {}
                (_, state) => self.flights.push_back(Flight { state, ..flight }),
            }
        }
        self.reconnect();
        taken
    }

    /// What is in flight, in order.
    pub fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    fn sent(&self) -> usize {
        self.resent.into()
    }

    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.flights.iter().position(|flight| flight.packet_id == packet_id)
    }

    /// Counts the free identifiers behind the last one, so that the next ones are given without a
    /// search.
    fn look_ahead(&mut self) {
        let ahead = |flight: &Flight| flight.packet_id.get().wrapping_sub(self.last_id);
        let nearest = self.flights.iter().map(ahead).map(|ahead| ahead.wrapping_sub(1)).min();
        self.free_ahead = nearest.unwrap_or(u16::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Properties;
    use crate::message::{ClientId, Draft, Identity, Lane, Meter, SubscriptionIds};
    use crate::time::Time;
    use crate::topic::TopicName;

    fn delivery(qos: QoS, group: Option<GroupId>) -> Delivery {
        let publisher = Identity::new(ClientId::new("p"), None, Meter::forever());
        let draft = Draft {
            topic: TopicName::trusted("t"),
            qos,
            retain: false,
            expiry: None,
            properties: Properties::EMPTY,
            payload: b"",
        };
        let message = draft.into_message(&publisher, Time::START);
        let ids = SubscriptionIds::default();
        Delivery { message, qos, retain: false, ids, group, lane: Lane::NONE, stored: false }
    }

    fn admit(window: &mut Window, delivery: Delivery) -> PacketId {
        let packet_id = window.next_id();
        window.admit(packet_id, delivery);
        packet_id
    }

    #[test]
    fn identifiers_are_free_and_never_zero_across_the_wrap() {
        let mut window = Window::default();
        let first = admit(&mut window, delivery(QoS::AtLeastOnce, None));
        for _ in 0..70_000 {
            let id = admit(&mut window, delivery(QoS::AtLeastOnce, None));
            assert_ne!(id, first);
            assert!(window.finish(id, QoS::AtLeastOnce, false).unwrap().is_some());
        }
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn an_answer_of_the_wrong_kind_completes_nothing() {
        let mut window = Window::default();
        let one = admit(&mut window, delivery(QoS::AtLeastOnce, None));
        let two = admit(&mut window, delivery(QoS::ExactlyOnce, None));
        for (qos, released) in [(QoS::ExactlyOnce, false), (QoS::ExactlyOnce, true)] {
            assert!(window.finish(one, qos, released).is_err());
        }
        assert!(window.release(one).is_err());
        assert!(window.finish(two, QoS::AtLeastOnce, false).is_err());
        assert!(window.finish(two, QoS::ExactlyOnce, true).is_err());
        assert!(matches!(window.release(two), Ok(Release::First(_))));
        assert!(matches!(window.release(two), Ok(Release::Again)));
        assert!(window.finish(two, QoS::AtLeastOnce, false).is_err());
        assert!(window.finish(two, QoS::ExactlyOnce, false).is_err());
        assert!(window.finish(two, QoS::ExactlyOnce, true).unwrap().is_some());
        assert!(window.finish(one, QoS::AtLeastOnce, false).unwrap().is_some());
        assert!(window.is_empty());
    }

    /// Both ends may have heard different things when a connection breaks: what the client then says of
    /// what was not sent again yet is no error.
    #[test]
    fn an_answer_of_any_kind_to_what_awaits_its_resend_is_no_error() {
        let mut window = Window::default();
        let one = admit(&mut window, delivery(QoS::AtLeastOnce, None));
        let two = admit(&mut window, delivery(QoS::ExactlyOnce, None));
        let released = admit(&mut window, delivery(QoS::ExactlyOnce, None));
        assert!(matches!(window.release(released), Ok(Release::First(_))));
        window.reconnect();
        for id in [one, two, released] {
            for (qos, after) in
                [(QoS::AtLeastOnce, false), (QoS::ExactlyOnce, false), (QoS::ExactlyOnce, true)]
            {
                assert!(window.finish(id, qos, after).unwrap().is_none());
            }
        }
        assert!(matches!(window.release(one), Ok(Release::Unknown)));
        assert!(matches!(window.release(two), Ok(Release::First(_))), "the client had it");
        while window.resend(10).is_some() {}
        assert!(window.finish(one, QoS::AtLeastOnce, false).unwrap().is_some());
        for id in [two, released] {
            assert!(window.finish(id, QoS::ExactlyOnce, true).unwrap().is_some());
        }
        assert!(window.is_empty());
    }

    #[test]
    fn a_resend_stops_at_the_new_maximum_and_holds_newer_messages_back() {
        let mut window = Window::default();
        let ids: Vec<_> =
            (0..3).map(|_| admit(&mut window, delivery(QoS::AtLeastOnce, None))).collect();
        window.reconnect();
        assert_eq!(window.free(10), 0);
        assert_eq!(window.resend(2).unwrap().packet_id, ids[0]);
        assert_eq!(window.resend(2).unwrap().packet_id, ids[1]);
        assert!(window.resend(2).is_none());
        let finish = |window: &mut Window, id| window.finish(id, QoS::AtLeastOnce, false).unwrap();
        assert!(finish(&mut window, ids[2]).is_none(), "not sent here yet");
        assert!(finish(&mut window, ids[0]).is_some());
        assert_eq!(window.resend(2).unwrap().packet_id, ids[2]);
        assert!(!window.resending());
        assert_eq!(window.free(2), 0);
        assert!(finish(&mut window, ids[1]).is_some());
        assert_eq!(window.free(2), 1);
    }

    #[test]
    fn a_resent_pubrel_takes_no_slot() {
        let mut window = Window::default();
        let two = admit(&mut window, delivery(QoS::ExactlyOnce, None));
        assert!(matches!(window.release(two), Ok(Release::First(_))));
        let one = admit(&mut window, delivery(QoS::AtLeastOnce, None));
        window.reconnect();
        assert_eq!(window.resend(1).unwrap().packet_id, two);
        assert_eq!(window.resend(1).unwrap().packet_id, one);
        assert!(window.finish(two, QoS::ExactlyOnce, true).unwrap().is_some());
        assert_eq!(window.free(1), 0);
    }

    #[test]
    fn shared_qos1_goes_back_and_qos2_stays() {
        let mut window = Window::default();
        admit(&mut window, delivery(QoS::AtLeastOnce, Some(GroupId::new(7))));
        admit(&mut window, delivery(QoS::ExactlyOnce, Some(GroupId::new(7))));
        admit(&mut window, delivery(QoS::AtLeastOnce, None));
        assert_eq!(window.take_shared(|_, _| Some(())).len(), 1);
        assert_eq!(window.len(), 2);
        assert!(window.resending());
    }

    #[test]
    fn an_identifier_is_free_and_the_next_one_that_is() {
        let mut random = 7u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let mut window = Window::default();
        let mut used: Vec<PacketId> = Vec::new();
        let mut last = 0u16;
        for _ in 0..300_000 {
            if used.len() < 40 && draw(2) == 0 {
                // The naive twin: count up, and look at all that are in use.
                let expected = loop {
                    last = last.wrapping_add(1);
                    match PacketId::new(last) {
                        Some(id) if !used.contains(&id) => break id,
                        _ => {}
                    }
                };
                assert_eq!(admit(&mut window, delivery(QoS::AtLeastOnce, None)), expected);
                used.push(expected);
            } else if used.len() > 2 {
                // The oldest two stay, in the way of those that come round again.
                let id = used.remove(2 + draw(used.len() as u64 - 2) as usize);
                assert!(window.finish(id, QoS::AtLeastOnce, false).unwrap().is_some());
            }
        }
        assert!(last > 0 && used.len() >= 2);
    }
}
