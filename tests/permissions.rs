//! Rights on every path of a message, on virtual time: live, queued, retained, shared, Wills, dead letters and delayed ones, each
//! allowed, denied, taken away from a client that is connected, and from one that is away; for both versions.
//!
//! `docs/permissions.md` has the table of cells.

mod virtual_time;

#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use rows::Disk;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{DeliveryOutcome, Receiver};
use sluicemq::codec::{Connect, QoS, Reason, SubscribeOptions, Version, Will};
use sluicemq::message::{Loss, RefusalKind};
use sluicemq::session::Room;
use sluicemq::topic::{TopicFilter, TopicLimits};
use virtual_time::{Town, connect};

const SECOND: Duration = Duration::from_secs(1);

/// The way of a message to its receiver `r`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Path {
    /// It comes while the receiver is connected.
    Live,
    /// It waits in the receiver's queue.
    Queued,
    Retained,
    /// Through a group of which the receiver is the only member.
    Shared,
    /// It is the Will of `p`.
    Will,
    /// It is told of as lost by another.
    DeadLetter,
    /// It is published now and due later.
    Delayed,
}

/// Which right is at stake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Right {
    /// `p` may publish.
    Publish,
    /// `r` may subscribe.
    Subscribe,
    /// `r` may receive.
    Receive,
}

/// When the right is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    Allowed,
    Denied,
    /// Revoked while the client that has it is connected.
    RevokedConnected,
    /// Revoked while it is away.
    RevokedAway,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    path: Path,
    right: Right,
    when: When,
    version: Version,
}

const PATHS: [Path; 7] = [
    Path::Live,
    Path::Queued,
    Path::Retained,
    Path::Shared,
    Path::Will,
    Path::DeadLetter,
    Path::Delayed,
];
const RIGHTS: [Right; 3] = [Right::Publish, Right::Subscribe, Right::Receive];
const TIMES: [When; 4] = [When::Allowed, When::Denied, When::RevokedConnected, When::RevokedAway];

#[test]
fn no_path_leads_past_the_rules() {
    let mut cells = 0;
    for path in PATHS {
        for right in RIGHTS {
            for when in TIMES {
                for version in [Version::V311, Version::V5] {
                    let case = Case { path, right, when, version };
                    if case.exists() {
                        case.run();
                        cells += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cells, 167);
}

impl Case {
    fn exists(self) -> bool {
        match (self.path, self.right, self.when) {
            // A Will that waits is of version 5 alone.
            (Path::Will, Right::Publish, When::RevokedAway) => self.version == Version::V5,
            _ => true,
        }
    }

    /// The rules with the right, or without it. Others may do everything.
    fn rules(self, has: bool) -> String {
        let (who, action) = match self.right {
            Right::Publish => ("p", "publish"),
            Right::Subscribe => ("r", "subscribe"),
            Right::Receive => ("r", "receive"),
        };
        let deny = format!(
            "[[rule]]\ndeny = ['{action}']\nclient_id = '{who}'\ntopics = ['t', '$dead/#']\n"
        );
        let deny = if has { "" } else { &deny };
        let queue = match self.path {
            Path::DeadLetter => {
                "queue = { messages_max = 2, policy = 'drop_oldest', dead_letters = true }"
            }
            _ => "",
        };
        format!(
            "session.inflight_max = 1\n{queue}\n{deny}[[rule]]\nallow = ['all']\ntopics = ['#', '$dead/#']"
        )
    }

    fn filter(self) -> &'static str {
        match self.path {
            Path::Shared => "$share/g/t",
            Path::DeadLetter => "$dead/#",
            _ => "t",
        }
    }

    fn connect(self, client_id: &str) -> Connect<'_> {
        Connect { version: self.version, ..connect(client_id, false, 3600) }
    }

    fn run(self) {
        let revoked = self.is_revoked();
        let mut town = Town::new(&self.rules(self.when != When::Denied));
        let publisher = self.publisher(&mut town);
        let receiver = match self.path {
            Path::Queued if self.right != Right::Publish => self.queued(&mut town, publisher),
            _ if self.is_away() => self.away(&mut town, publisher),
            _ => self.present(&mut town, publisher),
        };
        town.pass(SECOND * 30);
        town.pass(SECOND);
        town.pass(SECOND);
        let client = town.of(receiver);
        let got = client.got.iter().filter(|got| got.payload == "x").count();
        let wanted = usize::from(self.when == When::Allowed);
        assert_eq!(got, wanted, "{self:?}: {:?}", client.got);
        assert!(!client.is_closed(), "{self:?}: the connection stays");
        let metrics = town.broker.metrics();
        let lost = metrics.lost(Loss::NotAuthorized) > 0;
        let refused = |kind| metrics.refused(kind) > 0;
        let told = lost
            || refused(RefusalKind::PublishNotAuthorized)
            || refused(RefusalKind::SubscribeNotAuthorized)
            || refused(RefusalKind::SubscriptionRevoked);
        assert_eq!(told, self.when != When::Allowed, "{self:?}: it is counted");
        if self.right == Right::Receive && self.when != When::Allowed {
            assert!(lost && refused(RefusalKind::ReceiveNotAuthorized), "{self:?}");
        }
        if self.right == Right::Subscribe && revoked && self.path != Path::Retained {
            assert!(refused(RefusalKind::SubscriptionRevoked), "{self:?}");
        }
    }

    /// The client `p`, with a Will if that is the path.
    fn publisher(self, town: &mut Town) -> usize {
        // Where the Will is to wait for the right to go.
        let delay =
            if self.right == Right::Publish && self.when == When::RevokedAway { 10 } else { 0 };
        let will = (self.path == Path::Will).then_some(Will {
            qos: QoS::AtLeastOnce,
            delay,
            topic: "t",
            payload: b"x",
            ..Will::default()
        });
        town.arrive(&Connect { will, ..self.connect("p") }, "test")
    }

    /// Whether the right is there first and goes.
    fn is_revoked(self) -> bool {
        matches!(self.when, When::RevokedConnected | When::RevokedAway)
    }

    /// Whether the receiver is away while its right is revoked.
    fn is_away(self) -> bool {
        self.when == When::RevokedAway && self.right != Right::Publish
    }

    /// The message, of QoS 1.
    fn send(self, town: &mut Town, publisher: usize) {
        match self.path {
            Path::Will => town.cut(publisher),
            Path::DeadLetter => {
                // The third pushes the first out of the queue of a client that is away.
                let slow = town.arrive(&self.connect("s"), "test");
                town.subscribe(slow, "t", QoS::AtLeastOnce);
                town.cut(slow);
                for payload in ["x", "y", "y"] {
                    town.publish(publisher, "t", payload, QoS::AtLeastOnce);
                }
            }
            _ => {
                let retain = self.path == Path::Retained;
                let topic = if self.path == Path::Delayed { "$delayed/10s/t" } else { "t" };
                town.publish_as(publisher, topic, "x", QoS::AtLeastOnce, retain);
            }
        }
        town.pass(SECOND);
    }

    fn receiver(self, town: &mut Town) -> usize {
        let receiver = town.arrive(&self.connect("r"), "test");
        town.subscribe(receiver, self.filter(), QoS::AtLeastOnce);
        receiver
    }

    /// The receiver is there; the right goes while both are, or while a publisher is away.
    fn present(self, town: &mut Town, publisher: usize) -> usize {
        let late = self.path == Path::Retained;
        let before = (!late).then(|| self.receiver(town));
        let away = self.right == Right::Publish && self.when == When::RevokedAway;
        // What is retained, delayed, and a Will that waits, is there before the right goes.
        let early = late || (self.path == Path::Delayed && self.is_revoked());
        if early || (away && self.path == Path::Will) {
            self.send(town, publisher);
        }
        let away = away && self.path != Path::Will;
        if away {
            town.cut(publisher);
        }
        if self.is_revoked() {
            town.reload(&self.rules(false));
        }
        let publisher = if away { town.arrive(&self.connect("p"), "test") } else { publisher };
        if !early {
            self.send(town, publisher);
        }
        before.unwrap_or_else(|| self.receiver(town))
    }

    /// The receiver is away when its right goes. The message is there before, or comes while it is away.
    fn away(self, town: &mut Town, publisher: usize) -> usize {
        let receiver = self.receiver(town);
        town.cut(receiver);
        self.send(town, publisher);
        town.reload(&self.rules(false));
        let receiver = town.arrive(&self.connect("r"), "test");
        if self.path == Path::Retained {
            town.subscribe(receiver, self.filter(), QoS::AtLeastOnce);
        }
        receiver
    }

    /// The message waits: for a receiver that is away, or behind one that is not acknowledged.
    fn queued(self, town: &mut Town, publisher: usize) -> usize {
        let receiver = self.receiver(town);
        if self.when != When::RevokedConnected {
            town.cut(receiver);
            self.send(town, publisher);
            if self.when == When::RevokedAway {
                town.reload(&self.rules(false));
            }
            return town.arrive(&self.connect("r"), "test");
        }
        town.of(receiver).acknowledges = false;
        town.publish(publisher, "t", "before", QoS::AtLeastOnce);
        self.send(town, publisher);
        town.reload(&self.rules(false));
        town.of(receiver).acknowledge(1);
        town.of(receiver).acknowledges = true;
        receiver
    }
}

/// Other Subscriptions of the client stay, and what waits for them too.
#[test]
fn only_what_is_revoked_ends() {
    let rules = "[[rule]]\nallow = ['all']\ntopics = ['#']";
    let fewer = format!("[[rule]]\ndeny = ['subscribe']\ntopics = ['a/#']\n{rules}");
    let mut town = Town::new(rules);
    let receiver = town.arrive(&connect("r", false, 3600), "test");
    for filter in ["a/#", "a/b/+", "b", "+/b/c"] {
        town.subscribe(receiver, filter, QoS::AtLeastOnce);
    }
    town.cut(receiver);
    let publisher = town.client("p");
    for topic in ["a/x", "a/b/c", "b", "a/b/d"] {
        town.publish(publisher, topic, topic, QoS::AtLeastOnce);
    }
    town.reload(&fewer);
    let receiver = town.arrive(&connect("r", false, 3600), "test");
    town.pass(SECOND);
    let got = |town: &mut Town| -> Vec<String> {
        std::mem::take(&mut town.of(receiver).got).into_iter().map(|got| got.payload).collect()
    };
    // `+/b/c` is wider than what was revoked.
    assert_eq!(got(&mut town), ["a/b/c", "b"]);
    for topic in ["a/x", "a/b/c", "b", "a/b/d"] {
        town.publish(publisher, topic, topic, QoS::AtLeastOnce);
    }
    assert_eq!(got(&mut town), ["a/b/c", "b"]);
    assert_eq!(town.broker.metrics().refused(RefusalKind::SubscriptionRevoked), 2);
    assert_eq!(town.broker.metrics().lost(Loss::NotAuthorized), 2);
    // What is allowed again is there again when the client asks for it.
    town.reload(rules);
    town.publish(publisher, "a/x", "a/x", QoS::AtLeastOnce);
    assert_eq!(got(&mut town), [""; 0]);
    town.subscribe(receiver, "a/#", QoS::AtLeastOnce);
    town.publish(publisher, "a/x", "a/x", QoS::AtLeastOnce);
    assert_eq!(got(&mut town), ["a/x"]);
}

/// Writes all that the broker remembers, and lets it go on.
fn write(town: &mut Town, disk: &Disk) {
    disk.write_all(|| town.pass(Duration::ZERO));
}

/// A Subscription that was revoked stays revoked when the broker begins anew, for what waits too: whether it was
/// revoked before the broker stopped, or while it was down.
#[test]
fn what_was_revoked_stays_revoked_after_a_restart() {
    let all = "session.inflight_max = 1\n[[rule]]\nallow = ['all']\ntopics = ['#']\n";
    let fewer = "session.inflight_max = 1\n[[rule]]\ndeny = ['subscribe']\nclient_id = 'r'\n\
                 topics = ['a/#']\n[[rule]]\nallow = ['all']\ntopics = ['#']\n";
    for while_down in [false, true] {
        for version in [Version::V311, Version::V5] {
            let disk = Disk::default();
            let mut town = Town::with_store(all, Arc::new(disk.open()));
            let lasting = Connect { version, ..connect("r", false, 3600) };
            let receiver = town.arrive(&lasting, "test");
            write(&mut town, &disk);
            for filter in ["a/#", "b", "c"] {
                town.subscribe(receiver, filter, QoS::AtLeastOnce);
                write(&mut town, &disk);
            }
            town.of(receiver).acknowledges = false;
            let publisher = town.client("p");
            for topic in ["a/flying", "a/waits", "b", "c"] {
                town.publish(publisher, topic, topic, QoS::AtLeastOnce);
                write(&mut town, &disk);
            }
            // What the client gives up itself still comes, as it does without rules.
            town.unsubscribe(receiver, "c");
            write(&mut town, &disk);
            if !while_down {
                town.reload(fewer);
                write(&mut town, &disk);
            }
            disk.crash();
            let mut town = Town::with_store(fewer, Arc::new(disk.open()));
            town.broker
                .restore(town.now, &mut Scratch::default())
                .expect("rows that mean something");
            let receiver = town.arrive(&lasting, "test");
            write(&mut town, &disk);
            let publisher = town.client("p");
            for topic in ["a/later", "b/later"] {
                town.publish(publisher, topic, topic, QoS::AtLeastOnce);
                write(&mut town, &disk);
            }
            let got: Vec<_> = town.of(receiver).got.iter().map(|got| got.topic.clone()).collect();
            assert_eq!(
                got,
                ["b", "c"],
                "{version:?}, revoked while the broker is down: {while_down}"
            );
            assert_eq!(town.broker.metrics().lost(Loss::NotAuthorized), 2);
        }
    }
}

/// A receiver in the process is asked for its rights as a client is, at each reload.
#[test]
fn a_receiver_in_the_process_loses_what_is_revoked() {
    let all = "[[rule]]\nallow = ['all']\ntopics = ['#']\n";
    let fewer = format!("[[rule]]\ndeny = ['subscribe']\nuser = 'tail'\ntopics = ['a/#']\n{all}");
    let mut town = Town::new(all);
    let identity = town.broker.identity("tail", Some("tail"));
    let limits = TopicLimits { bytes_max: 100, levels_max: 10 };
    let filters = ["a/#", "b"].map(|filter| {
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        (TopicFilter::parse(filter, &limits).expect("a filter"), options)
    });
    let mut turn = Scratch::default();
    let mut receiver =
        Receiver::open(&town.broker, &identity, &filters, town.now, &mut turn).expect("rights");
    let publisher = town.client("p");
    let mut taken = |town: &Town| -> Vec<String> {
        let mut topics = Vec::new();
        let room = Room { window: 10, bytes: 1000 };
        for delivery in receiver.take(room, Waker::noop(), town.now, &mut turn) {
            topics.push(delivery.message.topic().as_str().to_owned());
            receiver.settle(delivery, DeliveryOutcome::Completed, town.now, &mut turn);
        }
        topics
    };
    for topic in ["a/1", "b"] {
        town.publish(publisher, topic, "x", QoS::AtLeastOnce);
    }
    assert_eq!(taken(&town), ["a/1", "b"]);
    for topic in ["a/2", "b"] {
        town.publish(publisher, topic, "x", QoS::AtLeastOnce);
    }
    town.reload(&fewer);
    assert_eq!(taken(&town), ["b"]);
    assert_eq!(town.broker.metrics().lost(Loss::NotAuthorized), 1);
    assert_eq!(town.broker.metrics().refused(RefusalKind::SubscriptionRevoked), 1);
    for topic in ["a/3", "b"] {
        town.publish(publisher, topic, "x", QoS::AtLeastOnce);
    }
    assert_eq!(taken(&town), ["b"]);
    assert_eq!(town.broker.metrics().lost(Loss::NotAuthorized), 1, "it was not routed");
}

/// What is retained is sent as long as its publisher may publish it, wherever that is.
#[test]
fn retained_messages_go_with_the_right_of_their_publisher() {
    let rules = |check: bool, topics: &str| {
        format!(
            "access.check_retain_source = {check}
            [[rule]]
            allow = ['publish']
            client_id = 'p'
            topics = [{topics}]
            [[rule]]
            allow = ['subscribe', 'receive']"
        )
    };
    let mut town = Town::new(&rules(true, "'a', 'b'"));
    let publisher = town.client("p");
    for topic in ["a", "b"] {
        town.publish_as(publisher, topic, topic, QoS::AtLeastOnce, true);
    }
    let read = |town: &mut Town, name: &str| -> Vec<String> {
        let reader = town.client(name);
        town.subscribe(reader, "#", QoS::AtLeastOnce);
        town.of(reader).got.iter().map(|got| got.topic.clone()).collect()
    };
    assert_eq!(read(&mut town, "1"), ["a", "b"]);
    town.reload(&rules(true, "'b'"));
    assert_eq!(read(&mut town, "2"), ["b"]);
    town.reload(&rules(false, "'b'"));
    assert_eq!(read(&mut town, "3"), ["a", "b"]);
    town.reload(&rules(true, "'a', 'b'"));
    assert_eq!(read(&mut town, "4"), ["a", "b"]);
    assert_eq!(town.broker.metrics().lost(Loss::NotAuthorized), 1);
}

/// Listener and address are those of the connection that a Session has now.
#[test]
fn rules_ask_for_what_the_connection_shows() {
    let rules = "
        [[rule]]
        allow = ['publish']
        listener = 'inner'
        address = ['10.0.0.0/8']
    ";
    let mut town = Town::new("");
    let tried = |town: &mut Town, address: &str, listener: &str| {
        address.clone_into(&mut town.address);
        let number = town.arrive(&connect("p", false, 3600), listener);
        town.publish(number, "t", "x", QoS::AtLeastOnce);
        let answer = town.of(number).answers.pop().expect("an answer").1;
        town.cut(number);
        answer != Reason::NotAuthorized
    };
    assert!(tried(&mut town, "192.0.2.1:1", "outer"));
    town.reload(rules);
    assert!(!tried(&mut town, "192.0.2.1:1", "inner"));
    assert!(!tried(&mut town, "10.0.0.1:1", "outer"));
    assert!(tried(&mut town, "10.0.0.1:1", "inner"));
    assert!(!tried(&mut town, "10.0.0.1:1", "outer"));
    // A client that was connected before there were rules.
    town.reload("");
    "10.0.0.1:1".clone_into(&mut town.address);
    let number = town.arrive(&connect("q", true, 0), "inner");
    town.reload(rules);
    town.publish(number, "t", "x", QoS::AtLeastOnce);
    assert_ne!(town.of(number).answers.pop().expect("an answer").1, Reason::NotAuthorized);
}
