//! From samples to a level: pure, told the time.
//!
//! Each cause has a maximum, and a level of its own: it rises at once when its mark is reached, and
//! falls by one when the load has been below a lower mark for all of `hold`. The level of the broker
//! is the highest of them. So a load that does not change makes the level change in one direction
//! only, and however it changes, the level falls at most once in `hold`.

use std::time::Duration;

use super::cap::{Cap, Grip};
use super::lasting::Lasting;
use super::{Cause, Change, Figure, Pressure, Reading, SHED, Sample};
use crate::config;
use crate::time::Time;

/// What is watched, and how it stands.
#[derive(Debug)]
pub struct Controller {
    hold: Duration,
    gauges: [Gauge; Cause::ALL.len()],
    level: u8,
    cause: Option<Cause>,
    cap: Cap,
    lasting: Lasting,
}

/// One cause: what was seen lately, and the level it asks for.
#[derive(Clone, Debug)]
struct Gauge {
    cause: Cause,
    /// 0: it is not watched.
    max: u64,
    level_max: u8,
    recent: [u64; RECENT],
    next: usize,
    level: u8,
    /// Since when the load is below the lower mark of its level.
    low: Option<Time>,
    /// The highest value since it was last low.
    peak: u64,
}

/// A level is reached at so many thousandths of the maximum.
const RISES: [u64; 3] = [500, 750, 900];
/// A level is left below so many.
const FALLS: [u64; 3] = [400, 600, 750];

/// Samples that are looked at together, at most.
const RECENT: usize = 9;

impl Controller {
    /// What is watched under a configuration: nothing has been seen yet.
    pub fn new(config: &config::Config) -> Controller {
        let gauges = Cause::ALL.map(|cause| Gauge {
            cause,
            max: max_of(cause, config),
            level_max: config.overload.level_max.min(cause.level_max()),
            recent: [0; RECENT],
            next: 0,
            level: 0,
            low: None,
            peak: 0,
        });
        let hold = config.overload.hold.0;
        let (cap, lasting) = (Cap::default(), Lasting::default());
        Controller { hold, gauges, level: 0, cause: None, cap, lasting }
    }

    /// Goes on under another configuration. What was seen is measured against it with the next sample; a
    /// level that may not be any more falls at once. Says if the level has changed.
    pub fn set(&mut self, config: &config::Config) -> Option<Change> {
        self.hold = config.overload.hold.0;
        for gauge in &mut self.gauges {
            gauge.max = max_of(gauge.cause, config);
            gauge.level_max = config.overload.level_max.min(gauge.cause.level_max());
            if gauge.level > gauge.level_max {
                gauge.level = gauge.level_max;
                gauge.low = None;
            }
        }
        self.judge(Grip::Keep)
    }

    /// Takes in a sample; says if the level has changed.
    pub fn observe(&mut self, sample: &Sample, queued: u64, now: Time) -> Option<Change> {
        let mut grip = Grip::Loosen;
        for gauge in &mut self.gauges {
            let value = match gauge.cause {
                Cause::Lag => micros(sample.lag),
                Cause::Memory => sample.memory,
                Cause::Commit => micros(sample.strain.commit),
                Cause::Queued => queued,
                Cause::Unwritten => sample.strain.unwritten,
            };
            gauge.note(value);
            gauge.step(self.hold, now);
            grip = grip.max(gauge.grip());
        }
        self.judge(grip)
    }

    /// The level of the worst gauge is everybody's.
    fn judge(&mut self, grip: Grip) -> Option<Change> {
        let (from, before) = (self.level, self.cause);
        // Among equals the one that has been it, then the one with the highest load.
        let worst = self
            .gauges
            .iter()
            .max_by_key(|gauge| (gauge.level, before == Some(gauge.cause), gauge.load()))
            .expect("there are causes");
        self.level = worst.level;
        self.cause = (worst.level > 0).then_some(worst.cause);
        self.cap.step(self.level, grip);
        let cause = if self.level < from { before } else { self.cause };
        let cause = cause.filter(|_| self.level != from)?;
        let gauge = self.gauges.iter().find(|gauge| gauge.cause == cause)?;
        let figure = |value| Figure { value, cause };
        let (value, max) = (figure(gauge.value()), figure(gauge.max));
        Some(Change { from, to: self.level, cause, value, max })
    }

    /// Bytes that are to be given up now, because the highest level lasts for what waits in memory.
    pub fn relief(&mut self, now: Time) -> Option<u64> {
        let pressed = |gauge: &&Gauge| {
            gauge.level >= SHED && matches!(gauge.cause, Cause::Memory | Cause::Queued)
        };
        let over = |gauge: &Gauge| gauge.value().saturating_sub(gauge.max / 2);
        let over = self.gauges.iter().filter(pressed).map(over).max();
        self.lasting.step(over, now)
    }

    /// What links go by.
    pub fn pressure(&self) -> Pressure {
        // A client that fetches its backlog makes room: the backlog must not keep it out.
        let late = self.gauges.iter().any(|gauge| gauge.cause.is_time() && gauge.level >= SHED);
        Pressure { level: self.level, resumes: !late, cap: self.cap.rate() }
    }

    /// What the level is due to.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Each cause as it stands.
    pub fn readings(&self) -> Vec<Reading> {
        let reading = |gauge: &Gauge| Reading {
            cause: gauge.cause,
            value: gauge.value(),
            max: gauge.max,
            level: gauge.level,
        };
        self.gauges.iter().map(reading).collect()
    }
}

impl Gauge {
    fn note(&mut self, value: u64) {
        self.recent[self.next] = value;
        self.next = (self.next + 1) % self.cause.samples();
    }

    fn step(&mut self, hold: Duration, now: Time) {
        let load = self.load();
        let reached = RISES.iter().filter(|mark| load >= **mark).count();
        let reached = u8::try_from(reached).unwrap_or(3).min(self.level_max);
        if reached > self.level {
            self.level = reached;
        }
        let below = |level: u8| level > 0 && load < FALLS[usize::from(level) - 1];
        if !below(self.level) {
            self.low = None;
        } else if now.since(*self.low.get_or_insert(now)) >= hold {
            self.level -= 1;
            self.low = below(self.level).then_some(now);
        }
    }

    /// What this cause makes of the cap. Times say at once if it is low enough. Amounts stay as they are
    /// for reasons of their own, such as a backlog that no client fetches: they count while they grow, and
    /// when there is hardly any room left.
    fn grip(&mut self) -> Grip {
        let (load, value, time) = (self.load(), self.value(), self.cause.is_time());
        let grows = value > self.peak;
        self.peak = if load < FALLS[1] { 0 } else { self.peak.max(value) };
        if load >= RISES[2] || (load >= RISES[1] && (time || grows)) {
            Grip::Tighten
        } else if load >= FALLS[1] && (time || grows) {
            Grip::Keep
        } else {
            Grip::Loosen
        }
    }

    /// The middle of what was seen lately: one late tick is nothing.
    fn value(&self) -> u64 {
        let count = self.cause.samples();
        let mut recent = self.recent;
        let recent = &mut recent[..count];
        recent.sort_unstable();
        recent[count / 2]
    }

    /// The same in thousandths of the maximum.
    fn load(&self) -> u64 {
        if self.max == 0 {
            return 0;
        }
        let load = u128::from(self.value()) * 1000 / u128::from(self.max);
        u64::try_from(load).unwrap_or(u64::MAX)
    }
}

/// What a cause is measured against; 0: it is not watched.
fn max_of(cause: Cause, config: &config::Config) -> u64 {
    let section = &config.overload;
    match cause {
        Cause::Lag => micros(section.lag_max.0),
        Cause::Memory => section.memory_max.0,
        Cause::Commit => micros(section.commit_max.0),
        Cause::Queued => config.totals.queued_bytes_max.0,
        Cause::Unwritten => config.store.unwritten_bytes_max.0,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::config::{Config, Size, Span};
    use crate::random::Random;

    const BEGIN: Time = Time::from_secs(1_800_000_000);
    const TICK: Duration = Duration::from_millis(100);
    const HOLD: Duration = Duration::from_secs(2);

    /// Every cause has a maximum of 1000, of its unit.
    fn config() -> Config {
        let mut config = Config::default();
        config.overload.lag_max = Span::secs(1);
        config.overload.commit_max = Span::secs(1);
        config.overload.memory_max = Size(1000);
        config.totals.queued_bytes_max = Size(1000);
        config.store.unwritten_bytes_max = Size(1000);
        config
    }

    /// `loads`: thousandths of the maximum, in the order of [`Cause::ALL`].
    fn observe(controller: &mut Controller, loads: [u64; 5], now: Time) -> Option<Change> {
        let [lag, memory, commit, queued, unwritten] = loads;
        let strain = super::super::Strain { commit: Duration::from_millis(commit), unwritten };
        let sample = Sample { lag: Duration::from_millis(lag), memory, strain };
        controller.observe(&sample, queued, now)
    }

    fn only(cause: Cause, load: u64) -> [u64; 5] {
        Cause::ALL.map(|other| if other == cause { load } else { 0 })
    }

    #[test]
    fn every_cause_raises_the_level_and_lowers_it_step_by_step() {
        for cause in Cause::ALL {
            let mut controller = Controller::new(&config());
            let mut now = BEGIN;
            let mut levels = vec![0];
            let mut pass = |controller: &mut Controller, load, samples| {
                for _ in 0..samples {
                    now = now.after(TICK);
                    if let Some(change) = observe(controller, only(cause, load), now) {
                        assert_eq!((change.cause, change.to), (cause, controller.level));
                        levels.push(change.to);
                    }
                }
            };
            for load in [499, 500, 749, 750, 899, 900, 5_000] {
                pass(&mut controller, load, 10);
            }
            assert_eq!(controller.cause(), Some(cause));
            let top = cause.level_max();
            // Between the marks it stays where it is, however long.
            pass(&mut controller, FALLS[usize::from(top) - 1], 100);
            assert_eq!(controller.level, top);
            pass(&mut controller, 0, 100);
            assert_eq!((controller.level, controller.cause()), (0, None));
            let wanted: Vec<u8> = (0..=top).chain((0..top).rev()).collect();
            assert_eq!(levels, wanted, "{cause:?}");
        }
    }

    #[test]
    fn one_late_tick_is_nothing_and_nor_are_two() {
        let mut controller = Controller::new(&config());
        for step in 0..200 {
            let lag = if step % 9 < 2 { 60_000 } else { 3 };
            let now = BEGIN.after(TICK * step);
            assert_eq!(observe(&mut controller, only(Cause::Lag, lag), now), None);
        }
    }

    #[test]
    fn what_is_switched_off_is_not_watched() {
        let mut config = config();
        config.overload.level_max = 0;
        let mut off = Controller::new(&config);
        config.overload.level_max = 3;
        config.overload.lag_max = Span::secs(0);
        config.overload.memory_max = Size(0);
        config.overload.commit_max = Span::secs(0);
        let mut partly = Controller::new(&config);
        for step in 0..20 {
            let now = BEGIN.after(TICK * step);
            assert_eq!(observe(&mut off, [9_999; 5], now), None);
            assert_eq!(observe(&mut partly, [9_999, 9_999, 9_999, 0, 0], now), None);
        }
        config.overload.level_max = 1;
        let mut little = Controller::new(&config);
        for step in 0..20 {
            observe(&mut little, [0, 0, 0, 9_999, 0], BEGIN.after(TICK * step));
        }
        assert_eq!(little.pressure(), Pressure { level: 1, resumes: true, cap: None });
    }

    #[test]
    fn a_constant_load_moves_the_level_in_one_direction_only() {
        for seed in 1..=300 {
            let mut random = Random::new(seed);
            let mut controller = Controller::new(&config());
            let mut now = BEGIN;
            // Wherever it comes from...
            for _ in 0..random.below_u64(60) {
                let loads = Cause::ALL.map(|_| random.below_u64(1_200));
                now = now.after(TICK);
                observe(&mut controller, loads, now);
            }
            let loads = Cause::ALL.map(|_| random.below_u64(1_200));
            // ... once only this load is looked at...
            for _ in 0..RECENT {
                now = now.after(TICK);
                observe(&mut controller, loads, now);
            }
            // ... it never rises again, and comes to rest.
            let mut last = None;
            for step in 0..600 {
                now = now.after(TICK);
                if let Some(change) = observe(&mut controller, loads, now) {
                    assert!(change.to < change.from, "seed {seed} step {step} {change:?}");
                    last = Some(step);
                }
            }
            assert!(last.is_none_or(|step| step <= 80), "seed {seed}: still moving at {last:?}");
        }
    }

    #[test]
    fn whatever_the_load_does_the_level_falls_at_most_once_in_hold() {
        for seed in 1..=300 {
            let mut random = Random::new(seed);
            let mut controller = Controller::new(&config());
            let (mut now, mut fell) = (BEGIN, None::<Time>);
            let mut loads = [0; 5];
            let (mut ups, mut downs) = (0, 0);
            for step in 0..2_000 {
                if random.below_u64(8) == 0 {
                    loads = Cause::ALL.map(|_| random.below_u64(1_400));
                } else if random.below_u64(8) == 0 {
                    loads = [0; 5];
                }
                now = now.after(Duration::from_millis(1 + random.below_u64(300)));
                let Some(change) = observe(&mut controller, loads, now) else { continue };
                if change.to < change.from {
                    assert_eq!(change.from - change.to, 1, "seed {seed} step {step}");
                    assert!(fell.is_none_or(|fell| now.since(fell) >= HOLD), "seed {seed} {step}");
                    fell = Some(now);
                    downs += 1;
                } else {
                    ups += u32::from(change.to - change.from);
                }
            }
            assert_eq!(ups - downs, u32::from(controller.level), "seed {seed}");
            assert!(downs > 20, "seed {seed}: nothing was tried");
        }
    }

    /// The rule read aloud: everything that was ever seen is looked at again.
    struct Twin {
        seen: Vec<(Time, [u64; 5])>,
        /// Each cause's level, since when, at each sample.
        levels: Vec<[u8; 5]>,
    }

    impl Twin {
        fn load(&self, sample: usize, cause: usize) -> u64 {
            let count = Cause::ALL[cause].samples();
            let mut recent: Vec<u64> = (0..count)
                .map(|back| sample.checked_sub(back).map_or(0, |at| self.seen[at].1[cause]))
                .collect();
            recent.sort_unstable();
            recent[count / 2]
        }

        fn observe(&mut self, loads: [u64; 5], now: Time) -> u8 {
            self.seen.push((now, loads));
            let last = self.seen.len() - 1;
            let mut levels = [0; 5];
            for (cause, level) in levels.iter_mut().enumerate() {
                let before = last.checked_sub(1).map_or(0, |at| self.levels[at][cause]);
                let load = self.load(last, cause);
                let mut reached = match load {
                    0..500 => 0,
                    500..750 => 1,
                    750..900 => 2,
                    _ => 3,
                };
                if cause == 2 || cause == 4 {
                    reached = reached.min(2);
                }
                *level = before.max(reached);
                if *level == 0 || *level > before {
                    continue;
                }
                // Back through the samples of this level that were below its mark.
                let mark = [0, 400, 600, 750][usize::from(before)];
                let mut since = None;
                for at in (0..=last).rev() {
                    let same = at == last || self.levels[at][cause] == before;
                    if !same || self.load(at, cause) >= mark {
                        break;
                    }
                    since = Some(self.seen[at].0);
                }
                if since.is_some_and(|since| now.since(since) >= HOLD) {
                    *level -= 1;
                }
            }
            self.levels.push(levels);
            levels.into_iter().max().unwrap()
        }
    }

    #[test]
    fn the_level_is_that_of_a_twin_that_remembers_everything() {
        for seed in 1..=60 {
            let mut random = Random::new(seed);
            let mut controller = Controller::new(&config());
            let mut twin = Twin { seen: Vec::new(), levels: Vec::new() };
            let (mut now, mut loads) = (BEGIN, [0; 5]);
            for step in 0..800 {
                if random.below_u64(10) == 0 {
                    loads = Cause::ALL.map(|_| random.below_u64(3) * random.below_u64(500));
                }
                now = now.after(Duration::from_millis(20 + random.below_u64(200)));
                observe(&mut controller, loads, now);
                let wanted = twin.observe(loads, now);
                assert_eq!(controller.level, wanted, "seed {seed} step {step} {loads:?}");
            }
        }
    }

    #[test]
    fn the_cap_comes_with_level_two_and_goes_with_the_load() {
        let mut controller = Controller::new(&config());
        let mut now = BEGIN;
        let mut pass =
            |controller: &mut Controller, cause, loads: &mut dyn Iterator<Item = u64>| {
                let mut rates = Vec::new();
                for load in loads {
                    now = now.after(TICK);
                    observe(controller, only(cause, load), now);
                    rates.push(controller.pressure().cap.map_or(u64::MAX, NonZeroU64::get));
                }
                rates
            };
        let falls = |rates: &[u64]| rates.windows(2).all(|pair| pair[1] < pair[0]);
        let rises = |rates: &[u64]| rates.windows(2).all(|pair| pair[1] > pair[0]);
        for cause in Cause::ALL {
            let again = |load, times| std::iter::repeat_n(load, times);
            let none = pass(&mut controller, cause, &mut again(749, 30));
            assert!(none.iter().all(|rate| *rate == u64::MAX), "{cause:?}");
            // What grows tightens it, and what is late.
            let grows = pass(&mut controller, cause, &mut (760..770));
            assert!(falls(&grows[5..]), "{cause:?} {grows:?}");
            let stays = pass(&mut controller, cause, &mut again(770, 8));
            assert_eq!(rises(&stays[2..]), !cause.is_time(), "{cause:?} {stays:?}");
            assert_eq!(falls(&stays), cause.is_time(), "{cause:?} {stays:?}");
            // Where hardly any room is left it falls to the least, which every publisher keeps.
            let full = pass(&mut controller, cause, &mut again(1_000, 40));
            assert!(full.windows(2).all(|pair| pair[1] <= pair[0]) && full[39] == full[30]);
            assert!((1..10_000).contains(&full[39]), "{cause:?} {full:?}");
            let between = pass(&mut controller, cause, &mut again(700, 15));
            assert_eq!(between[14] == full[39], cause.is_time(), "{cause:?} {between:?}");
            let low = pass(&mut controller, cause, &mut again(100, 15));
            assert!(rises(&low[5..]), "{cause:?} {low:?}");
            // At level 0 there is none.
            assert_eq!(pass(&mut controller, cause, &mut again(0, 70))[69], u64::MAX);
            assert_eq!(controller.level, 0);
        }
    }

    #[test]
    fn who_comes_for_what_waits_is_kept_out_by_lateness_alone() {
        for (cause, resumes) in [(Cause::Queued, true), (Cause::Memory, true), (Cause::Lag, false)]
        {
            let mut controller = Controller::new(&config());
            for step in 0..10 {
                observe(&mut controller, only(cause, 2_000), BEGIN.after(TICK * step));
            }
            let pressure = controller.pressure();
            assert_eq!((pressure.level, pressure.resumes), (3, resumes), "{cause:?}");
        }
    }
}
