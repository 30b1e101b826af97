//! The engine's threads under a scheduler that tries many orders: `cargo test --features shuttle
//! --lib interleavings`. A wake that is lost shows as a deadlock.

use std::sync::Arc;
use std::task::{Wake, Waker};

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread::{self, JoinHandle};

use super::options::Options;
use super::rows::RowBatch;
use super::shared::EngineShared;
use super::simulation::{SimDisk, SimTable};
use super::start::{self, EngineParts, Site};
use crate::broker::ports::{Progress, Refused};
use crate::time::{Clock, SystemClock, Time};

/// An engine on threads of the scheduler.
struct Running {
    shared: Arc<EngineShared>,
    disk: SimDisk,
    commit: JoinHandle<()>,
    checkpoint: JoinHandle<()>,
}

impl Running {
    fn start(options: Options) -> Running {
        let disk = SimDisk::default();
        let clock = SystemClock::start(Time::START);
        let site = || Site {
            disk: Arc::new(disk.clone()),
            table: Box::new(SimTable::on(&disk)),
            table_path: "/simulated/table".into(),
            store: [1; 16],
            begun: clock.now(),
            clock: clock.clone(),
        };
        let new = site();
        start::lay_out(&new, &options).unwrap();
        let parts = start::start(new, options, &mut |_, _| ()).unwrap();
        // The keeper works alone: a segment is made when it is asked for.
        let EngineParts { shared, committer, checkpointer, .. } = parts;
        let commit = thread::spawn(move || committer.run());
        let checkpoint = thread::spawn(move || checkpointer.run());
        Running { shared, disk, commit, checkpoint }
    }

    fn end(self) {
        self.shared.schedule.close();
        self.checkpoint.join().unwrap();
        self.shared.close_committer();
        self.commit.join().unwrap();
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 4096 + 9000,
        reserve_bytes: 0,
        ballast_bytes: 0,
        // Only when asked for: time does not pass here.
        checkpoint_interval: std::time::Duration::from_secs(3600),
        ..Options::default()
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

fn submit(shared: &EngineShared, key: u8) -> u64 {
    let mut batch = RowBatch::new();
    batch.put(&[1, key], &[key; 50]);
    shared.submit(&mut batch)
}

/// Asks, and sleeps until woken, as a task does.
fn settled(shared: &EngineShared, lsn: u64) -> Progress {
    let waker = waker();
    loop {
        match shared.state(lsn, &waker) {
            Progress::Pending => thread::park(),
            settled => return settled,
        }
    }
}

/// Runs `test` under many schedules: half of them random, half with few preemptions.
fn schedules(test: fn()) {
    shuttle::check_random(test, 1_000);
    shuttle::check_pct(test, 1_000, 3);
}

#[test]
fn everybody_who_waits_is_woken() {
    schedules(|| {
        let running = Running::start(options());
        let callers: Vec<_> = (0..3)
            .map(|key| {
                let shared = running.shared.clone();
                thread::spawn(move || {
                    for round in 0..2 {
                        let lsn = submit(&shared, key * 2 + round);
                        assert_eq!(settled(&shared, lsn), Progress::Durable);
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let shared = running.shared.clone();
        running.end();
        assert_eq!(shared.waiters.len(), 0);
    });
}

#[test]
fn a_failed_flush_is_told_to_everybody() {
    schedules(|| {
        let running = Running::start(options());
        let callers: Vec<_> = (0..2)
            .map(|key| {
                let shared = running.shared.clone();
                thread::spawn(move || {
                    let lsn = submit(&shared, key);
                    let ended = settled(&shared, lsn);
                    // What was promised once stays so.
                    assert_eq!(settled(&shared, lsn), ended);
                })
            })
            .collect();
        let (shared, disk) = (running.shared.clone(), running.disk.clone());
        let asks = thread::spawn(move || drop(shared.schedule.ask()));
        disk.break_flushes();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        asks.join().unwrap();
        let lsn = submit(&running.shared, 9);
        assert_eq!(settled(&running.shared, lsn), Progress::Failed);
        running.end();
    });
}

#[test]
fn whoever_waits_for_room_gets_it_after_a_checkpoint() {
    schedules(|| {
        let options = Options { pending_bytes_max: 500, pending_bytes_low: 300, ..options() };
        let running = Running::start(options);
        let served = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..2)
            .map(|key| {
                let (shared, served) = (running.shared.clone(), served.clone());
                thread::spawn(move || {
                    let waker = waker();
                    for round in 0..3 {
                        loop {
                            if shared.room.check(100, &shared.options).is_ok() {
                                break;
                            }
                            match shared.room.is_back(&shared.options, &waker) {
                                Ok(()) => {}
                                Err(Refused::Slow) => thread::park(),
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                        submit(&shared, key * 3 + round);
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        // As time would, if it passed here.
        while served.load(Ordering::SeqCst) < 2 {
            running.shared.schedule.ask().unwrap();
            thread::yield_now();
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        running.end();
    });
}

#[test]
fn reads_see_what_was_handed_in_while_a_checkpoint_runs() {
    schedules(|| {
        let running = Running::start(options());
        let shared = running.shared.clone();
        let reader = thread::spawn(move || {
            for key in 0..4 {
                submit(&shared, key);
                for earlier in 0..=key {
                    let found = shared.find(&[1, earlier]);
                    assert!(!matches!(found, super::Lookup::Deleted), "row {earlier}");
                }
            }
        });
        running.shared.schedule.ask().unwrap();
        running.shared.schedule.ask().unwrap();
        reader.join().unwrap();
        running.end();
    });
}
