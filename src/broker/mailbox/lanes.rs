//! The lanes of a group: what waits is parted into lanes, each has at most one owner among the connected
//! members, and only its owner takes from it. Where the owner changes, the lane moves when nothing of it is in
//! flight with the member before: so what is of one lane keeps its order.

use std::collections::BTreeMap;

use crate::config::{LaneKey, Sharing, Strategy};
use crate::message::{ClientId, LANES_MAX, Lane, Message, SessionId};
use crate::topic::{TextHash, TopicName, spread};

/// The owners of the lanes of one group, and what of them is in flight.
#[derive(Debug)]
pub(super) struct Lanes {
    strategy: Strategy,
    key: LaneKey,
    hash: TextHash,
    /// What has failed holds up what comes after it in its lane.
    blocks: bool,
    era: u16,
    /// The place of each lane's owner among the connected members, or [`FREE`]; empty without members.
    owners: Vec<u16>,
    /// Lanes of which something is in flight.
    flying: BTreeMap<u16, LaneFlights>,
}

/// A member that is connected.
#[derive(Debug)]
pub(super) struct ConnectedMember {
    pub session: SessionId,
    pub client_id: ClientId,
    /// What it could take when it looked last, where members take turns.
    pub room: MemberRoom,
}

/// What a member could take when it looked last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum MemberRoom {
    /// Nothing: its socket is full, it is held up, or it has not looked yet.
    #[default]
    Nothing,
    /// Its window is full.
    Qos0,
    /// Anything.
    All,
}

/// What of one lane is in flight.
#[derive(Debug)]
struct LaneFlights {
    count: u32,
    /// The Session that has it.
    holder: SessionId,
    /// Nothing more may be, not even to that Session: it is a copy that has failed before.
    alone: bool,
}

/// A lane without owner. Members beyond as many own nothing.
const FREE: u16 = u16::MAX;

impl Lanes {
    /// The lanes of `members`, none of which has anything in flight.
    pub fn new(sharing: &Sharing, hash: &TextHash, era: u16, members: &[ConnectedMember]) -> Lanes {
        let mut lanes = Lanes {
            strategy: sharing.strategy(),
            key: sharing.key().clone(),
            hash: hash.clone(),
            blocks: sharing.blocks(),
            era,
            owners: Vec::new(),
            flying: BTreeMap::new(),
        };
        (1..=members.len()).for_each(|count| lanes.came(&members[..count]));
        lanes
    }

    /// The last of `members` has come.
    pub fn came(&mut self, members: &[ConnectedMember]) {
        let Some(place) = members.len().checked_sub(1).and_then(place_of) else { return };
        if self.owners.is_empty() {
            self.owners = vec![FREE; usize::from(self.count())];
        }
        for number in 0..self.count() {
            let owner = self.owners[usize::from(number)];
            let takes = match self.strategy {
                Strategy::Hash => {
                    let weight = |place: u16| self.weight(number, &members[usize::from(place)]);
                    owner == FREE || weight(place) > weight(owner)
                }
                Strategy::SingleActive => owner == FREE,
                // A lane is given to a member when something is in it.
                _ => false,
            };
            if takes {
                self.owners[usize::from(number)] = place;
            }
        }
    }

    /// The member at `place` has left `members`.
    pub fn left(&mut self, place: usize, members: &[ConnectedMember]) {
        let Some(place) = place_of(place) else { return };
        if members.is_empty() {
            self.owners = Vec::new();
            return;
        }
        for number in 0..self.count() {
            let owner = &mut self.owners[usize::from(number)];
            if *owner == place {
                *owner = FREE;
                let next = match self.strategy {
                    Strategy::Hash => self.heaviest(number, members),
                    Strategy::SingleActive => 0,
                    _ => FREE,
                };
                self.owners[usize::from(number)] = next;
            } else if *owner != FREE && *owner > place {
                *owner -= 1;
            }
        }
    }

    /// The place of the owner of a lane in which something waits: a lane without owner is given to the member
    /// with the fewest. `None` without members.
    pub fn owner(&mut self, number: u16, members: &[ConnectedMember]) -> Option<usize> {
        let owner = *self.owners.get(usize::from(number))?;
        if owner != FREE {
            return Some(owner.into());
        }
        let (owner, _) =
            self.owned(members.len()).into_iter().enumerate().min_by_key(|(_, n)| *n)?;
        self.owners[usize::from(number)] = place_of(owner)?;
        Some(owner)
    }

    /// How many lanes each of so many members owns.
    pub fn owned(&self, members: usize) -> Vec<u16> {
        let mut owned = vec![0; members.min(FREE.into())];
        for owner in &self.owners {
            if let Some(owned) = owned.get_mut(usize::from(*owner)) {
                *owned += 1;
            }
        }
        owned
    }

    /// Whether this Session, the member at `place`, may take from a lane now.
    pub fn lets(&self, number: u16, place: usize, session: SessionId) -> bool {
        let fits = |flights: &LaneFlights| flights.holder == session && !flights.alone;
        self.owns(number, place) && self.flying.get(&number).is_none_or(fits)
    }

    /// The same of a copy that has failed, where that holds up the lane: nothing of it may be in flight.
    pub fn lets_try(&self, number: u16, place: usize) -> bool {
        self.owns(number, place) && !self.flying.contains_key(&number)
    }

    /// A copy that has failed holds up what comes after it in its lane.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// What is in flight of a lane is alone there, since it has failed before.
    pub fn flies_alone(&self, number: u16) -> bool {
        self.flying.get(&number).is_some_and(|flights| flights.alone)
    }

    /// The Session that something of a lane is in flight to.
    pub fn holder(&self, number: u16) -> Option<SessionId> {
        self.flying.get(&number).map(|flights| flights.holder)
    }

    /// A Session has taken a copy that is in flight from now on; returns what it knows its lane by.
    pub fn fly(&mut self, number: u16, holder: SessionId) -> Lane {
        let flights = LaneFlights { count: 0, holder, alone: false };
        self.flying.entry(number).or_insert(flights).count += 1;
        Lane::new(number, self.era)
    }

    /// The same of a copy that may have failed before: then nothing more of its lane may be in flight.
    pub fn fly_again(&mut self, message: &Message, holder: SessionId) -> Lane {
        let number = self.number_of(message);
        let lane = self.fly(number, holder);
        if self.blocks && message.attempts > 0 {
            self.flying.entry(number).and_modify(|flights| flights.alone = true);
        }
        lane
    }

    /// A copy is not in flight any more. Returns the number of its lane if that was the last.
    pub fn land(&mut self, lane: Lane) -> Option<u16> {
        let number = lane.of_era(self.era)?;
        let flights = self.flying.get_mut(&number)?;
        flights.count -= 1;
        if flights.count > 0 {
            return None;
        }
        self.flying.remove(&number);
        Some(number)
    }

    /// The number of the lane of a message.
    pub fn number_of(&self, message: &Message) -> u16 {
        if self.strategy == Strategy::SingleActive {
            return 0;
        }
        let key = match &self.key {
            LaneKey::Topic => message.topic().as_str(),
            LaneKey::Publisher => message.user_name().unwrap_or(message.publisher()),
            LaneKey::Property(name) => {
                let all = message.properties().user_properties();
                all.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
            }
        };
        self.number_of_key(key)
    }

    fn number_of_key(&self, key: &str) -> u16 {
        (self.hash.of(key.as_bytes()) % u64::from(LANES_MAX)) as u16
    }

    /// The place of the member that owns the lane of a topic, if one does; `None`: the topic alone does not say it.
    pub fn owner_by_topic(&self, topic: TopicName<'_>) -> Option<Option<usize>> {
        let number = match (self.strategy, &self.key) {
            (Strategy::SingleActive, _) => 0,
            (_, LaneKey::Topic) => self.number_of_key(topic.as_str()),
            _ => return None,
        };
        let owner = self.owners.get(usize::from(number)).filter(|owner| **owner != FREE);
        Some(owner.map(|owner| usize::from(*owner)))
    }

    /// The era that copies in flight know them by.
    pub fn era(&self) -> u16 {
        self.era
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        if self.strategy == Strategy::SingleActive { 1 } else { LANES_MAX }
    }

    fn owns(&self, number: u16, place: usize) -> bool {
        self.owners.get(usize::from(number)).is_some_and(|owner| usize::from(*owner) == place)
    }

    /// The member that a lane is for: rendezvous hashing.
    fn heaviest(&self, number: u16, members: &[ConnectedMember]) -> u16 {
        let places = members.iter().take(FREE.into()).enumerate();
        let heaviest = places.max_by_key(|(_, member)| self.weight(number, member));
        heaviest.and_then(|(place, _)| place_of(place)).unwrap_or(FREE)
    }

    fn weight(&self, number: u16, member: &ConnectedMember) -> u64 {
        let client = self.hash.of(member.client_id.as_str().as_bytes());
        spread(client ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

/// A place among the connected members, if one there owns lanes.
fn place_of(place: usize) -> Option<u16> {
    u16::try_from(place).ok().filter(|place| *place != FREE)
}
