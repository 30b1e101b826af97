//! How a thread publishes: as fast as the windows allow, or by the schedule.

use std::sync::atomic::Ordering;

use sluicemq::codec::{Packet, Publish, QoS};

use super::shared::Campaign;
use super::slot::Life;
use super::worker::Worker;
use crate::error::Error;
use crate::stamp::Stamp;
use crate::window::{Sent, Window};

/// What a client needs to publish.
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
    /// Most unacknowledged messages that the broker takes.
    receive_maximum: u16,
    /// It has published all of this campaign.
    finished: bool,
}

impl Sender {
    /// Publisher number `ordinal`, with `streams` from `first` on.
    pub fn new(ordinal: u32, first: u32, streams: u32) -> Sender {
        Sender {
            ordinal,
            first,
            streams,
            own: 0,
            own_max: 0,
            next: 0,
            expected: 0,
            receive_maximum: u16::MAX,
            finished: true,
        }
    }

    /// The broker takes so many unacknowledged messages.
    pub fn limit(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
    }
}

impl Worker {
    /// Begins to publish.
    pub(super) fn begin(&mut self, campaign: Campaign) {
        self.due = 0;
        self.book.counts.finished = 0;
        self.book.count_arrivals(campaign.schedule.is_closed_loop());
        for at in 0..self.slots.len() {
            let number = self.slots[at].number as usize;
            let Some(sender) = &mut self.slots[at].sender else { continue };
            let share = |count| campaign.schedule.share(sender.ordinal, count);
            (sender.own, sender.own_max) = (0, campaign.count.map_or(u64::MAX, share));
            let arrived = &self.shared.arrived[number];
            sender.expected = arrived.load(Ordering::Relaxed);
            sender.finished = false;
        }
        let closed_loop = campaign.schedule.is_closed_loop();
        self.campaign = Some(campaign);
        if closed_loop {
            self.look_everywhere();
        }
        // Those that have nothing to publish are finished at once.
        for at in 0..self.slots.len() {
            if self.slots[at].sender.as_ref().is_some_and(|sender| sender.own_max == 0) {
                self.may_publish(at);
            }
        }
    }

    /// A client will not come back: the run does not wait for it.
    pub(super) fn abandon(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if let Some(window) = slot.client.window_mut() {
            self.book.counts.in_flight -= u64::from(window.len());
            window.clear();
        }
        if let Some(sender) = &mut slot.sender
            && !std::mem::replace(&mut sender.finished, true)
        {
            self.finish();
        }
    }

    /// Puts a publisher among those that may.
    #[inline]
    pub(super) fn may_publish(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if slot.sender.is_some() && !slot.queued && self.campaign.is_some() {
            slot.queued = true;
            self.ready.push_back(at as u32);
        }
    }

    /// Every publisher may.
    pub(super) fn look_everywhere(&mut self) {
        for at in 0..self.slots.len() {
            self.may_publish(at);
        }
    }

    /// Publishers with messages that have become due may publish.
    pub(super) fn look_at_schedule(&mut self, now_ns: u64) {
        let Some(campaign) = &self.campaign else { return };
        if campaign.schedule.is_closed_loop() {
            return;
        }
        let schedule = campaign.schedule.clone();
        let count = campaign.count.unwrap_or(u64::MAX);
        let until_ns = now_ns.min(campaign.until_ns - 1);
        while self.due < count && schedule.due_ns(self.due).is_some_and(|due| due <= until_ns) {
            let publisher = schedule.publisher(self.due);
            self.due += 1;
            if let Some(at) = self.publisher_at(publisher) {
                self.may_publish(at);
            }
        }
    }

    /// When the next message is due.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        let campaign = self.campaign.as_ref()?;
        if campaign.schedule.is_closed_loop()
            || campaign.count.is_some_and(|count| self.due >= count)
        {
            return None;
        }
        campaign.schedule.due_ns(self.due).filter(|due| *due < campaign.until_ns)
    }

    /// Lets those publish that may, each once.
    pub(super) fn publish_ready(&mut self, now_ns: u64) -> Result<(), Error> {
        for _ in 0..self.ready.len() {
            let Some(at) = self.ready.pop_front() else { break };
            let at = at as usize;
            self.slots[at].queued = false;
            self.out.clear();
            self.fill(at, now_ns)?;
            self.write(at)?;
        }
        Ok(())
    }

    /// Appends PUBLISHes of a client to the turn's bytes, as many as it may now.
    pub(super) fn fill(&mut self, at: usize, now_ns: u64) -> Result<(), Error> {
        let Some(campaign) = &self.campaign else { return Ok(()) };
        let slot = &mut self.slots[at];
        let Some(sender) = &mut slot.sender else { return Ok(()) };
        if slot.life != Life::Ready || !slot.backlog.is_empty() || sender.finished {
            return Ok(());
        }
        let plan = &*self.plan;
        let closed_loop = campaign.schedule.is_closed_loop();
        let window = u64::from(plan.load.window.min(u32::from(sender.receive_maximum)));
        let arrived = self.shared.arrived[slot.number as usize].load(Ordering::Relaxed);
        loop {
            if sender.own >= sender.own_max {
                sender.finished = true;
                break;
            }
            if closed_loop && now_ns >= campaign.until_ns {
                sender.finished = true;
                break;
            }
            let mut due_ns = now_ns;
            let mut stream_number = sender.first + sender.next;
            let (mut retain, mut len) = (None, None);
            if !closed_loop {
                let number = campaign.schedule.number(sender.ordinal, sender.own);
                let due = number.and_then(|number| campaign.schedule.due_ns(number));
                let (Some(number), Some(due)) = (number, due) else {
                    sender.finished = true;
                    break;
                };
                if due >= campaign.until_ns {
                    sender.finished = true;
                    break;
                }
                if due > now_ns {
                    break;
                }
                due_ns = due;
                if let Some(event) = campaign.schedule.event(number) {
                    stream_number = event.stream;
                    (retain, len) = (Some(event.retain), Some(event.payload));
                }
            }
            let stream = &self.shared.routes.streams[stream_number as usize];
            let copies = u64::from(stream.copies);
            let room = if stream.qos != QoS::AtMostOnce {
                let in_flight = slot.client.window().map_or(0, Window::len);
                u64::from(in_flight) < window && slot.client.window().is_some_and(Window::has_room)
            } else {
                !closed_loop || copies == 0 || sender.expected < arrived + window * copies
            };
            if !room {
                break;
            }
            if self.out.len() >= BATCH_LEN {
                slot.queued = true;
                self.ready.push_back(at as u32);
                break;
            }
            let sent = &self.shared.sent[stream_number as usize];
            let sequence = sent.load(Ordering::Relaxed);
            sent.store(sequence + 1, Ordering::Relaxed);
            let len =
                len.unwrap_or_else(|| plan.load.payload.draw(plan.seed, stream_number, sequence));
            let stamp = Stamp { run: plan.run, stream: stream_number, sequence, due_ns };
            stamp.write(len as usize, &mut self.payload);
            let packet_id =
                slot.client.admit(stream.qos, Sent { stream: stream_number, sequence, due_ns });
            self.book.counts.in_flight += u64::from(packet_id.is_some());
            let packet = Packet::Publish(Publish {
                qos: stream.qos,
                retain: retain.unwrap_or(stream.retain),
                topic: &stream.topic,
                packet_id,
                payload: &self.payload,
                ..Publish::default()
            });
            slot.client.put(&packet, &mut self.out).map_err(Error::Input)?;
            self.book.published(now_ns, due_ns, u64::from(len), copies);
            sender.own += 1;
            sender.expected += copies;
            sender.next = if sender.next + 1 == sender.streams { 0 } else { sender.next + 1 };
        }
        if sender.finished {
            self.finish();
        }
        Ok(())
    }

    /// What has not arrived for long counts as lost: publishers wait for it no longer.
    pub(super) fn forgive(&mut self, now_ns: u64) {
        let Some(campaign) = &self.campaign else { return };
        if !campaign.schedule.is_closed_loop() {
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
                arrived.fetch_max(sender.expected, Ordering::Relaxed);
            }
        }
        self.look_everywhere();
    }

    /// A publisher has published all it should.
    fn finish(&mut self) {
        self.book.counts.finished += 1;
        let all = self.publishers.iter().flatten().count() as u64;
        if self.book.counts.finished >= all {
            self.shared.nudge();
        }
    }

    /// Takes back what the clients of a group have published retained, with empty messages.
    pub(super) fn clear(&mut self, group: usize) -> Result<(), Error> {
        for at in self.of_group(group) {
            self.out.clear();
            let slot = &self.slots[at];
            let (first, streams) = self.shared.routes.streams_of(slot.number);
            for stream in first..first + streams {
                let topic = &self.shared.routes.streams[stream as usize].topic;
                let packet = Packet::Publish(Publish { retain: true, topic, ..Publish::default() });
                slot.client.put(&packet, &mut self.out).map_err(Error::Input)?;
            }
            self.write(at)?;
        }
        self.book.counts.unwritten = 1;
        Ok(())
    }

    /// Where publisher number `ordinal` is, if it is on this thread.
    fn publisher_at(&self, ordinal: u32) -> Option<usize> {
        self.publishers.get(ordinal as usize).copied().flatten().map(|at| at as usize)
    }
}

/// Silence after which a publisher waits no longer for what it published.
const FORGIVE_NS: u64 = 500_000_000;
/// Bytes that a publisher writes at once, before the others have their turn.
const BATCH_LEN: usize = 32 * 1024;
