//! `$exclusive/<filter>` on virtual time: one client at a time has it, connected or away for a while.

mod virtual_time;

#[allow(dead_code)] // Queues need more of it.
mod house;
#[path = "../src/random.rs"]
mod random;
#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;

use std::collections::BTreeMap;
use std::time::Duration;

use house::House;
use random::Random;
use sluicemq::codec::{Connect, QoS, Reason, Version};
use sluicemq::message::RefusalKind;
use sluicemq::time::Time;
use virtual_time::connect;

const SECOND: Duration = Duration::from_secs(1);
/// Session Expiry Interval of what lasts, in seconds.
const HOUR: u32 = 3600;
/// The default of `session.exclusive_max`.
const MAX: Duration = Duration::from_secs(600);

/// A broker on a disk, what it was configured with, and a publisher.
struct Place {
    house: House,
    config: String,
    publisher: usize,
}

impl Place {
    fn new(config: &str) -> Place {
        let mut house = House::new(config);
        let publisher = house.town.client("p");
        Place { house, config: config.to_owned(), publisher }
    }

    /// The machine stops and starts again at once; clients are gone.
    fn restart(&mut self) {
        self.house.restart_after(Duration::ZERO, &self.config);
        self.publisher = self.house.town.client("p");
        self.house.settle();
    }

    /// A client with a Session that lasts, or ends with its connection.
    fn client(&mut self, client_id: &str, lasts: bool) -> usize {
        self.connect(&connect(client_id, !lasts, if lasts { HOUR } else { 0 }))
    }

    fn connect(&mut self, connect: &Connect<'_>) -> usize {
        let number = self.house.town.arrive(connect, "test");
        self.house.settle();
        number
    }

    fn cut(&mut self, number: usize) {
        self.house.town.cut(number);
        self.house.settle();
    }

    /// Subscribes; SUBACK as text.
    fn ask(&mut self, number: usize, filter: &str) -> String {
        self.house.town.of(number).others.clear();
        self.house.town.subscribe(number, filter, QoS::AtLeastOnce);
        self.house.settle();
        self.house.town.of(number).others.concat()
    }

    #[track_caller]
    fn grants(&mut self, number: usize, filter: &str) {
        let said = self.ask(number, filter);
        assert!(said.contains("reasons: [GrantedQoS1]"), "{filter} {said}");
    }

    #[track_caller]
    fn refuses(&mut self, number: usize, filter: &str, reason: Reason) {
        let said = self.ask(number, filter);
        assert!(said.contains(&format!("reasons: [{reason:?}]")), "{filter} {said}");
    }

    /// Publishes; those of these clients that were sent it.
    fn reaches(&mut self, topic: &str, clients: &[usize]) -> Vec<usize> {
        clients.iter().for_each(|client| self.house.town.of(*client).got.clear());
        self.house.town.publish(self.publisher, topic, "x", QoS::AtLeastOnce);
        self.house.settle();
        let got = |client: &&usize| !self.house.town.of(**client).got.is_empty();
        clients.iter().filter(got).copied().collect()
    }

    fn payloads(&mut self, number: usize) -> Vec<String> {
        let got = std::mem::take(&mut self.house.town.of(number).got);
        got.into_iter().map(|got| got.payload).collect()
    }

    fn refused(&self, kind: RefusalKind) -> u64 {
        self.house.town.broker.metrics().refused(kind)
    }

    fn session_present(&mut self, number: usize) -> bool {
        self.house.town.of(number).others.concat().contains("session_present: true")
    }
}

#[test]
fn one_client_has_it_and_the_next_is_told() {
    for version in [Version::V311, Version::V5] {
        let (taken, invalid, published) = match version {
            Version::V5 => {
                (Reason::QuotaExceeded, Reason::TopicFilterInvalid, Reason::TopicNameInvalid)
            }
            _ => (Reason::UnspecifiedError, Reason::UnspecifiedError, Reason::Success),
        };
        let mut place = Place::new("");
        let client = |place: &mut Place, client_id: &str| {
            place.connect(&Connect { version, ..connect(client_id, true, 0) })
        };
        let (a, b) = (client(&mut place, "a"), client(&mut place, "b"));
        place.house.town.publish_as(place.publisher, "t/1", "kept", QoS::AtLeastOnce, true);
        place.grants(a, "$exclusive/t/+");
        assert_eq!(place.payloads(a), ["kept"]);
        let said = place.ask(b, "$exclusive/t/+");
        assert!(said.contains(&format!("reasons: [{taken:?}]")), "{said}");
        assert_eq!(said.contains("another client has this"), version == Version::V5, "{said}");
        assert_eq!(place.refused(RefusalKind::SubscribeExclusive), 1);
        assert!(place.house.town.of(b).got.is_empty());
        assert_eq!(place.reaches("t/2", &[a, b]), [a]);
        // Exactly this text.
        place.grants(b, "t/+");
        place.grants(b, "$exclusive/t/#");
        assert_eq!(place.reaches("t/2", &[a, b]), [a, b]);
        // The same client again, at another QoS: it was there already.
        let before = place.house.town.broker.view().subscriptions;
        place.house.town.subscribe(a, "$exclusive/t/+", QoS::AtMostOnce);
        place.house.settle();
        assert_eq!(place.reaches("t/2", &[a]), [a]);
        assert_eq!(place.house.town.of(a).got[0].qos, QoS::AtMostOnce);
        assert_eq!(place.house.town.broker.view().subscriptions, before);
        place.house.town.unsubscribe(a, "$exclusive/t/+");
        place.house.settle();
        assert!(place.reaches("t/2", &[a]).is_empty());
        place.house.town.unsubscribe(b, "$exclusive/t/#");
        place.house.town.unsubscribe(b, "t/+");
        place.grants(b, "$exclusive/t/+");
        place.refuses(a, "$exclusive/t/+", taken);
        place.cut(b);
        place.grants(a, "$exclusive/t/+");
        assert_eq!(place.reaches("t/2", &[a]), [a]);
        for malformed in [
            "$exclusive",
            "$exclusive/",
            "$exclusive/t/#/x",
            "$exclusive/$share/g/t",
            "$exclusive/$queue/t",
            "$exclusive/$replay/t/all",
            "$exclusive/$exclusive/t",
            "$exclusive/$delayed/1s/t",
            "$share/g/$exclusive/t",
        ] {
            place.refuses(a, malformed, invalid);
        }
        place.house.town.publish(a, "$exclusive/t/2", "x", QoS::AtLeastOnce);
        place.house.settle();
        assert_eq!(place.house.town.of(a).answers.last().expect("PUBACK").1, published);
        assert_eq!(place.refused(RefusalKind::PublishTopic), 1);
        assert_eq!(place.house.town.broker.view().subscriptions, 1);
    }
}

#[test]
fn a_client_may_have_the_inner_filter_too() {
    for inner in ["t", "t/#", "+/+/+/+/t/#"] {
        let exclusive = format!("$exclusive/{inner}");
        let topic = if inner.starts_with('+') { "1/2/3/4/t" } else { "t" };
        let mut place = Place::new("");
        let (a, b) = (place.client("a", false), place.client("b", false));
        place.grants(a, inner);
        place.grants(a, &exclusive);
        place.grants(b, inner);
        assert_eq!(place.house.town.broker.view().subscriptions, 3);
        assert_eq!(place.reaches(topic, &[a, b]), [a, b]);
        assert_eq!(place.payloads(a).len(), 1, "one copy for both");
        place.house.town.unsubscribe(a, inner);
        assert_eq!(place.reaches(topic, &[a]), [a], "by the exclusive one");
        place.grants(a, inner);
        place.house.town.unsubscribe(a, &exclusive);
        assert_eq!(place.reaches(topic, &[a]), [a], "by the other one");
        place.grants(b, &exclusive);
    }
}

#[test]
fn a_client_that_is_away_keeps_it_for_a_while() {
    let mut place = Place::new("");
    let (a, b) = (place.client("a", true), place.client("b", true));
    place.grants(a, "$exclusive/t");
    place.cut(a);
    place.house.pass(MAX - SECOND);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    // In time: it keeps it, and the time begins anew when it leaves again.
    let a = place.client("a", true);
    place.house.pass(MAX);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    place.cut(a);
    place.house.pass(MAX - SECOND);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    assert!(place.reaches("t", &[b]).is_empty());
    place.house.pass(SECOND);
    assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 0, "until another client asks");
    let c = place.client("c", true);
    place.grants(b, "$exclusive/t");
    place.refuses(c, "$exclusive/t", Reason::QuotaExceeded);
    assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 1);
    assert_eq!(place.house.town.broker.view().subscriptions, 1);
    assert_eq!(place.reaches("t", &[b]), [b]);
    // Its Session is there, with what waited for it, and without the Subscription.
    let a = place.client("a", true);
    assert!(place.session_present(a));
    assert_eq!(place.payloads(a), ["x"]);
    assert_eq!(place.reaches("t", &[a, b]), [b]);
    place.refuses(a, "$exclusive/t", Reason::QuotaExceeded);
    place.house.town.unsubscribe(a, "$exclusive/t");
    place.refuses(a, "$exclusive/t", Reason::QuotaExceeded);
    assert_eq!(place.reaches("t", &[a, b]), [b], "what it ends is not what another has");
    assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 1);
}

#[test]
fn it_is_free_when_the_session_ends() {
    // Its expiry, before the limit; a Clean Start of the same client; and without any Session.
    for expiry in [0, 100] {
        let mut place = Place::new("");
        let (a, b) = (place.connect(&connect("a", true, expiry)), place.client("b", false));
        place.grants(a, "$exclusive/t");
        place.cut(a);
        if expiry > 0 {
            place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
            place.house.pass(SECOND * expiry);
        }
        place.grants(b, "$exclusive/t");
        assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 0);
    }
    let mut place = Place::new("");
    let (a, b) = (place.client("a", true), place.client("b", false));
    place.grants(a, "$exclusive/t");
    place.cut(a);
    let a = place.client("a", false);
    place.grants(b, "$exclusive/t");
    assert_eq!(place.reaches("t", &[a, b]), [b]);
}

#[test]
fn another_connection_of_the_same_client_takes_it_over() {
    for lasts in [true, false] {
        let mut place = Place::new("session.exclusive_max = '0s'");
        let (a, b) = (place.client("a", lasts), place.client("b", false));
        place.grants(a, "$exclusive/t");
        let again = place.client("a", lasts);
        assert!(place.house.town.of(a).is_closed());
        if lasts {
            place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
            assert_eq!(place.reaches("t", &[again, b]), [again]);
        } else {
            place.grants(b, "$exclusive/t");
            place.refuses(again, "$exclusive/t", Reason::QuotaExceeded);
        }
    }
}

#[test]
fn the_limit_can_be_changed() {
    let mut place = Place::new("session.exclusive_max = '0s'");
    let (a, b) = (place.client("a", true), place.client("b", true));
    place.grants(a, "$exclusive/t");
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    place.house.town.reload("session.exclusive_max = '10s'");
    place.cut(a);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    place.house.town.reload("session.exclusive_max = '20s'");
    place.house.pass(SECOND * 10);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    // Also for what is away already.
    place.house.town.reload("session.exclusive_max = '10s'");
    place.grants(b, "$exclusive/t");
    place.house.town.reload("session.exclusive_max = '0s'");
    place.cut(b);
    let a = place.client("a", true);
    place.grants(a, "$exclusive/t");
}

#[test]
fn a_restart_changes_nothing() {
    let mut place = Place::new("");
    let (a, away) = (place.client("a", true), place.client("away", true));
    place.grants(a, "$exclusive/t");
    place.grants(away, "$exclusive/u");
    place.cut(away);
    place.house.pass(MAX - SECOND);
    place.restart();
    let b = place.client("b", true);
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    place.refuses(b, "$exclusive/u", Reason::QuotaExceeded);
    // One that was away has the rest of its time; one that was connected is away since the restart.
    place.house.pass(SECOND);
    place.grants(b, "$exclusive/u");
    place.refuses(b, "$exclusive/t", Reason::QuotaExceeded);
    place.house.pass(MAX - SECOND);
    place.grants(b, "$exclusive/t");
    assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 2);
    // What has ended is not there again.
    place.restart();
    let (a, b) = (place.client("a", true), place.client("b", true));
    assert!(place.session_present(a) && place.session_present(b));
    for topic in ["t", "u"] {
        assert_eq!(place.reaches(topic, &[a, b]), [b]);
    }
    assert_eq!(place.refused(RefusalKind::ExclusiveEnded), 0);
    assert_eq!(place.house.town.broker.view().subscriptions, 2);
}

#[test]
fn with_rules_it_needs_a_rule_of_its_own() {
    let all = "[[rule]]\nallow = ['all']\n";
    let rule = |verb: &str, topics: &str| format!("[[rule]]\n{verb}\ntopics = {topics}\n");
    let own = rule("allow = ['subscribe']", "['$exclusive/t/#']");
    let inner = rule("allow = ['subscribe']", "['t/#', '+/#', '#']");
    for (config, allowed) in [
        (String::new(), true),
        ("access.default = 'deny'\n".to_owned(), false),
        (format!("access.default = 'allow'\n{inner}"), false),
        (all.to_owned(), false),
        (format!("{inner}{all}"), false),
        (format!("{own}{all}"), true),
        (format!("{all}{own}"), true),
        // What is denied within is asked of each message.
        (format!("{}{own}{all}", rule("deny = ['subscribe']", "['t/#']")), true),
        (format!("{}{own}{all}", rule("deny = ['subscribe']", "['$exclusive/#']")), false),
        (format!("[[rule]]\ndeny = ['subscribe']\n{own}{all}"), false),
    ] {
        let mut place = Place::new(&config);
        let a = place.client("a", false);
        if allowed {
            place.grants(a, "$exclusive/t/1");
            place.grants(a, "$exclusive/t/#");
            assert_eq!(place.reaches("t/1", &[a]), [a], "{config}");
        } else {
            place.refuses(a, "$exclusive/t/1", Reason::NotAuthorized);
        }
    }
    // A refusal takes nothing, and a right that goes frees it.
    let with = format!("{own}{all}");
    let without = format!("[[rule]]\ndeny = ['subscribe']\nclient_id = 'a'\n{with}");
    let mut place = Place::new(&without);
    let (a, b) = (place.client("a", true), place.client("b", true));
    place.refuses(a, "$exclusive/t/1", Reason::NotAuthorized);
    place.house.town.reload(&with);
    place.grants(a, "$exclusive/t/1");
    place.refuses(b, "$exclusive/t/1", Reason::QuotaExceeded);
    place.house.town.reload(&without);
    place.grants(b, "$exclusive/t/1");
    assert_eq!(place.refused(RefusalKind::SubscriptionRevoked), 1);
}

/// One client of the twin.
#[derive(Default)]
struct Twin {
    /// Its connection, and whether its Session outlives that.
    connection: Option<(usize, bool)>,
    /// Since when it has none, if its Session is there.
    away: Option<Time>,
    /// What it is to be sent when it comes back.
    waits: Vec<String>,
}

const FILTERS: [(&str, &[&str]); 3] =
    [("$exclusive/a", &["a"]), ("$exclusive/+", &["a", "b"]), ("$exclusive/b/#", &["b"])];

/// Random clients against a list of which client has what, looked through from end to end.
#[test]
fn it_is_what_a_list_says() {
    let span = MAX.as_secs() + 60;
    let (mut granted, mut refused, mut lost) = (0, 0, 0);
    for seed in 1..=80 {
        let mut random = Random::new(seed);
        let mut place = Place::new("");
        let mut twins: Vec<Twin> = (0..4).map(|_| Twin::default()).collect();
        let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
        for step in 0..80 {
            let number = random.below(twins.len());
            let (filter, _) = random.pick(&FILTERS);
            let now = place.house.town.now;
            match (random.below(20), twins[number].connection) {
                (0..=5, Some((client, _))) => {
                    let free = holders.get(filter).is_none_or(|holder| {
                        let over = |since: Time| since.after(MAX) <= now;
                        *holder == number || twins[*holder].away.is_some_and(over)
                    });
                    if free {
                        place.grants(client, filter);
                        let before = holders.insert(filter, number);
                        lost += u32::from(before.is_some_and(|before| before != number));
                        granted += 1;
                    } else {
                        place.refuses(client, filter, Reason::QuotaExceeded);
                        refused += 1;
                    }
                }
                (6..=7, Some((client, _))) => {
                    place.house.town.unsubscribe(client, filter);
                    place.house.settle();
                    holders.retain(|own, holder| *own != filter || *holder != number);
                }
                (8..=10, Some((client, lasts))) => {
                    place.cut(client);
                    twins[number].connection = None;
                    twins[number].away = lasts.then_some(now);
                    if !lasts {
                        holders.retain(|_, holder| *holder != number);
                    }
                }
                (11, _) => {
                    place.restart();
                    for (number, twin) in twins.iter_mut().enumerate() {
                        match twin.connection.take() {
                            Some((_, true)) => twin.away = Some(now),
                            Some((_, false)) => holders.retain(|_, holder| *holder != number),
                            None => {}
                        }
                    }
                }
                (12..=14, _) => {
                    place.house.pass(SECOND * random.below(span as usize) as u32);
                    let now = place.house.town.now;
                    for (number, twin) in twins.iter_mut().enumerate() {
                        let end = |since: Time| since.after(SECOND * HOUR) <= now;
                        if twin.away.is_some_and(end) {
                            *twin = Twin::default();
                            holders.retain(|_, holder| *holder != number);
                        }
                    }
                }
                (15.., None) => {
                    let lasts = random.percent(80);
                    let client = place.client(&format!("c{number}"), lasts);
                    if !lasts {
                        // A Clean Start.
                        holders.retain(|_, holder| *holder != number);
                        twins[number].waits.clear();
                    }
                    let waited = std::mem::take(&mut twins[number].waits);
                    assert_eq!(place.payloads(client), waited, "{seed} {step}");
                    twins[number] = Twin { connection: Some((client, lasts)), ..Twin::default() };
                }
                _ => {}
            }
            for topic in ["a", "b"] {
                let payload = format!("{step}{topic}");
                place.house.town.publish(place.publisher, topic, &payload, QoS::AtLeastOnce);
                place.house.settle();
                for (number, twin) in twins.iter_mut().enumerate() {
                    let has = FILTERS.iter().any(|(filter, topics)| {
                        topics.contains(&topic) && holders.get(filter) == Some(&number)
                    });
                    let expected: Vec<_> = has.then(|| payload.clone()).into_iter().collect();
                    match twin.connection {
                        Some((client, _)) => {
                            assert_eq!(place.payloads(client), expected, "{seed} {step}");
                        }
                        None => twin.waits.extend(expected),
                    }
                }
            }
            assert_eq!(
                place.house.town.broker.view().subscriptions,
                holders.len(),
                "{seed} {step}"
            );
        }
    }
    assert!(granted > 300 && refused > 200 && lost > 20, "{granted} {refused} {lost}");
}
