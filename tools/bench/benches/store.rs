//! What the row engine costs: durable batches a second, CPU for each, and how long each waits, with
//! 1 to 1024 of them under way. `cargo bench --bench store [SECONDS [FOLDER [LINKS]]]`.
//!
//! Each link puts one row of 300 bytes, waits until it is durable, and begins anew; what was put
//! earlier is deleted again: at once, 20,000 rows later, or never. The folder should be on the disk
//! that is to be measured: a folder of the system's for temporary files may be in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use sluicemq::broker::ports::Progress;
use sluicemq::config::Durability;
use sluicemq::store::engine::{Engine, Options, RowBatch};
use sluicemq::store::sled_kind;

/// One that waits: tells the driver that it may go on.
struct Link {
    number: usize,
    ready: Arc<Ready>,
}

struct Ready {
    links: Mutex<Vec<usize>>,
    driver: std::thread::Thread,
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        let first = {
            let mut links = self.ready.links.lock().expect("not poisoned");
            links.push(self.number);
            links.len() == 1
        };
        if first {
            self.ready.driver.unpark();
        }
    }
}

/// When what was put is deleted again.
#[derive(Clone, Copy, Debug)]
enum Consumed {
    AtOnce,
    Behind(usize),
    Never,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let seconds = arguments.first().map_or(2.0, |seconds| seconds.parse().expect("seconds"));
    let folder = arguments.get(1).map_or_else(std::env::temp_dir, Into::into);
    let only = arguments.get(2).map(|links| links.parse::<usize>().expect("links"));
    restart(&folder);
    submit_alone(&folder);
    println!(
        "{:<10} {:>6} {:<14} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>8}",
        "durability",
        "links",
        "consumed",
        "batches/s",
        "us CPU",
        "p50 us",
        "p99 us",
        "flush50",
        "per flush",
        "rows to",
        "MB/s"
    );
    for durability in [Durability::Sync, Durability::None] {
        for consumed in [Consumed::AtOnce, Consumed::Behind(20_000), Consumed::Never] {
            for links in [1, 16, 128, 1024].into_iter().filter(|&l| only.is_none_or(|o| o == l)) {
                run(&folder, durability, consumed, links, Duration::from_secs_f64(seconds));
            }
        }
    }
}

fn options(durability: Durability) -> Options {
    Options { durability, growing: vec![4], ..Options::default() }
}

fn run(
    folder: &std::path::Path,
    durability: Durability,
    consumed: Consumed,
    links: usize,
    time: Duration,
) {
    let root = tempfile::tempdir_in(folder).expect("a folder");
    let path = root.path().join("data");
    let (engine, _) =
        Engine::open(&path, options(durability), &sled_kind(64 << 20), &mut |_, _| ())
            .expect("an empty folder");
    warm_up(&engine);
    let ready =
        Arc::new(Ready { links: Mutex::new((0..links).collect()), driver: std::thread::current() });
    let wakers: Vec<Waker> =
        (0..links).map(|number| Arc::new(Link { number, ready: ready.clone() }).into()).collect();
    let mut since = vec![(0, Instant::now()); links];
    let mut batch = RowBatch::new();
    let value = [7; 300];
    let (mut next, mut old) = (0_u64, VecDeque::new());
    let mut waits = Vec::with_capacity(4 << 20);
    let (begun, cpu) = (Instant::now(), cpu());
    let before = engine.stats();
    let mut woken = Vec::new();
    while begun.elapsed() < time {
        std::mem::swap(&mut woken, &mut ready.links.lock().expect("not poisoned"));
        if woken.is_empty() {
            std::thread::park();
        }
        for number in woken.drain(..) {
            let (lsn, at) = since[number];
            if lsn != 0 {
                waits.push(at.elapsed());
                if let Consumed::AtOnce = consumed {
                    batch.delete(&key(old.pop_front().expect("one was put")));
                    engine.submit(&mut batch);
                }
            }
            while engine.admit(400).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            batch.put(&key(next), &value);
            old.push_back(next);
            next += 1;
            if let Consumed::Behind(depth) = consumed
                && old.len() > depth
            {
                batch.delete(&key(old.pop_front().expect("some are there")));
            }
            let lsn = engine.submit(&mut batch);
            since[number] = (lsn, Instant::now());
            if engine.state(lsn, &wakers[number]) == Progress::Durable {
                ready.links.lock().expect("not poisoned").push(number);
            }
        }
    }
    let (passed, cpu) = (begun.elapsed(), self::cpu() - cpu);
    let after = engine.stats();
    waits.sort_unstable();
    let count = waits.len().max(1);
    let at = |part: usize| waits.get(count * part / 100).map_or(0.0, |w| w.as_secs_f64() * 1e6);
    println!(
        "{:<10} {links:>6} {:<14} {:>10.0} {:>9.2} {:>9.0} {:>9.0} {:>8.0} {:>8.1} {:>9} {:>8.1}",
        format!("{durability:?}"),
        format!("{consumed:?}"),
        count as f64 / passed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        at(50),
        at(99),
        after.flush.p50.as_secs_f64() * 1e6,
        count as f64 / (after.commits - before.commits).max(1) as f64,
        after.table_rows,
        (after.bytes - before.bytes) as f64 / passed.as_secs_f64() / 1e6,
    );
    drop(engine);
}

/// Lets the engine make its spare segment and its ballast first.
fn warm_up(engine: &Engine) {
    let mut batch = RowBatch::new();
    batch.put(&[5], &[]);
    engine.submit(&mut batch);
    engine.checkpoint_now().expect("a checkpoint");
    std::thread::sleep(Duration::from_millis(500));
}

/// A start with a million rows in the table and some in the journal, after a kill.
fn restart(folder: &std::path::Path) {
    let root = tempfile::tempdir_in(folder).expect("a folder");
    let path = root.path().join("data");
    let open = || {
        let mut rows = 0_u64;
        let opened =
            Engine::open(&path, options(Durability::Sync), &sled_kind(64 << 20), &mut |_, _| {
                rows += 1;
            });
        let (engine, report) = opened.expect("a good store");
        assert_eq!(report.rows, rows);
        (engine, report)
    };
    let (engine, _) = open();
    let mut batch = RowBatch::new();
    for number in 0..1_000_000 {
        batch.put(&key(number), &[number as u8; 300]);
        if number % 100 == 99 {
            while engine.admit(batch.bytes()).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            engine.submit(&mut batch);
        }
    }
    engine.checkpoint_now().expect("a checkpoint");
    let stats = engine.stats();
    println!("last checkpoint: {} rows in {:?}", stats.checkpoint_rows, stats.checkpoint_time);
    drop(engine);
    let begun = Instant::now();
    let (engine, report) = open();
    println!("restart in {:?}: {report:?}", begun.elapsed());
    drop(engine);
}

/// `submit` alone, without a wait for the receipt: what it costs the caller's thread.
fn submit_alone(folder: &std::path::Path) {
    let root = tempfile::tempdir_in(folder).expect("a folder");
    let slow = Options {
        checkpoint_interval: Duration::from_secs(3600),
        pending_bytes_max: usize::MAX,
        queued_bytes_max: usize::MAX,
        ..options(Durability::None)
    };
    let (engine, _) =
        Engine::open(&root.path().join("data"), slow, &sled_kind(8 << 20), &mut |_, _| ())
            .expect("an empty folder");
    warm_up(&engine);
    let mut batch = RowBatch::new();
    for (what, len) in [("32 B", 32), ("300 B", 300), ("3 KB", 3000)] {
        let value = vec![7; len];
        let mut cost = |submit: bool| {
            let begun = thread_cpu();
            for number in 0..COUNT {
                batch.put(&key(number), &value);
                batch.delete(&key(number));
                if submit {
                    engine.submit(&mut batch);
                } else {
                    batch.clear();
                }
            }
            (thread_cpu() - begun).as_nanos() as u64 / COUNT
        };
        let (fill, both) = (cost(false), cost(true));
        let submit = both.saturating_sub(fill);
        println!("put and delete of {what}: {fill} ns to fill, {submit} ns to submit");
    }
}

const COUNT: u64 = 200_000;

fn key(number: u64) -> [u8; 9] {
    let mut key = [4; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn cpu() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

fn clock(which: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(which);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
