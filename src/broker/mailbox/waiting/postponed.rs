//! Copies of a named queue that have failed: they wait for their next attempt, first for its time, then for a
//! member. They stand beside the lists of what was not tried yet, so that none of them holds that up.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::task::Waker;
use std::time::Duration;

use super::Waiting;
use super::entry::Entry;
use super::take::{Drained, Limits};
use crate::broker::mailbox::copy::{Copy, DroppedCopy};
use crate::broker::mailbox::members::Members;
use crate::message::{Delivery, Message, MessageMark, Mid, SessionId};
use crate::time::Time;

/// Copies that have failed. Their messages are in memory: what the store has of them does not say how often they
/// were tried.
#[derive(Debug, Default)]
pub(super) struct Postponed {
    /// Those that are not due yet, in the order of that.
    later: BTreeMap<(Time, u64), Tried>,
    /// Those that are due, in the order in which they were received.
    ready: BTreeMap<(Time, u64), Tried>,
    /// Of those that one member may not take yet, when it may; in this order.
    kept_apart: VecDeque<(Time, (Time, u64))>,
    /// Tells copies of one moment apart.
    number: u64,
    /// The lanes that copies hold up.
    held_up: BTreeMap<u16, HeldUp>,
    /// Some have gone without being taken: what they held up may go on, and no member was woken for that.
    freed: bool,
    /// The latest place up to which a member has looked in vain, and there were more: the next look begins behind it.
    looked_to: Option<(Time, u64)>,
}

/// The copies that hold up one lane.
#[derive(Debug, Default)]
struct HeldUp {
    /// How many of them are not due yet.
    later: usize,
    /// The places of those that are.
    ready: BTreeSet<(Time, u64)>,
}

/// A copy that has failed.
#[derive(Debug)]
struct Tried {
    entry: Entry,
    /// The member that has failed last: others come first.
    last: Option<SessionId>,
    /// The lane that waits until it has ended.
    holds_up: Option<u16>,
}

/// For so long a copy waits for another member than the one that has failed last.
const OTHERS_FIRST: Duration = Duration::from_secs(1);
/// Copies that a member looks at in one go.
const LOOKS_MAX: usize = 1024;
/// While more than those are due, a member looks again so often: none of the first may be for it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Postponed {
    fn all(&self) -> impl Iterator<Item = &Tried> {
        self.ready.values().chain(self.later.values())
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty()
    }

    /// Something waits here that holds up this lane.
    pub fn holds_up(&self, lane: u16) -> bool {
        self.held_up.contains_key(&lane)
    }

    /// All that holds up this lane is due.
    fn has_due(&self, lane: u16) -> bool {
        self.held_up.get(&lane).is_some_and(|held_up| held_up.later == 0)
    }

    fn put_later(&mut self, due: Time, tried: Tried) {
        if let Some(lane) = tried.holds_up {
            self.held_up.entry(lane).or_default().later += 1;
        }
        self.later.insert((due, tried.entry.arrival), tried);
    }

    /// Returns its place.
    fn put_ready(&mut self, received: Time, tried: Tried) -> (Time, u64) {
        // The store numbers messages in the order in which they came. Of those of one moment that it does not
        // have, the one that was tried more often came first: those behind it waited for it.
        let attempts = tried.entry.message().map_or(0, |message| message.attempts);
        let number = (tried.entry.arrival & ((1 << 48) - 1)) | (u64::from(!attempts) << 48);
        let place = (received, tried.entry.mid().map_or(number, Mid::get));
        if let Some(lane) = tried.holds_up {
            self.held_up.entry(lane).or_default().ready.insert(place);
        }
        self.ready.insert(place, tried);
        place
    }

    /// It has left its place among those that are due, or was not due yet.
    fn left(&mut self, tried: &Tried, ready: Option<(Time, u64)>) {
        let Some(lane) = tried.holds_up else { return };
        if let Slot::Occupied(mut slot) = self.held_up.entry(lane) {
            let HeldUp { later, ready: places } = slot.get_mut();
            match ready {
                Some(place) => drop(places.remove(&place)),
                None => *later -= 1,
            }
            if *later == 0 && places.is_empty() {
                slot.remove();
            }
        }
    }

    fn pop_ready(&mut self) -> Option<Tried> {
        let (place, tried) = self.ready.pop_first()?;
        self.left(&tried, Some(place));
        Some(tried)
    }

    /// The first that is to be tried until `now`.
    fn pop_later(&mut self, now: Time) -> Option<Tried> {
        let first = self.later.first_entry().filter(|first| first.key().0 <= now)?;
        let tried = first.remove();
        self.left(&tried, None);
        Some(tried)
    }

    /// Copies may have left both lists: counts what is there.
    fn count_anew(&mut self) {
        self.held_up.clear();
        for lane in self.later.values().filter_map(|tried| tried.holds_up) {
            self.held_up.entry(lane).or_default().later += 1;
        }
        for (place, tried) in &self.ready {
            if let Some(lane) = tried.holds_up {
                self.held_up.entry(lane).or_default().ready.insert(*place);
            }
        }
    }
}

impl Waiting {
    /// Keeps a copy that has failed until `due`; then other members than `last` are the first to have it. The lane
    /// `holds_up` waits until it has ended.
    pub fn postpone(&mut self, copy: Copy, (due, last): (Time, SessionId), holds_up: Option<u16>) {
        let entry = self.number_tried(copy);
        self.postponed_made().put_later(due, Tried { entry, last: Some(last), holds_up });
        self.check();
    }

    /// A copy was taken and is given back, in a lane that waits until it has ended: it is due.
    pub fn push_tried(&mut self, copy: Copy, lane: u16) {
        let received = copy.message.received;
        let entry = self.number_tried(copy);
        self.postponed_made()
            .put_ready(received, Tried { entry, last: None, holds_up: Some(lane) });
        self.check();
    }

    fn number_tried(&mut self, copy: Copy) -> Entry {
        let postponed = self.postponed_made();
        postponed.number += 1;
        let entry = Entry::new(copy, postponed.number);
        self.count_in(&entry);
        entry
    }

    fn postponed_made(&mut self) -> &mut Postponed {
        self.more.get_or_insert_default().postponed.get_or_insert_default()
    }

    /// Which lane each copy that has failed holds up.
    pub fn hold_up(&mut self, lane_of: impl Fn(&Message) -> Option<u16>) {
        let Some(postponed) = self.postponed_mut() else { return };
        for tried in postponed.ready.values_mut().chain(postponed.later.values_mut()) {
            (tried.last, tried.holds_up) = (None, tried.entry.message().and_then(&lane_of));
        }
        postponed.count_anew();
    }

    /// The lanes that copies hold up that have failed.
    pub fn held_up(&self) -> Vec<u16> {
        let lanes = self.postponed().map(|postponed| postponed.held_up.keys().copied());
        lanes.into_iter().flatten().collect()
    }

    /// Whether a copy that has failed holds up this lane.
    pub fn holds_up(&self, lane: u16) -> bool {
        self.postponed().is_some_and(|postponed| postponed.holds_up(lane))
    }

    /// Whether the first copy of those that hold up this lane is to be tried now.
    pub fn has_due(&self, lane: u16) -> bool {
        self.postponed().is_some_and(|postponed| postponed.has_due(lane))
    }

    /// At most `max` copies that are due wait for a member from now on, which is woken. Returns when there is
    /// more to do.
    pub fn ripen(
        &mut self,
        now: Time,
        max: usize,
        members: &mut Members,
        wakers: &mut Vec<Waker>,
    ) -> Option<Time> {
        let alone = members.connected() <= 1;
        let postponed = self.postponed_mut()?;
        let mut count = 0;
        while count < max
            && let Some(mut tried) = postponed.pop_later(now)
        {
            let received = tried.entry.message().map_or(now, |message| message.received);
            count += 1;
            if tried.holds_up.is_some() {
                // The owner of its lane has it, also if that has failed before.
                tried.last = None;
                postponed.put_ready(received, tried);
                continue;
            }
            tried.last = tried.last.filter(|_| !alone);
            let last = tried.last;
            wakers.extend(members.next_but(last));
            let place = postponed.put_ready(received, tried);
            if last.is_some() {
                postponed.kept_apart.push_back((now.after(OTHERS_FIRST), place));
            }
        }
        let mut freed = 0;
        while freed < max
            && let Some((_, place)) =
                postponed.kept_apart.front().copied().filter(|(time, _)| *time <= now)
        {
            postponed.kept_apart.pop_front();
            freed += 1;
            if let Some(tried) = postponed.ready.get_mut(&place) {
                tried.last = None;
                wakers.extend(members.next_but(None));
            }
        }
        let later = postponed.later.first_key_value().map(|((due, _), _)| *due);
        let apart = postponed.kept_apart.front().map(|(time, _)| *time);
        let again = (postponed.ready.len() > LOOKS_MAX).then(|| now.after(LOOK_AGAIN));
        if again.is_some() && postponed.looked_to.is_some() {
            wakers.extend(members.next_but(None));
        }
        later.into_iter().chain(apart).chain(again).min()
    }

    /// Takes out copies that are due, at most `max`, in the order in which they were received. Returns when
    /// there is more to do too.
    pub fn take_ripe(&mut self, now: Time, max: usize) -> (Vec<Copy>, Option<Time>) {
        let Some(postponed) = self.postponed_mut() else { return (Vec::new(), None) };
        let mut ripe = Vec::new();
        while ripe.len() < max {
            let ready = postponed.pop_ready();
            let Some(tried) = ready.or_else(|| postponed.pop_later(now)) else { break };
            ripe.push(tried.entry);
        }
        let next = postponed.later.first_key_value().map(|((due, _), _)| *due);
        self.bytes -= ripe.iter().map(Entry::bytes).sum::<u64>();
        ripe.sort_by_key(|entry| entry.message().map(|message| message.received));
        (ripe.into_iter().map(Entry::into_copy).collect(), next)
    }

    /// Takes copies that are due and that `member` may have, as [`Waiting::take_allowed`] takes others. Returns
    /// what is left of `limits` too.
    pub fn take_ready(
        &mut self,
        limits: Limits,
        member: SessionId,
        out: &mut Vec<Delivery>,
        may: impl Fn(&Message) -> bool,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> (Drained, Limits) {
        let Some(postponed) = self.postponed().filter(|all| !all.ready.is_empty()) else {
            return (Drained::default(), limits);
        };
        let fits =
            |tried: &Tried| tried.last != Some(member) && tried.entry.message().is_some_and(&may);
        // Behind those that the last look has found to be for others, and then from the first on.
        let from = postponed.looked_to.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = postponed.ready.range((from, Bound::Unbounded));
        let before = postponed.looked_to.map(|to| postponed.ready.range(..=to));
        let looked = behind.chain(before.into_iter().flatten()).take(LOOKS_MAX);
        let mut last = None;
        let seen = looked.inspect(|(place, _)| last = Some(**place));
        let places = seen.filter(|(_, tried)| fits(tried)).map(|(place, _)| *place);
        let (places, more) = first_of(places, limits);
        let in_vain = places.is_empty() && postponed.ready.len() > LOOKS_MAX;
        if let Some(postponed) = self.postponed_mut() {
            postponed.looked_to = last.filter(|_| in_vain);
        }
        self.take_tried(places, more, limits, out, deliver)
    }

    /// The same of the first copy of each lane that is held up, and that `may` names.
    pub fn take_first_tried(
        &mut self,
        limits: Limits,
        out: &mut Vec<Delivery>,
        may: impl Fn(u16) -> bool,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> (Drained, Limits) {
        let Some(postponed) = self.postponed() else { return (Drained::default(), limits) };
        let due =
            postponed.held_up.iter().filter(|(lane, held_up)| held_up.later == 0 && may(**lane));
        let mut firsts: Vec<_> =
            due.filter_map(|(_, held_up)| held_up.ready.first().copied()).collect();
        firsts.sort_unstable();
        let (places, more) = first_of(firsts.into_iter(), limits);
        self.take_tried(places, more, limits, out, deliver)
    }

    fn take_tried(
        &mut self,
        places: Vec<(Time, u64)>,
        more: bool,
        limits: Limits,
        out: &mut Vec<Delivery>,
        deliver: impl Fn(Copy) -> Delivery,
    ) -> (Drained, Limits) {
        let mut drained = Drained { more, ..Drained::default() };
        let Some(postponed) = self.postponed_mut() else { return (drained, limits) };
        let mut left = limits.room.bytes;
        for place in places {
            if left == 0 {
                drained.more = true;
                break;
            }
            let Some(tried) = postponed.ready.remove(&place) else { continue };
            postponed.left(&tried, Some(place));
            let size = tried.entry.bytes();
            drained.bytes += size;
            drained.copies += 1;
            left = left.saturating_sub(size as usize);
            out.push(deliver(tried.entry.into_copy()));
        }
        self.bytes -= drained.bytes;
        self.give_memory_back();
        self.check();
        (drained, limits.without(&drained))
    }

    /// Takes out the copy of a message that has failed. `false`: it does not wait.
    pub fn remove_tried(&mut self, mark: MessageMark) -> bool {
        let Some(postponed) = self.postponed_mut() else { return false };
        let is_it = |tried: &Tried| {
            tried.entry.message().is_some_and(|message| MessageMark::of(message) == mark)
        };
        let Postponed { later, ready, .. } = postponed;
        let found = [later, ready].into_iter().find_map(|all| {
            let place = all.iter().find(|(_, tried)| is_it(tried)).map(|(place, _)| *place)?;
            all.remove(&place)
        });
        postponed.count_anew();
        let Some(tried) = found else { return false };
        self.count_out(&tried.entry);
        true
    }

    /// Copies that have failed, and their number.
    pub fn tried_count(&self) -> usize {
        self.postponed().map_or(0, |postponed| postponed.ready.len() + postponed.later.len())
    }

    /// Whether one that has failed can be taken now.
    pub fn has_ready(&self) -> bool {
        self.postponed().is_some_and(|postponed| !postponed.ready.is_empty())
    }

    /// Shows each copy that has failed: those that are due first.
    pub(super) fn visit_tried(&self, mut visit: impl FnMut(&Entry)) {
        let all = self.postponed().into_iter().flat_map(Postponed::all);
        all.for_each(|tried| visit(&tried.entry));
    }

    /// The same, at most `max`, each with when it may be taken: `None` if it can be now.
    pub(super) fn visit_first_tried(
        &self,
        max: usize,
        mut visit: impl FnMut(&Entry, Option<Time>),
    ) {
        let Some(postponed) = self.postponed() else { return };
        postponed.ready.values().take(max).for_each(|tried| visit(&tried.entry, None));
        let left = max.saturating_sub(postponed.ready.len());
        let later = postponed.later.iter().take(left);
        later.for_each(|((due, _), tried)| visit(&tried.entry, Some(*due)));
    }

    /// Takes out the copies that have failed of which `keep` does not say otherwise.
    pub(super) fn retain_tried(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let Some(postponed) = self.postponed_mut() else { return };
        let before = postponed.ready.len() + postponed.later.len();
        postponed.ready.retain(|_, tried| keep(&tried.entry));
        postponed.later.retain(|_, tried| keep(&tried.entry));
        postponed.freed |= postponed.ready.len() + postponed.later.len() < before;
        postponed.count_anew();
    }

    /// Takes out those that have come to their end, in a queue with a `ttl` too: at most `max`.
    pub(super) fn expire_tried(&mut self, now: Time, max: usize) -> Vec<DroppedCopy> {
        let (ttl, mut expired, mut bytes) = (self.ttl(), Vec::new(), 0);
        self.retain_tried(|entry| {
            let is_over = expired.len() < max && entry.due(ttl) <= now;
            if is_over {
                bytes += entry.bytes();
                expired.push(entry.dropped());
            }
            !is_over
        });
        self.bytes -= bytes;
        expired
    }

    /// Takes out the copy that has failed and is the first: what failed came before what waits.
    pub(super) fn pop_tried(&mut self) -> Option<DroppedCopy> {
        let postponed = self.postponed_mut()?;
        let first = postponed.pop_ready().or_else(|| postponed.pop_later(Time::NEVER));
        let tried = first?;
        postponed.freed = true;
        Some(self.count_out(&tried.entry))
    }

    /// Whether some that have failed have gone without being taken since this was asked last.
    pub fn were_freed(&mut self) -> bool {
        self.postponed_mut().is_some_and(|postponed| std::mem::take(&mut postponed.freed))
    }

    fn postponed(&self) -> Option<&Postponed> {
        self.more.as_ref()?.postponed.as_deref()
    }

    fn postponed_mut(&mut self) -> Option<&mut Postponed> {
        self.more.as_mut()?.postponed.as_deref_mut()
    }

    /// Whether nothing is kept that has failed.
    pub(super) fn has_no_tried(&self) -> bool {
        self.postponed().is_none_or(Postponed::is_empty)
    }
}

/// The first of these places, as many as `limits` allow, and whether a higher maximum would allow more.
fn first_of(
    mut places: impl Iterator<Item = (Time, u64)>,
    limits: Limits,
) -> (Vec<(Time, u64)>, bool) {
    let most = limits.room.window.min(limits.max).min(LOOKS_MAX);
    let first = places.by_ref().take(most).collect();
    (first, most == limits.max && places.next().is_some())
}
