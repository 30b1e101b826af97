//! Logins that fail are counted by address, by user and by both; too many of them, and no login is looked at for
//! a while.
//!
//! A user from an address is banned after a few failures: one device with an old password does not lock out the
//! others behind its address. An address is banned after more, for whichever users. A user that fails from many
//! addresses is not banned, or strangers could lock it out: only addresses are, from which it has failed already.
//! Each further ban of the same lasts twice as long.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::AuthConfig;
use crate::message::Network;
use crate::shape::TokenBucket;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// What failed lately.
pub(super) struct Failures {
    /// Hashes user names: what strangers make up takes eight bytes, and they cannot choose which.
    names: RandomState,
    inner: Mutex<FailureCounts>,
}

struct FailureCounts {
    limits: FailureLimits,
    addresses: FailureTable<Network>,
    users: FailureTable<u64>,
    pairs: FailureTable<(Network, u64)>,
    /// Lines in the log.
    lines: TokenBucket,
    left_out: u64,
}

/// A client that wants to log in, as far as it can be told before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    /// What it is counted by.
    network: Network,
    address: IpAddr,
    user: u64,
}

/// The limits under `[auth]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FailureLimits {
    pair: u64,
    address: u64,
    user: u64,
    /// In this time as many failures are forgotten.
    time: Duration,
    ban: Duration,
    ban_max: Duration,
}

struct FailureTable<K> {
    entries: BTreeMap<K, FailureRecord>,
}

/// The failures of one address, user or both.
struct FailureRecord {
    /// Failures that are left.
    left: TokenBucket,
    banned_until: Time,
    /// The span of the last ban.
    span: Duration,
    /// Until then it counts.
    remembered: Time,
}

/// A ban that has begun.
type Banned = Option<Duration>;

/// What is to be said of a failure.
struct FailureNote {
    address: Banned,
    pair: Banned,
    /// Lines that were left out before.
    left_out: u64,
}

/// Most entries of a table: some 100 bytes each.
const ENTRIES_MAX: usize = 16_384;
/// So long a ban is remembered, so that the next one is longer.
const MEMORY: Duration = Duration::from_secs(86_400);
/// Lines a second, and at once.
const LINES_RATE: NonZeroU64 = NonZeroU64::new(100).expect("not zero");
const LINES_BURST: u64 = 500;

impl Failures {
    /// Under `[auth]`.
    pub fn new(auth: &AuthConfig) -> Failures {
        let inner = FailureCounts {
            limits: FailureLimits::new(auth),
            addresses: FailureTable::default(),
            users: FailureTable::default(),
            pairs: FailureTable::default(),
            lines: TokenBucket::new(LINES_RATE, LINES_BURST),
            left_out: 0,
        };
        Failures { names: RandomState::new(), inner: Mutex::new(inner) }
    }

    /// Puts another `[auth]` in force. What was counted under other limits is forgotten.
    pub fn set(&self, auth: &AuthConfig) {
        let (inner, limits) = (&mut *self.lock(), FailureLimits::new(auth));
        if inner.limits != limits {
            inner.limits = limits;
            inner.addresses = FailureTable::default();
            inner.users = FailureTable::default();
            inner.pairs = FailureTable::default();
        }
    }

    /// A client at `address` that says it is `user`. `None`: a client in this process, which is not counted.
    pub fn suspect(&self, address: Option<IpAddr>, user: &str) -> Option<Suspect> {
        let address = address?.to_canonical();
        Some(Suspect {
            network: Network::of(Some(address)),
            address,
            user: self.names.hash_one(user),
        })
    }

    /// Whether its login is not looked at now.
    pub fn is_banned(&self, who: Option<Suspect>, now: Time) -> bool {
        let Some(Suspect { network, user, .. }) = who else { return false };
        let inner = &*self.lock();
        let pair = inner.pairs.entries.get(&(network, user));
        let banned =
            |record: Option<&FailureRecord>| record.is_some_and(|record| record.banned_until > now);
        if banned(inner.addresses.entries.get(&network)) || banned(pair) {
            return true;
        }
        // It fails from everywhere, and has failed from here.
        let user = inner.users.entries.get(&user).filter(|_| inner.limits.user > 0);
        pair.is_some() && user.is_some_and(|user| user.is_used_up(&inner.limits, now))
    }

    /// Its login has failed. `user` is what it said.
    pub fn note(&self, who: Option<Suspect>, user: &str, now: Time) {
        let Some(suspect) = who else { return };
        let Some(noted) = self.lock().fail(suspect, now) else { return };
        let address = suspect.address;
        // A form that the filter in `deploy/fail2ban` reads: the address first, where nothing that a stranger
        // chooses can stand before it.
        let left_out = (noted.left_out > 0).then_some(noted.left_out);
        warn!(%address, user, left_out, "login failed");
        if let Some(span) = noted.address {
            info!(%address, span_s = span.as_secs(), "no logins from this address for a while");
        } else if let Some(span) = noted.pair {
            info!(%address, user, span_s = span.as_secs(), "no logins of this user from there for a while");
        }
    }

    /// Its login was right: what it failed before was its own mistake.
    pub fn clear(&self, who: Option<Suspect>) {
        let Some(Suspect { network, user, .. }) = who else { return };
        let inner = &mut *self.lock();
        // Mostly there is nothing at all.
        if !inner.pairs.entries.is_empty() {
            inner.pairs.entries.remove(&(network, user));
        }
    }

    fn lock(&self) -> MutexGuard<'_, FailureCounts> {
        whole(self.inner.lock())
    }
}

impl FailureCounts {
    /// Counts a failure. `None`: there are too many lines to say so.
    fn fail(&mut self, who: Suspect, now: Time) -> Option<FailureNote> {
        let Suspect { network, user, .. } = who;
        let limits = self.limits;
        let pair = self.pairs.fail((network, user), limits.pair, &limits, now);
        let address = self.addresses.fail(network, limits.address, &limits, now);
        self.users.count(user, limits.user, &limits, now);
        if !self.lines.take(1, now) {
            self.left_out += 1;
            return None;
        }
        Some(FailureNote { address, pair, left_out: std::mem::take(&mut self.left_out) })
    }
}

impl FailureLimits {
    fn new(auth: &AuthConfig) -> FailureLimits {
        FailureLimits {
            pair: auth.failures_max.into(),
            address: auth.failures_per_address_max.into(),
            user: auth.failures_per_user_max.into(),
            time: auth.failures_time.0,
            ban: auth.ban_time.0,
            ban_max: auth.ban_time_max.0,
        }
    }

    /// What a failure takes of a bucket.
    fn failure(&self) -> u64 {
        u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl<K> Default for FailureTable<K> {
    fn default() -> FailureTable<K> {
        FailureTable { entries: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> FailureTable<K> {
    /// One more failure, of which `max` are too many; 0: none is.
    fn fail(&mut self, key: K, max: u64, limits: &FailureLimits, now: Time) -> Banned {
        let record = self.count(key, max, limits, now)?;
        if !record.is_used_up(limits, now) || record.banned_until > now {
            return None;
        }
        let span = (record.span * 2).clamp(limits.ban, limits.ban_max.max(limits.ban));
        record.span = span;
        record.banned_until = now.after(span);
        record.remembered = record.banned_until.after(MEMORY);
        // After the ban it has all its tries again.
        record.left = FailureRecord::new(max, limits).left;
        Some(span)
    }

    fn count(
        &mut self,
        key: K,
        max: u64,
        limits: &FailureLimits,
        now: Time,
    ) -> Option<&mut FailureRecord> {
        if max == 0 {
            return None;
        }
        self.make_room(now);
        let record = self.entries.entry(key).or_insert_with(|| FailureRecord::new(max, limits));
        if record.remembered <= now {
            record.span = Duration::ZERO;
        }
        record.remembered = record.remembered.max(now.after(limits.time));
        record.left.take(limits.failure(), now);
        Some(record)
    }

    /// Forgets what does not count any more or, where the table is full all the same, the half that would
    /// count for the shortest time.
    fn make_room(&mut self, now: Time) {
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let mut ends: Vec<Time> = self.entries.values().map(|record| record.remembered).collect();
        let middle = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(middle);
        let end = now.max(*middle);
        self.entries.retain(|_, record| record.remembered > end);
    }
}

impl FailureRecord {
    /// `max` failures, and as many again in the time for them. A rate is a whole number: a failure takes a token
    /// for each millisecond of that time.
    fn new(max: u64, limits: &FailureLimits) -> FailureRecord {
        let rate = NonZeroU64::new(max * 1000).unwrap_or(NonZeroU64::MIN);
        FailureRecord {
            left: TokenBucket::new(rate, max * limits.failure()),
            banned_until: Time::START,
            span: Duration::ZERO,
            remembered: Time::START,
        }
    }

    /// Whether one more would be too many.
    fn is_used_up(&self, limits: &FailureLimits, now: Time) -> bool {
        self.left.ready_at(limits.failure()) > now
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;
    use crate::config::Span;

    const BEGIN: Time = Time::from_secs(1_000_000);

    fn at(seconds: u64) -> Time {
        BEGIN.after(Duration::from_secs(seconds))
    }

    fn config() -> AuthConfig {
        AuthConfig {
            failures_max: 3,
            failures_per_address_max: 10,
            failures_per_user_max: 20,
            failures_time: Span::secs(60),
            ban_time: Span::secs(60),
            ban_time_max: Span::secs(200),
            ..AuthConfig::default()
        }
    }

    struct Door(Failures);

    impl Door {
        fn new() -> Door {
            Door(Failures::new(&config()))
        }

        fn banned(&self, address: &str, user: &str, now: Time) -> bool {
            let who = self.0.suspect(address.parse().ok(), user);
            self.0.is_banned(who, now)
        }

        /// So many failures, as far as they are looked at; how many that was.
        fn fail(&self, address: &str, user: &str, times: usize, now: Time) -> usize {
            let who = self.0.suspect(address.parse().ok(), user);
            let looked_at = (0..times).take_while(|_| !self.0.is_banned(who, now));
            looked_at.map(|_| self.0.note(who, user, now)).count()
        }
    }

    #[test]
    fn one_device_with_an_old_password_locks_out_nobody_else() {
        let door = Door::new();
        assert_eq!(door.fail("192.0.2.1", "ann", 100, at(0)), 3);
        for (address, user, banned) in [
            ("192.0.2.1", "ann", true),
            ("::ffff:192.0.2.1", "ann", true),
            ("192.0.2.1", "bob", false),
            ("192.0.2.2", "ann", false),
        ] {
            assert_eq!(door.banned(address, user, at(59)), banned, "{address} {user}");
        }
        assert!(!door.banned("192.0.2.1", "ann", at(60)));
    }

    #[test]
    fn each_further_ban_lasts_twice_as_long_up_to_a_maximum() {
        let door = Door::new();
        let mut now = at(0);
        for span in [60, 120, 200, 200] {
            assert_eq!(door.fail("192.0.2.1", "ann", 100, now), 3);
            let end = now.after(Duration::from_secs(span));
            assert!(door.banned("192.0.2.1", "ann", end.before(Duration::from_nanos(1))));
            assert!(!door.banned("192.0.2.1", "ann", end), "{span}");
            now = end;
        }
        // A day later it begins again.
        now = now.after(MEMORY);
        assert_eq!(door.fail("192.0.2.1", "ann", 100, now), 3);
        assert!(!door.banned("192.0.2.1", "ann", now.after(Duration::from_secs(60))));
    }

    #[test]
    fn an_address_that_tries_one_user_after_the_other_is_banned_with_its_network() {
        let door = Door::new();
        let tries = |user: usize| door.fail("2001:db8::1", &user.to_string(), 1, at(0));
        assert_eq!((0..100).map(tries).sum::<usize>(), 10);
        assert!(door.banned("2001:db8::2:3", "ann", at(1)), "one network of 64 bits");
        assert!(!door.banned("2001:db8:0:1::1", "ann", at(1)));
    }

    #[test]
    fn a_user_that_fails_from_everywhere_still_gets_in_from_where_it_has_not() {
        let door = Door::new();
        for last in 0..20 {
            assert_eq!(door.fail(&format!("192.0.2.{last}"), "ann", 1, at(0)), 1);
        }
        assert!(door.banned("192.0.2.7", "ann", at(1)), "after one try there");
        assert!(
            !door.banned("192.0.2.99", "ann", at(1)) && !door.banned("192.0.2.7", "bob", at(1))
        );
    }

    #[test]
    fn failures_are_forgotten_with_time_and_by_a_success() {
        let door = Door::new();
        for step in 0..50 {
            assert_eq!(door.fail("192.0.2.1", "ann", 1, at(step * 20)), 1, "{step}");
        }
        let ann = door.0.suspect("192.0.2.3".parse().ok(), "ann");
        for _ in 0..5 {
            assert_eq!(door.fail("192.0.2.3", "ann", 1, at(0)), 1);
            door.0.clear(ann);
        }
        // No address: a client in this process.
        assert_eq!(door.fail("unix", "ann", 100, at(0)), 100);
    }

    #[test]
    fn nothing_is_counted_where_the_limits_are_off() {
        let (failures_max, failures_per_address_max) = (0, 0);
        let auth = AuthConfig {
            failures_max,
            failures_per_address_max,
            failures_per_user_max: 0,
            ..config()
        };
        let door = Door(Failures::new(&auth));
        assert_eq!(door.fail("192.0.2.1", "ann", 1000, at(0)), 1000);
        door.0.set(&config());
        assert_eq!(door.fail("192.0.2.1", "ann", 1000, at(0)), 3);
    }

    #[test]
    fn tables_are_bounded_and_bans_stay_in_them_longest() {
        let door = Door::new();
        door.fail("192.0.2.1", "ann", 3, at(0));
        for number in 0..3 * ENTRIES_MAX as u32 {
            let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number));
            door.fail(&address.to_string(), &number.to_string(), 1, at(1));
        }
        let inner = door.0.lock();
        let sizes =
            [inner.addresses.entries.len(), inner.users.entries.len(), inner.pairs.entries.len()];
        assert!(sizes.iter().all(|size| *size <= ENTRIES_MAX), "{sizes:?}");
        drop(inner);
        assert!(door.banned("192.0.2.1", "ann", at(2)));
    }
}
