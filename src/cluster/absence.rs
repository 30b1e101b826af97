//! Tests: nodes that do not come back, a log without room, and a node that begins when the log has lost its beginning.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::feed::FeedError;
use super::frame::{FrameOrigin, put_gone, seal};
use super::gather::FrameLimits;
use super::image::{ImageFrames, read_head};
use super::lanes::LANES;
use super::memory::{MemoryEngine, NodeSaid, TestNode, entry, frame_of, join, node, run, run_of};
use crate::broker::cluster_log::{ClusterImage, LogEntry, LogMark};
use crate::message::{ClientId, SessionHome};
use crate::sync::whole;

fn gone(by: u64, run: u64, number: u64, node: u64) -> Vec<u8> {
    let mut records = Vec::new();
    put_gone(node, &mut records);
    seal(FrameOrigin { node: by, run, lane: u32::MAX - 1, number }, 1, &records)
}

fn number(number: u64) -> LogEntry {
    entry("c", number, 0, None)
}

/// What a node that was frozen still says does not count, until it has begun anew.
#[test]
fn frames_of_a_node_that_is_forgotten_are_void() {
    let engine = MemoryEngine::of(vec![
        run_of(1, 10),
        run_of(3, 30),
        frame_of(1, 10, 1, &number(1)),
        gone(3, 30, 1, 1),
        frame_of(1, 10, 2, &number(2)),
        // That of a node which nobody knows any more forgets nobody.
        gone(1, 10, 1, 3),
        run_of(1, 11),
        frame_of(1, 11, 1, &number(3)),
    ]);
    let mut node = node(&engine, 2, 1, LogMark::default());
    run(join(&engine, &mut node));
    let applied: Vec<u64> = whole(node.applied.lock()).iter().map(|applied| applied.1).collect();
    assert_eq!(applied, [1, 3]);
    assert_eq!(*whole(node.said.lock()), [NodeSaid::Gone(1)]);
    assert_eq!(whole(node.mark.lock()).runs, [(3, 30), (1, 11), (2, 1)]);
}

/// A node that runs ends when it is forgotten; one that begins has only been away.
#[test]
fn a_node_that_is_forgotten_ends_and_may_come_back() {
    let engine = MemoryEngine::of(vec![run_of(3, 30)]);
    let mut first = node(&engine, 1, 10, LogMark::default());
    run(join(&engine, &mut first));
    engine.push(gone(3, 30, 1, 1));
    assert!(matches!(run(first.feed.run()), FeedError::Forgotten(3)));
    let mut again = node(&engine, 1, 11, LogMark { sequence: 2, runs: vec![(3, 30), (1, 10)] });
    run(join(&engine, &mut again));
    assert_eq!(*whole(again.said.lock()), [NodeSaid::Gone(1)]);
    assert_eq!(whole(again.mark.lock()).runs, [(3, 30), (1, 11)]);
}

/// A log without room is one that answers: nothing more is let in, and what was goes in when there is room.
#[test]
fn what_was_let_in_waits_for_room() {
    run(async {
        let engine = MemoryEngine::of(vec![]);
        let mut node = node(&engine, 1, 1, LogMark::default());
        join(&engine, &mut node).await;
        let TestNode { lanes, feed, applied, health, .. } = node;
        for lane in 0..LANES {
            tokio::spawn(lanes.clone().drive(lane, Arc::new(engine.clone()), health.clone()));
        }
        tokio::spawn(async move { panic!("{}", feed.run().await) });
        engine.set_full(true);
        for n in 1..=3 {
            lanes.append(number(n), n).unwrap();
        }
        sleep(Duration::from_secs(20)).await;
        assert!(health.is_full() && health.away_since().is_none());
        assert_eq!(whole(applied.lock()).len(), 0);
        engine.set_full(false);
        sleep(Duration::from_secs(1)).await;
        assert!(!health.is_full());
        let applied: Vec<u64> = whole(applied.lock()).iter().map(|applied| applied.1).collect();
        assert_eq!(applied, [1, 2, 3]);
    });
}

/// What another node has made of the log comes in frames of their size, and is applied at once, with its mark.
#[test]
fn a_node_learns_from_another_what_the_log_has_no_more() {
    let mark = LogMark { sequence: 40, runs: vec![(1, 10), (3, LogMark::NO_RUN), (2, 20)] };
    let home = |node, user: Option<&str>| SessionHome { node, user: user.map(Into::into) };
    let homes: Vec<_> = (0..100)
        .map(|n| (ClientId::new(&format!("c{n}")), home(1 + n % 2, Some("u").filter(|_| n > 50))))
        .collect();
    let retained: Vec<_> = (0..30)
        .map(|n| LogEntry { retains: true, ..entry("p", n, n as usize * 30, None) })
        .collect();
    let limits = FrameLimits { together: 800, most: 1200, records: 20 };
    let image = ClusterImage { mark: mark.clone(), homes: homes.clone(), retained };
    let mut frames = ImageFrames::of(image, limits);
    assert_eq!(read_head(&frames.head()), Some(mark.clone()));
    let frames: Vec<_> = frames.by_ref().collect();
    assert!(frames.len() > 10 && frames.iter().all(|frame| frame.len() < 1300));

    let engine = MemoryEngine::of((0..50).map(|_| run_of(1, 10)).collect());
    engine.trim(30);
    let mut node = node(&engine, 4, 1, LogMark::default());
    assert!(run(node.feed.lacks_beginning()));
    node.feed.take_image(mark.clone(), &frames).unwrap();
    assert_eq!(*whole(node.mark.lock()), mark);
    let applied: Vec<u64> = whole(node.applied.lock()).iter().map(|applied| applied.1).collect();
    assert_eq!(applied, (0..30).collect::<Vec<_>>());
    let mut said: Vec<_> =
        homes.iter().map(|(client_id, home)| (home.node, client_id.as_str().to_owned())).collect();
    said.sort_by_key(|(node, _)| *node);
    let said: Vec<_> =
        said.into_iter().map(|(node, client)| NodeSaid::Opened(node, client)).collect();
    assert_eq!(*whole(node.said.lock()), said);
    assert!(!run(node.feed.lacks_beginning()));
    // It goes on where the image ends.
    run(join(&engine, &mut node));
    assert_eq!(whole(node.mark.lock()).sequence, 51);
}

#[test]
fn a_beginning_that_is_damaged_is_refused() {
    for wrong in ["{}", "{\"frame\":1}", "{\"frame\":1,\"runs\":[[\"x\",\"1\"]]}", "[]", "7"] {
        assert_eq!(read_head(&serde_json::from_str(wrong).unwrap()), None, "{wrong}");
    }
    let engine = MemoryEngine::of(vec![]);
    let mut node = node(&engine, 4, 1, LogMark::default());
    let frames = [b"no frame at all, but long enough".to_vec().into()];
    assert!(node.feed.take_image(LogMark::default(), &frames).is_err());
    assert_eq!(*whole(node.mark.lock()), LogMark::default());
}
