//! The readers of logs that a Session has: what it is granted, and what the store is told of them.

use super::replay::{Replay, parse_start};
use super::{Action, Context, Op, Owed, Session, Subscription};
use crate::codec::{QoS, RetainHandling};
use crate::message::{Grounds, RefusalKind};
use crate::time::Time;
use crate::topic::TopicFilter;

/// Readers that one client has at most: each is looked at in each of its turns.
const REPLAYS_MAX: u64 = 64;
/// What a `<from>` that is none is answered with.
const STARTS: &str = "expected all, last-<number>, a span such as 10m, seconds since 1970, or a time stamp such as \
                      2026-01-31T12:00:00Z";

impl Session {
    /// A Subscription to a log is in force: its reader begins. With Retain Handling 1 one that is there
    /// already goes on.
    pub(super) fn begin_replay(
        &mut self,
        filter: &TopicFilter,
        subscription: &Subscription,
        is_new: bool,
        now: Time,
    ) {
        let Some(mut replay) = Replay::new(filter, subscription, now) else { return };
        let goes_on = !is_new && subscription.options.retain_handling == RetainHandling::IfNew;
        if goes_on && let Some(known) = self.replays().iter().find(|r| r.filter == *filter) {
            replay.at = known.at;
        }
        self.cursors.set_replay(replay);
    }

    /// The readers of logs, in the order in which they began.
    pub fn replays(&self) -> &[Replay] {
        self.cursors.replays()
    }

    /// The same, to be moved on: [`Session::note_replays`] tells the store of it.
    pub fn replays_mut(&mut self) -> &mut [Replay] {
        self.cursors.replays_mut()
    }

    /// Tells the store where the readers stand that have moved.
    pub fn note_replays(&mut self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let mut cursors = std::mem::take(&mut self.cursors);
        for replay in cursors.replays_mut() {
            if let Some(behind) = replay.take_unnoted()
                && let Some(Subscription { options, id }) = self.subscriptions.get(&replay.filter)
            {
                let owed = Owed { latest: Time::START, after: Some(behind) };
                let (filter, owes) = (replay.filter.clone(), Some(Box::new(owed)));
                self.remember(cx, out, || Op::Subscribed { filter, options, id, owes });
            }
        }
        self.cursors = cursors;
    }

    /// Whether the client may have one more reader, if `filter` is one.
    pub(super) fn room_for_replay(&self, filter: &TopicFilter) -> Result<(), Grounds> {
        if filter.replay().is_none() || self.subscriptions.get(filter).is_some() {
            return Ok(());
        }
        // They stand together.
        let first = TopicFilter::of_log("");
        let own = self.subscriptions.after(Some(&first));
        let own = own.take_while(|(filter, _)| filter.replay().is_some()).count() as u64;
        if own < REPLAYS_MAX {
            return Ok(());
        }
        Err(Grounds::limit(RefusalKind::SubscribeReplay, REPLAYS_MAX, own + 1))
    }

    /// Why there is nothing to be read at this filter, in words; `None`: there is, or it is of no log.
    pub(super) fn no_replay(
        &self,
        filter: &TopicFilter,
        qos: QoS,
        cx: &Context<'_>,
    ) -> Option<String> {
        let whole = filter.replay()?;
        let (name, from) = whole.split_once('/').unwrap_or((whole, ""));
        if !cx.groups.exists(&TopicFilter::of_log(name)) {
            let near = self.nearest_known(name, qos, cx, |log| {
                let name = log.replay()?;
                Some((name.to_owned(), TopicFilter::of_log(&format!("{name}/{from}"))))
            });
            return Some(match near {
                Some(near) => format!("no log of this name; did you mean $replay/{near}/{from}?"),
                None => "no log of this name".to_owned(),
            });
        }
        match parse_start(from, cx.now) {
            Some(_) => None,
            None => Some(STARTS.to_owned()),
        }
    }
}
