//! How these clients publish: each in a task of its own, which hands the library a message when it
//! is due, or when the window has room.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicemq::codec::QoS;
use tokio::task::JoinSet;

use super::{Guests, Slot};
use crate::engine::shared::Campaign;
use crate::stamp::Stamp;
use crate::window::Sent;

/// Where a publisher is in its campaign.
#[derive(Debug)]
pub struct Sender {
    /// Its place among all publishers.
    ordinal: u32,
    /// Its streams.
    first: u32,
    streams: u32,
    /// Messages of this campaign so far, and at most.
    own: u64,
    own_max: u64,
    /// The stream that comes next.
    next: u32,
    /// Copies that should have arrived if everything had.
    expected: u64,
}

/// The message that comes next.
struct Next {
    stream: u32,
    due_ns: u64,
    retain: Option<bool>,
    len: Option<u32>,
}

enum Turn {
    /// This one, now.
    Now(Next),
    /// None before this moment.
    At(u64),
    /// None before there is room.
    Full,
    /// None any more.
    Over,
}

impl Sender {
    /// Publisher number `ordinal`, with `streams` from `first` on.
    pub fn new(ordinal: u32, first: u32, streams: u32) -> Sender {
        Sender { ordinal, first, streams, own: 0, own_max: 0, next: 0, expected: 0 }
    }
}

impl Guests {
    /// Begins to publish.
    pub(super) fn begin(self: &Rc<Self>, campaign: Campaign, tasks: &mut JoinSet<()>) {
        let mut book = self.book.borrow_mut();
        book.counts.finished = 0;
        book.count_arrivals(campaign.schedule.is_closed_loop());
        drop(book);
        let campaign = Rc::new(campaign);
        *self.campaign.borrow_mut() = Some(campaign.clone());
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            let Some(sender) = &slot.sender else { continue };
            let mut sender = sender.borrow_mut();
            let share = |count| campaign.schedule.share(sender.ordinal, count);
            (sender.own, sender.own_max) = (0, campaign.count.map_or(u64::MAX, share));
            sender.expected = self.arrived(slot);
            let (guests, campaign) = (self.clone(), campaign.clone());
            tasks.spawn_local(async move { guests.publish(at, &campaign).await });
        }
    }

    /// No client publishes any more.
    pub(super) fn stop(&self) {
        *self.campaign.borrow_mut() = None;
        self.slots.iter().for_each(|slot| slot.room.notify_one());
    }

    async fn publish(&self, at: usize, campaign: &Rc<Campaign>) {
        let slot = &self.slots[at];
        loop {
            let now_ns = self.now_ns();
            match self.turn(slot, campaign, now_ns) {
                Turn::Now(next) => {
                    if let Err(why) = self.hand_over(slot, &next, now_ns).await {
                        // What ends the connection says so by itself.
                        self.book.borrow_mut().note_loss(slot.number, &why);
                        break;
                    }
                }
                Turn::At(due_ns) => {
                    let wait = Duration::from_nanos(due_ns - now_ns);
                    let _ = tokio::time::timeout(wait, slot.room.notified()).await;
                }
                Turn::Full => slot.room.notified().await,
                Turn::Over => break,
            }
        }
        self.book.borrow_mut().counts.finished += 1;
        self.show();
        self.shared.nudge();
    }

    /// What a publisher does now.
    fn turn(&self, slot: &Slot, campaign: &Rc<Campaign>, now_ns: u64) -> Turn {
        let goes_on = self.campaign.borrow().as_ref().is_some_and(|one| Rc::ptr_eq(one, campaign));
        let Some(sender) = slot.sender.as_ref().map(|sender| sender.borrow()) else {
            return Turn::Over;
        };
        if !goes_on || !slot.open.get() || sender.own >= sender.own_max {
            return Turn::Over;
        }
        let closed_loop = campaign.schedule.is_closed_loop();
        let mut next =
            Next { stream: sender.first + sender.next, due_ns: now_ns, retain: None, len: None };
        if !closed_loop {
            let number = campaign.schedule.number(sender.ordinal, sender.own);
            let due = number.and_then(|number| campaign.schedule.due_ns(number));
            let (Some(number), Some(due_ns)) = (number, due) else { return Turn::Over };
            next.due_ns = due_ns;
            if let Some(event) = campaign.schedule.event(number) {
                next.stream = event.stream;
                (next.retain, next.len) = (Some(event.retain), Some(event.payload));
            }
        }
        if next.due_ns >= campaign.until_ns {
            return Turn::Over;
        }
        if next.due_ns > now_ns {
            return Turn::At(next.due_ns);
        }
        let stream = &self.shared.routes.streams[next.stream as usize];
        let (window, copies) = (u64::from(self.plan.load.window), u64::from(stream.copies));
        let room = if stream.qos == QoS::AtMostOnce {
            !closed_loop || copies == 0 || sender.expected < self.arrived(slot) + window * copies
        } else {
            let in_flight = slot.handed.borrow().len() + slot.in_flight.borrow().len();
            (in_flight as u64) < window
        };
        if room { Turn::Now(next) } else { Turn::Full }
    }

    /// Hands a message to the library; waits while it takes none.
    async fn hand_over(&self, slot: &Slot, next: &Next, now_ns: u64) -> Result<(), String> {
        let Some(handle) = slot.handle.borrow().clone() else {
            return Err("not connected".into());
        };
        let stream = &self.shared.routes.streams[next.stream as usize];
        // Noted before it is handed over: its acknowledgement may be there before the library lets
        // this task go on.
        let payload = self.note(slot, next, now_ns);
        let retain = next.retain.unwrap_or(stream.retain);
        handle.publish(&stream.topic, stream.qos, retain, payload).await
    }

    /// Notes a message as published; its payload.
    fn note(&self, slot: &Slot, next: &Next, now_ns: u64) -> Vec<u8> {
        let Next { stream: number, due_ns, len, .. } = *next;
        let stream = &self.shared.routes.streams[number as usize];
        let sequence = self.shared.sent[number as usize].fetch_add(1, Ordering::Relaxed);
        let drawn = || self.plan.load.payload.draw(self.plan.seed, number, sequence);
        let len = len.unwrap_or_else(drawn);
        let copies = u64::from(stream.copies);
        if let Some(sender) = &slot.sender {
            let mut sender = sender.borrow_mut();
            sender.own += 1;
            sender.expected += copies;
            sender.next = if sender.next + 1 == sender.streams { 0 } else { sender.next + 1 };
        }
        let mut book = self.book.borrow_mut();
        book.published(now_ns, due_ns, u64::from(len), copies);
        if stream.qos != QoS::AtMostOnce {
            book.counts.in_flight += 1;
            slot.handed.borrow_mut().push_back(Sent { stream: number, sequence, due_ns });
        }
        let stamp = Stamp { run: self.plan.run, stream: number, sequence, due_ns };
        let mut payload = Vec::with_capacity(len as usize + 8);
        stamp.write(len as usize, &mut payload);
        payload
    }

    /// What has not arrived for long counts as lost: publishers wait for it no longer.
    pub(super) fn forgive(&self, now_ns: u64) {
        let closed_loop = |campaign: &Rc<Campaign>| campaign.schedule.is_closed_loop();
        if !self.campaign.borrow().as_ref().is_some_and(closed_loop) {
            return;
        }
        let counts = self.shared.counts();
        let latest_ns = counts.last_arrival_ns.max(counts.last_publish_ns);
        if counts.in_flight > 0 || latest_ns + FORGIVE_NS > now_ns {
            return;
        }
        for slot in &self.slots {
            if let Some(sender) = &slot.sender {
                let arrived = &self.shared.arrived[slot.number as usize];
                arrived.fetch_max(sender.borrow().expected, Ordering::Relaxed);
                slot.room.notify_one();
            }
        }
    }

    /// Copies of a publisher's messages that have arrived or were overtaken.
    fn arrived(&self, slot: &Slot) -> u64 {
        self.shared.arrived[slot.number as usize].load(Ordering::Relaxed)
    }
}

/// Silence after which a publisher waits no longer for what it published.
const FORGIVE_NS: u64 = 500_000_000;
