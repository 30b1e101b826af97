//! The steps of a plan, as the commander goes through them.

use std::time::Duration;

use super::pace::Schedule;
use super::shared::{Campaign, Command, Connecting, Counts, Taking};
use super::summary::seconds;
use super::{Commander, Opening};
use crate::error::Error;
use crate::outcome::Recovery;
use crate::plan::{Length, Pace, Plan, Step};
use crate::process;

impl Commander<'_> {
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Error> {
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
                self.wait("leaving", 1, SOON, |_, _| (true, 0))
            }
            Step::AwaitRestart { at_most } => self.await_restart(at_most),
            Step::Storm { group } => self.storm(group),
        }
    }

    /// After an interruption: nothing more is published, what is on its way arrives, and what the run made at the
    /// broker is taken back.
    pub(super) fn leave(&mut self) -> Result<(), Error> {
        self.is_interrupted = true;
        self.tell_all(&Command::Stop);
        if self.measured.from_ns > 0 && self.measured.to_ns == 0 {
            self.end(self.now_ns())?;
        }
        self.drain()?;
        for step in &self.plan.steps {
            if matches!(step, Step::Clear { .. } | Step::Disconnect { .. }) {
                self.step(step)?;
            }
        }
        for step in &self.plan.steps {
            if let Step::Forget { .. } = step {
                self.step(step)?;
            }
        }
        Ok(())
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
        self.wait("leaving", 1, SOON, |_, _| (true, 0))
    }

    fn await_restart(&mut self, at_most: Duration) -> Result<(), Error> {
        let all = self.shared.counts().open;
        let late = |what: &str| Error::Input(format!("{what} within {} s", at_most.as_secs()));
        let until_ns = self.now_ns() + at_most.as_nanos() as u64;
        let mut in_time = false;
        self.progress.ask(&format!("{all} clients are connected: now restart the broker"));
        self.wait("waiting for the broker to go", all, SOON, |now_ns, counts| {
            in_time = counts.lost > 0;
            (in_time || now_ns > until_ns, all.saturating_sub(counts.open))
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

    /// From now on, everything that arrives is measured, and its time counted from now at least.
    fn take_all(&self) {
        let floor_ns = self.now_ns();
        self.tell_all(&Command::Take(Taking { since_ns: 0, floor_ns, until_ns: u64::MAX }));
    }
}

/// Numbers of the clients that publish.
fn publishers(plan: &Plan) -> impl Iterator<Item = u32> + '_ {
    let publishing = plan.members().filter(|member| member.group.publishes.is_some());
    publishing.map(|member| member.number)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Until publishing begins: every thread knows of it by then.
const START_NS: u64 = 1_000_000;
/// What is waited for may happen at any moment.
const SOON: u64 = 0;
