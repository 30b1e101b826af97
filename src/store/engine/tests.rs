//! The engine without its threads, against a naive twin: every order of steps, power cuts after
//! every operation, full disks, failing tables.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::Duration;

use super::checkpoint::CheckpointOutcome;
use super::commit::CommitStep;
use super::error::StoreError;
use super::journal::Spares;
use super::options::Options;
use super::rows::RowBatch;
use super::shared::EngineShared;
use super::simulation::{SimDisk, SimTable, Told, seed};
use super::spares::Supply;
use super::start::{self, EngineParts, Site};
use crate::broker::ports::{Progress, Refused};
use crate::config::Durability;
use crate::random::Random;
use crate::sync::atomic::Ordering;
use crate::time::{Clock, SystemClock, Time};

const STORE: [u8; 16] = *b"a store of tests";

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What the next process finds.
#[derive(Clone)]
struct World {
    disk: SimDisk,
    table: SimTable,
}

/// A store driven by hand.
struct Driven {
    world: World,
    parts: EngineParts,
    /// Rows that were shown at the start.
    shown: Rows,
}

/// What was handed in, by number, and what of it was promised.
#[derive(Clone, Default)]
struct Twin {
    history: Vec<Changes>,
    promised: u64,
    /// The next key of those that only grow.
    next: u64,
}

fn options() -> Options {
    Options {
        segment_bytes: 4096 + 9000,
        reserve_bytes: 0,
        ballast_bytes: 0,
        commit_frames_max: 4,
        commit_bytes_max: 4000,
        checkpoint_rows_max: 7,
        growing: vec![4],
        ..Options::default()
    }
}

impl World {
    fn new() -> World {
        let disk = SimDisk::default();
        World { table: SimTable::on(&disk), disk }
    }

    fn site(&self) -> Site {
        let clock = SystemClock::start(Time::START);
        Site {
            disk: Arc::new(self.disk.clone()),
            table: Box::new(self.table.clone()),
            table_path: "/simulated/table".into(),
            store: STORE,
            begun: clock.now(),
            clock,
        }
    }

    fn lay_out(&self, options: &Options) -> Result<(), StoreError> {
        start::lay_out(&self.site(), options)
    }

    fn start(&self, options: Options) -> Result<Driven, StoreError> {
        let mut shown = Rows::new();
        let mut last = Vec::new();
        let parts = start::start(self.site(), options, &mut |key, value| {
            assert!(*last < *key, "in the order of keys");
            last = key.to_vec();
            shown.insert(key.to_vec(), value.to_vec());
        })?;
        assert_eq!(parts.report.rows, shown.len() as u64);
        Ok(Driven { world: self.clone(), parts, shown })
    }

    fn new_store(options: Options) -> Driven {
        let world = World::new();
        world.lay_out(&options).unwrap();
        world.start(options).unwrap()
    }

    fn after_cut(&self, random: &mut Random, keep: usize) -> World {
        let disk = self.disk.after_cut(random, keep);
        let table = self.table.after_cut(&disk, random, keep);
        World { disk, table }
    }

    fn after_kill(&self) -> World {
        let disk = self.disk.after_kill();
        let table = self.table.after_kill(&disk);
        World { disk, table }
    }
}

impl Twin {
    fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for (key, value) in self.history.iter().flatten() {
            match value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        rows
    }

    /// A new process has found this much: it must be as promised, and the rows those.
    fn found(&mut self, driven: &Driven, what: &str) {
        let last = driven.shared().tail().last();
        assert!(last >= self.promised, "{what}: {} promised, {last} there", self.promised);
        assert!(last <= self.history.len() as u64, "{what}: {last} was never handed in");
        self.history.truncate(usize::try_from(last).unwrap());
        self.promised = last;
        assert!(driven.shown == self.rows(), "{what}: other rows than were stored");
    }

    fn some_changes(&mut self, random: &mut Random) -> Changes {
        let mut changes = Changes::new();
        for _ in 0..random.below(6) {
            let value = || vec![7; 5];
            let key = match random.below(4) {
                0 => vec![1, random.below(8) as u8],
                1 => vec![6, 0, 0, random.below(30) as u8],
                2 => [&[3][..], &vec![9; 20 + random.below(3)]].concat(),
                _ => {
                    let fresh = random.percent(60);
                    let number = if fresh {
                        self.next += 1;
                        self.next
                    } else {
                        self.next.saturating_sub(random.next() % 20)
                    };
                    [&[4][..], &number.to_be_bytes()].concat()
                }
            };
            let len = if random.percent(3) { 9000 } else { random.below(400) };
            let mut bytes = value();
            bytes.resize(len, random.next() as u8);
            changes.push((key, random.percent(60).then_some(bytes)));
        }
        changes
    }
}

impl Driven {
    fn shared(&self) -> &Arc<EngineShared> {
        &self.parts.shared
    }

    fn submit(&self, changes: &Changes, twin: &mut Twin) -> u64 {
        let mut batch = RowBatch::new();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        if batch.is_empty() {
            return 0;
        }
        let lsn = self.shared().submit(&mut batch);
        assert!(batch.is_empty());
        twin.history.push(changes.clone());
        assert_eq!(lsn, twin.history.len() as u64);
        lsn
    }

    fn commit(&mut self, twin: &mut Twin) -> CommitStep {
        let step = self.parts.committer.step();
        twin.promised = match self.shared().options.durability {
            Durability::Sync => self.shared().promised.load(Ordering::Acquire),
            // What a power cut cannot take.
            Durability::Os | Durability::None => self.shared().certain.load(Ordering::Acquire),
        };
        step
    }

    fn commit_all(&mut self, twin: &mut Twin) -> Result<(), CommitStep> {
        loop {
            match self.commit(twin) {
                CommitStep::Committed => {}
                CommitStep::Idle => return Ok(()),
                other => return Err(other),
            }
        }
    }

    /// A checkpoint, and nothing else meanwhile.
    fn checkpoint(&mut self, twin: &mut Twin) -> Result<(), ()> {
        self.disturbed_checkpoint(twin, &mut |_, _| ())
    }

    /// A checkpoint, with other things happening in its middle.
    fn disturbed_checkpoint(
        &mut self,
        twin: &mut Twin,
        disturb: &mut dyn FnMut(&Driven, &mut Twin),
    ) -> Result<(), ()> {
        let (frozen, of, mark) = self.parts.checkpointer.freeze();
        twin.history.push(Changes::new());
        assert_eq!(mark, twin.history.len() as u64);
        disturb(self, twin);
        self.commit_all(twin).map_err(|_| ())?;
        assert!(self.shared().certain.load(Ordering::Acquire) >= mark);
        let (_, transitions) = self.parts.checkpointer.write(&frozen, of).map_err(|_| ())?;
        disturb(self, twin);
        self.parts.checkpointer.finish(&frozen, &transitions, of);
        twin.history.push(Changes::new());
        self.commit_all(twin).map_err(|_| ())
    }

    fn disturb(&self, twin: &mut Twin, random: &mut Random) {
        for _ in 0..random.below(3) {
            let changes = twin.some_changes(random);
            self.submit(&changes, twin);
        }
        self.look(twin, random);
    }

    /// What is read is what was handed in.
    fn look(&self, twin: &Twin, random: &mut Random) {
        let rows = twin.rows();
        for _ in 0..3 {
            let (key, _) = match twin.history.iter().flatten().last() {
                Some(change) if random.percent(50) => change.clone(),
                _ => (vec![6, 0, 0, random.below(30) as u8], None),
            };
            if let Ok(found) = get(self.shared(), &key) {
                assert!(found.as_deref() == rows.get(&key).map(Vec::as_slice), "{key:?}");
            }
        }
    }

    fn scan(&self, prefix: &[u8]) -> Rows {
        let mut rows = Rows::new();
        start::scan(self.shared(), prefix, &mut |key, value| {
            assert!(rows.insert(key.to_vec(), value.to_vec()).is_none());
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }

    /// Steps as chance has it; ends early when the power goes.
    fn run(&mut self, steps: usize, twin: &mut Twin, random: &mut Random) {
        for _ in 0..steps {
            let ended = match random.below(10) {
                0..=4 => {
                    let changes = twin.some_changes(random);
                    self.submit(&changes, twin);
                    false
                }
                5..=7 => self.commit_all(twin).is_err(),
                8 => {
                    self.look(twin, random);
                    false
                }
                _ => {
                    let disturb =
                        &mut |driven: &Driven, twin: &mut Twin| driven.disturb(twin, random);
                    self.disturbed_checkpoint(twin, disturb).is_err()
                }
            };
            if ended {
                return;
            }
        }
    }
}

fn get(shared: &EngineShared, key: &[u8]) -> Result<Option<super::rows::Blob>, StoreError> {
    match shared.find(key) {
        super::Lookup::Value(value) => Ok(Some(value)),
        super::Lookup::Deleted => Ok(None),
        super::Lookup::InTable => shared.on_table(shared.table()?.get(key)),
    }
}

/// Runs a store until the power goes at operation `cut`, and then some more lives.
fn lives(seed: u64, cut: u64, options: fn() -> Options) -> u64 {
    let random = &mut Random::new(seed);
    let mut twin = Twin::default();
    let world = World::new();
    world.disk.cut_after(cut);
    if world.lay_out(&options()).is_err() {
        return world.disk.operations();
    }
    if let Ok(mut first) = world.start(options()) {
        first.run(25, &mut twin, random);
    }
    let operations = world.disk.operations();
    for keep in [0, 50, 100] {
        let (mut random, mut twin, mut world) = (random.clone(), twin.clone(), world.clone());
        for life in 0..3 {
            let what = format!("cut {cut}, keep {keep}, life {life}");
            let after = world.after_cut(&mut random, keep);
            let started = after.start(options()).unwrap_or_else(|e| panic!("{what}: {e}"));
            twin.clone().found(&started, &what);
            // Now cut or killed, and cut again during the start or some time after it.
            let killed = world.disk.is_on() || random.percent(30);
            world = if killed { world.after_kill() } else { world.after_cut(&mut random, keep) };
            world.disk.cut_after(1 + random.next() % 80);
            if let Ok(mut next) = world.start(options()) {
                twin.found(&next, &what);
                next.run(8, &mut twin, &mut random);
            }
        }
    }
    operations
}

#[test]
fn a_power_cut_after_any_operation_leaves_what_was_promised() {
    let first = seed(2026);
    // The last one once found a header that promised more than was certain.
    for seed in (first..first + 6).chain([100_313]) {
        let _told = Told(seed);
        let operations = lives(seed, u64::MAX, options);
        for cut in 1..=operations {
            lives(seed, cut, options);
        }
    }
}

#[test]
fn a_weaker_promise_loses_the_last_batches_at_a_power_cut_and_nothing_else() {
    let weaker = || Options { durability: Durability::Os, ..options() };
    let first = seed(3);
    for seed in first..first + 2 {
        let _told = Told(seed);
        let operations = lives(seed, u64::MAX, weaker);
        for cut in 1..=operations {
            lives(seed, cut, weaker);
        }
    }
    let mut driven = World::new_store(weaker());
    let mut twin = Twin::default();
    for number in 0..20 {
        driven.submit(&vec![(vec![1, number], Some(vec![1]))], &mut twin);
        driven.commit_all(&mut twin).unwrap();
    }
    assert!(twin.promised < 20, "it is not flushed");
    twin.promised = 20;
    twin.found(&driven.world.after_kill().start(weaker()).unwrap(), "a kill loses nothing");
}

#[test]
fn a_store_agrees_with_its_twin_over_many_lives() {
    let first = seed(1);
    for seed in first..first + 40 {
        let _told = Told(seed);
        let random = &mut Random::new(seed);
        let mut twin = Twin::default();
        let mut driven = World::new_store(options());
        for life in 0..5 {
            driven.run(40, &mut twin, random);
            let rows = twin.rows();
            assert!(driven.scan(&[]) == rows);
            for prefix in [1, 3, 4, 6] {
                let mut wanted = rows.clone();
                wanted.retain(|key, _| key[0] == prefix);
                assert!(driven.scan(&[prefix]) == wanted);
            }
            let next = driven.world.after_kill().start(options()).unwrap();
            twin.found(&next, &format!("life {life}"));
            driven = next;
        }
    }
}

#[test]
fn what_is_consumed_before_a_checkpoint_never_reaches_the_table() {
    let mut driven = World::new_store(options());
    let mut twin = Twin::default();
    let key = |number: u64| [&[4][..], &number.to_be_bytes()].concat();
    let state = |number: u8| vec![6, number];
    for round in 1..4 {
        for number in 1..100 {
            let number = round * 1000 + number;
            driven.submit(&vec![(key(number), Some(vec![1; 90]))], &mut twin);
            driven.submit(&vec![(state(5), Some(vec![2]))], &mut twin);
            driven.submit(&vec![(state(5), None), (key(number), None)], &mut twin);
        }
        driven.commit_all(&mut twin).unwrap();
        assert_eq!(driven.shared().tail().pending_rows(), 0);
        assert_eq!(driven.shared().stats().cancelled_rows, round * 198);
        // One that stays, so that the next round meets keys of both kinds in the table.
        driven.submit(&vec![(key(round * 1000 + 500), Some(vec![]))], &mut twin);
        driven.submit(&vec![(state(5), Some(vec![]))], &mut twin);
        driven.checkpoint(&mut twin).unwrap();
        driven.submit(&vec![(state(5), None)], &mut twin);
        driven.checkpoint(&mut twin).unwrap();
        let rows = twin.rows().len() as u64;
        assert_eq!(driven.world.table.with_rows(|rows| rows.len()) as u64, 1 + rows);
    }
}

#[test]
fn a_lost_other_or_older_row_of_the_table_is_refused_by_name() {
    let mut driven = World::new_store(options());
    let (mut twin, random) = (Twin::default(), &mut Random::new(3));
    driven.run(60, &mut twin, random);
    driven.commit_all(&mut twin).unwrap();
    driven.checkpoint(&mut twin).unwrap();
    let older = driven.world.after_kill();
    driven.run(60, &mut twin, random);
    driven.checkpoint(&mut twin).unwrap();
    let after = driven.world.after_kill();
    let names_it = |world: &World| match world.start(options()) {
        Err(error @ StoreError::Damaged { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    let rows = after.table.with_rows(|rows| rows.clone());
    assert!(rows.len() > 5);
    for (key, value) in &rows {
        let lost = after.after_kill();
        lost.table.with_rows(|rows| rows.remove(key));
        assert!(names_it(&lost).contains("/simulated/table"));
        let other = after.after_kill();
        other.table.with_rows(|rows| rows.insert(key.clone(), [&value[..], b"x"].concat()));
        names_it(&other);
    }
    let added = after.after_kill();
    added.table.with_rows(|rows| rows.insert(vec![9, 9], vec![]));
    names_it(&added);
    let rolled_back = World { disk: after.disk.after_kill(), table: older.table };
    names_it(&rolled_back);
    let old_journal = World { disk: older.disk, table: after.after_kill().table };
    names_it(&old_journal);
    after.start(options()).map(|_| ()).unwrap();
}

#[test]
fn a_table_that_failed_is_never_called_again_and_the_journal_goes_on() {
    let mut driven = World::new_store(options());
    let (mut twin, random) = (Twin::default(), &mut Random::new(5));
    driven.run(50, &mut twin, random);
    driven.commit_all(&mut twin).unwrap();
    driven.checkpoint(&mut twin).unwrap();
    driven.world.table.break_it();
    driven.submit(&vec![(vec![1, 200], Some(vec![1]))], &mut twin);
    assert!(driven.checkpoint(&mut twin).is_err());
    for _ in 0..3 {
        assert!(driven.parts.checkpointer.checkpoint().is_err());
    }
    driven.submit(&vec![(vec![1, 201], Some(vec![2]))], &mut twin);
    driven.commit_all(&mut twin).unwrap();
    assert_eq!(twin.promised, twin.history.len() as u64);
    for key in [200, 201] {
        assert!(get(driven.shared(), &[1, key]).unwrap().is_some());
    }
    assert!(driven.shared().stats().table_failed.unwrap().contains("it broke"));
    assert!(!driven.world.table.was_called_again());
    let next = driven.world.after_kill().start(options()).unwrap();
    twin.found(&next, "after the table broke");
    assert!(next.parts.report.repaired);
}

#[test]
fn a_failed_flush_fails_the_store_for_good_and_everybody_is_told() {
    let mut driven = World::new_store(options());
    let mut twin = Twin::default();
    driven.submit(&vec![(vec![1], Some(vec![1]))], &mut twin);
    driven.commit_all(&mut twin).unwrap();
    driven.world.disk.break_flushes();
    let lsn = driven.submit(&vec![(vec![2], Some(vec![2]))], &mut twin);
    let shared = driven.shared().clone();
    assert_eq!(shared.state(lsn, Waker::noop()), Progress::Pending);
    assert_eq!(driven.commit(&mut twin), CommitStep::Failed);
    assert_eq!(shared.waiters.len(), 0);
    assert_eq!(shared.state(lsn, Waker::noop()), Progress::Failed);
    assert_eq!(shared.state(lsn - 1, Waker::noop()), Progress::Durable);
    assert_eq!(shared.room.check(1, &shared.options), Err(Refused::Failed));
    let later = driven.submit(&vec![(vec![3], Some(vec![3]))], &mut twin);
    assert_eq!(shared.state(later, Waker::noop()), Progress::Failed);
    assert!(driven.parts.checkpointer.checkpoint().is_err());
    assert!(shared.stats().poisoned.unwrap().contains("flush"));
    twin.found(&driven.world.after_kill().start(options()).unwrap(), "after a failed flush");
}

#[test]
fn on_a_full_disk_nothing_new_is_admitted_and_all_goes_on_when_there_is_room() {
    full_disk(false);
    full_disk(true);
}

fn full_disk(copy_on_write: bool) {
    let options = Options { reserve_bytes: 4096 + 9000, ..options() };
    let mut driven = World::new_store(options.clone());
    let (mut twin, random) = (Twin::default(), &mut Random::new(9));
    if copy_on_write {
        driven.world.disk.copy_on_write();
    }
    let shared = driven.shared().clone();
    for round in 0..6_u8 {
        driven.run(30, &mut twin, random);
        driven.commit_all(&mut twin).unwrap();
        driven.world.disk.set_room(Some(20_000));
        let before = twin.promised;
        let mut full = false;
        for number in 0..200_u8 {
            let admitted = shared.room.check(400, &options);
            full |= admitted == Err(Refused::Full);
            // What makes room is handed in even then.
            let value = admitted.is_ok().then(|| vec![round; 400]);
            driven.submit(&vec![(vec![1, number], value)], &mut twin);
            if driven.commit(&mut twin) == CommitStep::Full {
                full |= shared.room.check(400, &options) == Err(Refused::Full);
                break;
            }
            driven.parts.keeper.make(&shared.room);
        }
        assert!(full, "in round {round} the disk was never full");
        let promised = twin.promised - before;
        assert!(promised > 20 || copy_on_write, "the reserve was of no use: {promised}");
        assert!(shared.stats().full.is_some());
        let mut after = driven.world.after_kill();
        after.disk.set_room(None);
        twin.clone().found(&after.start(options.clone()).unwrap(), "killed on a full disk");
        after = driven.world.clone();
        after.disk.set_room(None);
        driven.commit_all(&mut twin).unwrap();
        driven.checkpoint(&mut twin).unwrap();
        for number in 0..60 {
            driven.submit(&vec![(vec![1, number], Some(vec![1; 400]))], &mut twin);
            driven.commit_all(&mut twin).unwrap();
        }
        assert_eq!(shared.room.check(400, &options), Ok(()));
    }
}

/// The whole of a checkpoint, while the journal is written.
fn whole_checkpoint(driven: &mut Driven) -> CheckpointOutcome {
    let EngineParts { shared, committer, checkpointer, .. } = &mut driven.parts;
    std::thread::scope(|scope| {
        let done = scope.spawn(|| checkpointer.checkpoint().unwrap());
        while !done.is_finished() {
            // Not before it has looked for room: what is written takes some.
            if shared.tail().is_freezing() {
                committer.step();
            }
            std::thread::yield_now();
        }
        done.join().unwrap()
    })
}

fn put(shared: &EngineShared, key: u8, len: usize) {
    let mut batch = RowBatch::new();
    batch.put(&[1, key], &vec![key; len]);
    shared.submit(&mut batch);
}

#[test]
fn a_checkpoint_that_could_fill_the_disk_waits_and_the_ballast_gives_it_room() {
    let options = Options { ballast_bytes: 1 << 20, ..options() };
    let mut driven = World::new_store(options.clone());
    let shared = driven.shared().clone();
    put(&shared, 1, 100);
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Written);
    put(&shared, 1, 100);
    driven.world.disk.set_room(Some(100));
    assert_eq!(driven.parts.checkpointer.checkpoint().unwrap(), CheckpointOutcome::Refused);
    assert_eq!(shared.room.check(1, &options), Err(Refused::Full));
    assert!(shared.stats().full.unwrap().contains("checkpoint"));
    driven.world.disk.set_room(None);
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Written);
    assert_eq!(shared.room.check(1, &options), Ok(()));
}

/// More than a checkpoint of a few small rows wants.
const CHECKPOINT: u64 = 9 << 20;

#[test]
fn a_journal_that_grows_while_a_checkpoint_is_written_leaves_it_its_room() {
    let mut driven = World::new_store(options());
    let shared = driven.shared().clone();
    put(&shared, 1, 100);
    let segment = options().segment_bytes;
    driven.world.disk.set_room(Some(CHECKPOINT));
    let supply =
        Supply { keeper: driven.parts.keeper.clone(), room: driven.parts.shared.room.clone() };
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    // Until there is none: what is left is what the checkpoint was told that it has.
    driven.world.table.next_flush_takes(8 << 20, move || {
        while supply.take().is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Written);
    let taken = taken.load(std::sync::atomic::Ordering::Relaxed) as u64;
    assert!(taken > 1 && taken * segment < 1 << 20, "{taken} segments beside a checkpoint");
    assert_eq!(shared.room.check(1, &options()), Err(Refused::Full), "the journal has none");
    driven.world.disk.set_room(None);
    driven.parts.keeper.make(&shared.room);
    assert_eq!(shared.room.check(1, &options()), Ok(()));
    assert_eq!(shared.stats().table_failed, None);
}

#[test]
fn a_store_whose_disk_has_no_room_for_a_checkpoint_can_be_closed() {
    let options = Options { checkpoint_interval: Duration::ZERO, ..options() };
    let driven = World::new_store(options);
    let shared = driven.shared().clone();
    put(&shared, 1, 100);
    driven.world.disk.set_room(Some(100));
    let (sender, ended) = std::sync::mpsc::channel();
    let checkpointer = driven.parts.checkpointer;
    std::thread::spawn(move || {
        checkpointer.run();
        let _ = sender.send(());
    });
    shared.schedule.close();
    assert!(ended.recv_timeout(Duration::from_secs(60)).is_ok(), "it never ends");
}

#[test]
fn a_checkpoint_that_has_begun_when_its_room_is_gone_waits_for_more_and_loses_nothing() {
    let mut driven = World::new_store(options());
    let mut twin = Twin::default();
    let shared = driven.shared().clone();
    let (large, small) = (vec![1; 3 << 20], vec![2; 100]);
    driven.submit(&vec![(vec![1, 1], Some(large.clone()))], &mut twin);
    // Enough for the checkpoint, but the journal is still to be made longer for what it begins with.
    driven.world.disk.set_room(Some(15 << 20));
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Refused);
    twin.history.push(Changes::new());
    driven.submit(&vec![(vec![1, 2], Some(small.clone()))], &mut twin);
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Refused);
    assert_eq!(driven.world.table.with_rows(|rows| rows.len()), 1, "it is not begun in part");
    assert_eq!(shared.room.check(1, &options()), Err(Refused::Full));
    driven.commit_all(&mut twin).unwrap();
    assert!(driven.scan(&[]) == twin.rows());
    twin.clone().found(&driven.world.after_kill().start(options()).unwrap(), "killed meanwhile");
    driven.world.disk.set_room(None);
    assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Written);
    (0..3).for_each(|_| twin.history.push(Changes::new()));
    assert_eq!(shared.tail().pending_rows(), 0, "both are written");
    assert_eq!(shared.room.check(1, &options()), Ok(()));
    driven.commit_all(&mut twin).unwrap();
    twin.found(&driven.world.after_kill().start(options()).unwrap(), "when it had room");
}

/// A checkpoint may be slow, and messages come fast: what then waits for the next one finds room all the same.
#[test]
fn no_more_waits_than_a_checkpoint_finds_room_for() {
    let options = Options {
        segment_bytes: 1 << 20,
        segment_bytes_min: 1 << 20,
        reserve_bytes: 1 << 20,
        checkpoint_rows_max: 64,
        ..options()
    };
    for room in [16, 24, 96] {
        let mut driven = World::new_store(options.clone());
        let shared = driven.shared().clone();
        driven.world.disk.set_room(Some(room << 20));
        driven.parts.keeper.make(&shared.room);
        let mut batch = RowBatch::new();
        let mut number = 0_u32;
        while shared.room.check(8000, &options).is_ok() {
            number += 1;
            batch.put(&[&[1][..], &number.to_be_bytes()].concat(), &[7; 8000]);
            shared.submit(&mut batch);
            assert_eq!(driven.parts.committer.step(), CommitStep::Committed);
            driven.parts.keeper.make(&shared.room);
        }
        assert!(number > 100, "{room} MiB: {number} messages");
        assert_eq!(whole_checkpoint(&mut driven), CheckpointOutcome::Written, "{room} MiB");
    }
}

#[test]
fn a_table_rests_once_after_each_time_that_something_was_written() {
    let soon = Duration::from_millis(1);
    let options = Options { checkpoint_interval: soon, rest_after: soon, ..options() };
    let Driven { world, parts, .. } = World::new_store(options);
    let EngineParts { shared, committer, checkpointer, .. } = parts;
    let commit = std::thread::spawn(move || committer.run());
    let checkpoint = std::thread::spawn(move || checkpointer.run());
    for rests in 1..=4 {
        let begun = std::time::Instant::now();
        while world.table.rests() < rests {
            assert!(begun.elapsed() < Duration::from_secs(60), "{rests}: it does not rest");
            std::thread::yield_now();
        }
        if rests < 4 {
            let mut batch = RowBatch::new();
            batch.put(&[1, rests as u8], b"value");
            shared.submit(&mut batch);
        }
    }
    shared.schedule.close();
    checkpoint.join().unwrap();
    shared.close_committer();
    commit.join().unwrap();
    assert_eq!((world.table.rests(), world.table.with_rows(|rows| rows.len())), (4, 3 + 1));
}
