//! Subscriptions to logs of kept messages, `$replay/<name>/<from>`: where a reader begins, and how far it has
//! come.

use super::subscription::Subscription;
use crate::codec::QoS;
use crate::config::Span;
use crate::message::GroupId;
use crate::time::Time;
use crate::topic::TopicFilter;

/// Where a reader of a log begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogStart {
    /// With the oldest message there is: `all`.
    All,
    /// With so many of the newest: `last-100`.
    Last(u64),
    /// With what was received at that time, to the second: `10m` before, a time stamp.
    Since(Time),
    /// Behind the message that has this number in the store, of those that were there at the start of the
    /// broker.
    Behind(u64),
}

/// A place in a log: what a reader has read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogPlace {
    /// The number of the next message.
    pub next: u64,
    /// The latest message before it that the store has, by its number there; 0 for none.
    pub behind: u64,
}

/// A Subscription to a log, and how far its reader has come. It is parked with its Session.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The whole filter.
    pub filter: TopicFilter,
    /// `QoS` granted.
    pub qos: QoS,
    /// Subscription Identifier, 0 for none.
    pub id: u32,
    /// What the client has published itself is passed over.
    pub no_local: bool,
    /// How far it has come.
    pub at: ReplayPlace,
    /// Something that it has not read may be there.
    pub is_behind: bool,
    /// The store is still to be told where it stands.
    is_unnoted: bool,
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplayPlace {
    /// It begins here: no log was looked at yet.
    Start(LogStart),
    /// It is at a place of this log.
    In(GroupId, LogPlace),
}

impl Replay {
    /// A reader that begins where its filter says at `now`; `None`: the filter is of none.
    pub fn new(filter: &TopicFilter, subscription: &Subscription, now: Time) -> Option<Replay> {
        let (_, from) = parts(filter)?;
        let Subscription { options, id } = *subscription;
        Some(Replay {
            filter: filter.clone(),
            qos: options.qos,
            id,
            no_local: options.no_local,
            at: ReplayPlace::Start(parse_start(from, now)?),
            is_behind: true,
            is_unnoted: true,
        })
    }

    /// A reader from the store; without a place there it begins anew.
    pub(super) fn restore(
        filter: &TopicFilter,
        subscription: &Subscription,
        behind: Option<&str>,
    ) -> Option<Replay> {
        let behind = behind.and_then(|behind| behind.parse().ok());
        let mut replay = Replay::new(filter, subscription, Time::START)?;
        if let Some(behind) = behind {
            replay.at = ReplayPlace::Start(LogStart::Behind(behind));
        }
        Some(replay)
    }

    /// The filter by which its log is known.
    pub fn log(&self) -> TopicFilter {
        log_of(&self.filter).unwrap_or_else(|| self.filter.clone())
    }

    /// It stands elsewhere now.
    pub fn move_to(&mut self, log: GroupId, place: LogPlace) {
        let before = self.at;
        self.at = ReplayPlace::In(log, place);
        let same = |known: LogPlace| known.behind == place.behind;
        self.is_unnoted |= !matches!(before, ReplayPlace::In(_, known) if same(known));
    }

    /// Where it stands, as the store is to remember it, if that is not what it was told last.
    pub(super) fn take_unnoted(&mut self) -> Option<String> {
        let ReplayPlace::In(_, place) = self.at else { return None };
        let noted = std::mem::take(&mut self.is_unnoted);
        noted.then(|| place.behind.to_string())
    }
}

/// The filter by which the log is known that a Subscription to `filter` reads, if it is one to a log.
pub fn log_of(filter: &TopicFilter) -> Option<TopicFilter> {
    parts(filter).map(|(name, _)| TopicFilter::of_log(name))
}

/// Name and start of the filter of a reader.
fn parts(filter: &TopicFilter) -> Option<(&str, &str)> {
    filter.replay()?.split_once('/')
}

/// Where a reader begins, as its filter says.
pub(super) fn parse_start(text: &str, now: Time) -> Option<LogStart> {
    if text == "all" {
        return Some(LogStart::All);
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    if let Some(count) = text.strip_prefix("last-") {
        return number(count).map(LogStart::Last);
    }
    if let Some(seconds) = number(text) {
        return Some(LogStart::Since(Time::from_secs(seconds)));
    }
    if let Ok(span) = text.parse::<Span>() {
        return Some(LogStart::Since(now.before(span.0)));
    }
    Time::from_rfc3339(text).map(LogStart::Since)
}
