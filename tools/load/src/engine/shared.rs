//! What the threads of a run share: little, and touched once a turn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::pace::Schedule;
use crate::error::Error;
use crate::measure::{Clock, Timeline};
use crate::routes::Routes;

/// What the threads of a run share.
pub struct Shared {
    /// The clock of the run.
    pub clock: Clock,
    /// Which client should get which message.
    pub routes: Routes,
    /// For each client, the thread it is on and its place there.
    pub homes: Vec<(u16, u32)>,
    /// Messages published so far, by stream.
    pub sent: Box<[AtomicU64]>,
    /// Copies that have arrived or were overtaken, by client that published them.
    pub arrived: Box<[AtomicU64]>,
    /// A publisher has sent something again after a connection was lost: subscribers may get
    /// copies twice.
    pub resent: AtomicBool,
    /// What happened over time.
    pub timeline: Mutex<Timeline>,
    /// Each thread's post.
    pub posts: Vec<Post>,
    /// Why the run cannot go on: the first reason counts.
    failure: Mutex<Option<Error>>,
    /// The thread that commands.
    commander: Thread,
}

/// What is between the commander and one thread.
pub struct Post {
    /// Ends its wait.
    wake: Box<dyn Fn() + Send + Sync>,
    commands: Mutex<Vec<Command>>,
    /// Commands left so far.
    left: AtomicU64,
    counts: Mutex<Counts>,
}

/// What a thread is told to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open the connections of a group.
    Connect(Connecting),
    /// Take back what a group has published retained.
    Clear {
        /// The group's place in the plan.
        group: usize,
    },
    /// Make the subscriptions of a connected group.
    Subscribe {
        /// The group's place in the plan.
        group: usize,
    },
    /// Publish.
    Publish(Box<Campaign>),
    /// Publish no more.
    Stop,
    /// End the connections of a group.
    Disconnect {
        /// The group's place in the plan.
        group: usize,
    },
    /// Connect and disconnect the clients of a group again and again.
    Storm {
        /// The group's place in the plan.
        group: usize,
        /// Connections to make in all, on this thread.
        count: u64,
    },
    /// From now on, take times.
    Take(Taking),
    /// Credits may have come for publishers on this thread.
    Look,
    /// End.
    Quit,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// Messages that were due at or after this.
    pub since_ns: u64,
    /// A time counts from here if the message is older.
    pub floor_ns: u64,
    /// The rate of arrival is that of the time before this.
    pub until_ns: u64,
}

/// How the connections of a group are opened.
#[derive(Clone, Copy, Debug)]
pub struct Connecting {
    /// The group's place in the plan.
    pub group: usize,
    /// With their subscriptions.
    pub subscribe: bool,
    /// Without the Session that may be there.
    pub clean: bool,
}

/// Publishing, as it was asked for.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// When messages are due.
    pub schedule: Schedule,
    /// Messages over all publishers, if that ends it.
    pub count: Option<u64>,
    /// What is due at or after this is not published.
    pub until_ns: u64,
}

/// What one thread has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Commands taken.
    pub obeyed: u64,
    /// PUBLISHes written.
    pub published: u64,
    /// Handshakes completed.
    pub acknowledged: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Messages in flight.
    pub in_flight: u64,
    /// Copies that should arrive of what was published.
    pub expected: u64,
    /// Copies that arrived.
    pub delivered: u64,
    /// Copies that arrived in the measured time, whenever they were published.
    pub in_time: u64,
    /// Copies that arrived for the first time.
    pub unique: u64,
    /// Payload bytes published and delivered.
    pub bytes: (u64, u64),
    /// The same, of what is measured.
    pub measured: Measured,
    /// QoS 0 and other copies known to be missing now.
    pub missing: u64,
    /// Connections accepted.
    pub opened: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Connections that ended by themselves.
    pub lost: u64,
    /// Connections open now.
    pub open: u64,
    /// Clients that are done with the present command.
    pub settled: u64,
    /// Publishers that have published all they should.
    pub finished: u64,
    /// Clients with something to write that their sockets have not taken yet; counted only while
    /// retained messages are taken back.
    pub unwritten: u64,
    /// When the last PUBLISH was written.
    pub last_publish_ns: u64,
    /// When the last copy arrived.
    pub last_arrival_ns: u64,
    /// When the first connection was lost, and the first accepted after one was.
    pub first_loss_ns: u64,
    /// When a connection was first accepted after one was lost.
    pub first_return_ns: u64,
    /// When the last connection was accepted.
    pub last_return_ns: u64,
}

/// Counts of what is measured only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// PUBLISHes written.
    pub published: u64,
    /// Handshakes completed.
    pub acknowledged: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Copies that should arrive.
    pub expected: u64,
    /// Copies that arrived.
    pub delivered: u64,
    /// Payload bytes published and delivered.
    pub bytes: (u64, u64),
}

impl Post {
    /// Nothing in it; `wake` ends the wait of its thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Post {
        Post {
            wake: Box::new(wake),
            commands: Mutex::default(),
            left: AtomicU64::new(0),
            counts: Mutex::default(),
        }
    }

    /// Leaves a command.
    pub fn send(&self, command: Command) {
        self.left.fetch_add(1, Ordering::Relaxed);
        locked(&self.commands).push(command);
        (self.wake)();
    }

    /// Takes what was left.
    pub fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *locked(&self.commands))
    }

    /// Whether everything that was left has been taken, and shows in the counts.
    pub fn is_obeyed(&self) -> bool {
        self.counts().obeyed >= self.left.load(Ordering::Relaxed)
    }

    /// Shows the counts.
    pub fn show(&self, counts: &Counts) {
        *locked(&self.counts) = *counts;
    }

    /// The counts as last shown.
    pub fn counts(&self) -> Counts {
        *locked(&self.counts)
    }
}

impl Shared {
    /// Nothing has happened yet.
    pub fn new(
        clock: Clock,
        routes: Routes,
        homes: Vec<(u16, u32)>,
        posts: Vec<Post>,
        commander: Thread,
    ) -> Shared {
        let zeros = |len: usize| (0..len).map(|_| AtomicU64::new(0)).collect();
        Shared {
            sent: zeros(routes.streams.len()),
            arrived: zeros(homes.len()),
            timeline: Mutex::new(Timeline::new(clock.now_ns(), posts.len())),
            clock,
            routes,
            homes,
            resent: AtomicBool::new(false),
            posts,
            failure: Mutex::default(),
            commander,
        }
    }

    /// What happened over time, to be added to.
    pub fn timeline(&self) -> MutexGuard<'_, Timeline> {
        locked(&self.timeline)
    }

    /// The run cannot go on.
    pub fn fail(&self, error: Error) {
        locked(&self.failure).get_or_insert(error);
        self.commander.unpark();
    }

    /// Why the run cannot go on, if so.
    pub fn failure(&self) -> Option<Error> {
        locked(&self.failure).take()
    }

    /// Something that the commander may wait for has happened.
    pub fn nudge(&self) {
        self.commander.unpark();
    }

    /// The counts of all threads together.
    pub fn counts(&self) -> Counts {
        self.posts.iter().map(Post::counts).fold(Counts::default(), Counts::plus)
    }

    /// Messages published of a stream.
    pub fn sent(&self, stream: u32) -> u64 {
        self.sent[stream as usize].load(Ordering::Relaxed)
    }
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        let earliest = |a: u64, b: u64| if a == 0 || (b != 0 && b < a) { b } else { a };
        Counts {
            obeyed: self.obeyed + other.obeyed,
            published: self.published + other.published,
            acknowledged: self.acknowledged + other.acknowledged,
            refused: self.refused + other.refused,
            in_flight: self.in_flight + other.in_flight,
            expected: self.expected + other.expected,
            delivered: self.delivered + other.delivered,
            in_time: self.in_time + other.in_time,
            unique: self.unique + other.unique,
            bytes: (self.bytes.0 + other.bytes.0, self.bytes.1 + other.bytes.1),
            measured: Measured {
                published: self.measured.published + other.measured.published,
                acknowledged: self.measured.acknowledged + other.measured.acknowledged,
                refused: self.measured.refused + other.measured.refused,
                expected: self.measured.expected + other.measured.expected,
                delivered: self.measured.delivered + other.measured.delivered,
                bytes: (
                    self.measured.bytes.0 + other.measured.bytes.0,
                    self.measured.bytes.1 + other.measured.bytes.1,
                ),
            },
            missing: self.missing + other.missing,
            opened: self.opened + other.opened,
            failed: self.failed + other.failed,
            lost: self.lost + other.lost,
            open: self.open + other.open,
            settled: self.settled + other.settled,
            finished: self.finished + other.finished,
            unwritten: self.unwritten + other.unwritten,
            last_publish_ns: self.last_publish_ns.max(other.last_publish_ns),
            last_arrival_ns: self.last_arrival_ns.max(other.last_arrival_ns),
            first_loss_ns: earliest(self.first_loss_ns, other.first_loss_ns),
            first_return_ns: earliest(self.first_return_ns, other.first_return_ns),
            last_return_ns: self.last_return_ns.max(other.last_return_ns),
        }
    }
}

/// A lock of plain counts means the same after a panic, which ends the run anyway.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
