//! What the broker asks of the world: storage and authentication. Implemented on floor 4.

use std::sync::Arc;
use std::task::Waker;

use crate::codec::Reason;
use crate::message::{Message, SessionId};
use crate::session::Op;

/// Where Sessions and messages are kept.
///
/// No call waits: what takes time is done elsewhere and wakes.
pub trait Store: Send + Sync {
    /// Whether anything is remembered at all: if not, nobody waits and no batch is made.
    fn remembers(&self) -> bool;

    /// Asks for room in bounded memory for `bytes`, before anything else is changed.
    fn admit(&self, bytes: usize) -> Result<Permit, Refused>;

    /// Queues a batch: atomic, in the order of calls. Cannot refuse: that was [`Store::admit`].
    fn submit(&self, permit: Permit, batch: Batch) -> Receipt;

    /// How far the batch behind `receipt` has come; while it is pending, `waker` is woken once
    /// when that changes.
    fn state(&self, receipt: Receipt, waker: &Waker) -> Durability;
}

/// Room in the store's memory.
#[derive(Debug, Default)]
#[must_use]
pub struct Permit {
    bytes: usize,
}

impl Permit {
    /// Room for `bytes`: for stores to make.
    pub fn new(bytes: usize) -> Permit {
        Permit { bytes }
    }

    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds another permit to this one.
    pub fn join(&mut self, other: Permit) {
        self.bytes += other.bytes;
    }
}

/// Why the store takes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// No room now; deliveries and deletions make some.
    Full,
    /// It has failed for good.
    Failed,
}

/// The store's own note of a batch. Only the store compares two of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt(pub u64);

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// Not yet on stable storage.
    Pending,
    /// On stable storage.
    Durable,
    /// It will never be.
    Failed,
}

/// What one turn of one client changes: atomic.
#[derive(Debug, Default)]
pub struct Batch {
    /// Facts of one Session each, in order.
    pub ops: Vec<(SessionId, Op)>,
    /// Messages with their lasting receivers, each message once.
    pub publishes: Vec<Publication>,
}

impl Batch {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.publishes.is_empty()
    }
}

/// One message to be kept.
#[derive(Debug)]
pub struct Publication {
    /// The message.
    pub message: Message,
    /// Sessions (and, with the top bit set, groups) that wait for it.
    pub receivers: Vec<u64>,
    /// It is now the retained message of its topic; an empty payload: there is none any more.
    pub retained: bool,
}

/// Who may come in.
pub trait Authenticator: Send + Sync {
    /// Looks at a CONNECT.
    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep;
}

/// What a CONNECT says of its sender.
#[derive(Debug)]
pub struct AuthRequest<'a> {
    /// Client Identifier; the assigned one if it came empty.
    pub client_id: &'a str,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Authentication Method and Data.
    pub method: Option<(&'a str, Option<&'a [u8]>)>,
    /// Identity from a verified client certificate.
    pub certificate: Option<&'a str>,
    /// The listener lets clients without a user name in.
    pub anonymous: bool,
}

/// What an [`Authenticator`] says.
pub enum AuthStep {
    /// Decided.
    Verdict(Verdict),
    /// To be decided in an exchange, or elsewhere.
    Exchange(Box<dyn Exchange>),
}

/// The decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Let in, as this user.
    Accept {
        /// User name of the Session.
        user_name: Option<Arc<str>>,
        /// Final Authentication Data for CONNACK.
        data: Option<Vec<u8>>,
    },
    /// Refused, with the Reason Code of CONNACK.
    Refuse(Reason),
}

/// A decision that takes time: a slow check, or AUTH packets back and forth
/// `[MQTT5-4.12.0-2]`.
pub trait Exchange: Send {
    /// How it stands; while it is pending, `waker` is woken when that changes.
    fn poll(&mut self, waker: &Waker) -> ExchangeState;

    /// The client's AUTH: its data.
    fn answer(&mut self, data: Option<&[u8]>);
}

/// How an [`Exchange`] stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExchangeState {
    /// Being worked on here.
    Pending,
    /// Send this to the client in an AUTH, once; then it is the client's turn.
    Challenge(Vec<u8>),
    /// The client's turn.
    Waiting,
    /// Decided.
    Verdict(Verdict),
}
