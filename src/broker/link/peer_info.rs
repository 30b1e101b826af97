//! A peer that has said nothing yet.

use std::sync::Arc;

use crate::broker::ListenerId;
use crate::broker::ports::Voucher;
use crate::codec::Reason;
use crate::message::Grounds;

/// What is known of the peer before it says anything.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// Its address, for logs.
    pub address: String,
    /// The listener that accepted it; none of a client in this process.
    pub listener: Option<ListenerId>,
    /// Clients without a user name are let in.
    pub anonymous: bool,
    /// Identity from a verified client certificate; behind a unix socket, the user that the system says.
    pub certificate: Option<String>,
    /// Vouches for its certificate, where that may be revoked.
    pub voucher: Option<Arc<dyn Voucher>>,
    /// What binds an authentication to its TLS channel.
    pub binding: Option<Box<[u8; 32]>>,
    /// Random: an assigned Client Identifier is made of it.
    pub nonce: u128,
    /// The listener has no place for it: its CONNECT is refused with this.
    pub refuse: Option<Reason>,
    /// Why, for the log.
    pub grounds: Option<Grounds>,
}
