//! Limits that clients share: those of a listener together, those of one address together, those of
//! all; and how often a Client Identifier may come.
//!
//! The tables are bounded. If a table is full, the address shares one overflow entry.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Config, Egress, Excess, Ingress};
use crate::message::Network;
use crate::shape::{Clearance, FairQueue, Intake, Load, QueueSlot, TokenBucket};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// Ingress limits of several clients together.
#[derive(Debug)]
pub struct Pool {
    intake: Mutex<Intake>,
}

/// Egress limits of several clients together: they take turns. Its lock is held for nothing else, and
/// no client is woken under it.
#[derive(Debug)]
pub struct EgressPool {
    queue: Mutex<FairQueue<Waker>>,
}

/// One client's slot in an egress pool; dropped, the slot is given up.
#[derive(Debug)]
pub struct EgressSlot {
    pool: Arc<EgressPool>,
    slot: QueueSlot,
}

/// All of them, by listener, and the Client Identifiers that came lately.
#[derive(Debug)]
pub(super) struct Pools {
    tables: Mutex<PoolTables>,
    /// A listener, an address or all clients together are limited in what they send or are sent.
    some: AtomicBool,
}

#[derive(Debug, Default)]
struct PoolTables {
    /// By what the configuration calls them.
    listeners: BTreeMap<String, ListenerPools>,
    connects: Connects,
    /// The way out for all clients together.
    egress: Option<Arc<EgressPool>>,
}

/// What the clients of one listener share.
#[derive(Debug, Default)]
struct ListenerPools {
    all: Option<Arc<Pool>>,
    each: Ingress,
    addresses: BTreeMap<Network, Arc<Pool>>,
    /// For addresses that find no room in the table.
    others: Option<Arc<Pool>>,
    swept: Time,
    egress: Option<Arc<EgressPool>>,
}

/// When each Client Identifier came.
#[derive(Debug, Default)]
struct Connects {
    rate: Option<NonZeroU64>,
    clients: BTreeMap<Box<str>, TokenBucket>,
    swept: Time,
}

/// Most addresses or Client Identifiers in a table; beyond it those at rest are forgotten.
const PLACES_MAX: usize = 65_536;
/// Time between two searches for those.
const SWEEP: Duration = Duration::from_secs(1);

impl Pool {
    fn new(ingress: &Ingress) -> Option<Arc<Pool>> {
        Some(Arc::new(Pool { intake: Mutex::new(Intake::new(ingress)?) }))
    }

    /// What is done with the packet, if it is beyond the rate.
    pub fn excess(&self, load: Load, now: Time) -> Option<Excess> {
        let intake = self.lock();
        intake.is_over(load, now).then(|| intake.action())
    }

    /// Takes the tokens of a packet; returns when it may be handled.
    pub fn book(&self, load: Load, now: Time) -> Time {
        self.lock().book(load, now)
    }

    /// Takes the tokens of so many packets more.
    pub fn charge(&self, load: Load, packets: u64, now: Time) {
        self.lock().charge(load, packets, now);
    }

    /// Gives back the tokens of a booked packet that will not be handled.
    pub fn give_back(&self, load: Load) {
        self.lock().give_back(load);
    }

    fn lock(&self) -> MutexGuard<'_, Intake> {
        whole(self.intake.lock())
    }
}

impl EgressPool {
    /// A pool without clients; `None` where nothing is limited.
    pub fn new(egress: &Egress) -> Option<Arc<EgressPool>> {
        Some(Arc::new(EgressPool { queue: Mutex::new(FairQueue::new(egress)?) }))
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<Waker>> {
        whole(self.queue.lock())
    }
}

impl EgressSlot {
    /// A slot for a client.
    pub fn new(pool: Arc<EgressPool>) -> EgressSlot {
        let slot = pool.lock().add();
        EgressSlot { pool, slot }
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> &Arc<EgressPool> {
        &self.pool
    }

    /// What may leave for a client that has something to send; if it must wait, `waker` is woken when
    /// it is its turn.
    pub fn ask(&self, waker: &Waker, now: Time) -> Clearance {
        self.pool.lock().ask(self.slot, waker, now)
    }

    /// Messages and bytes that have left, and there is more. Returns the client to wake, if any.
    pub fn pour(&self, (messages, bytes): (usize, usize), now: Time) -> Option<Waker> {
        self.pool.lock().pour(self.slot, messages, bytes, now)
    }

    /// Messages and bytes that have left, and no more will for now. Returns the client to wake, if any.
    pub fn pour_last(&self, (messages, bytes): (usize, usize), now: Time) -> Option<Waker> {
        self.pool.lock().pour_last(self.slot, messages, bytes, now)
    }

    /// The client does not wait any more. Returns the client to wake, if any.
    pub fn leave(&self) -> Option<Waker> {
        self.pool.lock().leave(self.slot)
    }
}

impl Drop for EgressSlot {
    fn drop(&mut self) {
        let woken = self.pool.lock().remove(self.slot);
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}

impl Pools {
    pub fn new(config: &Config) -> Pools {
        let pools = Pools { tables: Mutex::default(), some: AtomicBool::new(false) };
        pools.set(config, Time::START);
        pools
    }

    /// Puts other rules in force. What was taken under the old ones stays taken. Waiting clients must be
    /// woken: their time may have come.
    pub fn set(&self, config: &Config, now: Time) {
        let tables = &mut *self.lock();
        let mut listeners = BTreeMap::new();
        for listener in &config.listener {
            let name = listener.called();
            let mut shared = tables.listeners.remove(name).unwrap_or_default();
            set(&mut shared.all, &listener.ingress, now);
            set_egress(&mut shared.egress, &listener.egress, now);
            shared.each = listener.ingress_per_address.clone();
            if shared.each.is_free() {
                shared.addresses.clear();
                shared.others = None;
            }
            for pool in shared.addresses.values().chain(&shared.others) {
                pool.lock().set(&shared.each, now);
            }
            listeners.insert(name.to_owned(), shared);
        }
        tables.listeners = listeners;
        set_egress(&mut tables.egress, &config.broker.egress, now);
        let some = tables.egress.is_some() || tables.listeners.values().any(ListenerPools::limits);
        self.some.store(some, Ordering::Relaxed);
        let rate = NonZeroU64::new(config.limits.connects_rate.into());
        tables.connects.rate = rate;
        match rate {
            None => tables.connects.clients.clear(),
            Some(rate) => {
                tables
                    .connects
                    .clients
                    .values_mut()
                    .for_each(|b| b.set_rate(rate, rate.get(), now));
            }
        }
    }

    /// Whether any client shares anything: mostly none does.
    pub fn are_some(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }

    /// What a client of the listener, as the configuration calls it, shares with others.
    pub fn of(&self, listener: &str, address: Option<IpAddr>, now: Time) -> Vec<Arc<Pool>> {
        let tables = &mut *self.lock();
        let Some(shared) = tables.listeners.get_mut(listener) else { return Vec::new() };
        let each = address.and_then(|address| shared.of_address(address, now));
        shared.all.iter().cloned().chain(each).collect()
    }

    /// The egress pools of a client of the listener, as the configuration calls it: the listener's,
    /// then the one of all clients.
    pub fn egress(&self, listener: &str) -> impl Iterator<Item = Arc<EgressPool>> + use<> {
        let tables = &*self.lock();
        let own = tables.listeners.get(listener).and_then(|shared| shared.egress.clone());
        own.into_iter().chain(tables.egress.clone())
    }

    /// Whether a client may come in now, after all those that came before under its name.
    pub fn admits(&self, client_id: &str, now: Time) -> bool {
        self.lock().connects.admits(client_id, now)
    }

    fn lock(&self) -> MutexGuard<'_, PoolTables> {
        whole(self.tables.lock())
    }
}

impl ListenerPools {
    fn limits(&self) -> bool {
        self.all.is_some() || self.egress.is_some() || !self.each.is_free()
    }

    fn of_address(&mut self, address: IpAddr, now: Time) -> Option<Arc<Pool>> {
        if self.each.is_free() {
            return None;
        }
        let address = Network::of(Some(address));
        if let Some(pool) = self.addresses.get(&address) {
            return Some(pool.clone());
        }
        if self.addresses.len() >= PLACES_MAX && self.swept.after(SWEEP) <= now {
            self.swept = now;
            let used =
                |pool: &Arc<Pool>| Arc::strong_count(pool) > 1 || !pool.lock().is_at_rest(now);
            self.addresses.retain(|_, pool| used(pool));
        }
        let pool = match &self.others {
            Some(others) if self.addresses.len() >= PLACES_MAX => return Some(others.clone()),
            _ => Pool::new(&self.each)?,
        };
        if self.addresses.len() >= PLACES_MAX {
            self.others = Some(pool.clone());
        } else {
            self.addresses.insert(address, pool.clone());
        }
        Some(pool)
    }
}

impl Connects {
    fn admits(&mut self, client_id: &str, now: Time) -> bool {
        let Some(rate) = self.rate else { return true };
        if let Some(bucket) = self.clients.get_mut(client_id) {
            return bucket.take(1, now);
        }
        if self.clients.len() >= PLACES_MAX && self.swept.after(SWEEP) <= now {
            self.swept = now;
            self.clients.retain(|_, bucket| bucket.ready_at(rate.get()) > now);
        }
        // One that finds no room is taken as one that has not come lately.
        if self.clients.len() < PLACES_MAX {
            let mut bucket = TokenBucket::new(rate, rate.get());
            bucket.take(1, now);
            self.clients.insert(client_id.into(), bucket);
        }
        true
    }
}

/// The pool goes on under other rules, begins or ends.
fn set(pool: &mut Option<Arc<Pool>>, ingress: &Ingress, now: Time) {
    match pool {
        Some(pool) if !ingress.is_free() => pool.lock().set(ingress, now),
        pool => *pool = Pool::new(ingress),
    }
}

fn set_egress(pool: &mut Option<Arc<EgressPool>>, egress: &Egress, now: Time) {
    match (&pool, EgressPool::new(egress)) {
        (Some(pool), Some(_)) => pool.lock().set(egress, now),
        (_, fresh) => *pool = fresh,
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    const BEGIN: Time = Time::from_secs(1_800_000_000);

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(std::net::Ipv4Addr::from(number)))
    }

    #[test]
    fn a_listener_is_found_by_its_name_or_by_its_address() {
        let config = config(
            "[[listener]]
             address = '127.0.0.1:0'
             ingress = { publishes_rate = 1 }
             [[listener]]
             name = 'radio'
             address = '127.0.0.1:1'
             ingress_per_address = { publishes_rate = 1 }",
        );
        let pools = Pools::new(&config);
        let all = |name: &str, number| pools.of(name, address(number), BEGIN);
        assert!(Arc::ptr_eq(&all("127.0.0.1:0", 1)[0], &all("127.0.0.1:0", 2)[0]));
        assert!(!Arc::ptr_eq(&all("radio", 1)[0], &all("radio", 2)[0]));
        assert!(Arc::ptr_eq(&all("radio", 1)[0], &all("radio", 1)[0]));
        assert!(pools.of("radio", None, BEGIN).is_empty() && all("other", 1).is_empty());
    }

    #[test]
    fn the_table_of_addresses_is_bounded_and_those_at_rest_leave_it() {
        let pools = Pools::new(&config(
            "[[listener]]
             name = 'a'
             ingress_per_address = { publishes_rate = 1, publishes_burst = 2 }",
        ));
        let held: Vec<_> = (0..10).map(|number| pools.of("a", address(number), BEGIN)).collect();
        for number in 0..PLACES_MAX as u32 + 100 {
            pools.of("a", address(number), BEGIN)[0].book(Load::Publish(1), BEGIN);
        }
        let places = || pools.lock().listeners["a"].addresses.len();
        assert_eq!(places(), PLACES_MAX);
        // The last hundred share a place: what one has taken, the next has not.
        assert!(
            pools.of("a", address(u32::MAX), BEGIN)[0].excess(Load::Publish(1), BEGIN).is_some()
        );
        let later = BEGIN.after(Duration::from_secs(10));
        let fresh = pools.of("a", address(u32::MAX), later);
        assert!(fresh[0].excess(Load::Publish(1), later).is_none());
        assert_eq!(places(), held.len() + 1, "those that are used stay");
        assert!(Arc::ptr_eq(&held[3][0], &pools.of("a", address(3), later)[0]));
    }

    #[test]
    fn a_client_identifier_comes_so_often_and_the_table_is_bounded() {
        let pools = Pools::new(&config("limits.connects_rate = 2"));
        let mut now = BEGIN;
        for wanted in [true, true, false] {
            assert_eq!(pools.admits("a", now), wanted);
        }
        assert!(pools.admits("b", now));
        now = now.after(Duration::from_millis(500));
        assert!(pools.admits("a", now) && !pools.admits("a", now));
        for number in 0..PLACES_MAX + 10 {
            assert!(pools.admits(&number.to_string(), now));
        }
        assert_eq!(pools.lock().connects.clients.len(), PLACES_MAX);
        assert!(!pools.admits("a", now), "a client that comes often keeps its entry");
        pools.set(&Config::default(), now);
        assert!(pools.admits("a", now));
    }

    #[test]
    fn other_rules_reach_who_holds_a_pool() {
        let of = |rate: u32| {
            config(&format!("[[listener]]\nname = 'a'\ningress = {{ publishes_rate = {rate} }}"))
        };
        let pools = Pools::new(&of(1));
        let held = pools.of("a", None, BEGIN);
        held[0].book(Load::Publish(1), BEGIN);
        assert!(held[0].excess(Load::Publish(1), BEGIN).is_some());
        pools.set(&of(1_000), BEGIN);
        assert!(held[0].excess(Load::Publish(1), BEGIN).is_none());
        pools.set(&of(0), BEGIN);
        assert!(pools.of("a", None, BEGIN).is_empty());
    }
}
