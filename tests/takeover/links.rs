//! Takeover on links, where the moments between a claim and its settlement can be had one by one.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::PermitAll;
use sluicemq::broker::ports::{Accepted, AuthRequest, AuthStep, Authenticator, Verdict};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{Connect, Disconnect, Packet, Reason, Version};
use sluicemq::config::Config;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

use crate::wire::{VERSIONS, connect, decoded, encoded};
use crate::wishes;

pub const START: Time = Time::from_secs(1_000_000);

/// It believes what a client says of its user.
pub struct Believes;

impl Authenticator for Believes {
    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep {
        AuthStep::Verdict(Verdict::Accept(Accepted::as_user(request.user_name)))
    }
}

pub fn broker() -> Broker {
    let ports = Ports {
        store: Arc::new(MemoryStore),
        authenticator: Arc::new(Believes),
        access: Arc::new(PermitAll),
    };
    Broker::new(&Config::default(), ports, 7, START)
}

pub struct Client {
    pub link: Link,
    version: Version,
    turn: Scratch,
    pub now: Time,
}

impl Client {
    /// Has sent CONNECT, and claimed the Session; what comes of it is seen at the next poll.
    pub fn claiming(broker: &Broker, connect: &Connect<'_>) -> Client {
        Client::claiming_at(broker, connect, START)
    }

    /// The same at another time.
    pub fn claiming_at(broker: &Broker, connect: &Connect<'_>, now: Time) -> Client {
        let peer = PeerInfo {
            address: "127.0.0.1:1".to_owned(),
            anonymous: true,
            nonce: 1,
            ..PeerInfo::default()
        };
        let link = Link::new(broker, peer, now);
        let mut client = Client { link, version: connect.version, turn: Scratch::default(), now };
        let bytes = encoded(&Packet::Connect(Box::new(connect.clone())), connect.version);
        assert_eq!(client.link.receive(&bytes, now, &mut client.turn), bytes.len());
        assert!(client.turn.out.is_empty());
        client
    }

    pub fn poll(&mut self) {
        self.link.poll(Waker::noop(), self.now, 0, &mut self.turn);
    }

    /// What it was told, once it has something; time goes on for it alone until `until`.
    pub fn waits(&mut self, until: Time) -> Option<Reason> {
        loop {
            self.poll();
            if let Some(told) = self.told() {
                return Some(told);
            }
            let next = self.link.deadline().filter(|next| *next <= until)?;
            assert!(next > self.now, "it is polled without end");
            self.now = next;
        }
    }

    /// The reason of the last packet that it was sent: CONNACK or DISCONNECT.
    pub fn told(&mut self) -> Option<Reason> {
        let (mut told, mut at) = (None, 0);
        while at < self.turn.out.len() {
            let end = at + usize::from(self.turn.out[at + 1]) + 2;
            told = Some(match decoded(&self.turn.out[at..end], self.version) {
                Packet::ConnAck(connack) => connack.reason,
                Packet::Disconnect(disconnect) => disconnect.reason,
                other => panic!("{other:?}"),
            });
            at = end;
        }
        self.turn.out.clear();
        told
    }

    /// DISCONNECT, and its end.
    pub fn says_goodbye(&mut self) {
        let bytes = encoded(&Packet::Disconnect(Disconnect::default()), self.version);
        self.link.receive(&bytes, self.now, &mut self.turn);
        assert!(self.link.is_closed());
    }

    /// The connection is lost.
    pub fn is_lost(&mut self) {
        self.link.hang_up(self.now, &mut self.turn);
    }

    /// Is in: CONNACK and nothing more has come.
    #[track_caller]
    pub fn is_in(&mut self) {
        self.poll();
        match decoded(&self.turn.out, self.version) {
            Packet::ConnAck(connack) => assert_eq!(connack.reason, Reason::Success),
            other => panic!("not CONNACK: {other:?}"),
        }
        assert_eq!(self.turn.out.len(), usize::from(self.turn.out[1]) + 2, "one packet");
        assert!(!self.link.is_closed());
    }

    /// Is told that its Session was taken over, on 3.1.1 by the close alone.
    #[track_caller]
    pub fn is_out(&mut self) {
        self.poll();
        assert!(self.link.is_closed());
        assert_eq!(self.turn.out.ends_with(&[0xE0, 2, 0x8E, 0]), self.version == Version::V5);
    }
}

fn each(check: impl Fn(&Broker, &Connect<'_>)) {
    for version in VERSIONS {
        for lasting in [false, true] {
            check(&broker(), &wishes(connect(version, "one"), lasting));
        }
    }
}

#[test]
fn the_old_client_may_leave_between_the_claim_and_its_settlement() {
    each(|broker, connect| {
        let mut old = Client::claiming(broker, connect);
        old.is_in();
        let mut new = Client::claiming(broker, connect);
        old.is_out();
        new.is_in();
    });
}

#[test]
fn of_two_claims_the_newer_one_is_in_whenever_the_old_client_leaves() {
    each(|broker, connect| {
        for leaves in 0..4 {
            let mut old = Client::claiming(broker, connect);
            old.is_in();
            let mut out = |now| {
                if leaves == now {
                    old.is_out();
                }
            };
            let mut two = Client::claiming(broker, connect);
            out(0);
            let mut three = Client::claiming(broker, connect);
            out(1);
            two.is_out();
            out(2);
            three.poll();
            out(3);
            three.is_in();
            three.link.hang_up(START, &mut three.turn);
        }
    });
}

#[test]
fn a_claimant_that_leaves_leaves_nothing_behind() {
    each(|broker, connect| {
        let mut old = Client::claiming(broker, connect);
        old.is_in();
        let mut gone = Client::claiming(broker, connect);
        gone.link.hang_up(START, &mut gone.turn);
        old.is_out();
        let mut new = Client::claiming(broker, connect);
        new.is_in();
        assert_eq!(broker.view().sessions.len(), 1);
    });
}

#[test]
fn a_session_may_end_between_the_claim_and_its_settlement() {
    each(|broker, connect| {
        let mut old = Client::claiming(broker, connect);
        old.is_in();
        old.link.hang_up(START, &mut old.turn);
        let mut new = Client::claiming(broker, connect);
        let late = START.after(Duration::from_secs(8 * 86_400));
        broker.tick(late, &mut Scratch::default());
        new.is_in();
        assert_eq!(broker.view().sessions.len(), 1);
    });
}
