//! A line of jobs with a maximum, in which each address has its turn.
//!
//! Addresses take turns, one job each. Where the line is full, an address that has fewer jobs in it than the
//! one with the most takes the place of that one's newest.

use std::collections::{BTreeMap, VecDeque};

use crate::message::Network;

/// A job that waits.
pub(super) trait Waits {
    /// Whether its client is still there.
    fn is_wanted(&self) -> bool;
}

/// The line.
pub(super) struct JobLine<J> {
    /// The jobs of each address that has any, the oldest in front.
    jobs: BTreeMap<Network, VecDeque<J>>,
    /// The addresses that have any, in the order of their turns.
    turns: VecDeque<Network>,
    waiting: usize,
    max: usize,
}

impl<J: Waits> JobLine<J> {
    /// An empty line for `max` jobs.
    pub fn new(max: usize) -> JobLine<J> {
        JobLine { jobs: BTreeMap::new(), turns: VecDeque::new(), waiting: 0, max }
    }

    /// So many jobs may wait from now on; those that wait stay.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Takes a job in. One that finds no place in the line is given back: this one, or another one.
    pub fn push(&mut self, from: Network, job: J) -> Option<J> {
        let mut out = None;
        if self.waiting >= self.max {
            self.forget_unwanted();
        }
        if self.waiting >= self.max {
            let own = self.jobs.get(&from).map_or(0, VecDeque::len);
            let longest = self.jobs.iter().max_by_key(|(_, jobs)| jobs.len());
            let longest = longest.filter(|(_, jobs)| jobs.len() > own + 1).map(|(at, _)| *at);
            let Some(longest) = longest else { return Some(job) };
            out = self.jobs.get_mut(&longest).and_then(VecDeque::pop_back);
            self.waiting -= usize::from(out.is_some());
        }
        let jobs = self.jobs.entry(from).or_default();
        if jobs.is_empty() {
            self.turns.push_back(from);
        }
        jobs.push_back(job);
        self.waiting += 1;
        out
    }

    /// The next job of a client that is still there.
    pub fn pop(&mut self) -> Option<J> {
        while let Some(from) = self.turns.pop_front() {
            let Some(jobs) = self.jobs.get_mut(&from) else { continue };
            let job = jobs.pop_front();
            self.waiting -= usize::from(job.is_some());
            if jobs.is_empty() {
                self.jobs.remove(&from);
            } else {
                self.turns.push_back(from);
            }
            if let Some(job) = job.filter(J::is_wanted) {
                return Some(job);
            }
        }
        None
    }

    /// Drops the jobs of clients that have gone.
    fn forget_unwanted(&mut self) {
        self.jobs.retain(|_, jobs| {
            jobs.retain(J::is_wanted);
            !jobs.is_empty()
        });
        self.waiting = self.jobs.values().map(VecDeque::len).sum();
        let jobs = &self.jobs;
        self.turns.retain(|from| jobs.contains_key(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its name, and whether its client is there.
    #[derive(Debug, Eq, PartialEq)]
    struct Job(&'static str, bool);

    impl Waits for Job {
        fn is_wanted(&self) -> bool {
            self.1
        }
    }

    fn here(name: &'static str) -> Job {
        Job(name, true)
    }

    fn gone(name: &'static str) -> Job {
        Job(name, false)
    }

    fn at(last: u8) -> Network {
        Network::of(Some([192, 0, 2, last].into()))
    }

    fn rest(line: &mut JobLine<Job>) -> Vec<&'static str> {
        std::iter::from_fn(|| line.pop()).map(|job| job.0).collect()
    }

    #[test]
    fn addresses_take_turns() {
        let mut line = JobLine::new(10);
        for (from, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            assert_eq!(line.push(at(from), here(name)), None);
        }
        assert_eq!(rest(&mut line), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert!(line.turns.is_empty() && line.jobs.is_empty() && line.waiting == 0);
    }

    #[test]
    fn a_client_that_has_gone_costs_nothing() {
        let mut line = JobLine::new(3);
        for (name, job) in [("a", gone("a")), ("b", here("b")), ("c", gone("c"))] {
            assert_eq!(line.push(at(1), job), None, "{name}");
        }
        assert_eq!(line.push(at(2), here("d")), None, "two places are free");
        assert_eq!(line.waiting, 2);
        assert_eq!(rest(&mut line), ["b", "d"]);
    }

    #[test]
    fn a_full_line_takes_the_place_from_the_address_that_has_most() {
        let mut line = JobLine::new(4);
        for name in ["a1", "a2", "a3", "a4"] {
            assert_eq!(line.push(at(1), here(name)), None);
        }
        assert_eq!(line.push(at(1), here("a5")), Some(here("a5")), "its own line is the longest");
        assert_eq!(line.push(at(2), here("b1")), Some(here("a4")));
        assert_eq!(line.push(at(2), here("b2")), Some(here("a3")));
        assert_eq!(line.push(at(2), here("b3")), Some(here("b3")), "each has two");
        assert_eq!(line.push(at(3), here("c1")), Some(here("b2")));
        assert_eq!(rest(&mut line), ["a1", "b1", "c1", "a2"]);
        line.set_max(0);
        assert_eq!(line.push(Network::default(), here("d")), Some(here("d")));
    }
}
