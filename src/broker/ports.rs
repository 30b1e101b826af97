//! What the broker asks of the world: storage and authentication. Implemented on floor 4.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;

pub use super::fetch::{Fetch, Fetched, Fetcher};
use super::log_entry::{HandedIn, LogEntry};
pub use super::receipt::Receipt;
pub use super::store_answers::{Progress, Refused};
pub use super::store_figures::{StoreFigures, StoreTimes, Strain};
use crate::codec::{QoS, Reason};
use crate::config::NamedQueue;
use crate::message::{
    Attempt, ClientId, DelayKey, DelayedMessage, GroupId, KeyChange, LogMark, Message, MessageKey,
    Meter, Mid, OwnerName, ReceiverId, SessionHome, SessionId, SubscriptionIds,
};
use crate::session::{Op, WillMessage};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};

/// Where Sessions and messages are kept.
///
/// No call waits: what takes time is done elsewhere and wakes.
pub trait Store: Send + Sync {
    /// Whether anything is remembered at all: if not, no answer waits and no batch is made.
    fn remembers(&self) -> bool;

    /// Whether there is room in bounded memory for `bytes`: asked before anything else is changed.
    ///
    /// Nothing is reserved. A turn that was admitted hands in its batch at its end, so memory exceeds its mark by
    /// what the turns under way were admitted, one for each worker thread: 64 KiB and the rest of one packet, and
    /// the receivers of its messages.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn admit(&self, bytes: usize) -> Result<(), Refused>;

    /// Whether there is room again for callers that were refused: well below its marks, so that they
    /// are not refused again at once. If not, `waker` is woken once when that may have changed.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        let _ = waker;
        Ok(())
    }

    /// Queues a batch: atomic, in the order of calls. Cannot refuse: that was [`Store::admit`].
    fn submit(&self, batch: Batch) -> Receipt;

    /// How far the batch behind `receipt` has come; while it is pending, `waker` is woken once
    /// when that changes.
    fn state(&self, receipt: Receipt, waker: &Waker) -> Progress;

    /// Reads messages back, to be counted by `meter`: what they say waits in the store while their receivers are away.
    /// `waker` is woken when they are there. A store that gives no message a number is never asked.
    fn fetch(&self, want: Vec<Mid>, meter: &'static Meter, waker: &Waker) -> Fetch {
        let _ = (meter, waker);
        Fetch::ready(want.into_iter().map(|mid| (mid, None)).collect())
    }

    /// Reads delayed messages back, as [`Store::fetch`] does.
    fn fetch_delayed(
        &self,
        want: Vec<DelayKey>,
        meter: &'static Meter,
        waker: &Waker,
    ) -> Fetch<DelayKey, DelayedMessage> {
        let _ = (meter, waker);
        Fetch::ready(want.into_iter().map(|key| (key, None)).collect())
    }

    /// How it keeps up: asked ten times a second.
    fn strain(&self) -> Strain {
        Strain::default()
    }

    /// Whether it has the Will of Session `id` and can be asked for it with [`Store::will`], until more is submitted for it.
    fn keeps_will(&self, id: SessionId) -> bool {
        let _ = id;
        false
    }

    /// The Will of Session `id`. It may read the disk: one row.
    ///
    /// # Errors
    ///
    /// What is wrong, in words, if it is not there or cannot be read.
    fn will(&self, id: SessionId) -> Result<WillMessage, String> {
        Err(format!("the Will of session {id} is not in the store"))
    }

    /// Its figures; none for a store that keeps nothing to be counted.
    fn figures(&self) -> Option<StoreFigures> {
        None
    }

    /// How long it takes for what it does; none for a store that keeps nothing.
    fn times(&self) -> Option<StoreTimes> {
        None
    }

    /// Tells all that is remembered, once, at the start: all Sessions before what else they have, and
    /// [`Fact::Last`], [`Fact::Delayed`] and then [`Fact::Queued`] last. Messages that wait are told with the `mark` of
    /// their topics.
    ///
    /// # Errors
    ///
    /// What is wrong, in words, if something cannot be read.
    fn replay(
        &self,
        meter: &'static Meter,
        mark: &Marker<'_>,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        let _ = (meter, mark, visit);
        Ok(())
    }
}

/// One thing that a store remembers.
#[derive(Debug)]
pub enum Fact {
    /// What a Session has, as the Op that states it: first for each that it exists, which lasts longer
    /// than its connection. A Will may be of a Session that did not last. What is in flight comes in the
    /// order of sending.
    Session(SessionId, Op),
    /// A group of Shared Subscriptions.
    Group(GroupId, TopicFilter),
    /// A named queue that was made at run time.
    Queue(Box<NamedQueue>),
    /// A retained message.
    Retained(Message),
    /// A key of `[[dedup]]`, and the number of its rule.
    Key(u64, MessageKey),
    /// A copy that has failed, of a message that waits or is in flight.
    Attempt(Attempt, Message),
    /// How far this node has applied the log of its cluster.
    LogMark(LogMark),
    /// Which node of the cluster has the Session of a client.
    Home(ClientId, SessionHome),
    /// The highest numbers ever used: Sessions, groups.
    Last(SessionId, GroupId),
    /// A delayed message: its place, its owner, and the bytes that it is counted with.
    Delayed(DelayKey, OwnerName, usize),
    /// A message that waits, and its receivers; in the order of numbers. Some of the receivers may
    /// have it in flight.
    Queued(Queued),
}

/// What is kept of the topic of a message that waits in the store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    /// Its hash.
    pub hash: u64,
    /// The band of what is published to it now, as far as that is of no other property.
    pub band: u8,
}

/// Tells what is to be kept of a topic.
pub type Marker<'a> = dyn Fn(TopicName<'_>) -> Mark + 'a;

/// A message that waits in the store.
#[derive(Debug)]
pub struct Queued {
    /// Its number.
    pub mid: Mid,
    /// What is kept of its topic.
    pub mark: Mark,
    /// Bytes it holds in memory when it is read.
    pub bytes: usize,
    /// When the broker received it.
    pub received: Time,
    /// When it ends.
    pub expires: Time,
    /// The copies of receivers that are not done with it.
    pub copies: Vec<StoredCopy>,
}

/// One receiver's copy of a message in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredCopy {
    /// The Session or group.
    pub receiver: ReceiverId,
    /// The lower of published and granted; for a group, as published.
    pub qos: QoS,
    /// RETAIN flag to send.
    pub retain: bool,
    /// Subscription Identifiers to send.
    pub ids: SubscriptionIds,
    /// The band it waits in, below 4.
    pub band: u8,
}

/// What one turn of one client changes: atomic.
#[derive(Debug, Default)]
pub struct Batch {
    /// Facts of one Session each, in order.
    pub ops: Vec<(SessionId, Op)>,
    /// Messages with their lasting receivers, each message once.
    pub publishes: Vec<Publication>,
    /// Copies that came to their end.
    pub settled: Vec<(ReceiverId, Mid)>,
    /// Groups made or, with no filter, gone.
    pub groups: Vec<(GroupId, Option<TopicFilter>)>,
    /// Topics with a retained message that has expired, with their stamps as in
    /// [`Publication::retained`].
    pub forgotten: Vec<(Box<str>, u64)>,
    /// What most turns change nothing of.
    pub rare: Option<Box<RareFacts>>,
    /// No stamp of a retained message below this one is still to come in another batch.
    pub oldest: u64,
}

/// The part of a [`Batch`] that most turns have nothing of.
#[derive(Debug, Default)]
pub struct RareFacts {
    /// Copies that have failed and are to be tried again.
    pub attempts: Vec<Attempt>,
    /// Named queues, by name, made at run time or, with no definition, removed.
    pub queues: Vec<(String, Option<Box<NamedQueue>>)>,
    /// Delayed messages to be kept, or, with no message, gone.
    pub delayed: Vec<(DelayKey, Option<DelayedMessage>)>,
    /// Keys of `[[dedup]]` that are remembered, or not any more, in order.
    pub keys: Vec<KeyChange>,
    /// How far this node has applied the log of its cluster.
    pub log_mark: Option<LogMark>,
    /// Which node of the cluster has the Session of a client from now on, in order; `None`: there is none.
    pub homes: Vec<(ClientId, Option<SessionHome>)>,
    /// Messages for the log of the cluster: taken out before the store has the batch, and handed in after that.
    pub appends: Vec<(LogEntry, HandedIn)>,
    /// The receipt promises what was handed in before, even if the batch changes nothing itself.
    pub promises: bool,
}

impl Batch {
    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // One comparison: it is asked several times a turn, and mostly there is nothing.
        let rows = self.ops.len() | self.publishes.len() | self.settled.len();
        rows | self.groups.len() | self.forgotten.len() == 0 && self.rare.is_none()
    }

    /// Adds changes of keys, if there are any.
    pub fn add_keys(&mut self, mut keys: Vec<KeyChange>) {
        if !keys.is_empty() {
            self.rare().keys.append(&mut keys);
        }
    }

    /// To add something rare.
    pub fn rare(&mut self) -> &mut RareFacts {
        self.rare.get_or_insert_default()
    }
}

/// One message to be kept.
#[derive(Debug)]
pub struct Publication {
    /// The message.
    pub message: Message,
    /// Its lasting receivers.
    pub copies: Vec<StoredCopy>,
    /// It is now the retained message of its topic; an empty payload: there is none any more. The
    /// stamp says in which order: the highest holds, in whichever order they come to the store.
    pub retained: Option<u64>,
}

/// Decides which clients may connect.
pub trait Authenticator: Send + Sync {
    /// Looks at a CONNECT, or at a re-authentication.
    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep;

    /// Whether it would still let a client in that it has let in before: users are taken away.
    fn stands(&self, who: &Standing<'_>) -> bool {
        let _ = who;
        true
    }

    /// Whether it ever lets a client in under a user name. If not, a user name in the store was believed
    /// by another configuration, and belongs to no user under this one.
    fn checks_names(&self) -> bool {
        true
    }
}

/// What a CONNECT says of its sender.
#[derive(Clone, Copy, Debug)]
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
    /// What the listener is called; none of a client in this process.
    pub listener: Option<&'a str>,
    /// Where it comes from; none if that is no address of the Internet.
    pub address: Option<IpAddr>,
    /// What binds an authentication to this TLS channel (RFC 9266), if anything does.
    pub binding: Option<&'a [u8; 32]>,
    /// The present moment.
    pub now: Time,
}

/// Vouches for something of a connected client that may be taken back: its certificate.
pub trait Voucher: Send + Sync + std::fmt::Debug {
    /// Whether it still holds.
    fn stands(&self) -> bool;
}

/// A client that was let in under a user name before.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Its user.
    pub user_name: &'a str,
    /// Identity from its certificate.
    pub certificate: Option<&'a str>,
    /// What its listener is called.
    pub listener: Option<&'a str>,
    /// When what let it in ends, if that was said.
    pub expires: Option<Time>,
    /// See [`LoginDetails::is_lent`].
    pub is_lent: bool,
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
    /// Let in.
    Accept(Accepted),
    /// Refused, with the Reason Code of CONNACK.
    Refuse(Reason),
}

/// What is known of a client that is let in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    /// User name of the Session: one that was checked. The Session and rights go by it.
    pub user_name: Option<Arc<str>>,
    /// What else let it in, or says of it; of most clients nothing.
    pub details: Option<Box<LoginDetails>>,
}

/// What comes of a login beside the name of a user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoginDetails {
    /// Final Authentication Data for CONNACK.
    pub data: Option<Vec<u8>>,
    /// Groups that the client is in, as what let it in says.
    pub groups: Vec<Box<str>>,
    /// Names and values that what let it in says of it.
    pub claims: Vec<(Box<str>, Box<str>)>,
    /// When what let it in ends: then its connection ends, unless it has authenticated anew.
    pub expires: Option<Time>,
    /// A server has let it in, which cannot be looked up again as a file can.
    pub is_lent: bool,
}

impl Accepted {
    /// A client that is let in as this user, and nothing else is known of it.
    pub fn as_user(user_name: Option<&str>) -> Accepted {
        Accepted { user_name: user_name.map(Into::into), details: None }
    }

    /// Final Authentication Data for CONNACK, out of it.
    pub fn take_data(&mut self) -> Option<Vec<u8>> {
        self.details.as_mut()?.data.take()
    }

    /// When what let it in ends.
    pub fn expires(&self) -> Option<Time> {
        self.details.as_ref()?.expires
    }

    /// Whether a server has let it in.
    pub fn is_lent(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.is_lent)
    }

    /// A client that is let in as this user, and what else comes of its login.
    pub fn with(user_name: &str, details: LoginDetails) -> Accepted {
        Accepted { user_name: Some(user_name.into()), details: Some(Box::new(details)) }
    }
}

/// A decision that takes time: a slow check, or AUTH packets back and forth
/// `[MQTT5-4.12.0-2]`.
pub trait Exchange: Send {
    /// How it stands; while it is pending, `waker` is woken when that changes.
    fn poll(&mut self, waker: &Waker) -> ExchangeState;

    /// The client's AUTH: its data.
    fn answer(&mut self, data: Option<&[u8]>);

    /// Whether it waits for its turn in a bounded queue: the time until then is not the client's.
    fn is_queued(&self) -> bool {
        false
    }
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
