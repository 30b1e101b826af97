//! Reserving, pushing, taking, notices and groups.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::group::SHARE_MAX;
use super::*;
use crate::codec::{Properties, Reason};
use crate::config;
use crate::message::{ClientId, Draft, Identity, Meter, SubscriptionIds};
use crate::session::Room;
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

const KICK: Notice = Notice::Kick(Reason::SessionTakenOver);

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two members of a group, and messages of these `QoS` pushed before either looks.
struct Group {
    mailbox: Mailbox,
    bells: [Arc<Bell>; 2],
}

impl Group {
    fn new(queued: &[QoS]) -> Group {
        let mailbox = Mailbox::for_group(GroupId::new(1), "$share/g/t");
        mailbox.join(SessionId::new(0), &ClientId::new("0"));
        let group = Group { mailbox, bells: Default::default() };
        queued.iter().for_each(|qos| group.push(*qos));
        group
    }

    fn push(&self, qos: QoS) {
        self.push_of("p", qos, None);
    }

    fn push_of(&self, publisher: &str, qos: QoS, expiry: Option<u32>) {
        let publisher = Arc::new(Identity::new(ClientId::new(publisher), None, Meter::forever()));
        let draft = Draft {
            topic: TopicName::trusted("t"),
            qos,
            retain: false,
            expiry,
            properties: Properties::EMPTY,
            payload: b"",
        };
        let message = draft.into_message(&publisher, Time::START);
        let ids = SubscriptionIds::default();
        let copy = Copy { message, qos, retain: false, ids, stored: false, band: ORDINARY };
        let (queue, hash) = (config::QueueConfig::default(), TextHash::new(1));
        let setting = Setting { queue: &queue, hash: &hash, now: Time::START, lanes: false };
        let (mut copies, mut gone, mut wakers) = (vec![copy], Gone::default(), Vec::new());
        let mut grant = Grant::default();
        let effects = &mut Effects { wakers: &mut wakers, gone: &mut gone };
        self.mailbox.push(&mut copies, &setting, &mut grant, effects);
        assert!(gone.is_empty());
        wakers.into_iter().for_each(Waker::wake);
    }

    fn take(&self, index: usize, window: usize, bytes: usize) -> (usize, Taken) {
        let session = SessionId::new(index as u64);
        let qos = QoS::ExactlyOnce;
        let member = Member { session, qos, retain_as_published: false, id: 0 };
        let (mut out, mut wakers) = (Vec::new(), Vec::new());
        let waker = Waker::from(self.bells[index].clone());
        let queue = config::QueueConfig::default();
        let room = Room { window, bytes };
        let ask = Ask { room, max: usize::MAX, ..Ask::nothing(&waker, &queue) };
        let taken = self.mailbox.take_shared(member.unrestricted(), &ask, &mut out, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        (out.len(), taken)
    }

    fn rang(&self, index: usize) -> bool {
        self.bells[index].0.swap(false, Ordering::Relaxed)
    }
}

#[test]
fn a_promise_is_given_back_whole_though_the_message_is_smaller() {
    let publisher = Arc::new(Identity::new(ClientId::new("p"), None, Meter::forever()));
    let mailbox = Mailbox::for_session(SessionId::new(1), publisher.clone());
    mailbox.attach(false);
    let (queue, hash) = (config::QueueConfig::default(), TextHash::new(1));
    let setting = Setting { queue: &queue, hash: &hash, now: Time::START, lanes: false };
    // With a Message Expiry Interval, which is not forwarded as it came.
    let draft = Draft {
        topic: TopicName::trusted("t"),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: Some(10),
        properties: Properties::trusted(&[2, 0, 0, 0, 10]),
        payload: b"x",
    };
    let mut held = 0;
    for count in 1..=3 {
        let (mut grant, mut gone) = (Grant::default(), Gone::default());
        let bytes = draft.bytes(&publisher);
        let offer = Offer { topic: draft.topic, qos: draft.qos, bytes };
        mailbox.reserve(offer, &setting, &mut grant, &mut gone).expect("there is room");
        assert!(grant.spend(draft.qos, bytes));
        let message = draft.into_message(&publisher, Time::START);
        assert!(message.bytes() < bytes);
        held += message.bytes() as u64;
        let ids = SubscriptionIds::default();
        let copy =
            Copy { message, qos: draft.qos, retain: false, ids, stored: false, band: ORDINARY };
        let effects = &mut Effects { wakers: &mut Vec::new(), gone: &mut gone };
        mailbox.push(&mut vec![copy], &setting, &mut grant, effects);
        assert_eq!(mailbox.lock().held(), (count, held));
    }
}

#[test]
fn who_has_seen_that_nothing_is_there_is_woken_before_there_is_something() {
    let identity = Arc::new(Identity::new(ClientId::new("c"), None, Meter::forever()));
    let mailbox = Mailbox::for_session(SessionId::new(1), identity);
    mailbox.attach(false);
    let bell = Arc::new(Bell::default());
    let take = || {
        let (queue, waker) = (config::QueueConfig::default(), Waker::from(bell.clone()));
        let (mut out, mut wakers) = (Vec::new(), Vec::new());
        let room = Room { window: 1, bytes: 1_000 };
        let ask = Ask { room, max: 1, ..Ask::nothing(&waker, &queue) };
        mailbox.take(&ask, &mut [0, 0], &mut out, &mut wakers).notices()
    };
    assert!(!mailbox.is_quiet());
    take();
    assert!(mailbox.is_quiet());
    mailbox.settle_many(&mut [1, 1]);
    assert!(mailbox.is_quiet());
    // Looking changes nothing, and wakes nothing.
    let _ = (mailbox.account(), mailbox.depth(), mailbox.pace(), mailbox.class());
    let _ = (mailbox.taken(), mailbox.waited(), mailbox.connected(), mailbox.is_ordinary());
    let queue = config::QueueConfig::default();
    let _ = (mailbox.keeps_qos0(&queue), mailbox.drop_label(&queue));
    assert!(mailbox.is_quiet() && !bell.0.load(Ordering::Relaxed));
    let leave_and_return = || {
        let _ = mailbox.detach(&mut [0, 0], false);
        mailbox.attach(false);
        Some(Waker::noop().clone())
    };
    let events: [&dyn Fn() -> Option<Waker>; 3] =
        [&leave_and_return, &|| mailbox.notify(Notice::Reclassify), &|| mailbox.notify(KICK)];
    for event in events {
        take();
        assert!(mailbox.is_quiet());
        assert!(event().is_some() && !mailbox.is_quiet());
    }
    take();
    assert!(!mailbox.is_quiet(), "a kick is repeated until another link attaches");
    assert_eq!(take().kick(), Some(Reason::SessionTakenOver));
    assert!(mailbox.notify(Notice::Kick(Reason::NotAuthorized)).is_some());
    assert_eq!(take().kick(), Some(Reason::SessionTakenOver), "the first reason stands");
    mailbox.attach(false);
    assert!(take().is_empty() && mailbox.is_quiet());
    let _ = mailbox.notify(Notice::Reclassify);
    assert!(take().reclassify() && !take().reclassify());
}

#[test]
fn a_member_that_took_qos0_copies_is_woken_for_qos1() {
    let group = Group::new(&[QoS::AtMostOnce]);
    assert_eq!(group.take(0, 1, 1_000).0, 1);
    group.push(QoS::AtLeastOnce);
    assert!(group.rang(0));
}

#[test]
fn a_member_whose_socket_is_full_passes_the_wake_on() {
    let group = Group::new(&[]);
    group.take(0, 1, 1_000);
    group.take(1, 1, 1_000);
    group.push(QoS::AtLeastOnce);
    assert!(group.rang(0) && !group.rang(1));
    assert_eq!(group.take(0, 1, 0).0, 0);
    assert!(group.rang(1));
    assert_eq!(group.take(1, 1, 1_000).0, 1);
}

#[test]
fn a_full_window_leaves_no_qos0_copy_behind() {
    let group = Group::new(&[QoS::AtMostOnce; SHARE_MAX + 1]);
    let (count, taken) = group.take(0, 0, 1_000_000);
    assert_eq!((count, taken.more()), (SHARE_MAX, true));
    assert_eq!(group.take(0, 0, 1_000_000).0, 1);
}

/// What has waited for a member gets an owner, also if more comes between the member and its first look.
#[test]
fn no_lane_stays_without_an_owner() {
    let group = Group::new(&[]);
    let sharing = config::Sharing::new(config::Strategy::Sticky, None);
    group.mailbox.set_sharing(&sharing, &TextHash::new(1));
    group.mailbox.part(SessionId::new(0));
    group.push_of("p", QoS::AtLeastOnce, None);
    group.push_of("q", QoS::AtLeastOnce, None);
    group.mailbox.join(SessionId::new(1), &ClientId::new("1"));
    group.push_of("r", QoS::AtLeastOnce, None);
    assert_eq!(group.take(1, 9, 1000).0, 3);
}

#[test]
fn a_copy_that_a_member_may_not_have_is_left_to_another_and_lost_if_none_may() {
    let group = Group::new(&[]);
    group.mailbox.join(SessionId::new(1), &ClientId::new("1"));
    let pull = |index, may| pull_with_rights(&group, index, may, 1);
    assert_eq!(pull(0, true), (0, false));
    assert_eq!(pull(1, true), (0, false));
    group.push(QoS::AtLeastOnce);
    // The first is woken, may not have it, and passes the wake on.
    assert!(group.rang(0) && !group.rang(1));
    assert_eq!(pull(0, false), (0, false));
    assert!(group.rang(1) && !group.rang(0));
    assert_eq!(pull(1, true), (1, false));
    // No connected member may have the next one: the last that is asked takes it.
    group.push(QoS::AtLeastOnce);
    assert_eq!(pull(0, false), (0, false));
    assert_eq!(pull(1, false), (1, false));
    // The other member has gone: this one is woken, and is the last.
    group.push(QoS::AtMostOnce);
    assert_eq!(pull(0, false), (0, false));
    group.bells.iter().for_each(|bell| bell.0.store(false, Ordering::Relaxed));
    group.mailbox.part(SessionId::new(1)).into_iter().for_each(Waker::wake);
    assert!(group.rang(0));
    assert_eq!(pull(0, false), (1, false));
}

#[test]
fn what_stood_behind_a_copy_that_expires_is_looked_at_again() {
    let group = Group::new(&[]);
    group.mailbox.join(SessionId::new(1), &ClientId::new("1"));
    // Member 0 may not have what comes first; member 1 may, and its window is full.
    assert_eq!(pull_with_rights(&group, 1, true, 0), (0, false));
    group.push_of("p", QoS::AtLeastOnce, Some(1));
    group.push(QoS::AtLeastOnce);
    assert_eq!(pull_with_rights(&group, 0, false, 1), (0, false));
    assert!(!group.rang(0) && !group.rang(1));
    let (mut wakers, mut gone) = (Vec::new(), Gone::default());
    let effects = &mut Effects { wakers: &mut wakers, gone: &mut gone };
    let queue = config::QueueConfig::default();
    assert_eq!(group.mailbox.expire_front(Time::from_secs(2), 9, &queue, effects), 1);
    wakers.into_iter().for_each(Waker::wake);
    assert!(group.rang(0));
    assert_eq!(pull_with_rights(&group, 0, true, 1), (1, false));
}

/// Member `index` takes with `window` slots; `may`: it may have what is there.
fn pull_with_rights(group: &Group, index: usize, may: bool, window: usize) -> (usize, bool) {
    let (mut out, mut wakers) = (Vec::new(), Vec::new());
    let session = SessionId::new(index as u64);
    let member = Member { session, qos: QoS::ExactlyOnce, retain_as_published: false, id: 0 };
    let (waker, queue) = (Waker::from(group.bells[index].clone()), Default::default());
    let room = Room { window, bytes: 1_000 };
    let ask = Ask { room, max: usize::MAX, ..Ask::nothing(&waker, &queue) };
    let puller = Puller { member: &member, may: &|_| may };
    let taken = group.mailbox.take_shared(puller, &ask, &mut out, &mut wakers);
    wakers.drain(..).for_each(Waker::wake);
    (out.len(), taken.more())
}

#[test]
fn a_barred_member_and_one_with_a_full_window_do_not_wake_each_other_for_ever() {
    let group = Group::new(&[]);
    group.mailbox.join(SessionId::new(1), &ClientId::new("1"));
    // Member 0 may not have what comes; member 1 may, and its window is full.
    assert_eq!(pull_with_rights(&group, 1, true, 0), (0, false));
    assert_eq!(pull_with_rights(&group, 0, false, 1), (0, false));
    group.push(QoS::AtLeastOnce);
    let mut polls = 0;
    loop {
        let (first, second) = (group.rang(0), group.rang(1));
        if !first && !second {
            break;
        }
        if first {
            pull_with_rights(&group, 0, false, 1);
        }
        if second {
            pull_with_rights(&group, 1, true, 0);
        }
        polls += 1;
        assert!(polls < 10, "they wake each other for ever");
    }
    assert!(polls > 0, "a member is woken for the copy");
    // Its window opens: it takes the copy.
    assert_eq!(pull_with_rights(&group, 1, true, 1), (1, false));
}
