//! Carries a plan out: threads that make the load, and a commander that goes through the steps,
//! watches, and sums up.

mod book;
mod broker;
mod dialing;
mod frames;
mod layer;
mod pace;
mod publishing;
mod quic;
mod shared;
mod slot;
mod socket;
mod steps;
mod summary;
mod timer;
mod tls;
mod typical;
mod wire;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};
use tokio::sync::Notify;

use self::book::Book;
use self::broker::Broker;
use self::shared::{Command, Counts, Post, Shared};
use self::summary::seconds;
use self::worker::{WAKER, Worker};
use crate::error::Error;
use crate::journal::Journal;
use crate::measure::Clock;
use crate::outcome::{Outcome, Recovery, TIMELINE_MS};
use crate::plan::{Length, Plan};
use crate::process::{self, Used};
use crate::progress::{Moment, Progress};
use crate::routes::Routes;
use crate::target::{Target, Transport};
use crate::verify::Verifier;

/// Carries `plan` out against `target`, and says what it found.
///
/// # Errors
///
/// If it cannot be carried out: the plan makes no sense, the broker cannot be reached or refuses a
/// client, or the system does not give what is needed. What is wrong with what came back is no
/// error but stands in the outcome.
pub fn run(
    client: Client,
    plan: &Plan,
    target: &Target,
    watch: Watching<'_>,
) -> Result<Outcome, Error> {
    if client == Client::Rumqttc {
        typical::check(plan, target)?;
    }
    let mut commander = Commander::new(client, plan, target, watch)?;
    let mut done = plan.steps.iter().try_for_each(|step| commander.step(step));
    if matches!(done, Err(Error::Interrupted)) {
        done = commander.leave();
    }
    let books = commander.dismiss();
    watch.progress.finish();
    // What a thread failed of says more than that it is gone.
    if let Some(error) = commander.shared.failure() {
        return Err(error);
    }
    done?;
    let mut outcome = commander.sum_up(books?, target);
    if client == Client::Rumqttc {
        outcome.settings.push(("client".into(), "rumqttc".into()));
    }
    Ok(outcome)
}

/// What a run tells and asks while it goes on.
#[derive(Clone, Copy)]
pub struct Watching<'p> {
    /// Is told how far it is.
    pub progress: &'p Progress,
    /// Whether the run is to end now, with what there is.
    pub interrupted: &'p dyn Fn() -> bool,
}

/// What makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// Our own, which costs little.
    Own,
    /// rumqttc, a library that many applications use.
    Rumqttc,
}

/// Goes through the steps of a plan.
struct Commander<'p> {
    plan: &'p Plan,
    progress: &'p Progress,
    interrupted: &'p dyn Fn() -> bool,
    /// It was interrupted, and does what is left to do.
    is_interrupted: bool,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Book>>,
    publishers: u64,
    pid: Option<u32>,
    before: Option<Used>,
    watched: Watched,
    opening: Opening,
    measured: Measured,
    recovery: Option<Recovery>,
}

/// How the broker's process has been seen last, and at most.
#[derive(Clone, Copy, Default)]
struct Watched {
    at_ns: u64,
    used: Used,
    resident_max: u64,
}

/// Connections as they were opened.
#[derive(Clone, Copy, Default)]
struct Opening {
    wanted: u64,
    seconds: f64,
}

/// The measured time.
#[derive(Clone, Copy, Default)]
struct Measured {
    from_ns: u64,
    /// The last publish, or what stands for it.
    to_ns: u64,
    drained_ns: u64,
    own_cpu: (f64, f64),
    broker: (Option<Used>, Option<Used>),
    /// Copies that had arrived when it began.
    delivered: u64,
    opened: (u64, u64),
    /// Connections that were open when it ended.
    open: u64,
    length: Option<Length>,
}

impl<'p> Commander<'p> {
    fn new(
        client: Client,
        plan: &'p Plan,
        target: &Target,
        watch: Watching<'p>,
    ) -> Result<Commander<'p>, Error> {
        let routes = Routes::new(plan)?;
        let broker = Broker::new(target, plan.clients())?;
        let each = if target.transport == Transport::Quic { 2 } else { 1 };
        process::allow_open_files(u64::from(plan.clients()) * each + FILES_BESIDE)?;
        let before = target.pid.map(process::used).transpose()?;
        let threads = plan.threads.max(1);
        let homes = homes(plan, &routes, threads);
        let shared = |posts| {
            Arc::new(Shared::new(Clock::new(), routes, homes, posts, std::thread::current()))
        };
        let (shared, threads) = match client {
            Client::Own => own_threads(plan, &broker, threads, shared)?,
            Client::Rumqttc => typical_threads(plan, &broker, threads, shared)?,
        };
        let publishers = plan.groups.iter().filter(|group| group.publishes.is_some());
        Ok(Commander {
            plan,
            progress: watch.progress,
            interrupted: watch.interrupted,
            is_interrupted: false,
            shared,
            threads,
            publishers: publishers.map(|group| u64::from(group.clients)).sum(),
            pid: target.pid,
            before,
            watched: Watched::default(),
            opening: Opening::default(),
            measured: Measured::default(),
            recovery: None,
        })
    }

    /// Waits until `done` says so, which also says how far it is; that will not be before
    /// `not_before_ns`, if nothing happens. Looks at the broker and shows progress meanwhile.
    fn wait(
        &mut self,
        what: &str,
        of: u64,
        not_before_ns: u64,
        mut done: impl FnMut(u64, &Counts) -> (bool, u64),
    ) -> Result<(), Error> {
        self.progress.step(what, of);
        loop {
            if self.threads.iter().any(JoinHandle::is_finished) {
                return Err(Error::Input("a thread of the load generator ended".into()));
            }
            if !self.is_interrupted && (self.interrupted)() {
                return Err(Error::Interrupted);
            }
            let now_ns = self.now_ns();
            let obeyed = self.shared.posts.iter().all(Post::is_obeyed);
            let counts = self.shared.counts();
            let (is_done, position) = done(now_ns, &counts);
            if is_done && obeyed {
                return Ok(());
            }
            if now_ns >= self.watched.at_ns + LOOK_NS {
                self.look()?;
                self.progress.moved(&self.moment(position, &counts));
            }
            let left = Duration::from_nanos(not_before_ns.saturating_sub(now_ns));
            std::thread::park_timeout(left.clamp(SHORT, LONG));
        }
    }

    fn moment(&self, done: u64, counts: &Counts) -> Moment {
        let timeline = self.shared.timeline();
        let latest = timeline.latest();
        let rate = |count: u64| count as f64 * 1e3 / TIMELINE_MS as f64;
        Moment {
            done,
            connections: counts.open,
            publish_rate: latest.map_or(0.0, |sample| rate(sample.published)),
            delivery_rate: latest.map_or(0.0, |sample| rate(sample.delivered)),
            p99_us: latest.map_or(0.0, |sample| sample.p99_us),
        }
    }

    /// Looks at the broker's process, if it is known.
    fn look(&mut self) -> Result<Option<Used>, Error> {
        let now_ns = self.now_ns();
        let Some(pid) = self.pid else {
            self.watched.at_ns = now_ns;
            return Ok(None);
        };
        // It may be gone, which is what the run shows.
        let Ok(used) = process::used(pid) else {
            self.watched.at_ns = now_ns;
            return Ok(None);
        };
        let last = self.watched;
        let passed = seconds(last.at_ns, now_ns);
        if last.at_ns > 0 && passed > 0.01 {
            let cores = (used.cpu_seconds - last.used.cpu_seconds).max(0.0) / passed;
            self.shared.timeline().broker(now_ns, cores, used.resident);
        }
        let resident_max = last.resident_max.max(used.resident);
        self.watched = Watched { at_ns: now_ns, used, resident_max };
        Ok(Some(used))
    }

    fn tell_all(&self, command: &Command) {
        for post in &self.shared.posts {
            post.send(command.clone());
        }
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    /// Ends the threads and takes what they wrote down.
    fn dismiss(&mut self) -> Result<Vec<Book>, Error> {
        if self.pid.is_some() && self.measured.broker.1.is_none() {
            self.measured.broker.1 = self.look()?;
        }
        self.tell_all(&Command::Quit);
        let joined = self.threads.drain(..).map(JoinHandle::join).collect::<Result<Vec<_>, _>>();
        joined.map_err(|_| Error::Input("a thread of the load generator died".into()))
    }
}

/// Threads with our own client.
fn own_threads(
    plan: &Plan,
    broker: &Broker,
    threads: usize,
    shared: impl FnOnce(Vec<Post>) -> Arc<Shared>,
) -> Result<(Arc<Shared>, Vec<JoinHandle<Book>>), Error> {
    let poll = || {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        // It can fail only if the thread is gone, which says so itself.
        let wake = move || drop(waker.wake());
        Ok((poll, Post::new(wake)))
    };
    let polls: Vec<(Poll, Post)> = (0..threads)
        .map(|_| poll())
        .collect::<Result<_, _>>()
        .map_err(|source| Error::System { what: "cannot make a poll", source })?;
    let (polls, posts): (Vec<Poll>, Vec<Post>) = polls.into_iter().unzip();
    let shared = shared(posts);
    let plan = Arc::new(plan.clone());
    // All of them before one of them runs: making one can fail.
    let mut workers = Vec::new();
    for (poll, thread) in polls.into_iter().zip(0..) {
        let book = book(&plan, &shared, thread)?;
        let (plan, shared, broker) = (Arc::clone(&plan), Arc::clone(&shared), broker.clone());
        workers.push(Worker::new(plan, shared, thread, broker, poll, book)?);
    }
    let threads = workers.into_iter().map(|worker| start(move || worker.run()));
    let threads = threads.collect::<Result<_, _>>()?;
    Ok((shared, threads))
}

/// Threads with rumqttc.
fn typical_threads(
    plan: &Plan,
    broker: &Broker,
    threads: usize,
    shared: impl FnOnce(Vec<Post>) -> Arc<Shared>,
) -> Result<(Arc<Shared>, Vec<JoinHandle<Book>>), Error> {
    let woken: Vec<Arc<Notify>> = (0..threads).map(|_| Arc::default()).collect();
    let posts = woken.iter().cloned().map(|woken| Post::new(move || woken.notify_one()));
    let shared = shared(posts.collect());
    let plan = Arc::new(plan.clone());
    let mut started = Vec::new();
    for (woken, thread) in woken.into_iter().zip(0..) {
        let book = book(&plan, &shared, thread)?;
        let (plan, shared, broker) = (Arc::clone(&plan), Arc::clone(&shared), broker.clone());
        started.push(start(move || typical::run(plan, shared, thread, broker, book, &woken))?);
    }
    Ok((shared, started))
}

fn start(run: impl FnOnce() -> Book + Send + 'static) -> Result<JoinHandle<Book>, Error> {
    let builder = std::thread::Builder::new().name("load".into());
    builder.spawn(run).map_err(|source| Error::System { what: "cannot start a thread", source })
}

/// Which thread each client is on, and its place there: the members of a Shared Subscription
/// together, and the clients of each group that have the same number in it.
fn homes(plan: &Plan, routes: &Routes, threads: usize) -> Vec<(u16, u32)> {
    let mut next = vec![0; threads];
    let mut homes = Vec::with_capacity(plan.clients() as usize);
    for member in plan.members() {
        let number = match routes.inboxes_of(member.number).1 {
            Some(shared) => shared,
            None => member.index,
        };
        let thread = number as usize % threads;
        homes.push((thread as u16, next[thread]));
        next[thread] += 1;
    }
    homes
}

/// The book of a thread: it judges the inboxes that have members on the thread.
fn book(plan: &Plan, shared: &Arc<Shared>, thread: u16) -> Result<Book, Error> {
    let inboxes = shared.routes.inboxes.iter().zip(0..);
    let here = inboxes.filter_map(|(inbox, number)| {
        let first = *inbox.members.first()?;
        (shared.homes[first as usize].0 == thread).then_some(number)
    });
    let verifier = Verifier::new(plan.run, &shared.routes, here);
    let journal = plan.journal.as_deref().map(Journal::append_to).transpose()?;
    Ok(Book::new(Arc::clone(shared), thread, verifier, plan.smoothness_ms, journal))
}

/// Between two looks of the commander, when something may happen.
const SHORT: Duration = Duration::from_millis(5);
/// The same while there is time.
const LONG: Duration = Duration::from_millis(100);
/// Between two looks at the broker's process.
const LOOK_NS: u64 = 95_000_000;
/// Open files beside connections.
const FILES_BESIDE: u64 = 64;
