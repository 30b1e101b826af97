//! What a named queue promises, told as a history: what was accepted is completed, or its attempts have all
//! failed; nothing comes again but after a failure, and never before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluicemq::codec::QoS;
use sluicemq::message::SessionId;
use sluicemq::time::Time;

use super::check::Verdict;

/// How often its messages are tried, said naively.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    pub attempts_max: u32,
    /// The shortest waits after the first failure, and after any.
    pub low: Duration,
    pub high: Duration,
    pub ack_timeout: Option<Duration>,
}

/// All messages that were published to the queue.
#[derive(Debug, Default)]
pub struct Jobs {
    rules: Rules,
    /// By the number of the sending.
    jobs: BTreeMap<u64, Job>,
    /// Messages that were accepted, whichever sending that was.
    accepted: BTreeSet<u64>,
    /// What each consumer has, by its Packet Identifier.
    flights: BTreeMap<(SessionId, u16), u64>,
}

#[derive(Debug, Default)]
struct Job {
    message: u64,
    /// It may have expired.
    expires: bool,
    /// Failures that the broker knows, at least and at most, and those that a crash cannot make unknown.
    failed: (u32, u32),
    firm: u32,
    /// It is not tried again before.
    next: Time,
    /// By Session and Packet Identifier.
    holders: BTreeMap<(SessionId, u16), Holder>,
    /// A consumer has completed it, at some time; and the broker has not forgotten that.
    completed: bool,
    is_over: bool,
    is_over_for_good: bool,
    /// A consumer has completed it after its time, or a crash has made it forget: it may come again.
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    qos: QoS,
    since: Time,
    /// It was given to another one meanwhile.
    is_late: bool,
}

/// A message as it leaves for a consumer.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub session: SessionId,
    pub number: u64,
    /// `None`: at `QoS` 0.
    pub packet_id: Option<u16>,
    pub qos: QoS,
    pub dup: bool,
    /// As it says itself, if it can.
    pub attempt: Option<u32>,
}

impl Rules {
    fn wait(&self, failed: u32) -> Duration {
        (self.low * (1 << failed.saturating_sub(1).min(20))).min(self.high)
    }
}

impl Job {
    fn fail(&mut self, rules: &Rules, at: Time) {
        self.failed.0 += 1;
        self.failed.1 += 1;
        self.next = at.after(rules.wait(self.failed.1));
    }

    /// When an answer is overdue, if it is.
    fn overdue(holder: &Holder, rules: &Rules, now: Time) -> Option<Time> {
        let timeout = rules.ack_timeout.filter(|_| holder.qos == QoS::AtLeastOnce)?;
        Some(holder.since.after(timeout)).filter(|due| *due <= now)
    }
}

impl Jobs {
    pub fn new(rules: Rules) -> Jobs {
        Jobs { rules, ..Jobs::default() }
    }

    /// It has come.
    pub fn asked(&mut self, number: u64, message: u64, expires: bool) {
        let job = self.jobs.entry(number).or_default();
        (job.message, job.expires) = (message, expires);
    }

    /// A publisher was told that it is accepted.
    pub fn accepted(&mut self, message: u64) {
        self.accepted.insert(message);
    }

    /// Another message is sent under that Packet Identifier.
    pub fn reused(&mut self, session: SessionId, packet_id: u16) {
        self.flights.remove(&(session, packet_id));
    }

    /// It leaves for a consumer.
    pub fn sent(&mut self, sent: &Sent, now: Time) -> Verdict {
        let Jobs { rules, jobs, flights, .. } = self;
        let job = jobs.entry(sent.number).or_default();
        let said = |job: &Job, what: &str| Err(format!("{sent:?} {what}: {job:?}"));
        // One that is sent again may not have left the first time.
        let key = sent.packet_id.map(|packet_id| (sent.session, packet_id));
        let holder = key.and_then(|key| job.holders.get(&key));
        if sent.dup && holder.is_some_and(|holder| !holder.is_late) {
            return Ok(());
        }
        // It was given away, if it comes to another consumer.
        let with = job.holders.iter().filter(|(_, holder)| !holder.is_late);
        let with: Vec<_> = with.map(|(key, holder)| (*key, *holder)).collect();
        for (key, holder) in with {
            let Some(due) = Job::overdue(&holder, rules, now) else {
                return said(job, "is with another consumer");
            };
            job.holders.insert(key, Holder { is_late: true, ..holder });
            job.fail(rules, due);
        }
        let (least, most) = job.failed;
        // Where it does not say which attempt it is, it is one that may still be made.
        let untold = most.min(rules.attempts_max - 1);
        let failed = sent.attempt.map_or(untold, |attempt| attempt - 1);
        if failed >= rules.attempts_max || failed < least || failed > most {
            return said(job, "is no attempt that is due");
        }
        if job.is_over && !job.again {
            return said(job, "was completed");
        }
        let is_known = sent.attempt.is_some() || least == most;
        if failed > 0 && failed == most && is_known && now < job.next {
            return said(job, "comes too early");
        }
        job.failed = (sent.attempt.map_or(least, |_| failed), failed);
        let Some(key) = key else {
            (job.completed, job.is_over) = (true, true);
            return Ok(());
        };
        job.holders.insert(key, Holder { qos: sent.qos, since: now, is_late: false });
        flights.insert(key, sent.number);
        Ok(())
    }

    /// A consumer has answered, with success or not, if the broker has seen it.
    pub fn answered(
        &mut self,
        session: SessionId,
        packet_id: u16,
        success: Option<bool>,
        now: Time,
    ) {
        let Some(number) = self.flights.remove(&(session, packet_id)) else { return };
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let Some(holder) = job.holders.remove(&(session, packet_id)) else { return };
        let overdue = Job::overdue(&holder, &self.rules, now);
        let Some(success) = success else {
            (job.completed, job.is_over, job.again) = (true, true, true);
            job.failed.1 += 1;
            return;
        };
        match (success, holder.is_late, overdue) {
            (true, is_late, overdue) => {
                (job.completed, job.is_over) = (true, true);
                job.again |= is_late || overdue.is_some();
                job.failed.1 += u32::from(!is_late && overdue.is_some());
            }
            (false, true, _) => {}
            (false, false, overdue) => job.fail(&self.rules, overdue.unwrap_or(now)),
        }
    }

    /// A connection has ended; `fails`: it was not wanted.
    pub fn parted(&mut self, session: SessionId, fails: bool, now: Time) {
        for job in self.jobs.values_mut() {
            let left = job
                .holders
                .iter()
                .filter(|((of, _), holder)| *of == session && holder.qos == QoS::AtLeastOnce);
            let left: Vec<_> = left.map(|(key, holder)| (*key, *holder)).collect();
            for (key, holder) in left {
                job.holders.remove(&key);
                self.flights.remove(&key);
                let overdue = Job::overdue(&holder, &self.rules, now);
                match (holder.is_late, fails, overdue) {
                    (true, ..) | (false, false, None) => {}
                    (false, true, overdue) => job.fail(&self.rules, overdue.unwrap_or(now)),
                    (false, false, Some(_)) => job.failed.1 += 1,
                }
            }
        }
    }

    /// All that was handed to the store is written.
    pub fn written(&mut self) {
        for job in self.jobs.values_mut() {
            job.firm = job.failed.0;
            job.is_over_for_good |= job.is_over;
        }
    }

    /// The broker has died.
    pub fn crashed(&mut self, now: Time) {
        self.flights.clear();
        for job in self.jobs.values_mut() {
            let with = job.holders.values().filter(|holder| !holder.is_late);
            let overdue = with.filter(|holder| Job::overdue(holder, &self.rules, now).is_some());
            job.failed.1 += overdue.count() as u32;
            job.holders.retain(|_, holder| holder.qos == QoS::ExactlyOnce);
            job.failed.0 = job.firm;
            job.again |= job.is_over && !job.is_over_for_good;
        }
        for (number, job) in &self.jobs {
            self.flights.extend(job.holders.keys().map(|key| (*key, *number)));
        }
    }

    /// Accepted messages of which nothing is known: neither completed, nor tried often enough, nor with the
    /// Session of a consumer of `QoS` 2 that has ended.
    pub fn missing(&self) -> BTreeSet<u64> {
        let fine = self.jobs.values().filter(|job| {
            let tried = job.failed.1 >= self.rules.attempts_max || !job.holders.is_empty();
            job.completed || tried || job.expires
        });
        let fine: BTreeSet<_> = fine.map(|job| job.message).collect();
        self.accepted.difference(&fine).copied().collect()
    }

    /// What is known of these messages.
    pub fn about(&self, messages: &BTreeSet<u64>) -> String {
        let jobs = self.jobs.values().filter(|job| messages.contains(&job.message));
        format!("{:?}", jobs.collect::<Vec<_>>())
    }

    /// Attempts at it that have failed, at least and at most.
    pub fn failed(&self, number: u64) -> (u32, u32) {
        self.jobs.get(&number).map_or((0, 0), |job| job.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        attempts_max: 3,
        low: Duration::from_secs(1),
        high: Duration::from_secs(8),
        ack_timeout: None,
    };
    const ONE: SessionId = SessionId::new(1);
    const TWO: SessionId = SessionId::new(2);

    fn sent(session: SessionId, qos: QoS, attempt: u32) -> Sent {
        Sent { session, number: 7, packet_id: Some(1), qos, dup: false, attempt: Some(attempt) }
    }

    fn at(seconds: u64) -> Time {
        Time::from_secs(1_000 + seconds)
    }

    fn begun(rules: Rules) -> Jobs {
        let mut jobs = Jobs::new(rules);
        jobs.asked(7, 5, false);
        jobs.accepted(5);
        jobs.sent(&sent(ONE, QoS::AtLeastOnce, 1), at(0)).unwrap();
        jobs
    }

    #[test]
    fn what_is_completed_or_with_a_consumer_comes_to_no_other() {
        let mut jobs = begun(RULES);
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(1)).is_err(), "with the first");
        jobs.answered(ONE, 1, Some(true), at(1));
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(1)).is_err(), "completed");
        jobs.written();
        jobs.crashed(at(1));
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(1)).is_err(), "it is written");
        let mut jobs = begun(RULES);
        jobs.answered(ONE, 1, Some(true), at(1));
        jobs.crashed(at(1));
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(1)).is_ok(), "it was not written");
    }

    #[test]
    fn an_attempt_is_counted_and_comes_neither_early_nor_too_often() {
        for fails in [false, true] {
            let mut jobs = begun(RULES);
            match fails {
                true => jobs.parted(ONE, true, at(0)),
                false => jobs.answered(ONE, 1, Some(false), at(0)),
            }
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(1)).is_err(), "the first again");
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 3), at(1)).is_err(), "the third");
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(0)).is_err(), "early");
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(1)).is_ok());
            jobs.answered(TWO, 1, Some(false), at(1));
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 3), at(2)).is_err(), "early");
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 3), at(3)).is_ok());
            assert_eq!(jobs.missing().len(), 0, "it is with a consumer");
            jobs.answered(TWO, 1, Some(false), at(3));
            assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 4), at(99)).is_err(), "too often");
            assert_eq!(jobs.missing().len(), 0, "all attempts have failed");
        }
    }

    #[test]
    fn what_is_neither_completed_nor_tried_is_missing() {
        let mut jobs = begun(RULES);
        jobs.parted(ONE, false, at(0));
        assert_eq!(jobs.missing(), [5].into());
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(9)).is_err(), "nothing has failed");
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 1), at(0)).is_ok());
        jobs.answered(TWO, 1, Some(true), at(0));
        assert_eq!(jobs.missing().len(), 0);
    }

    #[test]
    fn qos_2_stays_and_an_overdue_answer_lets_it_go() {
        let mut jobs = begun(RULES);
        jobs.answered(ONE, 1, Some(false), at(0));
        jobs.sent(&sent(ONE, QoS::ExactlyOnce, 2), at(5)).unwrap();
        jobs.parted(ONE, true, at(5));
        assert!(jobs.sent(&sent(TWO, QoS::ExactlyOnce, 2), at(9)).is_err());
        assert!(jobs.sent(&Sent { dup: true, ..sent(ONE, QoS::ExactlyOnce, 2) }, at(9)).is_ok());
        assert!(jobs.sent(&Sent { dup: true, ..sent(TWO, QoS::ExactlyOnce, 2) }, at(9)).is_err());
        let mut jobs = begun(Rules { ack_timeout: Some(Duration::from_secs(2)), ..RULES });
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(1)).is_err(), "not overdue");
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(2)).is_err(), "overdue, and early");
        let mut jobs = begun(Rules { ack_timeout: Some(Duration::from_secs(2)), ..RULES });
        assert!(jobs.sent(&sent(TWO, QoS::AtLeastOnce, 2), at(3)).is_ok());
        jobs.answered(ONE, 1, Some(false), at(4));
        assert_eq!(jobs.failed(7), (1, 1), "too late to count");
    }
}
