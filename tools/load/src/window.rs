//! What a publisher has sent at quality of service 1 or 2 and is not finished. Packet Identifiers
//! are given in turn, so that the place of a message is its identifier's distance from the first.

use std::collections::VecDeque;

use sluicemq::codec::PacketId;

/// What a publisher has in flight.
#[derive(Clone, Debug)]
pub struct Window {
    /// Identifier of the first place.
    first: u16,
    places: VecDeque<Place>,
    /// Places that are not finished.
    open: u32,
}

/// A message in flight: what is needed to make it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// One topic of one publisher.
    pub stream: u32,
    /// Number in the stream.
    pub sequence: u64,
    /// When it was due.
    pub due_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sent: Sent,
    state: State,
}

/// How far the handshake of a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// PUBLISH was sent.
    Published,
    /// PUBREC came, PUBREL was sent.
    Released,
    /// Over; waits for those before it.
    Finished,
}

impl Window {
    /// Nothing in flight.
    pub fn new() -> Window {
        Window { first: 1, places: VecDeque::new(), open: 0 }
    }

    /// Notes a message and gives it its identifier.
    ///
    /// # Panics
    ///
    /// If there is no [room](Window::has_room).
    #[inline]
    pub fn push(&mut self, sent: Sent) -> PacketId {
        assert!(self.has_room(), "every Packet Identifier is in use");
        let id = self.id(self.places.len());
        self.places.push_back(Place { sent, state: State::Published });
        self.open += 1;
        id
    }

    /// PUBACK or PUBCOMP came, or a refusal: gives back the message if it was in flight.
    #[inline]
    pub fn finish(&mut self, id: PacketId) -> Option<Sent> {
        let place = self.place(id)?;
        if self.places[place].state == State::Finished {
            return None;
        }
        self.places[place].state = State::Finished;
        let sent = self.places[place].sent;
        self.open -= 1;
        while self.places.front().is_some_and(|place| place.state == State::Finished) {
            self.places.pop_front();
            self.first = next(self.first);
        }
        Some(sent)
    }

    /// PUBREC came.
    #[inline]
    pub fn release(&mut self, id: PacketId) {
        if let Some(place) = self.place(id)
            && self.places[place].state == State::Published
        {
            self.places[place].state = State::Released;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.first = self.id(self.places.len()).get();
        self.places.clear();
        self.open = 0;
    }

    /// How many messages are not finished.
    #[inline]
    pub fn len(&self) -> u32 {
        self.open
    }

    /// Whether every message is finished.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether an identifier is free.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.places.len() < usize::from(u16::MAX)
    }

    /// What is not finished, in the order it was sent.
    pub fn unfinished(&self) -> impl Iterator<Item = (PacketId, Sent, State)> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.state != State::Finished)
            .map(|(at, place)| (self.id(at), place.sent, place.state))
    }

    #[inline]
    fn place(&self, id: PacketId) -> Option<usize> {
        let place = if id.get() >= self.first {
            usize::from(id.get() - self.first)
        } else {
            usize::from(id.get()) + usize::from(u16::MAX - self.first)
        };
        (place < self.places.len()).then_some(place)
    }

    #[inline]
    fn id(&self, place: usize) -> PacketId {
        let id = (usize::from(self.first) - 1 + place) % usize::from(u16::MAX) + 1;
        PacketId::new(id as u16).expect("one is added")
    }
}

impl Default for Window {
    fn default() -> Window {
        Window::new()
    }
}

fn next(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::mix;

    fn sent(sequence: u64) -> Sent {
        Sent { stream: 0, sequence, due_ns: sequence }
    }

    #[test]
    fn the_window_equals_a_map() {
        let mut window = Window::new();
        let mut twin = std::collections::BTreeMap::new();
        let mut number = 0;
        for turn in 0..300_000u64 {
            let chance = mix(turn);
            if !chance.is_multiple_of(3) && window.len() < 500 && window.has_room() {
                let id = window.push(sent(number));
                assert!(twin.insert(id, sent(number)).is_none(), "identifier {id} twice");
                number += 1;
            } else {
                let id = PacketId::new((chance >> 32) as u16 | 1).expect("odd");
                let near = twin.keys().nth((chance >> 20) as usize % 7).copied().unwrap_or(id);
                let id = if chance & 4 == 0 { id } else { near };
                assert_eq!(window.finish(id), twin.remove(&id));
            }
            assert_eq!(window.len() as usize, twin.len());
        }
        assert!(number > 70_000, "the identifiers went round");
        let left: Vec<u64> = window.unfinished().map(|(_, sent, _)| sent.sequence).collect();
        assert!(left.is_sorted());
        assert_eq!(left.len(), twin.len());
    }

    #[test]
    fn what_was_released_says_so() {
        let mut window = Window::new();
        let ids = [window.push(sent(0)), window.push(sent(1)), window.push(sent(2))];
        window.release(ids[1]);
        assert_eq!(window.finish(ids[0]), Some(sent(0)));
        assert_eq!(window.finish(ids[0]), None);
        let states: Vec<State> = window.unfinished().map(|(_, _, state)| state).collect();
        assert_eq!(states, [State::Released, State::Published]);
        window.clear();
        assert!(window.is_empty());
        assert_eq!(window.push(sent(3)).get(), 4);
    }
}
