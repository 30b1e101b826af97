//! CONNACK promises what CONNECT asked for: it waits until the store has it, and not for ever.

use std::time::Duration;

use sluicemq::broker::metrics::{Counter, Timing};
use sluicemq::broker::ports::Refused;
use sluicemq::broker::turn::Scratch;
use sluicemq::message::RefusalKind;

use super::room::World;
use super::{Client, hex};

/// Clean Start 1, Keep Alive 10 s, Client Identifier `p`, Will at `QoS` 1 to `a`, retained: `w`. The
/// first is of version 5, the others of 3.1.1 and 3.1.
const WITH_WILL: [&str; 3] = [
    "10 15 0004 4d515454 05 2e 000a 00 0001 70 00 0001 61 0001 77",
    "10 13 0004 4d515454 04 2e 000a 0001 70 0001 61 0001 77",
    "10 15 0006 4d5149736470 03 2e 000a 0001 70 0001 61 0001 77",
];
/// The same without a Will.
const WITHOUT: [&str; 3] = [
    "10 0e 0004 4d515454 05 02 000a 00 0001 70",
    "10 0d 0004 4d515454 04 02 000a 0001 70",
    "10 0f 0006 4d5149736470 03 02 000a 0001 70",
];
/// A Session that lasts, without a Will.
const LASTING: [&str; 3] = [
    "10 13 0004 4d515454 05 02 000a 05 11 00000064 0001 70",
    "10 0d 0004 4d515454 04 00 000a 0001 70",
    "10 0f 0006 4d5149736470 03 00 000a 0001 70",
];
/// CONNACK 0x89, and Connect Return Code 3.
const BUSY: [&str; 3] = ["20 03 00 89 00", "20 02 00 03", "20 02 00 03"];

/// The default of `limits.connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(10);

// proves MQTT5-3.1.2-7
#[test]
fn connack_waits_for_the_receipt_of_the_will() {
    for connect in WITH_WILL {
        let mut world = World::with_store_on_hold(connect);
        assert_eq!(world.said(), b"");
        world.client.now = world.client.now.after(PATIENCE - Duration::from_millis(1));
        world.poll();
        assert_eq!(world.said(), b"");
        world.store.hold(false);
        assert!(world.poll().read);
        assert_eq!(world.said()[0], 0x20);
        let times = world.broker.timing(Timing::Connack).unwrap();
        assert_eq!((times.count(), times.sum()), (1, PATIENCE - Duration::from_millis(1)));
        // The wait was not the client's silence.
        world.client.now = world.client.now.after(Duration::from_secs(14));
        assert!(!world.poll().close);
    }
}

#[test]
fn without_a_will_and_a_session_that_lasts_connack_waits_for_nothing() {
    for connect in WITHOUT {
        let mut world = World::with_store_on_hold(connect);
        assert_eq!(world.said()[0], 0x20);
        let times = world.broker.timing(Timing::Connack).unwrap();
        assert_eq!((times.count(), times.sum()), (1, Duration::ZERO));
    }
}

#[test]
fn a_connect_that_the_store_does_not_confirm_in_time_is_refused_and_its_will_withdrawn() {
    for (connects, withdraws) in [(WITH_WILL, true), (LASTING, false)] {
        for (connect, busy) in connects.into_iter().zip(BUSY) {
            let mut world = World::with_store_on_hold(connect);
            // What follows a CONNECT that is refused is not processed.
            let (used, flow) = world.offer(&hex("c0 00"));
            assert_eq!((used, flow.read), (0, false));
            assert_eq!(world.client.link.deadline(), Some(world.client.now.after(PATIENCE)));
            world.client.now = world.client.now.after(PATIENCE);
            assert!(world.poll().close);
            assert_eq!(world.said(), hex(busy));
            let metrics = world.broker.metrics();
            assert_eq!(metrics.sum(Counter::ConnectsRefused), 1);
            assert_eq!(world.broker.timing(Timing::Connack).unwrap().count(), 0);
            assert_eq!(metrics.refused(RefusalKind::ConnackTimeout), 1);
            assert_eq!(world.broker.view().retained.0, 0, "the Will is not published");
            assert_eq!(world.store.wills(), (usize::from(withdraws), usize::from(withdraws)));
            // A Session that its client was never told of is not there.
            assert_eq!(world.broker.view().sessions.len(), 0);
        }
    }
}

#[test]
fn a_connect_with_a_will_is_refused_by_a_store_without_room_and_waits_for_a_slow_one() {
    for (connect, busy) in WITH_WILL.into_iter().zip(BUSY) {
        let full = if connect == WITH_WILL[0] { "20 03 00 97 00" } else { busy };
        for (why, said) in [(Refused::Full, full), (Refused::Failed, busy)] {
            let mut world = World::with_store_shut(connect, why);
            assert_eq!(world.said(), hex(said));
            assert!(world.client.link.is_closed());
            assert_eq!(world.store.wills(), (0, 0));
        }
        let mut world = World::with_store_shut(connect, Refused::Slow);
        assert_eq!(world.said()[0], 0x20);
        assert!(!world.client.link.is_closed());
    }
}

#[test]
fn a_connect_whose_will_a_failed_store_never_has_is_refused_at_once() {
    for (connect, busy) in WITH_WILL.into_iter().zip(BUSY) {
        let mut world = World::with_store_on_hold(connect);
        world.store.fail();
        assert!(world.poll().close);
        assert_eq!(world.said(), hex(busy));
        assert_eq!(world.broker.view().retained.0, 0, "the Will is not published");
        let refused = |kind| world.broker.metrics().refused(kind);
        let [late, failed] = [RefusalKind::ConnackTimeout, RefusalKind::StoreFailed].map(refused);
        assert_eq!((late, failed), (0, 1), "what is said is what is wrong");
    }
}

#[test]
fn a_session_that_was_there_before_stays_when_its_next_connect_is_refused() {
    let [connect, ..] = LASTING;
    let mut world = World::new(connect);
    world.said();
    world.client.link.hang_up(world.client.now, &mut world.client.turn);
    world.store.hold(true);
    // Clean Start 0, and another expiry.
    world.connect_again("10 13 0004 4d515454 05 00 000a 05 11 00000065 0001 70");
    assert_eq!(world.said(), b"");
    world.client.now = world.client.now.after(PATIENCE);
    assert!(world.poll().close);
    assert_eq!(world.said(), hex(BUSY[0]));
    assert_eq!(world.broker.view().sessions.len(), 1);
}

#[test]
fn suback_of_a_subscription_that_was_there_waits_for_what_is_retained_for_it() {
    // Clean Start 0, and the expiry that the store has: nothing is changed.
    let mut world = World::restored("10 13 0004 4d515454 05 00 000a 05 11 00000064 0001 70");
    assert_eq!(world.said()[2], 1, "Session Present");
    let mut publisher = Client::of(&world.broker);
    publisher.send("10 0e 0004 4d515454 05 02 000a 00 0001 71");
    // Retained, to `a`, at QoS 0: of the copy that comes at once nothing goes to the store.
    publisher.send("31 05 0001 61 00 78");
    world.poll();
    world.said();
    world.store.hold(true);
    world.offer(&hex("82 07 0002 00 0001 61 01"));
    let suback = hex("90 04 0002 00 01");
    let is_there = |said: Vec<u8>| said.windows(suback.len()).any(|part| part == suback);
    assert!(!is_there(world.said()));
    world.store.hold(false);
    world.poll();
    assert!(is_there(world.said()));
}

// proves MQTT5-3.1.2-4
#[test]
fn connack_of_a_clean_start_waits_until_the_old_session_is_gone_for_good() {
    for (before, connect) in LASTING.into_iter().zip(WITHOUT) {
        let mut world = World::new(before);
        world.said();
        world.client.link.hang_up(world.client.now, &mut world.client.turn);
        world.store.hold(true);
        world.connect_again(connect);
        assert_eq!(world.said(), b"", "after a crash now the old Session would be there again");
        world.store.hold(false);
        assert!(world.poll().read);
        let said = world.said();
        assert_eq!((said[0], said[2]), (0x20, 0), "no Session is present");
    }
}

/// Clean Start 0, expiry 100 s, a Will to `a`, retained, that is due after 60 s.
const DELAYED: &str = "10 1f 0004 4d515454 05 2c 000a 05 11 00000064 0001 70 \
                       05 18 0000003c 0001 61 0001 77";

/// CONNECT with another Will, without one, with one at once that the Session ends with.
const NEXT: [&str; 3] = [
    "10 1a 0004 4d515454 05 2c 000a 05 11 00000064 0001 70 00 0001 61 0001 78",
    "10 13 0004 4d515454 05 00 000a 05 11 00000064 0001 70",
    "10 15 0004 4d515454 05 2c 000a 00 0001 70 00 0001 61 0001 78",
];

#[test]
fn a_connect_that_is_refused_leaves_the_delayed_will_and_the_expiry_as_they_were() {
    for connect in NEXT {
        let mut world = World::new(DELAYED);
        world.said();
        let parted = world.client.now;
        world.client.link.hang_up(parted, &mut world.client.turn);
        world.store.hold(true);
        world.client.now = parted.after(Duration::from_secs(30));
        world.connect_again(connect);
        assert_eq!(world.said(), b"");
        world.client.now = world.client.now.after(PATIENCE);
        assert!(world.poll().close);
        assert_eq!(world.said(), hex(BUSY[0]));
        assert_eq!(world.store.last_will().as_deref(), Some("w"), "the store has it again");
        let mut scratch = Scratch::default();
        world.broker.tick(parted.after(Duration::from_secs(59)), &mut scratch);
        assert_eq!(world.broker.view().retained.0, 0, "it is not due");
        world.broker.tick(parted.after(Duration::from_secs(60)), &mut scratch);
        assert_eq!(world.broker.view().retained.0, 1, "it is due as before");
        assert_eq!(world.broker.view().sessions.len(), 1, "its Session goes on");
    }
    // One that is answered replaces it.
    let mut world = World::new(DELAYED);
    world.said();
    world.client.link.hang_up(world.client.now, &mut world.client.turn);
    world.connect_again(NEXT[1]);
    assert_eq!(world.said()[2..4], [1, 0], "the Session is present");
    world.client.link.hang_up(world.client.now, &mut world.client.turn);
    world.broker.tick(world.client.now.after(Duration::from_secs(60)), &mut Scratch::default());
    assert_eq!(world.broker.view().retained.0, 0);
}
