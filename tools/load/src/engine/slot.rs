//! One client of a thread, with what belongs to its connection.

use super::publishing::Sender;
use super::socket::Socket;
use crate::client::Client;
use crate::measure::Evenness;
use crate::verify::Receiver;

/// One client and its connection. Most of a run's memory is made of these: an idle one owns
/// nothing beyond it.
pub struct Slot {
    /// Number of the client over all groups.
    pub number: u32,
    /// Its group.
    pub group: u16,
    /// Where its connection is.
    pub life: Life,
    /// It has sent something since it was last looked at for its Keep Alive.
    pub spoke: bool,
    /// It does not read.
    pub stalled: bool,
    /// It stands among those that may publish.
    pub queued: bool,
    /// Filters that were subscribed to.
    pub subscribed: u32,
    /// Filters in the SUBSCRIBE that is not answered yet.
    pub asked: u16,
    pub(super) client: Client,
    pub(super) socket: Option<Socket>,
    /// When it began to connect.
    pub opened_ns: u64,
    /// Part of a packet that was read.
    pub(super) partial: Vec<u8>,
    /// What the socket did not take.
    pub(super) backlog: Vec<u8>,
    pub(super) receiver: Receiver,
    pub(super) sender: Option<Box<Sender>>,
    pub(super) evenness: Option<Box<Evenness>>,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// None.
    Apart,
    /// It is being made.
    Dialing,
    /// CONNECT was sent.
    Asking,
    /// CONNACK came, subscriptions are being made.
    Subscribing,
    /// All is done.
    Ready,
}
