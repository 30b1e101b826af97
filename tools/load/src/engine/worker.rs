//! One thread of a run: many clients around one poll. Each turn it reads what came, lets those
//! publish that may, and writes once for each client that has something to say. It never spins:
//! what it took from the processor would be missed by a broker on the same machine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::book::Book;
use super::broker::Broker;
use super::dialing::Dialing;
use super::publishing::Sender;
use super::shared::{Campaign, Command, Shared};
use super::slot::{Life, Slot};
use super::socket::Came;
use super::timer::Timer;
use crate::client::Client;
use crate::error::Error;
use crate::measure::SLICE_NS;
use crate::plan::Plan;

/// One thread of a run.
pub struct Worker {
    pub(super) plan: Arc<Plan>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: u16,
    pub(super) broker: Broker,
    pub(super) poll: Poll,
    pub(super) slots: Vec<Slot>,
    /// For each publisher of the plan, its place if it is here.
    pub(super) publishers: Vec<Option<u32>>,
    pub(super) book: Book,
    pub(super) dialing: Dialing,
    /// Publishing, while it goes on.
    pub(super) campaign: Option<Campaign>,
    /// Messages over all publishers that were due, as far as was looked.
    pub(super) due: u64,
    /// Slots that may publish.
    pub(super) ready: VecDeque<u32>,
    /// What a client's turn has to write.
    pub(super) out: Vec<u8>,
    /// The payload being made.
    pub(super) payload: Vec<u8>,
    /// What is read into.
    scratch: Vec<u8>,
    /// Slots with more in their sockets than a turn takes.
    again: Vec<u32>,
    timer: Timer,
    /// The slice of the timeline that is going on.
    slice: usize,
    /// Where the next PINGREQ is looked for, and when it was.
    sweep: (usize, u64),
    quits: bool,
}

impl Worker {
    /// A thread and its clients.
    ///
    /// # Errors
    ///
    /// If the system has no timer left.
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        thread: u16,
        broker: Broker,
        poll: Poll,
        mut book: Book,
    ) -> Result<Worker, Error> {
        let timer = Timer::new(poll.registry(), TIMER)
            .map_err(|source| Error::System { what: "cannot make a timer", source })?;
        let mut slots = Vec::new();
        let mut publishers = Vec::new();
        for (group, number) in grouped(&plan) {
            let publishes = plan.groups[group].publishes.as_ref();
            let here = shared.homes[number as usize].0 == thread;
            let ordinal = publishers.len() as u32;
            if publishes.is_some() {
                publishers.push(here.then_some(slots.len() as u32));
            }
            if !here {
                continue;
            }
            let (first, streams) = shared.routes.streams_of(number);
            slots.push(Slot {
                number,
                group: group as u16,
                life: Life::Apart,
                spoke: false,
                stalled: false,
                queued: false,
                subscribed: 0,
                asked: 0,
                client: Client::new(plan.version, publishes.is_some()),
                socket: None,
                opened_ns: 0,
                partial: Vec::new(),
                backlog: Vec::new(),
                receiver: book.verifier.receiver(&shared.routes, number),
                sender: publishes.map(|_| Box::new(Sender::new(ordinal, first, streams))),
                evenness: plan.smoothness_ms.map(|_| Box::default()),
            });
        }
        let dialing = Dialing::new(&plan, shared.posts.len());
        Ok(Worker {
            plan,
            shared,
            thread,
            broker,
            poll,
            slots,
            publishers,
            book,
            dialing,
            campaign: None,
            due: 0,
            ready: VecDeque::new(),
            out: Vec::new(),
            payload: Vec::new(),
            scratch: vec![0; SCRATCH_LEN],
            again: Vec::new(),
            timer,
            slice: 0,
            sweep: (0, 0),
            quits: false,
        })
    }

    /// Runs until told to quit; gives what was written down.
    pub fn run(mut self) -> Book {
        let mut events = Events::with_capacity(1024);
        while !self.quits {
            if let Err(error) = self.turn(&mut events) {
                self.shared.fail(error);
                break;
            }
        }
        let now_ns = self.now_ns() + SLICE_NS;
        self.end_slices(now_ns);
        for at in 0..self.slots.len() {
            self.leave(at);
        }
        self.show();
        self.book
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), Error> {
        let wait = self.wait()?;
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => events.clear(),
            result => result.map_err(|source| Error::System { what: "cannot poll", source })?,
        }
        let mut woken = false;
        for event in events.iter() {
            match event.token() {
                TIMER => {}
                WAKER => woken = true,
                Token(at) => {
                    if event.is_writable() {
                        self.on_writable(at)?;
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(at)?;
                    }
                }
            }
        }
        for at in std::mem::take(&mut self.again) {
            self.read(at as usize)?;
        }
        if woken {
            for command in self.shared.posts[usize::from(self.thread)].take() {
                self.on_command(command)?;
                self.book.counts.obeyed += 1;
            }
        }
        let now_ns = self.now_ns();
        self.dial_some(now_ns)?;
        self.look_at_schedule(now_ns);
        self.credit();
        self.publish_ready(now_ns)?;
        self.keep_alive(now_ns)?;
        if self.end_slices(now_ns) {
            self.forgive(now_ns);
        }
        if let Some(journal) = &mut self.book.journal
            && journal.is_pending()
        {
            journal.flush()?;
        }
        self.show();
        Ok(())
    }

    fn on_command(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Connect(connecting) => self.connect(connecting),
            Command::Clear { group } => self.clear(group)?,
            Command::Subscribe { group } => self.subscribe_all(group)?,
            Command::Storm { group, count } => self.storm(group, count),
            Command::Publish(campaign) => self.begin(*campaign),
            Command::Stop => self.campaign = None,
            Command::Disconnect { group } => {
                self.calm(group);
                for at in self.of_group(group) {
                    self.leave(at);
                }
                self.shared.nudge();
            }
            Command::Take(taking) => self.book.take(taking),
            Command::Look => self.look_everywhere(),
            Command::Quit => self.quits = true,
        }
        Ok(())
    }

    /// How long the poll may wait. What is finer than it can say is the timer's.
    fn wait(&mut self) -> Result<Duration, Error> {
        if !self.ready.is_empty() || !self.again.is_empty() {
            return Ok(Duration::ZERO);
        }
        let now_ns = self.now_ns();
        let next = [self.next_due_ns(), self.next_dial_ns(now_ns)].into_iter().flatten().min();
        if let Some(next) = next {
            if next <= now_ns {
                return Ok(Duration::ZERO);
            }
            self.timer
                .set(next.max(now_ns + TICK_NS), now_ns)
                .map_err(|source| Error::System { what: "cannot set a timer", source })?;
        }
        let slice_end = self.shared.timeline().end_of(self.slice);
        Ok(Duration::from_nanos(slice_end.saturating_sub(now_ns)))
    }

    /// Reads what came for a client, answers it, and lets it publish again if it may.
    #[inline]
    fn read(&mut self, at: usize) -> Result<(), Error> {
        self.out.clear();
        let mut more = true;
        let mut reads = 0;
        let mut ended = None;
        while more && reads < READS_MAX {
            let slot = &mut self.slots[at];
            if slot.stalled || slot.backlog.len() > BACKLOG_MAX {
                return Ok(());
            }
            let Some(socket) = &mut slot.socket else { return Ok(()) };
            let carried = slot.partial.len();
            if carried + ROOM_MIN > self.scratch.len() {
                self.scratch.resize((carried + ROOM_MIN) * 2, 0);
            }
            self.scratch[..carried].copy_from_slice(&slot.partial);
            let len = match socket.read(&mut self.scratch[carried..]) {
                Ok(Came::Bytes { len, more: rest }) => {
                    more = rest;
                    len
                }
                Ok(Came::Nothing) => break,
                Ok(Came::End) => {
                    ended = Some("the broker closed the connection".to_string());
                    break;
                }
                Err(error) => {
                    ended = Some(error.to_string());
                    break;
                }
            };
            reads += 1;
            let now_ns = self.shared.clock.now_ns();
            self.book.open(now_ns, slot.receiver, slot.evenness.take());
            let bytes = &self.scratch[..carried + len];
            let used = slot.client.receive(bytes, &mut self.out, &mut self.book);
            slot.evenness = self.book.close();
            match used {
                Ok(used) if used == bytes.len() => slot.partial = Vec::new(),
                Ok(used) => {
                    slot.partial.clear();
                    slot.partial.extend_from_slice(&bytes[used..]);
                }
                Err(error) if slot.life == Life::Asking => {
                    ended = Some(format!("what answers there does not speak MQTT ({error})"));
                    break;
                }
                Err(error) => {
                    ended = Some(format!("the broker broke the protocol: {error}"));
                    break;
                }
            }
        }
        if !self.book.told.is_empty() {
            for happened in std::mem::take(&mut self.book.told) {
                self.on_happened(at, happened)?;
            }
        }
        if let Some(why) = ended {
            return self.on_lost(at, &why);
        }
        if more && reads == READS_MAX {
            self.again.push(at as u32);
        }
        if self.slots[at].sender.is_some() {
            self.fill(at, self.book.now_ns())?;
        }
        self.write(at)
    }

    /// Writes what the turn made, behind what is still to be written.
    #[inline]
    pub(super) fn write(&mut self, at: usize) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        let slot = &mut self.slots[at];
        slot.spoke = true;
        let Some(socket) = &mut slot.socket else { return Ok(()) };
        if !slot.backlog.is_empty() {
            slot.backlog.extend_from_slice(&self.out);
            return Ok(());
        }
        match socket.write(&self.out) {
            Ok(len) => {
                slot.backlog.extend_from_slice(&self.out[len..]);
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.on_lost(at, &why)
            }
        }
    }

    fn on_writable(&mut self, at: usize) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        let Some(socket) = &mut slot.socket else { return Ok(()) };
        if slot.life == Life::Dialing {
            return self.on_dialed(at);
        }
        if slot.backlog.is_empty() && !socket.keeps_back() {
            return Ok(());
        }
        let written = socket.flush().and_then(|()| {
            if slot.backlog.is_empty() { Ok(0) } else { socket.write(&slot.backlog) }
        });
        match written {
            Ok(len) if len == slot.backlog.len() => {
                let held_back = slot.backlog.len() > BACKLOG_MAX;
                slot.backlog = Vec::new();
                if held_back {
                    self.again.push(at as u32);
                }
                self.may_publish(at);
                Ok(())
            }
            Ok(len) => {
                drop(slot.backlog.drain(..len));
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.on_lost(at, &why)
            }
        }
    }

    /// Sends a PINGREQ for clients that sent nothing for half their Keep Alive. Each turn looks at so
    /// many of them that each is looked at twice in a Keep Alive.
    fn keep_alive(&mut self, now_ns: u64) -> Result<(), Error> {
        if self.plan.keep_alive_s == 0 || self.slots.is_empty() {
            return Ok(());
        }
        let half_ns = u64::from(self.plan.keep_alive_s) * 500_000_000;
        let step_ns = (half_ns / self.slots.len() as u64).max(1);
        let (mut at, mut looked_ns) = self.sweep;
        if looked_ns == 0 {
            looked_ns = now_ns;
        }
        while looked_ns + step_ns <= now_ns {
            looked_ns += step_ns;
            at = (at + 1) % self.slots.len();
            let slot = &mut self.slots[at];
            if std::mem::take(&mut slot.spoke) || slot.life != Life::Ready {
                continue;
            }
            self.out.clear();
            slot.client.ping(&mut self.out);
            self.write(at)?;
            self.slots[at].spoke = false;
        }
        self.sweep = (at, looked_ns);
        Ok(())
    }

    /// Hands every slice of the timeline that is over to the others.
    fn end_slices(&mut self, now_ns: u64) -> bool {
        let mut timeline = self.shared.timeline();
        let present = timeline.slice_at(now_ns);
        let ended = self.slice < present;
        // If a turn took long, all of it counts to the first slice.
        while self.slice < present {
            let (sample, times) = self.book.end_slice(now_ns);
            timeline.add(self.slice, &sample, &times);
            self.slice += 1;
        }
        ended
    }

    fn credit(&mut self) {
        if self.book.may_publish.is_empty() && !self.book.may_look.contains(&true) {
            return;
        }
        let mut may_publish = std::mem::take(&mut self.book.may_publish);
        for at in may_publish.drain(..) {
            self.may_publish(at as usize);
        }
        self.book.may_publish = may_publish;
        for (thread, look) in self.book.may_look.iter_mut().enumerate() {
            if std::mem::take(look) {
                self.shared.posts[thread].send(Command::Look);
            }
        }
    }

    fn show(&mut self) {
        if self.book.counts.unwritten > 0 {
            let unwritten = self.slots.iter().filter(|slot| !slot.backlog.is_empty());
            self.book.counts.unwritten = unwritten.count() as u64;
        }
        self.book.count_verified();
        self.shared.posts[usize::from(self.thread)].show(&self.book.counts);
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    /// Places of the clients of a group.
    pub(super) fn of_group(&self, group: usize) -> Vec<usize> {
        let of = |at: &usize| usize::from(self.slots[*at].group) == group;
        (0..self.slots.len()).filter(of).collect()
    }

    /// Forgets what was read and not written of a connection that is over.
    pub(super) fn forget(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.partial = Vec::new();
        slot.backlog = Vec::new();
        if let Some(socket) = slot.socket.take() {
            socket.close(self.poll.registry());
        }
    }
}

/// Every client of a plan with its group.
fn grouped(plan: &Plan) -> impl Iterator<Item = (usize, u32)> + '_ {
    let groups = plan.groups.iter().enumerate();
    groups.flat_map(|(place, group)| (0..group.clients).map(move |_| place)).zip(0..)
}

/// Known to the poll: the timer, and what ends a wait.
const TIMER: Token = Token(usize::MAX);
/// Known to the poll: a command was left.
pub const WAKER: Token = Token(usize::MAX - 1);
/// Bytes that one read takes.
const SCRATCH_LEN: usize = 128 * 1024;
/// Bytes that a read has room for at least, behind part of a packet.
const ROOM_MIN: usize = 64 * 1024;
/// Reads of one client before the others have their turn.
const READS_MAX: usize = 4;
/// Answers that may wait for a socket before no more is read from it.
const BACKLOG_MAX: usize = 256 * 1024;
/// Shortest time the timer is set for: messages due within it are sent together.
const TICK_NS: u64 = 25_000;
