//! A client of the simulation: what it remembers, and its end of a connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use sluicemq::broker::Link;
use sluicemq::codec::{self, Packet, QoS, Reason, Version};
use sluicemq::message::SessionId;

use super::check::{Once, Order, Turns, Window};

/// What a client remembers from one connection to the next, and what it has seen.
#[derive(Debug, Default)]
pub struct Client {
    pub name: String,
    /// Its connection, by number.
    pub conn: Option<usize>,
    /// The number of the Session its memory belongs to.
    pub session: Option<SessionId>,
    /// Its own messages above `QoS` 0, not yet completed, in the order of their first sending.
    pub out: Vec<Outgoing>,
    /// Identifiers of `QoS` 2 messages it has and has not seen released.
    pub unreleased: BTreeSet<u16>,
    pub last_id: u16,
    pub order: Order,
    pub once: Once,
    /// Numbers of the messages above `QoS` 0 that this Session brought.
    pub seen: BTreeSet<u64>,
    /// How often messages came that come once for each key, or to a reader of the log, at `QoS` 2.
    pub times: BTreeMap<u64, u32>,
    /// Its SUBSCRIBEs to the log.
    pub reads: u32,
    /// What it sends now and then again, and its key finds; it is not of its Session.
    pub repeated: Vec<Outgoing>,
    /// Messages above `QoS` 0 that came, whatever number they had.
    pub got: BTreeSet<u64>,
    /// The last message there was when its Subscriptions to everything were acknowledged.
    pub since: Option<u64>,
    /// Answers with an error: in the ledger though seen.
    pub refused: u64,
}

#[derive(Clone, Debug)]
pub struct Outgoing {
    pub packet_id: u16,
    pub message: u64,
    pub number: u64,
    pub topic: usize,
    pub qos: QoS,
    pub retain: bool,
    pub released: bool,
    pub size: usize,
    /// The span that it is delayed for, if it is.
    pub delay: Option<&'static str>,
}

/// What a client still has to say.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Ack(u16, Reason),
    Rec(u16, Reason),
    Rel(u16),
    Comp(u16),
}

/// One connection: the link, what is on the way to it and from it, and what is expected of it.
pub struct Conn {
    pub client: usize,
    pub link: Link,
    pub version: Version,
    pub flag: Arc<Flag>,
    /// Sent by the client, not yet arrived.
    pub transit: Vec<u8>,
    /// Arrived and not consumed.
    pub arrived: Vec<u8>,
    /// Sent by the broker, not yet read by the client.
    pub wire: Vec<u8>,
    /// Read by the client, not yet a whole packet.
    pub partial: Vec<u8>,
    pub read: bool,
    pub unread: bool,
    pub busy: bool,
    /// The link is closed.
    pub over: bool,
    /// The client has left: behind what is on the way the stream ends.
    pub left: bool,
    /// The client has opened another one and does not look at this one any more.
    pub abandoned: bool,
    /// The broker has seen the end of the stream while the link was held up.
    pub gone: bool,
    /// It takes nothing from the wire.
    pub stalled: bool,
    /// It says nothing more.
    pub mute: bool,
    pub ready: bool,
    pub replies: VecDeque<Reply>,
    pub aliases: BTreeMap<u16, String>,
    pub watch: Watch,
}

/// What is known at the link's door about a connection.
pub struct Watch {
    pub expiry: u32,
    pub packet_max: usize,
    pub window: Window,
    pub turns: Turns,
    pub greeted: bool,
    /// Number of the Session, as of CONNACK.
    pub session: Option<SessionId>,
    pub subscribes: BTreeMap<u16, Vec<(String, u8)>>,
    pub unsubscribes: BTreeMap<u16, Vec<String>>,
    pub goodbye: bool,
    /// DISCONNECT has come.
    pub said_goodbye: bool,
    /// Its end is known.
    pub parted: bool,
    /// It has asked for the log before CONNACK.
    pub reads: bool,
    /// Topics by alias, as they left.
    pub aliases: BTreeMap<u16, String>,
    pub pings: Pings,
}

/// Pings of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pings {
    pub sent: u32,
    pub consumed: u32,
    pub answered: u32,
}

/// Set by a wake: the connection is to be looked at.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.raise();
    }
}

impl Client {
    /// Another Session begins: what belonged to the old one is forgotten.
    pub fn forget(&mut self) {
        self.out.clear();
        self.unreleased.clear();
        self.order = Order::default();
        self.once = Once::default();
        self.seen.clear();
        self.times.clear();
        self.got.clear();
        self.since = None;
        self.refused = 0;
    }

    /// A Packet Identifier that is free.
    pub fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % 300 + 1;
            let taken = self.out.iter().any(|out| out.packet_id == self.last_id);
            if !taken {
                return self.last_id;
            }
        }
    }
}

impl Watch {
    /// No SUBSCRIBE and no UNSUBSCRIBE waits for its answer.
    pub fn asks_nothing_more(&self) -> bool {
        self.subscribes.is_empty() && self.unsubscribes.is_empty()
    }
}

impl Conn {
    pub fn send(&mut self, packet: &Packet<'_>) {
        if self.left || self.mute || self.over {
            return;
        }
        self.watch.pings.sent += u32::from(matches!(packet, Packet::PingReq));
        codec::encode(packet, self.version, usize::MAX, &mut self.transit).expect("no limit");
    }

    /// The client looks at it and may use it.
    pub fn usable(&self) -> bool {
        self.ready && !self.left && !self.abandoned && !self.mute && !self.over
    }
}
