//! A client of a link, for a thread of its own.

use std::sync::Arc;
use std::task::Waker;

use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo};
use sluicemq::codec::{self, Connect, DecodeLimits, Decoded, Packet, Sender, Version};

use super::{Bell, NOW};

/// A client on its own thread: says something, and waits for what must come.
pub struct Client {
    pub link: Link,
    pub bell: Arc<Bell>,
    pub turn: Scratch,
    inbox: Vec<u8>,
}

impl Client {
    pub fn connect(broker: &Broker, name: &str) -> Client {
        let peer =
            PeerInfo { address: String::new(), anonymous: true, nonce: 0, ..PeerInfo::default() };
        let link = Link::new(broker, peer, NOW);
        let mut client =
            Client { link, bell: Arc::default(), turn: Scratch::default(), inbox: Vec::new() };
        client.say(&Packet::Connect(Box::new(Connect {
            clean_start: false,
            client_id: name,
            session_expiry: 100,
            ..Connect::default()
        })));
        client
    }

    pub fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        codec::encode(packet, Version::V5, usize::MAX, &mut bytes).unwrap();
        let used = self.link.receive(&bytes, NOW, &mut self.turn);
        assert_eq!(used, bytes.len(), "nothing pauses here");
    }

    /// Waits for the next packet; `false`: the link is closed.
    pub fn hear(&mut self, wanted: impl Fn(&Packet<'_>) -> bool) -> bool {
        loop {
            let decoded =
                codec::decode(&self.inbox, Some(Version::V5), Sender::Server, &DecodeLimits::NONE);
            if let Ok(Decoded::Packet { packet, len }) = decoded {
                assert!(wanted(&packet), "{packet:?}");
                self.inbox.drain(..len);
                return true;
            }
            if self.link.is_closed() {
                return false;
            }
            let waker = Waker::from(self.bell.clone());
            self.link.poll(&waker, NOW, 0, &mut self.turn);
            self.inbox.append(&mut self.turn.out);
            if self.inbox.is_empty() && !self.link.is_closed() {
                self.bell.wait();
            }
        }
    }
}
