//! One thread of a run with rumqttc, a client library that many use: what load looks like that a
//! typical application makes. It obeys the same commands as [`Worker`](super::worker::Worker) and
//! writes into the same [`Book`], so that its figures can be put beside those of our own client;
//! what differs between them is the client.
//!
//! Each client is a task that polls the library's event loop, and each publisher another one that
//! hands it messages, as its documentation shows. Due times are waited for with tokio's timer,
//! which is good to a millisecond.

mod publishing;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::codec::{Publish, QoS, Version};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use self::publishing::Sender;
use self::wire::{Ended, Events, Handle, Happened, Login};
use super::book::Book;
use super::broker::{Broker, Way};
use super::shared::{Campaign, Command, Connecting, Shared};
use crate::client::Told;
use crate::error::Error;
use crate::measure::SLICE_NS;
use crate::plan::{Plan, Step};
use crate::target::{Target, Transport};
use crate::verify::Receiver;
use crate::window::Sent;

/// Says what of `plan` and `target` this client cannot do.
///
/// # Errors
///
/// If there is something.
pub fn check(plan: &Plan, target: &Target) -> Result<(), Error> {
    let steps = plan.steps.iter().all(|step| match step {
        Step::Connect { .. } | Step::Publish { .. } | Step::Drain => true,
        Step::Clear { .. }
        | Step::Forget { .. }
        | Step::Fetch { .. }
        | Step::Collect { .. }
        | Step::Hold(_)
        | Step::Disconnect { .. }
        | Step::AwaitRestart { .. }
        | Step::Storm { .. } => false,
    });
    let groups = plan.groups.iter().any(|group| group.persistent || group.stalls);
    let wrong = if target.tls.is_some() {
        "it is used without TLS, because its TLS depends on versions with known weaknesses"
    } else if target.transport != Transport::Tcp {
        "it is used over TCP"
    } else if !steps || groups {
        "it does what is made of publishers and subscribers, such as pair, fanout, fanin and shared"
    } else if !target.sources.is_empty() {
        "it cannot choose the address to connect from"
    } else if plan.smoothness_ms.is_some() {
        "it does not measure smoothness"
    } else if plan.version == Version::V5 && plan.keep_alive_s < KEEP_ALIVE_MIN_S {
        "for MQTT 5 it takes a Keep Alive of 5 seconds or more"
    } else {
        return Ok(());
    };
    Err(Error::Input(format!("--engine rumqttc: {wrong}")))
}

/// Runs one thread until told to quit; gives what was written down. `woken` is told of commands.
pub fn run(
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    thread: u16,
    broker: Broker,
    mut book: Book,
    woken: &Notify,
) -> Book {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            shared.fail(Error::System { what: "cannot start tokio", source });
            return book;
        }
    };
    let slots = slots(&plan, &shared, thread, &mut book);
    let guests = Rc::new(Guests {
        plan,
        shared,
        thread,
        broker,
        slots,
        book: RefCell::new(book),
        campaign: RefCell::new(None),
        wanted: Cell::new(0),
        dialing: Semaphore::new(UNDER_WAY_MAX),
        failed: Cell::new(false),
    });
    LocalSet::new().block_on(&runtime, guests.clone().live(woken));
    // The tasks are gone with their set.
    match Rc::try_unwrap(guests) {
        Ok(guests) => guests.book.into_inner(),
        Err(_) => unreachable!("nobody else has the guests"),
    }
}

/// The clients of one thread.
struct Guests {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    thread: u16,
    broker: Broker,
    slots: Vec<Slot>,
    /// Never borrowed across a wait.
    book: RefCell<Book>,
    /// Publishing, while it goes on.
    campaign: RefCell<Option<Rc<Campaign>>>,
    /// Clients that the present command is about.
    wanted: Cell<u64>,
    /// Connections that may be begun.
    dialing: Semaphore,
    /// The run cannot go on.
    failed: Cell<bool>,
}

/// One client.
struct Slot {
    number: u32,
    group: usize,
    receiver: Receiver,
    sender: Option<RefCell<Sender>>,
    /// Told when there may be room in the window, or nothing more to publish.
    room: Notify,
    handle: RefCell<Option<Handle>>,
    /// Open as it should be, until it leaves or is lost.
    open: Cell<bool>,
    /// Handed to the library and not yet written; `QoS` 1 and 2.
    handed: RefCell<VecDeque<Sent>>,
    /// Written and not yet acknowledged.
    in_flight: RefCell<HashMap<u16, Sent>>,
}

impl Guests {
    /// Obeys commands until told to quit.
    async fn live(self: Rc<Self>, woken: &Notify) {
        let mut tasks = JoinSet::new();
        let mut slice = 0;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quits = false;
        while !quits && !self.failed.get() {
            tokio::select! {
                () = woken.notified() => {}
                _ = tick.tick() => {}
            }
            for command in self.shared.posts[usize::from(self.thread)].take() {
                quits |= matches!(command, Command::Quit);
                self.on_command(command, &mut tasks);
                self.book.borrow_mut().counts.obeyed += 1;
            }
            let now_ns = self.now_ns();
            if self.end_slices(&mut slice, now_ns) {
                self.forgive(now_ns);
            }
            self.show();
            while tasks.try_join_next().is_some() {}
        }
        self.end_slices(&mut slice, self.now_ns() + SLICE_NS);
        for slot in &self.slots {
            self.leave(slot);
        }
        self.show();
        // Until their DISCONNECTs are written.
        let all_left = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE, all_left).await;
        tasks.shutdown().await;
    }

    fn on_command(self: &Rc<Self>, command: Command, tasks: &mut JoinSet<()>) {
        match command {
            Command::Connect(connecting) => self.connect(connecting, tasks),
            Command::Publish(campaign) => self.begin(*campaign, tasks),
            Command::Stop => self.stop(),
            Command::Take(taking) => self.book.borrow_mut().take(taking),
            Command::Look => self.slots.iter().for_each(|slot| slot.room.notify_one()),
            Command::Quit => self.stop(),
            Command::Clear { .. }
            | Command::Subscribe { .. }
            | Command::Disconnect { .. }
            | Command::Storm { .. } => {
                unreachable!("a plan with such a step was refused")
            }
        }
    }

    fn connect(self: &Rc<Self>, connecting: Connecting, tasks: &mut JoinSet<()>) {
        self.book.borrow_mut().counts.settled = 0;
        let members = (0..self.slots.len()).filter(|at| self.slots[*at].group == connecting.group);
        let members: Vec<usize> = members.collect();
        self.wanted.set(members.len() as u64);
        let threads = self.shared.posts.len() as f64;
        let every = self.plan.connect_rate.map(|rate| Duration::from_secs_f64(threads / rate));
        let begin = Instant::now();
        for (place, at) in members.into_iter().enumerate() {
            let begin = begin + every.unwrap_or_default() * place as u32;
            let guests = self.clone();
            tasks.spawn_local(async move {
                tokio::time::sleep_until(begin).await;
                guests.attend(at, connecting.subscribe).await;
            });
        }
        self.shared.nudge();
    }

    /// Connects a client, subscribes, and takes what comes until the connection ends.
    async fn attend(&self, at: usize, subscribe: bool) {
        let slot = &self.slots[at];
        let member = self.plan.member(slot.number);
        let client_id = self.plan.client_id(&member);
        let permit = self.dialing.acquire().await;
        let Way::Tcp(nodes) = &self.broker.way else { panic!("checked to be TCP") };
        let address = Way::node(nodes, slot.number);
        let host = match address.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let user = self.broker.user.as_deref();
        let password = self.broker.password.as_deref();
        let login = Login {
            host: &host,
            port: address.port(),
            client_id: &client_id,
            credentials: user.map(|user| (user, password.unwrap_or_default())),
        };
        let (handle, mut events) = wire::client(&self.plan, &login);
        let began_ns = self.now_ns();
        match events.poll().await {
            Ok(_) => self.on_accepted(slot, &handle, began_ns),
            Err(ended) => return self.on_failed(&client_id, ended),
        }
        drop(permit);
        let ended = match self.subscribe(slot, &handle, &mut events, subscribe).await {
            Ok(()) => {
                self.settle();
                self.listen(slot, &mut events).await
            }
            Err(ended) => ended,
        };
        self.on_ended(slot, ended);
    }

    /// Makes the client's subscriptions, a few in each packet.
    async fn subscribe(
        &self,
        slot: &Slot,
        handle: &Handle,
        events: &mut Events,
        subscribe: bool,
    ) -> Result<(), Ended> {
        let member = self.plan.member(slot.number);
        let filters = member
            .filters()
            .map(|(filter, subscribing)| (subscribing.on_the_wire(filter), subscribing.qos));
        let filters: Vec<(String, QoS)> = filters.filter(|_| subscribe).collect();
        for filters in filters.chunks(FILTERS_MAX) {
            handle.subscribe(filters.to_vec()).await.map_err(Ended::Lost)?;
            loop {
                match events.poll().await? {
                    Happened::Subscribed(None) => break,
                    Happened::Subscribed(Some(reason)) => {
                        self.fail(Error::NotSubscribed {
                            address: self.broker.name.clone(),
                            client: self.plan.client_id(&member),
                            filter: filters[0].0.clone(),
                            reason,
                        });
                        return Ok(());
                    }
                    happened => self.on_happened(slot, happened),
                }
            }
        }
        Ok(())
    }

    /// Takes what comes until the connection ends, which is what it gives.
    async fn listen(&self, slot: &Slot, events: &mut Events) -> Ended {
        loop {
            match events.poll().await {
                Ok(Happened::Left) => return Ended::Lost("it was left".into()),
                Ok(happened) => self.on_happened(slot, happened),
                Err(ended) => return ended,
            }
        }
    }

    fn on_happened(&self, slot: &Slot, happened: Happened) {
        match happened {
            Happened::Message(topic, payload, qos) => {
                let now_ns = self.now_ns();
                let mut book = self.book.borrow_mut();
                book.open(now_ns, slot.receiver, None);
                let publish =
                    Publish { topic: topic.as_str(), payload: &payload, qos, ..Publish::default() };
                book.message(&publish, false);
                book.close();
                self.credit(&mut book);
            }
            Happened::Written(id) => {
                if let Some(sent) = slot.handed.borrow_mut().pop_front() {
                    slot.in_flight.borrow_mut().insert(id, sent);
                }
            }
            Happened::Acknowledged(id, reason) => {
                if let Some(sent) = slot.in_flight.borrow_mut().remove(&id) {
                    let now_ns = self.now_ns();
                    let mut book = self.book.borrow_mut();
                    book.open(now_ns, slot.receiver, None);
                    book.acknowledged(sent, reason);
                    book.close();
                    slot.room.notify_one();
                }
            }
            Happened::Accepted | Happened::Subscribed(_) | Happened::Left | Happened::Nothing => {}
        }
    }

    fn on_accepted(&self, slot: &Slot, handle: &Handle, began_ns: u64) {
        *slot.handle.borrow_mut() = Some(handle.clone());
        slot.open.set(true);
        let mut book = self.book.borrow_mut();
        book.counts.opened += 1;
        book.counts.open += 1;
        book.connect.record(self.now_ns().saturating_sub(began_ns));
    }

    /// A connection could not be opened.
    fn on_failed(&self, client_id: &str, ended: Ended) {
        let (address, client) = (self.broker.name.clone(), client_id.to_string());
        self.fail(match ended {
            Ended::Refused(reason) => Error::Refused { address, client, reason },
            Ended::Lost(why) => Error::Unreachable { address, why },
        });
    }

    /// The run cannot go on.
    fn fail(&self, error: Error) {
        self.shared.fail(error);
        self.failed.set(true);
    }

    /// A connection is gone; that is as it should be only if the client left.
    fn on_ended(&self, slot: &Slot, ended: Ended) {
        if !slot.open.replace(false) {
            return;
        }
        let why = match ended {
            Ended::Refused(reason) => crate::error::in_words(reason),
            Ended::Lost(why) => why,
        };
        let unacknowledged = slot.handed.take().len() + slot.in_flight.take().len();
        let mut book = self.book.borrow_mut();
        book.counts.open -= 1;
        book.counts.lost += 1;
        book.counts.in_flight -= unacknowledged as u64;
        book.note_loss(slot.number, &why);
        drop(book);
        slot.room.notify_one();
        self.show();
        self.shared.nudge();
    }

    /// Ends a connection in peace.
    fn leave(&self, slot: &Slot) {
        let handle = slot.handle.borrow_mut().take();
        if slot.open.replace(false) {
            self.book.borrow_mut().counts.open -= 1;
            // If there is no room for it, the end of the connection says the same.
            let _ = handle.is_some_and(|handle| handle.disconnect());
        }
    }

    /// A client is done with the present command.
    fn settle(&self) {
        let mut book = self.book.borrow_mut();
        book.counts.settled += 1;
        let all = book.counts.settled >= self.wanted.get();
        drop(book);
        if all {
            self.show();
            self.shared.nudge();
        }
    }

    /// Tells those publishers that wait for what has arrived.
    fn credit(&self, book: &mut Book) {
        for place in book.may_publish.drain(..) {
            self.slots[place as usize].room.notify_one();
        }
        for (thread, look) in book.may_look.iter_mut().enumerate() {
            if std::mem::take(look) {
                self.shared.posts[thread].send(Command::Look);
            }
        }
    }

    /// Hands every slice of the timeline that is over to the others.
    fn end_slices(&self, slice: &mut usize, now_ns: u64) -> bool {
        let mut timeline = self.shared.timeline();
        let present = timeline.slice_at(now_ns);
        let ended = *slice < present;
        while *slice < present {
            let (sample, times) = self.book.borrow_mut().end_slice(now_ns);
            timeline.add(*slice, &sample, &times);
            *slice += 1;
        }
        ended
    }

    fn show(&self) {
        let mut book = self.book.borrow_mut();
        book.count_verified();
        self.shared.posts[usize::from(self.thread)].show(&book.counts);
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }
}

/// The clients of this thread, in the order of their places there.
fn slots(plan: &Plan, shared: &Shared, thread: u16, book: &mut Book) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut publishers = 0;
    for (group, place) in plan.groups.iter().zip(0..) {
        for number in (0..group.clients).map(|index| plan.first_of(place) + index) {
            let ordinal = publishers;
            publishers += u32::from(group.publishes.is_some());
            if shared.homes[number as usize].0 != thread {
                continue;
            }
            let (first, streams) = shared.routes.streams_of(number);
            let sender = group.publishes.as_ref().map(|_| Sender::new(ordinal, first, streams));
            slots.push(Slot {
                number,
                group: place,
                receiver: book.verifier.receiver(&shared.routes, number),
                sender: sender.map(RefCell::new),
                room: Notify::new(),
                handle: RefCell::default(),
                open: Cell::new(false),
                handed: RefCell::default(),
                in_flight: RefCell::default(),
            });
        }
    }
    slots
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// For the last words of all clients.
const GOODBYE: Duration = Duration::from_millis(500);
/// Connections begun and not yet accepted, at most: below the backlog that listeners usually have.
const UNDER_WAY_MAX: usize = 100;
/// Topic Filters in one SUBSCRIBE: few enough for every broker.
const FILTERS_MAX: usize = 16;
/// What the library insists on for MQTT 5.
const KEEP_ALIVE_MIN_S: u16 = 5;
