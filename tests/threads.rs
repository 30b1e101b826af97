//! The concurrent parts under a scheduler that tries many orders: `cargo test --features shuttle
//! --test threads`. A wake that is lost shows as a deadlock.

#[path = "threads/client.rs"]
mod client;
#[path = "threads/disk.rs"]
mod disk;
#[path = "threads/exclusive.rs"]
mod exclusive;
#[path = "threads/repeats.rs"]
mod repeats;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Wake, Waker};

use client::Client;
use disk::Disk;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::mailbox::{
    Ask, Copy, Effects, Gone, Grant, Mailbox, Member, Notice, Offer, Setting,
};
use sluicemq::broker::pools::{EgressPool, EgressSlot};
use sluicemq::broker::ports::Store;
use sluicemq::broker::registry::{Claim, Claimant, InFlight, Parked, Registry};
use sluicemq::broker::{Broker, Link, Ports};
use sluicemq::codec::{
    Ack, Packet, Properties, Publish, QoS, Reason, Subscribe, SubscribeOptions, Version,
};
use sluicemq::config::{Config, Egress, QueueConfig, Size, Totals};
use sluicemq::message::{ClientId, Draft, GroupId, Identity, Meter, SessionId, SubscriptionIds};
use sluicemq::session::{Room, Session, Terms};
use sluicemq::shape::Clearance;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;
use sluicemq::topic::{TextHash, TopicName};

const NOW: Time = Time::from_secs(1_000);

/// Runs `test` under many schedules: half of them random, half with few preemptions.
fn schedules(test: impl Fn() + Send + Sync + 'static) {
    let test = Arc::new(test);
    let again = test.clone();
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    let random = shuttle::scheduler::RandomScheduler::new(ROUNDS);
    shuttle::Runner::new(random, config.clone()).run(move || test());
    let few = shuttle::scheduler::PctScheduler::new(3, ROUNDS);
    shuttle::Runner::new(few, config).run(move || again());
}

/// Bytes of the stack of each thread: a broker is made on it, which takes most without optimisation.
const STACK: usize = 512 * 1024;

const ROUNDS: usize = 1_500;

/// A task's waker: the thread sleeps until it rings.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.bell.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.bell.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.ring();
    }
}

fn identity(name: &str) -> Arc<Identity> {
    Arc::new(Identity::new(ClientId::new(name), None, Meter::forever()))
}

fn copy(publisher: &Arc<Identity>, qos: QoS) -> Copy {
    let draft = Draft {
        topic: TopicName::trusted("t"),
        qos,
        retain: false,
        expiry: None,
        properties: Properties::EMPTY,
        payload: b"x",
    };
    let message = draft.into_message(publisher, NOW);
    Copy { message, qos, retain: false, ids: SubscriptionIds::default(), stored: false, band: 1 }
}

/// Reserves, pushes and wakes, as a publisher does.
fn push(mailbox: &Mailbox, publisher: &Arc<Identity>, qos: QoS) {
    let copy = copy(publisher, qos);
    let bytes = copy.message.bytes();
    let (queue, hash) = (QueueConfig::default(), TextHash::new(1));
    let setting = Setting { queue: &queue, hash: &hash, now: NOW, lanes: false };
    let (mut grant, mut gone, mut wakers) = (Grant::default(), Gone::default(), Vec::new());
    let topic = TopicName::trusted("t");
    let offer = Offer { topic, qos, bytes };
    mailbox.reserve(offer, &setting, &mut grant, &mut gone).expect("there is room");
    assert!(grant.spend(qos, bytes));
    let effects = &mut Effects { wakers: &mut wakers, gone: &mut gone };
    mailbox.push(&mut vec![copy], &setting, &mut grant, effects);
    assert!(gone.is_empty());
    wakers.into_iter().for_each(Waker::wake);
}

#[test]
fn whatever_is_pushed_is_taken() {
    schedules(|| {
        let mailbox = Arc::new(Mailbox::for_session(SessionId::new(1), identity("c")));
        mailbox.attach(true);
        let publishers: Vec<_> = [QoS::AtLeastOnce, QoS::AtMostOnce]
            .into_iter()
            .map(|qos| {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    let publisher = identity("p");
                    for _ in 0..3 {
                        push(&mailbox, &publisher, qos);
                    }
                })
            })
            .collect();
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut out = Vec::new();
        while out.len() < 6 {
            let before = out.len();
            let room = Room { window: 2, bytes: 1_000_000 };
            let queue = QueueConfig::default();
            let ask = Ask { room, max: 2, ..Ask::nothing(&waker, &queue) };
            // As a link does: not if it is known that there is nothing.
            if !mailbox.is_quiet() {
                mailbox.take(&ask, &mut [0, 0], &mut out, &mut Vec::new());
            }
            if out.len() == before {
                bell.wait();
            }
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert_eq!(mailbox.account().queued, [0, 0]);
    });
}

#[test]
fn a_link_that_has_seen_an_empty_mailbox_is_told_of_every_notice() {
    schedules(|| {
        let mailbox = Arc::new(Mailbox::for_session(SessionId::new(1), identity("c")));
        mailbox.attach(true);
        let teller = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for notice in [Notice::Reclassify, Notice::Kick(Reason::SessionTakenOver)] {
                    mailbox.notify(notice).into_iter().for_each(Waker::wake);
                }
            })
        };
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        let mut reclassified = 0;
        loop {
            if !mailbox.is_quiet() {
                let (queue, mut out) = (QueueConfig::default(), Vec::new());
                let ask = Ask::nothing(&waker, &queue);
                let taken = mailbox.take(&ask, &mut [0, 0], &mut out, &mut Vec::new());
                reclassified += u32::from(taken.notices().reclassify());
                if taken.notices().kick().is_some() {
                    break;
                }
            }
            bell.wait();
        }
        teller.join().unwrap();
        assert_eq!(reclassified, 1);
    });
}

#[test]
fn whoever_waits_at_a_door_gets_its_turn() {
    schedules(|| {
        // The bucket is never full: they wait for each other alone.
        let egress =
            Egress { bytes_rate: Size(1 << 20), bytes_burst: Size(1 << 40), ..Egress::default() };
        let pool = EgressPool::new(&egress).expect("it has a rate");
        let inside = Arc::new(Mutex::new(0));
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (slot, inside) = (EgressSlot::new(pool.clone()), inside.clone());
                thread::spawn(move || through_pool(&slot, &inside, client == 2))
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        // And the line is empty: what comes now is the first.
        let slot = EgressSlot::new(pool.clone());
        let waker = Waker::from(Arc::new(Bell::default()));
        assert!(matches!(slot.ask(&waker, NOW), Clearance::Go(_)));
    });
}

/// A client with three packets, each a quantum, of which one at a time passes. One that gives up goes
/// after the first time it had to wait.
fn through_pool(slot: &EgressSlot, inside: &Mutex<u32>, gives_up: bool) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut left = 3;
    while left > 0 {
        match slot.ask(&waker, NOW) {
            Clearance::Go(_) => {
                let mut count = inside.lock().unwrap();
                *count += 1;
                assert_eq!(*count, 1, "two passed at once");
                drop(count);
                thread::yield_now();
                *inside.lock().unwrap() -= 1;
                left -= 1;
                let poured = (1, 2_000);
                let woken =
                    if left > 0 { slot.pour(poured, NOW) } else { slot.pour_last(poured, NOW) };
                woken.into_iter().for_each(Waker::wake);
            }
            Clearance::Wait(until) => {
                assert_eq!(until, None);
                if gives_up {
                    return;
                }
                bell.wait();
            }
        }
    }
}

/// What the members of a group share in a test: how many messages are still to be taken.
struct Left {
    left: Mutex<usize>,
    bells: Vec<Arc<Bell>>,
}

impl Left {
    fn took(&self, n: usize) {
        let mut left = self.left.lock().unwrap();
        *left -= n;
        if *left == 0 {
            for bell in &self.bells {
                bell.ring();
            }
        }
    }

    fn none(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }
}

/// A member with one slot: takes, has it answered, takes again.
fn member(group: &Mailbox, session: SessionId, left: &Left, bell: &Arc<Bell>) {
    let member = Member { session, qos: QoS::ExactlyOnce, retain_as_published: false, id: 0 };
    let waker = Waker::from(bell.clone());
    while !left.none() {
        let mut out = Vec::new();
        let mut wakers = Vec::new();
        let room = Room { window: 1, bytes: 1_000_000 };
        let queue = QueueConfig::default();
        let ask = Ask { room, max: 64, ..Ask::nothing(&waker, &queue) };
        let taken = group.take_shared(member.unrestricted(), &ask, &mut out, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        left.took(out.len());
        // What is answered makes room, and a link looks again; else it looks when it is woken.
        let answered = out.iter().any(|delivery| delivery.qos > QoS::AtMostOnce);
        if !answered && !taken.more() && !left.none() {
            bell.wait();
        }
    }
}

#[test]
fn whatever_is_pushed_to_a_group_is_taken_by_somebody() {
    schedules(|| {
        let group = Arc::new(Mailbox::for_group(GroupId::new(1), "$share/g/t"));
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::default())).collect();
        let left = Arc::new(Left { left: Mutex::new(6), bells: bells.clone() });
        for session in 0..2 {
            group.join(SessionId::new(session), &ClientId::new("c"));
        }
        let mut threads = Vec::new();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let group = group.clone();
            threads.push(thread::spawn(move || {
                let publisher = identity("p");
                for _ in 0..3 {
                    push(&group, &publisher, qos);
                }
            }));
        }
        for (session, bell) in bells.into_iter().enumerate() {
            let (group, left) = (group.clone(), left.clone());
            threads.push(thread::spawn(move || {
                member(&group, SessionId::new(session as u64), &left, &bell)
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn what_a_departing_member_gives_back_finds_another_one() {
    schedules(|| {
        let group = Arc::new(Mailbox::for_group(GroupId::new(1), "$share/g/t"));
        let bell = Arc::new(Bell::default());
        let left = Arc::new(Left { left: Mutex::new(3), bells: vec![bell.clone()] });
        for session in [1, 9] {
            group.join(SessionId::new(session), &ClientId::new("c"));
        }
        let leaver = {
            let group = group.clone();
            thread::spawn(move || {
                let bell = Arc::new(Bell::default());
                let session = SessionId::new(9);
                let member =
                    Member { session, qos: QoS::AtLeastOnce, retain_as_published: false, id: 0 };
                let mut out = Vec::new();
                let mut wakers = Vec::new();
                let room = Room { window: 2, bytes: 1_000_000 };
                let waker = Waker::from(bell);
                let queue = QueueConfig::default();
                let ask = Ask { room, max: 64, ..Ask::nothing(&waker, &queue) };
                group.take_shared(member.unrestricted(), &ask, &mut out, &mut wakers);
                wakers.extend(group.part(session));
                wakers.extend(group.give_back(out, |_| 1).expect("the group is there"));
                wakers.into_iter().for_each(Waker::wake);
            })
        };
        let publisher = {
            let group = group.clone();
            thread::spawn(move || {
                let publisher = identity("p");
                for _ in 0..3 {
                    push(&group, &publisher, QoS::AtLeastOnce);
                }
            })
        };
        member(&group, SessionId::new(1), &left, &bell);
        leaver.join().unwrap();
        publisher.join().unwrap();
    });
}

fn terms() -> Terms {
    Terms {
        bridge: false,
        version: Version::V5,
        keep_alive: 0,
        expiry: 100,
        asked_expiry: 100,
        receive_maximum: 10,
        packet_max: u32::MAX,
        alias_out_max: 0,
        alias_in_max: 0,
        problem_information: true,
        clean_start: false,
    }
}

/// One connection of the client everybody claims to be. Returns its claim, and whether it held
/// the Session at the end.
fn claimant(registry: &Registry, newest: u64, lasts: bool, held: &Mutex<u32>) -> (u64, bool) {
    let client = ClientId::new("c");
    let identity = identity("c");
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut wakers = Vec::new();
    let wish =
        Claimant { client_id: &client, user_name: None, address: None, clean: false, number: None };
    let claim = registry.claim(&wish, NOW, &mut wakers).expect("the same user").number;
    wakers.drain(..).for_each(Waker::wake);
    let totals = Totals { sessions_max: 10, ..Totals::default() };
    let quotas = totals.quotas(totals.sessions_max.into());
    let (id, session, mailbox) = loop {
        match registry.settle(&client, claim, &identity, quotas.now(false), &waker) {
            Claim::Pending => bell.wait(),
            Claim::Overtaken => return (claim, false),
            Claim::Full(_) => panic!("one Session is not too many"),
            Claim::Unverified(_) => panic!("nobody is verified"),
            Claim::New(id, _) => {
                let session = Session::new(identity.clone(), terms(), NOW);
                break (id, session, Arc::new(Mailbox::for_session(id, identity.clone())));
            }
            Claim::Resumed { parked, .. } => break (parked.id, parked.session, parked.mailbox),
        }
    };
    {
        let mut held = held.lock().unwrap();
        assert_eq!(*held, 0, "a Session in two places");
        *held += 1;
    }
    mailbox.attach(true);
    registry.attach(&client, &mailbox);
    loop {
        let queue = QueueConfig::default();
        let mut out = Vec::new();
        let ask = Ask::nothing(&waker, &queue);
        let taken = mailbox.take(&ask, &mut [0, 0], &mut out, &mut wakers);
        if taken.notices().kick().is_some() {
            break;
        }
        // No thread claims after this one: none will ring.
        if claim == newest {
            return (claim, true);
        }
        bell.wait();
    }
    *held.lock().unwrap() -= 1;
    if !lasts {
        wakers.extend(registry.release(&client));
        wakers.into_iter().for_each(Waker::wake);
        return (claim, false);
    }
    wakers.extend(mailbox.detach(&mut [0, 0], false).0);
    let (will_due, expires) = (Time::NEVER, Time::NEVER);
    let in_flight = InFlight::default();
    let parked = Parked { id, session, mailbox, will_due, expires, newest: None, in_flight };
    wakers.extend(registry.park(parked));
    wakers.into_iter().for_each(Waker::wake);
    (claim, false)
}

#[test]
fn the_newest_claimant_gets_the_session_and_nobody_else_has_it() {
    claims(true);
}

#[test]
fn the_newest_claimant_gets_a_session_where_none_outlives_its_connection() {
    claims(false);
}

fn claims(lasts: bool) {
    schedules(move || {
        let registry = Arc::new(Registry::new(1, 0));
        let held = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (registry, held) = (registry.clone(), held.clone());
                thread::spawn(move || claimant(&registry, 3, lasts, &held))
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let holders: Vec<_> = ends.iter().filter(|(_, holds)| *holds).collect();
        assert_eq!(holders, [&(3, true)]);
        assert_eq!(registry.sessions(), 1);
    });
}

fn broker(store: Arc<dyn Store>) -> Broker {
    broker_of(&Config::default(), store)
}

fn broker_of(config: &Config, store: Arc<dyn Store>) -> Broker {
    let ports = Ports {
        store,
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    Broker::new(config, ports, 1, NOW)
}

fn id(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

#[test]
fn what_waits_for_the_store_leaves_in_the_end() {
    schedules(|| {
        let disk = Arc::new(Disk::default());
        let committer = {
            let disk = disk.clone();
            thread::spawn(move || disk.run())
        };
        let broker = broker(disk.clone());
        let mut subscriber = Client::connect(&broker, "s");
        assert!(subscriber.hear(|p| matches!(p, Packet::ConnAck(_))));
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
        subscriber.say(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: id(1),
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("t", options)],
        }));
        assert!(subscriber.hear(|p| matches!(p, Packet::SubAck(_))));
        let publisher = {
            let broker = broker.clone();
            thread::spawn(move || {
                let mut publisher = Client::connect(&broker, "p");
                assert!(publisher.hear(|p| matches!(p, Packet::ConnAck(_))));
                publisher.say(&Packet::Publish(Publish {
                    qos: QoS::ExactlyOnce,
                    packet_id: Some(id(7)),
                    topic: "t",
                    ..Publish::default()
                }));
                assert!(publisher.hear(|p| matches!(p, Packet::PubRec(_))));
                publisher.say(&Packet::PubRel(Ack::new(id(7), Reason::Success)));
                assert!(publisher.hear(|p| matches!(p, Packet::PubComp(_))));
            })
        };
        assert!(subscriber.hear(|p| matches!(p, Packet::Publish(_))));
        subscriber.say(&Packet::PubRec(Ack::new(id(1), Reason::Success)));
        assert!(subscriber.hear(|p| matches!(p, Packet::PubRel(_))));
        publisher.join().unwrap();
        disk.stop();
        committer.join().unwrap();
    });
}

#[test]
fn a_client_that_connects_twice_keeps_one_connection() {
    schedules(|| {
        let broker = broker(Arc::new(MemoryStore));
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::default())).collect();
        let closed = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..2)
            .map(|at| {
                let (broker, bells, closed) = (broker.clone(), bells.clone(), closed.clone());
                thread::spawn(move || {
                    let mut client = Client::connect(&broker, "c");
                    client.bell = bells[at].clone();
                    assert!(client.hear(|p| matches!(p, Packet::ConnAck(_))));
                    live_on(client, &closed, &bells)
                })
            })
            .collect();
        // The link that was taken over is told so, and the other one lives.
        let lives: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(lives.iter().filter(|link| !link.is_closed()).count(), 1);
        assert_eq!(broker.view().sessions.len(), 1);
    });
}

/// Polls when woken, until this client or the other one is closed.
fn live_on(mut client: Client, closed: &Mutex<u32>, bells: &[Arc<Bell>]) -> Link {
    loop {
        let waker = Waker::from(client.bell.clone());
        client.link.poll(&waker, NOW, 0, &mut client.turn);
        let mut closed = closed.lock().unwrap();
        if client.link.is_closed() {
            *closed += 1;
            bells.iter().for_each(|bell| bell.ring());
            return client.link;
        }
        if *closed == 1 {
            return client.link;
        }
        drop(closed);
        client.bell.wait();
    }
}
