//! When messages are due: pure arithmetic on an absolute schedule, so that a late one is measured
//! from when it should have been sent.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Event, Pace};

/// When the messages of all publishers together are due, by their number.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    due: Due,
    publishers: u64,
}

#[derive(Clone, Debug)]
enum Due {
    AtOnce,
    Rate { per_second: f64 },
    Burst { size: u64, every_ns: u64 },
    Timeline { events: Arc<[Event]>, of: Arc<[u32]>, numbers: Arc<[Vec<u32>]> },
}

impl Schedule {
    /// Messages of `pace` from `start_ns` on, dealt to `publishers` in turn; those of a timeline
    /// to the publisher of their stream.
    pub fn new(
        pace: &Pace,
        start_ns: u64,
        publishers: u32,
        publisher_of: impl Fn(u32) -> u32,
    ) -> Schedule {
        let due = match pace {
            Pace::Window => Due::AtOnce,
            Pace::Rate(per_second) => Due::Rate { per_second: *per_second },
            Pace::Burst { size, every } => Due::Burst { size: *size, every_ns: nanos(*every) },
            Pace::Timeline(events) => {
                let of: Arc<[u32]> =
                    events.iter().map(|event| publisher_of(event.stream)).collect();
                let mut numbers = vec![Vec::new(); publishers as usize];
                for (publisher, number) in of.iter().zip(0..) {
                    numbers[*publisher as usize].push(number);
                }
                Due::Timeline { events: Arc::clone(events), of, numbers: numbers.into() }
            }
        };
        Schedule { start_ns, due, publishers: u64::from(publishers) }
    }

    /// Messages are due only when there is room for them.
    #[inline]
    pub fn is_closed_loop(&self) -> bool {
        matches!(self.due, Due::AtOnce)
    }

    /// When message `number` over all publishers is due; never, if there is none.
    #[inline]
    pub fn due_ns(&self, number: u64) -> Option<u64> {
        let offset = match &self.due {
            Due::AtOnce => 0,
            Due::Rate { per_second } => (number as f64 * 1e9 / per_second) as u64,
            Due::Burst { size, every_ns } => number / size * every_ns,
            Due::Timeline { events, .. } => nanos(events.get(number as usize)?.at),
        };
        Some(self.start_ns + offset)
    }

    /// The publisher of message `number`.
    #[inline]
    pub fn publisher(&self, number: u64) -> u32 {
        match &self.due {
            Due::Timeline { of, .. } => of[number as usize],
            Due::AtOnce | Due::Rate { .. } | Due::Burst { .. } => (number % self.publishers) as u32,
        }
    }

    /// The number over all publishers of the `own`th message of `publisher`.
    #[inline]
    pub fn number(&self, publisher: u32, own: u64) -> Option<u64> {
        match &self.due {
            Due::Timeline { numbers, .. } => {
                numbers[publisher as usize].get(own as usize).copied().map(u64::from)
            }
            Due::AtOnce | Due::Rate { .. } | Due::Burst { .. } => {
                Some(own * self.publishers + u64::from(publisher))
            }
        }
    }

    /// The recorded event behind message `number`.
    #[inline]
    pub fn event(&self, number: u64) -> Option<&Event> {
        match &self.due {
            Due::Timeline { events, .. } => events.get(number as usize),
            Due::AtOnce | Due::Rate { .. } | Due::Burst { .. } => None,
        }
    }

    /// How many messages `publisher` has of the first `count` over all.
    pub fn share(&self, publisher: u32, count: u64) -> u64 {
        match &self.due {
            Due::Timeline { numbers, .. } => {
                let mine = &numbers[publisher as usize];
                mine.partition_point(|number| u64::from(*number) < count) as u64
            }
            Due::AtOnce | Due::Rate { .. } | Due::Burst { .. } => {
                count / self.publishers + u64::from(u64::from(publisher) < count % self.publishers)
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pace: &Pace, publishers: u32) -> Schedule {
        Schedule::new(pace, 1_000, publishers, |stream| stream % publishers)
    }

    #[test]
    fn a_rate_is_absolute_and_does_not_drift() {
        let schedule = schedule(&Pace::Rate(3_000.0), 7);
        assert_eq!(schedule.due_ns(0), Some(1_000));
        assert_eq!(schedule.due_ns(3_000_000), Some(1_000 + 1_000_000_000_000));
        for number in 0..100 {
            assert!(schedule.due_ns(number) < schedule.due_ns(number + 1));
        }
    }

    #[test]
    fn a_burst_is_due_at_once() {
        let every = Duration::from_millis(5);
        let schedule = schedule(&Pace::Burst { size: 10, every }, 3);
        let due: Vec<u64> = [0, 9, 10, 25].map(|number| schedule.due_ns(number).unwrap()).into();
        assert_eq!(due, [1_000, 1_000, 5_001_000, 10_001_000]);
    }

    #[test]
    fn every_message_has_one_publisher() {
        let event = |at, stream| Event {
            at: Duration::from_micros(at),
            stream,
            retain: false,
            payload: 64,
        };
        let timeline: Arc<[Event]> = (0..50).map(|at| event(at, (at * at % 11) as u32)).collect();
        for pace in [Pace::Window, Pace::Rate(10.0), Pace::Timeline(timeline)] {
            let schedule = schedule(&pace, 3);
            let mut numbers = Vec::new();
            for publisher in 0..3 {
                for own in 0..schedule.share(publisher, 50) {
                    let number = schedule.number(publisher, own).unwrap();
                    assert_eq!(schedule.publisher(number), publisher);
                    numbers.push(number);
                }
            }
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..50), "{pace:?}");
        }
    }
}
