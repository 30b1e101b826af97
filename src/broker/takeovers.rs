//! The brake on takeovers: two clients with one Client Identifier that connect again at once take the Session
//! from each other as fast as the network lets them.
//!
//! A Client Identifier has so many takeovers free, and one more each time that [`RECOVERY`] passes. Beyond them
//! the next takeover waits, longer each time and at most [`GAP_MAX`]. The time belongs to the Client Identifier, not to
//! the connection that waits: one that gives up and comes again finds less of it left. When it has passed the
//! newest of the connections that waited takes the Session.
//!
//! If that goes on for [`ROW_MAX`] takeovers without a rest, the connection that has the Session then keeps it:
//! takeovers are refused for a while, each time longer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Time;

/// The takeovers of all Client Identifiers that had some lately.
#[derive(Debug, Default)]
pub(super) struct Brake {
    /// Free takeovers; 0: nothing is braked.
    free: u32,
    clients: BTreeMap<Box<str>, Takeovers>,
    swept: Time,
}

/// The takeovers of one Client Identifier.
#[derive(Debug, Default)]
struct Takeovers {
    /// Those that are not forgotten yet.
    count: u32,
    /// Since when they have been forgotten one by one.
    since: Time,
    /// When the next one may be, if none is free.
    due: Time,
    /// The newest claim that was carried out, and the newest that has asked.
    done: u64,
    newest: u64,
    /// Takeovers that waited, one after another without a rest.
    row: u32,
    /// They are forgotten then, if no other comes.
    rested: Time,
    /// Until then takeovers are refused.
    barred: Time,
    /// Where the last one came from.
    from: Option<IpAddr>,
}

/// What becomes of a takeover.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passage {
    /// It is carried out now; `braked`: there was none free.
    Go { braked: bool },
    /// It is asked for again then. The connection that has the Session came from `holder`, if that is known.
    Wait { due: Time, holder: Option<IpAddr> },
    /// It is refused: there were too many.
    Refused { holder: Option<IpAddr> },
    /// A newer connection takes the Session.
    Overtaken,
}

/// A takeover is forgotten after this time.
pub(super) const RECOVERY: Duration = Duration::from_secs(3);
/// The first wait; each further one is twice as long, up to [`GAP_MAX`].
const GAP: Duration = Duration::from_millis(500);
/// Waits that are each twice as long as the one before.
const DOUBLINGS: u32 = 3;
/// The longest wait. Below what clients wait for CONNACK.
const GAP_MAX: Duration = Duration::from_secs(4);
/// So many takeovers that waited, without a rest: further ones are refused.
const ROW_MAX: u32 = 100;
/// So long without one is a rest.
const REST: Duration = Duration::from_secs(600);
/// For so long at first; each further time is twice as long, up to [`BAR_MAX`].
const BAR: Duration = Duration::from_secs(60);
/// For so long at most.
const BAR_MAX: Duration = Duration::from_secs(3_600);
/// Client Identifiers in the table; beyond it those that have all their takeovers free are forgotten.
const PLACES_MAX: usize = 16_384;
/// Time between two searches for those.
const SWEEP: Duration = Duration::from_secs(1);

impl Brake {
    /// So many takeovers are free; 0: all are.
    pub fn set_free(&mut self, free: u32) {
        self.free = free;
        if free == 0 {
            self.clients.clear();
        }
    }

    /// Whether `claim`, of a connection from `from`, may take the Session of `client_id` from its link. Later
    /// claims have higher numbers.
    pub fn ask(&mut self, client_id: &str, claim: u64, from: Option<IpAddr>, now: Time) -> Passage {
        if self.free == 0 {
            return Passage::Go { braked: false };
        }
        if !self.clients.contains_key(client_id) && !self.make_room(now) {
            // One that finds no room is taken as one that was not taken over lately.
            return Passage::Go { braked: false };
        }
        let fresh = || Takeovers { since: now, ..Takeovers::default() };
        self.clients.entry(client_id.into()).or_insert_with(fresh).ask(self.free, claim, from, now)
    }

    /// Whether the takeovers of `client_id` are braked.
    pub fn brakes(&self, client_id: &str) -> bool {
        let found = self.clients.get(client_id);
        self.free > 0 && found.is_some_and(|takeovers| takeovers.count >= self.free)
    }

    fn make_room(&mut self, now: Time) -> bool {
        if self.clients.len() >= PLACES_MAX && self.swept.after(SWEEP) <= now {
            self.swept = now;
            self.clients.retain(|_, takeovers| {
                takeovers.recover(now);
                takeovers.count > 0 || (takeovers.row > 0 && now < takeovers.rested)
            });
        }
        self.clients.len() < PLACES_MAX
    }
}

impl Takeovers {
    fn ask(&mut self, free: u32, claim: u64, from: Option<IpAddr>, now: Time) -> Passage {
        self.recover(now);
        if now < self.barred {
            return Passage::Refused { holder: self.from };
        }
        if claim < self.done {
            return Passage::Overtaken;
        }
        self.newest = self.newest.max(claim);
        let braked = self.count >= free;
        if braked && now < self.due {
            return Passage::Wait { due: self.due, holder: self.from };
        }
        if claim < self.newest {
            return Passage::Overtaken;
        }
        self.done = claim;
        self.from = from;
        if braked {
            self.note_braked(now);
        }
        self.count = (self.count + 1).min(free + DOUBLINGS);
        if self.count >= free {
            self.due = now.after((GAP * (1 << (self.count - free))).min(GAP_MAX));
        }
        Passage::Go { braked }
    }

    fn note_braked(&mut self, now: Time) {
        self.row = if now < self.rested { self.row + 1 } else { 1 };
        if let Some(more) = self.row.checked_sub(ROW_MAX) {
            self.barred = now.after((BAR * (1 << more.min(6))).min(BAR_MAX));
        }
        self.rested = self.barred.max(now).after(REST);
    }

    fn recover(&mut self, now: Time) {
        let passed = now.since(self.since).as_nanos() / RECOVERY.as_nanos();
        let forgotten = u32::try_from(passed).unwrap_or(u32::MAX).min(self.count);
        self.count -= forgotten;
        self.since = if self.count == 0 { now } else { self.since.after(RECOVERY * forgotten) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Time = Time::from_secs(1_000);
    const FREE: u32 = 10;

    fn brake() -> Brake {
        let mut brake = Brake::default();
        brake.set_free(FREE);
        brake
    }

    /// Clients of which one always takes over from another, for so long; returns takeovers, those that were
    /// refused, and the longest wait.
    fn storm(clients: u64, span: Duration) -> (u32, u32, Duration) {
        let (mut brake, mut now, mut claim) = (brake(), BEGIN, clients);
        let (mut takeovers, mut refused, mut longest) = (0, 0, Duration::ZERO);
        while now < BEGIN.after(span) {
            match brake.ask("one", claim, None, now) {
                Passage::Go { .. } => takeovers += 1,
                Passage::Wait { due, .. } => {
                    longest = longest.max(due.since(now));
                    now = due;
                    // Those that have waited longer stand back, and come again.
                    assert_eq!(brake.ask("one", claim - 1, None, now), Passage::Overtaken);
                    continue;
                }
                Passage::Refused { .. } => {
                    refused += 1;
                    now = now.after(Duration::from_secs(5));
                }
                Passage::Overtaken => panic!("the newest is never overtaken"),
            }
            claim += 1;
        }
        (takeovers, refused, longest)
    }

    #[test]
    fn a_storm_ends_in_a_takeover_every_few_seconds() {
        for clients in [2, 3, 50] {
            let (takeovers, refused, longest) = storm(clients, Duration::from_secs(240));
            assert!((60..=FREE + 3 + 240 / 2).contains(&takeovers), "{takeovers}");
            assert_eq!((refused, longest), (0, GAP_MAX));
        }
    }

    #[test]
    fn a_storm_that_does_not_end_is_refused_for_longer_each_time() {
        let (takeovers, refused, _) = storm(2, Duration::from_secs(24 * 3_600));
        // About 110 until the first refusal, then 11 each time: seven of them up to an hour, then each hour.
        assert!((110..110 + 11 * (7 + 24)).contains(&takeovers), "{takeovers}");
        assert!(refused > 10_000, "{refused}");
        let mut brake = brake();
        let from = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        let mut now = BEGIN;
        let mut claims = 0..;
        let holder = loop {
            let claim = claims.next().expect("there is no end to them");
            match brake.ask("one", claim, from((claim % 2) as u8), now) {
                Passage::Go { .. } => {}
                Passage::Wait { due, .. } => now = due,
                Passage::Refused { holder } => break holder,
                Passage::Overtaken => panic!("the newest is never overtaken"),
            }
        };
        assert!(holder == from(0) || holder == from(1));
        // After a rest it is as if nothing had been.
        now = now.after(BAR + REST);
        for claim in 10_000..10_000 + u64::from(ROW_MAX) {
            while let Passage::Wait { due, .. } = brake.ask("one", claim, None, now) {
                now = due;
            }
        }
        assert!(matches!(brake.ask("one", 20_000, None, now), Passage::Wait { .. }));
    }

    #[test]
    fn a_device_that_comes_three_times_in_ten_seconds_never_waits() {
        let mut brake = brake();
        for n in 0..10_000 {
            let now = BEGIN.after(Duration::from_millis(n * 10_000 / 3));
            assert_eq!(brake.ask("one", n + 1, None, now), Passage::Go { braked: false });
        }
    }

    #[test]
    fn one_that_gives_up_and_comes_again_waits_no_longer_than_the_rest() {
        let mut brake = brake();
        let mut now = BEGIN;
        for claim in 0..100 {
            let Passage::Wait { due, .. } = brake.ask("one", claim, None, now) else { continue };
            // It gives up a moment before; its next connection is in after that moment.
            now = due.before(Duration::from_millis(1));
            assert_eq!(brake.ask("one", claim, None, now), Passage::Wait { due, holder: None });
            now = due;
            assert!(matches!(brake.ask("one", claim, None, now), Passage::Go { .. }));
        }
        assert!(brake.brakes("one") && !brake.brakes("two"));
        assert_eq!(brake.ask("two", 1_000, None, now), Passage::Go { braked: false });
    }

    #[test]
    fn of_those_that_wait_the_newest_is_let_through_and_none_before_it_is_due() {
        let mut brake = brake();
        for claim in 0..u64::from(FREE) {
            assert_eq!(brake.ask("one", claim, None, BEGIN), Passage::Go { braked: false });
        }
        let due = BEGIN.after(GAP);
        for claim in [20, 21, 22] {
            assert_eq!(brake.ask("one", claim, None, BEGIN), Passage::Wait { due, holder: None });
            assert_eq!(
                brake.ask("one", 20, None, BEGIN),
                Passage::Wait { due, holder: None },
                "no faster way around"
            );
        }
        assert_eq!(brake.ask("one", 20, None, due), Passage::Overtaken);
        assert_eq!(brake.ask("one", 22, None, due), Passage::Go { braked: true });
        assert_eq!(brake.ask("one", 21, None, due), Passage::Overtaken);
    }

    #[test]
    fn the_table_is_bounded_and_off_it_is_empty() {
        let mut brake = brake();
        for n in 0..PLACES_MAX + 10 {
            assert_eq!(brake.ask(&n.to_string(), 1, None, BEGIN), Passage::Go { braked: false });
        }
        assert_eq!(brake.clients.len(), PLACES_MAX);
        brake.ask("one", 1, None, BEGIN.after(RECOVERY));
        assert_eq!(brake.clients.len(), 1);
        brake.set_free(0);
        for claim in 0..100 {
            assert_eq!(brake.ask("one", claim, None, BEGIN), Passage::Go { braked: false });
        }
        assert!(brake.clients.is_empty());
    }
}
