//! Carries a plan out: threads that make the load, and a commander that goes through the steps,
//! watches, and sums up.

mod book;
mod dialing;
mod pace;
mod publishing;
mod shared;
mod socket;
mod timer;
mod tls;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};

use self::book::Book;
use self::pace::Schedule;
use self::shared::{Campaign, Command, Connecting, Counts, Post, Shared, Taking};
use self::worker::{Broker, WAKER, Worker};
use crate::error::Error;
use crate::journal::Journal;
use crate::measure::{Clock, Times, Windows};
use crate::outcome::{BrokerUse, Connections, Outcome, Recovery, Traffic, Verification};
use crate::plan::{Length, Pace, Plan, Step};
use crate::process::{self, Used};
use crate::progress::{Moment, Progress};
use crate::routes::Routes;
use crate::target::Target;
use crate::verify::Verifier;

/// Carries `plan` out against `target`, and says what it found.
///
/// # Errors
///
/// If it cannot be carried out: the plan makes no sense, the broker cannot be reached or refuses a
/// client, or the system does not give what is needed. What is wrong with what came back is no
/// error but stands in the outcome.
pub fn run(plan: &Plan, target: &Target, progress: &Progress) -> Result<Outcome, Error> {
    let mut commander = Commander::new(plan, target, progress)?;
    let done = plan.steps.iter().try_for_each(|step| commander.step(step));
    let books = commander.dismiss();
    progress.finish();
    // What a thread failed of says more than that it is gone.
    if let Some(error) = commander.shared.failure() {
        return Err(error);
    }
    done?;
    Ok(commander.sum_up(books?, target))
}

/// Goes through the steps of a plan.
struct Commander<'p> {
    plan: &'p Plan,
    progress: &'p Progress,
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
        plan: &'p Plan,
        target: &Target,
        progress: &'p Progress,
    ) -> Result<Commander<'p>, Error> {
        let routes = Routes::new(plan)?;
        let broker = Broker::new(target, plan.clients())?;
        process::allow_open_files(u64::from(plan.clients()) + FILES_BESIDE)?;
        let before = target.pid.map(process::used).transpose()?;
        let threads = plan.threads.max(1);
        let poll = || {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            Ok((poll, Post::new(waker)))
        };
        let polls: Vec<(Poll, Post)> = (0..threads)
            .map(|_| poll())
            .collect::<Result<_, _>>()
            .map_err(|source| Error::System { what: "cannot make a poll", source })?;
        let (polls, posts): (Vec<Poll>, Vec<Post>) = polls.into_iter().unzip();
        let homes = homes(plan, &routes, threads);
        let shared =
            Arc::new(Shared::new(Clock::new(), routes, homes, posts, std::thread::current()));
        let whole = Arc::new(plan.clone());
        let mut workers = Vec::new();
        for (thread, poll) in polls.into_iter().enumerate() {
            let book = book(plan, &shared, thread as u16)?;
            let (whole, shared) = (Arc::clone(&whole), Arc::clone(&shared));
            workers.push(Worker::new(whole, shared, thread as u16, broker.clone(), poll, book)?);
        }
        let threads = workers
            .into_iter()
            .map(|worker| {
                let builder = std::thread::Builder::new().name("load".into());
                builder.spawn(move || worker.run())
            })
            .collect::<Result<_, _>>()
            .map_err(|source| Error::System { what: "cannot start a thread", source })?;
        let publishers = plan.groups.iter().filter(|group| group.publishes.is_some());
        Ok(Commander {
            plan,
            progress,
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

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match *step {
            Step::Connect { group, subscribe } => self.connect(group, subscribe),
            Step::Forget { group } => {
                self.connect_as(Connecting { group, subscribe: false, clean: true })?;
                self.step(&Step::Disconnect { group })
            }
            Step::Clear { group } => {
                self.tell_all(&Command::Clear { group });
                self.wait("clearing", 1, SOON, |_, counts| (counts.unwritten == 0, 0))
            }
            Step::Publish { measured } => self.publish(measured),
            Step::Drain => self.drain(),
            Step::Fetch { group } => {
                self.take_all();
                self.begin()?;
                self.tell_all(&Command::Subscribe { group });
                self.settled("subscribing", group)?;
                self.drain()?;
                self.end_at_last_arrival()
            }
            Step::Collect { group } => {
                self.take_all();
                self.begin()?;
                self.connect(group, false)?;
                self.drain()?;
                self.end_at_last_arrival()
            }
            Step::Hold(span) => self.hold(span),
            Step::Disconnect { group } => {
                self.tell_all(&Command::Disconnect { group });
                let rest = self.still_open(group);
                self.wait("leaving", 1, SOON, |_, counts| (counts.open <= rest, 0))
            }
            Step::AwaitRestart { at_most } => self.await_restart(at_most),
            Step::Storm { group } => self.storm(group),
        }
    }

    fn connect(&mut self, group: usize, subscribe: bool) -> Result<(), Error> {
        let began_ns = self.now_ns();
        self.opening.wanted += u64::from(self.plan.groups[group].clients);
        self.connect_as(Connecting { group, subscribe, clean: false })?;
        self.opening.seconds += seconds(began_ns, self.now_ns());
        Ok(())
    }

    fn connect_as(&mut self, connecting: Connecting) -> Result<(), Error> {
        self.tell_all(&Command::Connect(connecting));
        self.settled("connecting", connecting.group)
    }

    /// Waits until every client of a group is done with what was asked of it.
    fn settled(&mut self, what: &str, group: usize) -> Result<(), Error> {
        let wanted = u64::from(self.plan.groups[group].clients);
        self.wait(what, wanted, SOON, |_, counts| (counts.settled >= wanted, counts.settled))
    }

    fn publish(&mut self, measured: bool) -> Result<(), Error> {
        let load = &self.plan.load;
        // By a schedule, nothing is due before every thread knows of it.
        let ahead_ns = if load.pace == Pace::Window { 0 } else { START_NS };
        let start_ns = self.now_ns() + ahead_ns;
        let since_ns = start_ns + if measured { load.warm_up.as_nanos() as u64 } else { 0 };
        let (of, end_ns) = match load.length {
            Length::For(span) => (span.as_millis() as u64, since_ns + span.as_nanos() as u64),
            Length::Count(count) => (count, u64::MAX),
        };
        let routes = &self.shared.routes;
        let firsts: Vec<u32> = publishers(self.plan).collect();
        let publisher_of = |stream: u32| {
            let client = routes.streams[stream as usize].client;
            firsts.binary_search(&client).unwrap_or_default() as u32
        };
        let schedule = Schedule::new(&load.pace, start_ns, self.publishers as u32, publisher_of);
        let count = match load.length {
            Length::Count(count) => Some(count),
            Length::For(_) => None,
        };
        let taken_ns = if measured { since_ns } else { u64::MAX };
        let taking = Taking { since_ns: taken_ns, floor_ns: 0, until_ns: end_ns };
        self.tell_all(&Command::Take(taking));
        self.tell_all(&Command::Publish(Box::new(Campaign { schedule, count, until_ns: end_ns })));
        let publishers = self.publishers;
        let over = move |counts: &Counts| counts.finished >= publishers || counts.open == 0;
        if since_ns > start_ns {
            let of = load.warm_up.as_millis() as u64;
            self.wait("warming up", of, since_ns, |now_ns, counts| {
                (now_ns >= since_ns || over(counts), now_ns.saturating_sub(start_ns) / 1_000_000)
            })?;
        }
        if measured {
            self.begin()?;
            self.measured.from_ns = since_ns;
        }
        let so_far = self.shared.counts().published;
        self.wait(
            if measured { "publishing" } else { "preparing" },
            of,
            end_ns,
            |now_ns, counts| {
                let done = match count {
                    Some(_) => counts.published - so_far,
                    None => now_ns.saturating_sub(since_ns) / 1_000_000,
                };
                (now_ns >= end_ns || over(counts), done)
            },
        )?;
        self.tell_all(&Command::Stop);
        if measured {
            let counts = self.shared.counts();
            self.measured.length = Some(load.length);
            let last_ns = counts.last_publish_ns.max(since_ns);
            self.end(if count.is_some() { last_ns } else { self.now_ns().min(end_ns) })
        } else {
            // What it prepares is there only when it was acknowledged.
            self.quiet("preparing", |counts| counts.in_flight == 0)
        }
    }

    fn drain(&mut self) -> Result<(), Error> {
        // What was owed from before comes with more that was never acknowledged: only silence
        // says that it is all.
        let (endless, absent) = match &self.plan.owed {
            Some(owed) => (owed.count() > 0, owed.count() == 0),
            None => (false, false),
        };
        self.quiet("draining", |counts| {
            let arrived = absent || counts.unique >= counts.expected;
            !endless && arrived && counts.in_flight == 0
        })?;
        self.measured.drained_ns = self.shared.counts().last_arrival_ns;
        if self.measured.from_ns > 0 {
            self.measured.broker.1 = self.look()?;
        }
        Ok(())
    }

    /// Waits until `done`, or nothing has come for the drain's time.
    fn quiet(&mut self, what: &str, done: impl Fn(&Counts) -> bool) -> Result<(), Error> {
        let drain_ns = self.plan.load.drain.as_nanos() as u64;
        let mut heard = (0, 0);
        let mut heard_ns = self.now_ns();
        self.wait(what, 1, SOON, |now_ns, counts| {
            let now = (counts.delivered, counts.acknowledged);
            if now != heard {
                (heard, heard_ns) = (now, now_ns);
            }
            (done(counts) || counts.open == 0 || now_ns > heard_ns + drain_ns, 0)
        })
    }

    fn hold(&mut self, span: Duration) -> Result<(), Error> {
        self.take_all();
        self.begin()?;
        let (from_ns, of) = (self.now_ns(), span.as_millis() as u64);
        let end_ns = from_ns + span.as_nanos() as u64;
        self.wait("holding", of, end_ns, |now_ns, counts| {
            (now_ns >= end_ns || counts.open == 0, (now_ns - from_ns) / 1_000_000)
        })?;
        self.end(self.now_ns())
    }

    fn storm(&mut self, group: usize) -> Result<(), Error> {
        let threads = self.shared.posts.len() as u64;
        let (count, span) = match self.plan.load.length {
            Length::Count(count) => (count, Duration::MAX),
            Length::For(span) => (u64::MAX / threads, span),
        };
        self.take_all();
        self.begin()?;
        let from_ns = self.now_ns();
        for (post, thread) in self.shared.posts.iter().zip(0..) {
            let share = count / threads + u64::from(thread < count % threads);
            post.send(Command::Storm { group, count: share });
        }
        let opened = self.measured.opened.0;
        let of = if span == Duration::MAX { count } else { span.as_millis() as u64 };
        self.wait("storming", of, from_ns.saturating_add(nanos(span)), |now_ns, counts| {
            let passed_ns = now_ns - from_ns;
            let made = counts.opened + counts.failed - opened;
            let done = if span == Duration::MAX { made } else { passed_ns / 1_000_000 };
            (made >= count || u128::from(passed_ns) >= span.as_nanos(), done)
        })?;
        self.end(self.now_ns())?;
        let made = self.measured.opened.1 - self.measured.opened.0;
        self.opening = Opening { wanted: made, seconds: seconds(from_ns, self.measured.to_ns) };
        self.tell_all(&Command::Disconnect { group });
        self.wait("leaving", 1, SOON, |_, counts| (counts.open == 0, 0))
    }

    fn await_restart(&mut self, at_most: Duration) -> Result<(), Error> {
        let all = self.shared.counts().open;
        let late = |what: &str| Error::Input(format!("{what} within {} s", at_most.as_secs()));
        let until_ns = self.now_ns() + at_most.as_nanos() as u64;
        let mut in_time = false;
        self.wait("waiting for the broker to go", all, SOON, |now_ns, counts| {
            in_time = counts.lost > 0;
            (in_time || now_ns > until_ns, all - counts.open)
        })?;
        if !in_time {
            return Err(late("the broker did not go away"));
        }
        self.begin()?;
        let until_ns = self.now_ns() + at_most.as_nanos() as u64;
        self.wait("coming back", all, SOON, |now_ns, counts| {
            in_time = counts.open >= all && counts.lost >= all;
            (in_time || now_ns > until_ns, counts.open)
        })?;
        if !in_time {
            let back = self.shared.counts().open;
            return Err(late(&format!("only {back} of {all} clients came back")));
        }
        let counts = self.shared.counts();
        self.recovery = Some(Recovery {
            down_seconds: seconds(counts.first_loss_ns, counts.first_return_ns),
            all_back_seconds: seconds(counts.first_return_ns, counts.last_return_ns),
        });
        self.measured.from_ns = counts.first_return_ns;
        self.end(counts.last_return_ns)
    }

    /// The measured time begins.
    fn begin(&mut self) -> Result<(), Error> {
        let counts = self.shared.counts();
        self.measured.delivered = counts.delivered;
        self.measured.opened.0 = counts.opened;
        self.measured.own_cpu.0 = process::own_cpu_seconds();
        self.measured.broker.0 = self.look()?;
        self.measured.from_ns = self.now_ns();
        Ok(())
    }

    /// The measured time ended at `to_ns`.
    fn end(&mut self, to_ns: u64) -> Result<(), Error> {
        self.measured.to_ns = to_ns;
        self.measured.own_cpu.1 = process::own_cpu_seconds();
        self.measured.broker.1 = self.look()?;
        let counts = self.shared.counts();
        (self.measured.opened.1, self.measured.open) = (counts.opened, counts.open);
        Ok(())
    }

    fn end_at_last_arrival(&mut self) -> Result<(), Error> {
        let counts = self.shared.counts();
        self.end(counts.last_arrival_ns.max(self.measured.from_ns))
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
        let rate = |count: u64| count as f64 * 1e3 / crate::outcome::TIMELINE_MS as f64;
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

    fn still_open(&self, group: usize) -> u64 {
        let open = self.shared.counts().open;
        open.saturating_sub(u64::from(self.plan.groups[group].clients))
    }

    /// From now on, everything that arrives is measured, and its time counted from now at least.
    fn take_all(&self) {
        let floor_ns = self.now_ns();
        self.tell_all(&Command::Take(Taking { since_ns: 0, floor_ns, until_ns: u64::MAX }));
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

    fn sum_up(&self, books: Vec<Book>, target: &Target) -> Outcome {
        let counts = self.shared.counts();
        let Measured { from_ns, to_ns, drained_ns, own_cpu, length, .. } = self.measured;
        let span = seconds(from_ns, to_ns);
        let routes = &self.shared.routes;
        let mut refused: Vec<(u32, u64)> =
            books.iter().flat_map(|book| book.refused.iter().copied()).collect();
        refused.sort_unstable();
        let mut verification = Verification::default();
        let (mut latency, mut acknowledgement) = (Times::new(), Times::new());
        let (mut connect, mut windows) = (Times::new(), Windows::default());
        for book in &books {
            let sent = |stream| self.shared.sent(stream);
            verification.add(match &self.plan.owed {
                Some(owed) => book.verifier.finish_owed(routes, owed),
                None => book.verifier.finish(routes, sent, &refused),
            });
            latency.add(&book.latency.total);
            acknowledgement.add(&book.acknowledgement.total);
            connect.add(&book.connect);
            if let Some((_, seen)) = &book.windows {
                windows.merge(seen);
            }
        }
        let timeline = self.shared.timeline().take();
        let started_unix_ms = timeline.started_ns() / 1_000_000;
        let mut measured = counts.measured;
        if let Some(owed) = &self.plan.owed {
            measured.expected = owed.count();
        } else if measured.published == 0 {
            measured.expected = counts.expected;
        }
        // Of so many messages, what counts is how long all of them took to arrive.
        let arriving = match length {
            Some(Length::Count(_)) => {
                rate(measured.delivered, seconds(from_ns, counts.last_arrival_ns))
            }
            Some(Length::For(_)) | None => rate(counts.in_time, span),
        };
        Outcome {
            scenario: self.plan.scenario.clone(),
            target: target.name(),
            settings: self.plan.settings.clone(),
            started_unix_ms,
            seconds: span,
            drain_seconds: seconds(to_ns, drained_ns),
            traffic: Traffic {
                published: measured.published,
                acknowledged: measured.acknowledged,
                refused: measured.refused,
                expected: measured.expected,
                delivered: measured.delivered,
                payload_bytes: measured.bytes,
                publish_rate: rate(measured.published, span),
                delivery_rate: arriving,
            },
            latency: latency.latency(),
            acknowledgement: acknowledgement.latency(),
            verification,
            connections: Connections {
                wanted: self.opening.wanted,
                opened: counts.opened,
                failed: counts.failed,
                lost: counts.lost,
                connect: connect.latency(),
                open_rate: rate(self.opening.wanted - counts.failed, self.opening.seconds),
                may_be_lost: self.plan.may_lose_connections,
                recovery: self.recovery.clone(),
            },
            smoothness: self.plan.smoothness_ms.map(|length| windows.smoothness(length)),
            own_cpu_seconds: own_cpu.1 - own_cpu.0,
            broker: self.broker_use(&counts, target.pid),
            timeline: timeline.samples(),
        }
    }

    fn broker_use(&self, counts: &Counts, pid: Option<u32>) -> Option<BrokerUse> {
        let (before, (Some(from), Some(to))) = (self.before?, self.measured.broker) else {
            return None;
        };
        let opened = self.measured.opened.1 - self.measured.opened.0;
        let arrived = counts.delivered - self.measured.delivered;
        let counted = [arrived, counts.measured.published, opened, self.measured.open];
        let units = counted.into_iter().find(|units| *units > 0);
        let units = units.unwrap_or(1) as f64;
        let cpu_seconds = (to.cpu_seconds - from.cpu_seconds).max(0.0);
        let grown = to.resident.saturating_sub(before.resident) as f64;
        Some(BrokerUse {
            pid: pid?,
            cpu_seconds,
            cpu_us_per_message: cpu_seconds * 1e6 / units,
            resident_before: before.resident,
            resident_max: self.watched.resident_max,
            resident_after: to.resident,
            bytes_per_connection: grown / self.opening.wanted.max(1) as f64,
            switches_per_message: to.switches.saturating_sub(from.switches) as f64 / units,
        })
    }
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

/// What a thread writes into: judges the inboxes whose members are on it.
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

/// Numbers of the clients that publish.
fn publishers(plan: &Plan) -> impl Iterator<Item = u32> + '_ {
    let publishing = plan.members().filter(|member| member.group.publishes.is_some());
    publishing.map(|member| member.number)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Until publishing begins: every thread knows of it by then.
const START_NS: u64 = 1_000_000;
/// What is waited for may happen at any moment.
const SOON: u64 = 0;
/// Between two looks of the commander, when something may happen.
const SHORT: Duration = Duration::from_millis(5);
/// The same while there is time.
const LONG: Duration = Duration::from_millis(100);
/// Between two looks at the broker's process.
const LOOK_NS: u64 = 95_000_000;
/// Open files beside connections.
const FILES_BESIDE: u64 = 64;
