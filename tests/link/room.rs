//! A store without room: which clients wait, which are refused, and that none is closed for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::ports::{Batch, Fact, Marker, Progress, Receipt, Refused, Store};
use sluicemq::broker::{Broker, Flow, Ports};
use sluicemq::codec::{QoS, SubscribeOptions};
use sluicemq::config::Config;
use sluicemq::message::{ClientId, GroupId, Identity, Meter, RefusalKind, SessionId};
use sluicemq::session::Op;
use sluicemq::topic::{TopicFilter, TopicLimits};

use super::{Client, NOW, hex};

/// Clean Start 1, Keep Alive 10 s, Client Identifier `p`.
const CONNECT_5: &str = "10 0e 0004 4d515454 05 02 000a 00 0001 70";
const CONNECT_311: &str = "10 0d 0004 4d515454 04 02 000a 0001 70";
/// Clean Start 0, and a Session that lasts.
const LASTING: [&str; 2] = [
    "10 13 0004 4d515454 05 00 000a 05 11 00000064 0001 70",
    "10 0d 0004 4d515454 04 00 000a 0001 70",
];
/// CONNECT, a PUBLISH to `a` at `QoS` 0, one at `QoS` 1, and its PUBACK.
const V5: [&str; 4] = [CONNECT_5, "30 04 0001 61 00", "32 06 0001 61 0001 00", "40 04 0001 10 00"];
const V311: [&str; 4] = [CONNECT_311, "30 03 0001 61", "32 05 0001 61 0001", "40 02 0001"];
/// Bytes of a PUBACK or PUBREC with its reason.
const ACK: usize = 6;
/// Retained, to `a`, at `QoS` 0.
const RETAINED_5: &str = "31 05 0001 61 00 78";
const RETAINED_311: &str = "31 04 0001 61 78";

#[test]
fn a_slow_store_makes_a_publisher_wait_however_long_it_takes() {
    for [connect, passes, publish, puback] in [V5, V311] {
        let mut world = World::new(connect);
        world.store.shut(Some(Refused::Slow));
        let (used, flow) = world.offer(&hex(&[passes, publish, "c0 00"].concat()));
        assert_eq!(used, hex(passes).len(), "QoS 0 is not kept: it passes");
        assert_eq!(flow, Flow::default(), "neither read nor closed");
        // Three times the Keep Alive, while the broker does not read.
        for _ in 0..6 {
            world.client.now = world.client.now.after(Duration::from_secs(5));
            assert_eq!(world.poll(), Flow::default());
        }
        assert_eq!(world.wakes(), 0);
        let rest = hex(&[publish, "c0 00"].concat());
        // Its ping is answered, once.
        for _ in 0..2 {
            assert!(world.client.link.look_ahead(&rest, &mut world.client.turn));
        }
        assert_eq!(world.said(), hex("d0 00"));
        world.store.shut(None);
        assert_eq!(world.wakes(), 1);
        assert!(world.poll().unread);
        let (used, flow) = world.offer(&rest);
        assert_eq!(used, rest.len());
        assert!(flow.read && !flow.close);
        assert_eq!(world.said(), hex(puback));
        assert_eq!(world.broker.metrics().sum(Counter::ReceivedAboveQos0), 1);
    }
}

#[test]
fn a_full_store_refuses_on_5_and_makes_an_older_client_wait() {
    let mut new = World::new(CONNECT_5);
    new.store.shut(Some(Refused::Full));
    let both = hex(&[RETAINED_5, V5[2]].concat());
    assert_eq!(new.offer(&both).0, both.len());
    assert_eq!(new.said()[2..5], hex("0001 97"));
    let metrics = new.broker.metrics();
    // QoS 0 needs no store: it is delivered, and not retained.
    let counts = [Counter::Refused, Counter::Unrouted, Counter::RetainedRefused];
    assert_eq!(counts.map(|counter| metrics.sum(counter)), [1, 0, 1]);
    assert_eq!(new.broker.view().retained.0, 0, "what is not kept is not called retained");

    let [connect, _, publish, puback] = V311;
    for publish in [publish, RETAINED_311] {
        let mut old = World::new(connect);
        old.store.shut(Some(Refused::Full));
        for _ in 0..3 {
            assert_eq!(old.offer(&hex(publish)), (0, Flow::default()));
            old.client.now = old.client.now.after(Duration::from_secs(100));
            assert_eq!(old.poll(), Flow::default());
        }
        old.store.shut(None);
        assert!(old.wakes() > 0 && old.poll().unread);
        assert_eq!(old.offer(&hex(publish)).0, hex(publish).len());
        assert!(!old.client.link.is_closed());
        let retained = publish == RETAINED_311;
        assert_eq!(old.said(), hex(if retained { "" } else { puback }));
        assert_eq!(old.broker.view().retained.0, usize::from(retained));
    }
}

/// A full store keeps no new Subscription: one that is there and is asked for again is granted, one that is
/// changed, or comes again after its end, is not.
#[test]
fn a_full_store_refuses_subscriptions_that_it_would_keep() {
    /// SUBSCRIBE to `a` at `QoS` 1, to that and `b`, to `a` at `QoS` 0, and UNSUBSCRIBE from `a`.
    const NEW: [&str; 4] = [
        "82 07 0001 00 0001 61 01",
        "82 0b 0001 00 0001 61 01 0001 62 00",
        "82 07 0001 00 0001 61 00",
        "a2 06 0001 00 0001 61",
    ];
    const OLD: [&str; 4] = [
        "82 06 0001 0001 61 01",
        "82 0a 0001 0001 61 01 0001 62 00",
        "82 06 0001 0001 61 00",
        "a2 05 0001 0001 61",
    ];
    /// SUBACKs that grant it, with `b` refused, and that refuse it; UNSUBACK.
    const SAYS: [&str; 4] =
        ["90 04 0001 00 01", "90 05 0001 00 01 97", "90 04 0001 00 97", "b0 04 0001 00 00"];
    const SAYS_OLD: [&str; 4] =
        ["90 03 0001 01", "90 04 0001 01 80", "90 03 0001 80", "b0 02 0001"];
    let cases = [(LASTING[0], NEW, SAYS), (LASTING[1], OLD, SAYS_OLD)];
    for (connect, [one, two, other, gone], [granted, part, none, ended]) in cases {
        let mut world = World::new(connect);
        let mut says = |shut, packet, answer| {
            world.store.shut(shut);
            assert_eq!(world.offer(&hex(packet)).0, hex(packet).len());
            assert_eq!(world.said(), hex(answer), "{shut:?}: {packet}");
            world.store.subscribed()
        };
        let full = Some(Refused::Full);
        assert_eq!(says(None, one, granted), 1);
        for (packet, answer) in [(one, granted), (two, part), (other, none), (gone, ended)] {
            assert_eq!(says(full, packet, answer), 1, "nothing is written");
        }
        for _ in 0..3 {
            assert_eq!(says(full, one, none), 1, "nor after its end");
        }
        assert_eq!(says(Some(Refused::Slow), one, granted), 2, "a slow store takes it");
        assert!(!world.client.link.is_closed());
        let metrics = world.broker.metrics();
        assert_eq!(metrics.refused(RefusalKind::StoreFull), 5);
        assert_eq!(metrics.sum(Counter::FiltersRefused), 5);
    }
}

#[test]
fn what_the_store_does_not_keep_needs_no_room_in_it() {
    let mut world = World::new(CONNECT_5);
    world.store.shut(Some(Refused::Full));
    world.offer(&hex("82 07 0001 00 0001 61 01"));
    assert_eq!(world.said(), hex("90 04 0001 00 01"));
    // A group is kept, whoever its members are: `$share/g/a`.
    let share = hex("82 10 0001 00 000a 2473686172652f672f61 01");
    world.offer(&share);
    assert_eq!(world.said(), hex("90 04 0001 00 97"));
    world.store.shut(Some(Refused::Trouble));
    world.offer(&share);
    assert_eq!(world.said(), hex("90 04 0001 00 80"));
    assert_eq!(world.broker.metrics().refused(RefusalKind::StoreFailed), 1);
}

#[test]
fn a_full_store_takes_no_session_that_is_new_and_resumes_those_that_are_there() {
    for (connect, refusal) in LASTING.into_iter().zip(["20 03 00 97 00", "20 02 00 03"]) {
        let mut world = World::with_store_shut(connect, Refused::Full);
        assert_eq!(world.said(), hex(refusal));
        assert!(world.client.link.is_closed());
        assert_eq!(world.broker.view().sessions.len(), 0);
        assert_eq!(world.broker.metrics().refused(RefusalKind::StoreFull), 1);

        let mut world = World::new(connect);
        world.client.link.hang_up(world.client.now, &mut world.client.turn);
        world.store.shut(Some(Refused::Full));
        world.said();
        world.connect_again(connect);
        let said = world.said();
        assert_eq!((said[0], &said[2..4]), (0x20, &[1, 0][..]), "it is there");
        world.offer(&hex("c0 00"));
        assert_eq!(world.said(), hex("d0 00"));
    }
    // One that does not last.
    for connect in [CONNECT_5, CONNECT_311] {
        let said = World::with_store_shut(connect, Refused::Full).said();
        assert_eq!((said[0], &said[2..4]), (0x20, &[0, 0][..]));
    }
    // One in the place of another is new, and that one stays.
    let mut world = World::new(LASTING[0]);
    world.client.link.hang_up(world.client.now, &mut world.client.turn);
    world.store.shut(Some(Refused::Full));
    world.connect_again("10 13 0004 4d515454 05 02 000a 05 11 00000064 0001 70");
    assert_eq!(world.said(), hex("20 03 00 97 00"));
    assert_eq!(world.broker.view().sessions.len(), 1);
}

#[test]
fn who_waits_hears_when_the_disk_becomes_the_reason() {
    let [connect, _, publish, _] = V5;
    let mut world = World::new(connect);
    world.store.shut(Some(Refused::Slow));
    assert_eq!(world.offer(&hex(publish)), (0, Flow::default()));
    world.store.shut(Some(Refused::Full));
    assert_eq!(world.wakes(), 1);
    assert!(world.poll().unread);
    world.offer(&hex(publish));
    assert_eq!(world.said()[2..5], hex("0001 97"));
}

#[test]
fn a_failed_store_ends_the_wait_and_the_connection() {
    for ([connect, _, publish, _], goodbye) in [(V5, "e0 02 80 00"), (V311, "")] {
        let mut world = World::new(connect);
        world.store.shut(Some(Refused::Slow));
        world.offer(&hex(publish));
        world.store.shut(Some(Refused::Failed));
        assert!(world.poll().unread);
        world.offer(&hex(publish));
        assert!(world.client.link.is_closed());
        assert_eq!(world.said(), hex(goodbye));
        assert_eq!(world.broker.metrics().sum(Counter::Accepted), 0);
    }
}

#[test]
fn a_will_is_not_lost_for_want_of_room() {
    for why in [Refused::Slow, Refused::Full] {
        // Will at QoS 1 to `a`, retained: `w`.
        let mut world = World::new("10 13 0004 4d515454 04 2e 000a 0001 70 0001 61 0001 77");
        world.store.shut(Some(why));
        let before = world.store.retained();
        world.client.link.hang_up(world.client.now, &mut world.client.turn);
        assert_eq!(world.store.retained(), before + 1);
        assert_eq!(world.broker.view().retained.0, 1);
    }
}

#[test]
fn who_asks_faster_than_the_store_answers_is_not_read_from_for_ever() {
    let subscribes = [
        ("10 13 0004 4d515454 05 02 000a 05 11 00000064 0001 70", "82 07 0001 00 0001 61 00", 6),
        ("10 0d 0004 4d515454 04 00 000a 0001 70", "82 06 0001 0001 61 00", 5),
    ];
    for (connect, subscribe, suback) in subscribes {
        let mut world = World::new(connect);
        world.store.hold(true);
        let subscribe = hex(subscribe);
        let all = subscribe.repeat(5_000);
        // A turn serves some of them, and wants the next turn until too many answers wait.
        let mut used = 0;
        while used < 1024 * subscribe.len() {
            let (more, flow) = world.offer(&all[used..]);
            used += more;
            assert_eq!(flow.unread, used < 1024 * subscribe.len());
        }
        assert_eq!(world.offer(&all[used..]), (0, Flow::default()));
        world.client.now = world.client.now.after(Duration::from_secs(100));
        assert_eq!(world.poll(), Flow::default(), "it is not its silence");
        assert_eq!(world.said(), b"");
        world.store.hold(false);
        let mut said = 0;
        let mut rest = &all[used..];
        while !rest.is_empty() {
            assert!(world.poll().unread);
            said += world.said().len();
            rest = &rest[world.offer(rest).0..];
        }
        said += world.said().len();
        assert_eq!(said, 5_000 * suback, "one answer to each");
        assert!(!world.client.link.is_closed());
    }
}

/// Most clients do not obey Receive Maximum: what they send beyond it waits for the answers that they are
/// owed. With `QoS` 2 after its PUBRECs it is an error: the PUBRELs stand behind the PUBLISH.
#[test]
fn a_publish_beyond_receive_maximum_is_left_unread_while_answers_are_owed() {
    let (max, more) = (100, 9);
    for (qos, answered) in [(1, max + more), (2, max)] {
        let mut config = Config::default();
        config.session.receive_maximum = max as u16;
        let mut world = World::with(CONNECT_5, Inner::default(), &config);
        world.said();
        // Retained: the store is given each of them.
        let publish = |id| hex(&format!("3{} 06 0001 61 {id:04x} 00", qos << 1 | 1));
        let sent: Vec<u8> = (1..=max + more).flat_map(publish).collect();
        world.store.hold(true);
        let (mut used, flow) = world.offer(&sent);
        assert_eq!((used, flow), (max * 8, Flow::default()), "the rest is left unread");
        assert_eq!(world.said(), b"");
        world.store.hold(false);
        let mut answers = 0;
        while !world.client.link.is_closed() && used < sent.len() {
            world.poll();
            answers += world.said().len() / ACK;
            used += world.offer(&sent[used..]).0;
        }
        let said = world.said();
        if qos == 1 {
            assert_eq!(answers + said.len() / ACK, answered);
            assert!(!world.client.link.is_closed());
        } else {
            assert_eq!((answers, said), (answered, hex("e0 02 93 00")));
        }
    }
}

/// A client, and a broker with a store as narrow as the test says.
pub struct World {
    pub store: Arc<Narrow>,
    pub broker: Broker,
    pub client: Client,
    wakes: Arc<Wakes>,
}

impl World {
    pub fn new(connect: &str) -> World {
        let mut world = World::with(connect, Inner::default(), &Config::default());
        world.said();
        world
    }

    /// The client connects while nothing gets to the disk.
    pub fn with_store_on_hold(connect: &str) -> World {
        let store = Inner { held: true, ..Inner::default() };
        World::with(connect, store, &Config::default())
    }

    /// The client connects while the store takes nothing.
    pub fn with_store_shut(connect: &str, why: Refused) -> World {
        let store = Inner { shut: Some(why), ..Inner::default() };
        World::with(connect, store, &Config::default())
    }

    /// The store remembers client `p`, without a connection, and its Subscription to `a` at `QoS` 1.
    pub fn restored(connect: &str) -> World {
        let store = Inner { remembers_p: true, ..Inner::default() };
        World::with(connect, store, &Config::default())
    }

    fn with(connect: &str, store: Inner, config: &Config) -> World {
        let store = Arc::new(Narrow(Mutex::new(store)));
        let ports = Ports {
            store: store.clone(),
            authenticator: Arc::new(PasswordAuth::new(None)),
            access: Arc::new(PermitAll),
        };
        let broker = Broker::new(config, ports, 1, NOW);
        broker.watch();
        let mut client = Client::of(&broker);
        broker.restore(NOW, &mut client.turn).unwrap();
        client.offer(connect);
        World { store, broker, client, wakes: Arc::default() }
    }

    /// A new connection in the place of the old one.
    pub fn connect_again(&mut self, connect: &str) {
        let now = self.client.now;
        self.client = Client::of(&self.broker);
        self.client.now = now;
        self.client.offer(connect);
    }

    pub fn offer(&mut self, bytes: &[u8]) -> (usize, Flow) {
        let used = self.client.link.receive(bytes, self.client.now, &mut self.client.turn);
        (used, self.poll())
    }

    pub fn poll(&mut self) -> Flow {
        let waker = Waker::from(self.wakes.clone());
        self.client.link.poll(&waker, self.client.now, 0, &mut self.client.turn)
    }

    pub fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.client.turn.out)
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A store that has everything on its disk at once, and room when the test says so.
#[derive(Default)]
pub struct Narrow(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    shut: Option<Refused>,
    /// Nothing gets to the disk.
    held: bool,
    /// Nothing ever will.
    failed: bool,
    /// Wills that were handed in, and taken back.
    wills: (usize, usize),
    /// What the last of them says, unless it was taken back.
    last_will: Option<String>,
    waiting: Vec<Waker>,
    retained: usize,
    /// Subscriptions that were handed in.
    subscribed: usize,
    remembers_p: bool,
}

impl Narrow {
    fn shut(&self, why: Option<Refused>) {
        let mut inner = self.0.lock().unwrap();
        inner.shut = why;
        let mut waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.dedup_by(|a, b| a.will_wake(b));
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn hold(&self, held: bool) {
        self.0.lock().unwrap().held = held;
    }

    pub fn fail(&self) {
        self.0.lock().unwrap().failed = true;
    }

    pub fn wills(&self) -> (usize, usize) {
        self.0.lock().unwrap().wills
    }

    pub fn last_will(&self) -> Option<String> {
        self.0.lock().unwrap().last_will.clone()
    }

    fn subscribed(&self) -> usize {
        self.0.lock().unwrap().subscribed
    }

    fn retained(&self) -> usize {
        self.0.lock().unwrap().retained
    }
}

impl Store for Narrow {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        self.0.lock().unwrap().shut.map_or(Ok(()), Err)
    }

    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        let mut inner = self.0.lock().unwrap();
        let Some(why) = inner.shut else { return Ok(()) };
        inner.waiting.push(waker.clone());
        Err(why)
    }

    fn submit(&self, batch: Batch) -> Receipt {
        let inner = &mut *self.0.lock().unwrap();
        for (_, op) in &batch.ops {
            inner.wills.0 += usize::from(matches!(op, Op::Will(..)));
            inner.subscribed += usize::from(matches!(op, Op::Subscribed { .. }));
            inner.wills.1 += usize::from(matches!(op, Op::WillGone));
            match op {
                Op::Will(will, _) => {
                    let text = String::from_utf8_lossy(will.draft().payload).into_owned();
                    inner.last_will = Some(text);
                }
                Op::WillGone => inner.last_will = None,
                _ => {}
            }
        }
        inner.retained +=
            batch.publishes.iter().filter(|publication| publication.retained.is_some()).count();
        Receipt(1)
    }

    fn replay(
        &self,
        meter: &'static Meter,
        _: &Marker<'_>,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        if self.0.lock().unwrap().remembers_p {
            let id = SessionId::new(1);
            let identity = Arc::new(Identity::new(ClientId::new("p"), None, meter));
            let limits = TopicLimits { bytes_max: 1, levels_max: 1 };
            let filter = TopicFilter::parse("a", &limits).unwrap();
            let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..Default::default() };
            visit(Fact::Session(id, Op::Session { identity, expiry: 100 }));
            visit(Fact::Session(id, Op::Parked { since: NOW, crashed: false }));
            visit(Fact::Session(id, Op::Subscribed { filter, options, id: 0, owes: None }));
            visit(Fact::Last(id, GroupId::new(0)));
        }
        Ok(())
    }

    fn state(&self, _: Receipt, _: &Waker) -> Progress {
        match *self.0.lock().unwrap() {
            Inner { failed: true, .. } => Progress::Failed,
            Inner { held: true, .. } => Progress::Pending,
            _ => Progress::Durable,
        }
    }
}
