//! What the store has of a copy that has failed, and when.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use sluicemq::broker::Broker;
use sluicemq::broker::ports::{Progress, Refused};
use sluicemq::codec::QoS;
use sluicemq::store::engine::{Blob, Lookup, RowBatch, StoreError, Visit};
use sluicemq::store::{Loader, Rows};

use super::house::House;
use super::rows::Disk;
use super::virtual_time::{Town, connect};
use super::{JOBS, assert_first_law, refuse, silent, silent_as};

/// Rows that look at what waits whenever they are handed an attempt.
#[derive(Clone, Default)]
struct Witness {
    disk: Disk,
    broker: Arc<Mutex<Option<Broker>>>,
    seen: Arc<Mutex<Vec<[u64; 2]>>>,
}

/// The first bytes of the rows of messages, of copies in flight and of attempts.
const MESSAGE: u8 = 0x04;
const FLIGHT: u8 = 0x06;
const ATTEMPT: u8 = 0x0D;

impl Rows for Witness {
    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        self.disk.admit(bytes)
    }

    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        self.disk.room(waker)
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        let mut tries = false;
        batch.visit(&mut |key, value| tries |= key[0] == ATTEMPT && value.is_some());
        if let (true, Some(broker)) = (tries, &*self.broker.lock().unwrap()) {
            self.seen.lock().unwrap().push(broker.view().groups[0].1.queued);
        }
        self.disk.submit(batch)
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        self.disk.state(number, waker)
    }

    fn find(&self, key: &[u8]) -> Lookup {
        self.disk.find(key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        self.disk.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.disk.scan(prefix, visit)
    }
}

/// A copy that has failed is in flight until the store has its attempt: nothing else can end it before, so that its
/// end never stands in front of the attempt there.
#[test]
fn a_copy_waits_for_another_attempt_when_the_store_has_that() {
    let rows = Witness::default();
    let store = Loader::default().finish(rows.clone()).expect("no rows");
    let town = Town::with_store(JOBS, Arc::new(store));
    *rows.broker.lock().unwrap() = Some(town.broker.clone());
    let mut house = House { disk: rows.disk.clone(), town };
    house.town.broker.restore(house.town.now, &mut Default::default()).expect("no rows");
    house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
    let consumer = silent(&mut house, "c");
    refuse(&mut house, consumer, 1);
    assert_eq!(house.account().queued, [0, 1]);
    assert_eq!(*rows.seen.lock().unwrap(), [[0, 0]]);
    rows.broker.lock().unwrap().take();
}

/// A copy of a group goes from one consumer to another in two turns: where a crash comes between their batches, its
/// message may have ended while the store still says that the first one has it. Nothing is missing then.
#[test]
fn a_crash_between_two_consumers_of_a_copy_damages_no_store() {
    for (fails, row) in [(false, FLIGHT), (true, ATTEMPT)] {
        let mut house = House::new(JOBS);
        house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
        let own = connect("c", true, 3600);
        let consumer = silent_as(&mut house, &own, Some(QoS::AtLeastOnce));
        if fails {
            refuse(&mut house, consumer, 1);
        }
        assert_eq!(house.disk.rows().get(&row), Some(&1), "{:?}", house.disk.rows());
        let mut ends = RowBatch::new();
        house
            .disk
            .scan(&[MESSAGE], &mut |key, _| {
                ends.delete(key);
                std::ops::ControlFlow::Continue(())
            })
            .expect("rows");
        house.disk.submit(&mut ends);
        house.write();
        house.restart(JOBS);
        house.write();
        assert_eq!(house.waiting(), 0);
        assert_first_law(&house.account());
        assert_eq!(house.disk.rows().get(&row), None, "{:?}", house.disk.rows());
    }
}
