//! Tests: what the feed adds to a Session that comes to its node.

use super::frame::{FrameOrigin, put_message, seal};
use super::memory::{MemoryEngine, entry, join, node, run, run_of};
use super::session_frame::put_session_record;
use crate::broker::cluster_log::{LogMark, MovedCopy, MovedSession, SessionRecord};
use crate::codec::QoS;
use crate::message::{ClientId, SubscriptionIds};
use crate::sync::whole;

/// What a frame has.
enum Put {
    Message(u64),
    Copy { number: u64, message: u64 },
    Moved,
}

const MOVE: u64 = 77;
const AFTER: u64 = 4;

fn frame(node: u64, run: u64, number: u64, puts: &[Put]) -> Vec<u8> {
    let client_id = ClientId::new("c");
    let mut records = Vec::new();
    for put in puts {
        match put {
            Put::Message(message) => put_message(&entry("p", *message, 0, None), &mut records),
            Put::Copy { number, message } => {
                let message = entry("p", *message, 0, None).message;
                let (qos, ids) = (QoS::AtLeastOnce, SubscriptionIds::default());
                let copies = vec![MovedCopy { message, qos, retain: false, ids, band: 0 }];
                let (client_id, number) = (client_id.clone(), *number);
                let record = SessionRecord::Copies { client_id, number, copies };
                put_session_record(&record, &mut records);
            }
            Put::Moved => {
                let (client_id, number) = (client_id.clone(), MOVE);
                let moved = MovedSession { client_id, number, to: 2, after: AFTER, facts: vec![] };
                put_session_record(&SessionRecord::Moved(Box::new(moved)), &mut records);
            }
        }
    }
    seal(FrameOrigin { node, run, lane: 0, number }, puts.len() as u16, &records)
}

fn log() -> MemoryEngine {
    let copy = |message| Put::Copy { number: MOVE, message };
    MemoryEngine::of(vec![
        run_of(1, 10),
        run_of(2, 20),
        frame(1, 10, 1, &[Put::Message(1)]),
        frame(2, 20, 1, &[Put::Message(2)]),
        // Everything behind this place counts.
        frame(1, 10, 2, &[copy(100), Put::Message(3)]),
        // Another move, of another node.
        frame(2, 20, 2, &[copy(900), Put::Message(4)]),
        frame(1, 10, 2, &[Put::Message(901)]),
        frame(1, 10, 3, &[Put::Copy { number: 78, message: 902 }, copy(101), copy(102)]),
        run_of(3, 30),
        frame(3, 29, 1, &[Put::Message(903)]),
        frame(1, 10, 4, &[Put::Message(5), Put::Moved, Put::Message(904)]),
        frame(1, 10, 5, &[Put::Message(905)]),
    ])
}

/// What came lately is in memory; a node that has been restarted meanwhile reads it again.
#[test]
fn a_session_comes_with_its_copies_and_with_what_the_log_has_behind_them() {
    for applied in [0, 9, 10] {
        let runs = vec![(1, 10), (2, 20), (3, 30)];
        let mark = match applied {
            0 => LogMark::default(),
            sequence => LogMark { sequence, runs },
        };
        let engine = log();
        let mut node = node(&engine, 2, 21, mark);
        run(join(&engine, &mut node));
        let arrived = whole(node.arrived.lock());
        let [arrived] = &arrived[..] else { panic!("{arrived:?}") };
        let number = |payload: &[u8]| u64::from_be_bytes(payload[..8].try_into().unwrap());
        let copies = arrived.copies.iter().map(|copy| number(copy.message.payload()));
        assert_eq!(copies.collect::<Vec<_>>(), [100, 101, 102], "{applied}");
        let later = arrived.later.iter().map(|entry| number(entry.message.payload()));
        assert_eq!(later.collect::<Vec<_>>(), [3, 4, 5], "{applied}");
    }
}
