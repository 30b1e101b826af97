//! A Session without a connection, and what a claim on a Session comes to.

use std::net::IpAddr;
use std::sync::Arc;

use super::mailbox::Mailbox;
use super::ports::Receipt;
use crate::message::{ClientId, Grounds, Holdings, Identity, SessionId, Total};
use crate::session::{Session, WillMessage};
use crate::time::Time;

/// A Session without a connection.
#[derive(Debug)]
pub struct Parked {
    /// Its number.
    pub id: SessionId,
    /// Itself.
    pub session: Session,
    /// Still in the tree.
    pub mailbox: Arc<Mailbox>,
    /// When its Will is to be published; [`Time::NEVER`] if it has none.
    pub will_due: Time,
    /// When it ends; [`Time::NEVER`] if it does not.
    pub expires: Time,
    /// Of the last batch with anything of this Session in it: promises of its next connection
    /// wait for it.
    pub newest: Option<Receipt>,
    /// What of it is in flight, counted for its owner as what waits.
    pub in_flight: InFlight,
}

/// Bytes in flight of a Session without connection, counted for its owner until it has one or ends.
#[derive(Debug, Default)]
pub struct InFlight {
    counted: Option<(Arc<Holdings>, u64)>,
}

impl InFlight {
    /// What is in flight of `session`.
    pub(super) fn of(session: &Session) -> InFlight {
        let bytes = session.in_flight_bytes();
        let holdings = session.identity().holdings().filter(|_| bytes > 0);
        let counted = holdings.map(|holdings| {
            holdings.change(Total::WaitingBytes, 0, bytes);
            (holdings.clone(), bytes)
        });
        InFlight { counted }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some((holdings, bytes)) = self.counted.take() {
            holdings.change(Total::WaitingBytes, bytes, 0);
        }
    }
}

impl Parked {
    /// When the first of these is due.
    pub(super) fn deadline(&self) -> Time {
        self.will_due.min(self.expires)
    }
}

/// A connection that claims a Session.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// Client Identifier of the Session that it claims.
    pub client_id: &'a ClientId,
    /// Its user.
    pub user_name: Option<&'a str>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// It asks for a Clean Start.
    pub clean: bool,
    /// The number that it was told to come again with, if it was.
    pub number: Option<u64>,
}

/// A claim is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// Its number.
    pub number: u64,
    /// Takeovers of this Session are braked.
    pub braked: bool,
}

/// A claim is not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contest {
    /// The Session belongs to another user, and lasts.
    OtherUser,
    /// The Session belongs to another user that is still connected: it may end with its connection.
    OtherUserConnected(u64),
    /// The Session was taken over too often; when the next takeover may be, and where the connection that has
    /// it came from.
    Braked(u64, Time, Option<IpAddr>),
    /// It was taken over far too often: no takeover is carried out for a while.
    Barred(Option<IpAddr>),
    /// A newer claim has come.
    Overtaken,
}

/// How a claim stands.
#[derive(Debug)]
pub enum Claim {
    /// The attached link has not given the Session up yet.
    Pending,
    /// A newer claimant has come.
    Overtaken,
    /// The broker holds as many Sessions as it may, or the claimant's owner does.
    Full(Grounds),
    /// There was none: it is yours to make, under this number. Another one is to be ended to make room.
    New(SessionId, Option<Box<Parked>>),
    /// Here it is; `clean`: it was asked to be discarded.
    Resumed {
        /// The Session.
        parked: Box<Parked>,
        /// This or an overtaken claim asked for a Clean Start.
        clean: bool,
    },
    /// One of an anonymous or unverified user, and the claimant is verified: it is to be ended.
    Unverified(Box<Parked>),
}

/// How it stands with a Session that another node wants.
#[derive(Debug)]
pub enum ToLeave {
    /// The attached link has not given it up yet.
    Pending,
    /// A newer claimant has come here.
    Overtaken,
    /// There is none.
    Nowhere,
    /// Here it is; its place is held until [`Registry::release`] or [`Registry::park`].
    ///
    /// [`Registry::release`]: super::registry::Registry::release
    /// [`Registry::park`]: super::registry::Registry::park
    Here(Box<Parked>),
}

/// What became due of a parked Session.
#[derive(Debug)]
pub enum Due {
    /// Its Will; the Session stays parked.
    Will(SessionId, Arc<Identity>, Arc<WillMessage>),
    /// Its end.
    End(Box<Parked>),
}
