//! The journal on a simulated disk: power cuts after every operation, damage at every byte.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;

use super::recovery::{self, JournalEnd};
use super::segment::{self, START, Segment, Workshop};
use super::{AppendError, Chunk, Journal, RESERVE, Spares};
use crate::random::Random;
use crate::store::engine::disk::Disk;
use crate::store::engine::error::StoreError;
use crate::store::engine::frame::{self, FrameKind, HEAD};
use crate::store::engine::simulation::{SimDisk, Told, seed};

const STORE: [u8; 16] = *b"a store of tests";
const CAPACITY: u64 = START + 9000;

/// One life of a journal: from a start to a crash.
struct Life {
    disk: SimDisk,
    journal: Journal,
    spares: Makers,
}

/// Makes the next segment when it is wanted, of an old one if there is one.
struct Makers {
    workshop: Workshop,
    next: Cell<u64>,
    old: RefCell<Vec<u64>>,
}

impl Spares for Makers {
    fn take(&self) -> io::Result<Segment> {
        let sequence = self.next.get();
        let old = self.old.borrow_mut().pop();
        let remade = old.map(|old| self.workshop.remake(old, sequence, CAPACITY)).transpose()?;
        let segment = match remade.flatten() {
            Some(segment) => segment,
            None => self.workshop.make(sequence, CAPACITY)?,
        };
        self.next.set(sequence + 1);
        Ok(segment)
    }
}

/// What was written, in the order of its numbers, and what is known of it.
#[derive(Clone, Default)]
struct Known {
    bodies: Vec<Vec<u8>>,
    /// Flushed, so promised.
    certain: u64,
    /// In the table, so no longer needed here.
    table: u64,
}

fn begin(disk: &SimDisk) -> Result<Life, StoreError> {
    let workshop = Workshop::new(Arc::new(disk.clone()), STORE);
    let first = workshop.make(1, CAPACITY).map_err(|_| StoreError::Failed("cut".to_owned()))?;
    Ok(life(disk, workshop, first, 0, Vec::new()))
}

fn life(
    disk: &SimDisk,
    workshop: Workshop,
    active: Segment,
    last: u64,
    sealed: Vec<super::Sealed>,
) -> Life {
    let next = Cell::new(active.sequence + 1);
    let journal = Journal::new(workshop.clone(), active, last, sealed);
    let spares = Makers { workshop, next, old: RefCell::default() };
    Life { disk: disk.clone(), journal, spares }
}

/// Starts on a disk: what is read must be what is known.
fn recover(disk: &SimDisk, known: &mut Known) -> Result<Life, StoreError> {
    let found = check(disk, known)?;
    known.bodies.truncate(usize::try_from(found.last).unwrap());
    known.certain = found.last;
    let workshop = Workshop::new(Arc::new(disk.clone()), STORE);
    let active = found.go_on(&workshop, CAPACITY)?;
    for old in found.leftovers() {
        workshop.remove(old).map_err(|_| StoreError::Failed("cut".to_owned()))?;
    }
    Ok(life(disk, workshop, active, found.last, found.sealed))
}

/// Reads the journal: every promised frame must be there, and nothing that was not written.
fn check(disk: &SimDisk, known: &Known) -> Result<JournalEnd, StoreError> {
    let mut expected = known.table;
    let found = recovery::read(disk, STORE, known.table, &mut |lsn, kind, body| {
        expected += 1;
        assert_eq!((lsn, kind), (expected, FrameKind::Rows));
        assert!(lsn <= known.bodies.len() as u64, "frame {lsn} was never written");
        assert!(body == known.bodies[usize::try_from(lsn).unwrap() - 1], "frame {lsn} differs");
        Ok(())
    })?;
    assert_eq!(found.last, expected);
    assert!(found.last >= known.certain, "{} promised, {} there", known.certain, found.last);
    Ok(found)
}

impl Life {
    /// Some writes, flushes and releases, as chance has it; ends early when the power goes.
    fn run(&mut self, steps: usize, random: &mut Random, known: &mut Known) {
        for _ in 0..steps {
            if self.step(random, known).is_err() {
                return;
            }
        }
    }

    fn step(&mut self, random: &mut Random, known: &mut Known) -> Result<(), AppendError> {
        let mut chunk = Chunk::default();
        for _ in 0..1 + random.below(4) {
            let len = if random.percent(5) { random.below(12_000) } else { random.below(700) };
            let body: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            known.bodies.push(body.clone());
            push(&mut chunk, &body);
        }
        self.journal.append(&mut chunk, &self.spares)?;
        self.journal.flush()?;
        known.certain = self.journal.certain();
        if random.percent(40) {
            self.journal.settle();
        }
        if random.percent(30) {
            known.table = known.table.max(random.next() % (known.certain + 1));
            for sealed in self.journal.release(known.table) {
                if random.percent(50) {
                    self.spares.old.borrow_mut().push(sealed.sequence);
                } else {
                    let _ = self.spares.workshop.remove(sealed.sequence);
                }
            }
        }
        Ok(())
    }
}

fn push(chunk: &mut Chunk, body: &[u8]) {
    let mut draft = vec![0; HEAD];
    draft.extend_from_slice(body);
    frame::draft(&mut draft, FrameKind::Rows, body.len(), frame::checksum(body));
    chunk.push_draft(&draft);
}

/// Runs three lives; the power goes at operation `cut` of the first, and somewhere in the others.
fn three_lives(seed: u64, cut: u64) -> u64 {
    let disk = SimDisk::default();
    let random = &mut Random::new(seed);
    let mut known = Known::default();
    disk.cut_after(cut);
    if let Ok(mut first) = begin(&disk) {
        first.run(12, random, &mut known);
    } else {
        return disk.operations();
    }
    let operations = disk.operations();
    for keep in [0, 50, 100] {
        let mut random = random.clone();
        let mut known = known.clone();
        let mut disk = disk.clone();
        for _ in 0..2 {
            disk = disk.after_cut(&mut random, keep);
            check(&disk, &known).unwrap_or_else(|e| panic!("cut {cut}, keep {keep}: {e}"));
            disk.cut_after(1 + random.next() % 60);
            let Ok(mut next) = recover(&disk, &mut known) else { continue };
            next.run(6, &mut random, &mut known);
        }
        let disk = disk.after_cut(&mut random, keep);
        check(&disk, &known).unwrap_or_else(|e| panic!("cut {cut}, keep {keep}, last: {e}"));
    }
    operations
}

#[test]
fn a_power_cut_after_any_operation_loses_nothing_promised() {
    let seed = seed(2026);
    for seed in seed..seed + 12 {
        let _told = Told(seed);
        let operations = three_lives(seed, u64::MAX);
        for cut in 1..=operations {
            three_lives(seed, cut);
        }
    }
}

#[test]
fn a_flush_that_lies_is_found_out() {
    let found = (0..20).filter(|&seed| {
        let disk = SimDisk::default();
        let mut known = Known::default();
        let random = &mut Random::new(seed);
        let mut life = begin(&disk).unwrap();
        disk.lie();
        life.run(3, random, &mut known);
        let after = disk.after_cut(random, 30);
        std::panic::catch_unwind(|| check(&after, &known)).map_or(true, |read| read.is_err())
    });
    assert!(found.count() > 15);
}

/// A journal of several segments after a kill, with its last frames settled.
fn killed(seed: u64) -> (SimDisk, Known) {
    let disk = SimDisk::default();
    let random = &mut Random::new(seed);
    let mut known = Known::default();
    let mut life = begin(&disk).unwrap();
    life.run(9, random, &mut known);
    life.journal.settle();
    (life.disk.after_kill(), known)
}

/// Segments from the one with the first needed frame to the last written.
fn needed(disk: &SimDisk, known: &Known) -> Vec<u64> {
    let found = check(disk, known).unwrap();
    found.sealed.iter().map(|sealed| sealed.sequence).collect()
}

#[test]
fn a_changed_byte_is_refused_by_name_or_changes_nothing() {
    let mut refused = 0;
    for seed in 0..4 {
        let (disk, known) = killed(seed);
        let random = &mut Random::new(seed);
        for sequence in needed(&disk, &known) {
            let name = segment::name(sequence);
            let mut len = 0;
            disk.with(&name, |bytes| len = bytes.len());
            for at in 0..len {
                let flip = (random.next() as u8).max(1);
                disk.with(&name, |bytes| bytes[at] ^= flip);
                match check(&disk, &known) {
                    // Served: every promised frame was compared.
                    Ok(_) => {}
                    Err(StoreError::Damaged { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
                disk.with(&name, |bytes| bytes[at] ^= flip);
            }
        }
        check(&disk, &known).unwrap();
    }
    assert!(refused > 5000, "{refused}");
}

#[test]
fn a_segment_cut_short_or_gone_is_refused_by_name() {
    for seed in 0..4 {
        let (disk, known) = killed(seed);
        for sequence in needed(&disk, &known) {
            let name = segment::name(sequence);
            let mut whole = Vec::new();
            disk.with(&name, |bytes| whole = bytes.clone());
            for len in (0..whole.len()).step_by(7) {
                disk.with(&name, |bytes| bytes.truncate(len));
                let refused = check(&disk, &known);
                assert!(
                    matches!(refused, Err(StoreError::Damaged { .. })),
                    "{name} of {len} bytes"
                );
            }
            disk.with(&name, |bytes| bytes.clone_from(&whole));
            let gone = disk.after_kill();
            gone.remove(&name).unwrap();
            let refused = check(&gone, &known);
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "without {name}");
        }
    }
}

#[test]
fn zeroed_sectors_are_refused_by_name_or_change_nothing() {
    for seed in 0..4 {
        let (disk, known) = killed(seed);
        for sequence in needed(&disk, &known) {
            let name = segment::name(sequence);
            let mut whole = Vec::new();
            disk.with(&name, |bytes| whole = bytes.clone());
            for (at, len) in [512, 4096]
                .into_iter()
                .flat_map(|len| (0..whole.len()).step_by(len).map(move |at| (at, len)))
            {
                let end = (at + len).min(whole.len());
                disk.with(&name, |bytes| bytes[at..end].fill(0));
                match check(&disk, &known) {
                    Ok(_) | Err(StoreError::Damaged { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
                disk.with(&name, |bytes| bytes.clone_from(&whole));
            }
        }
    }
}

#[test]
fn a_full_disk_is_waited_for_and_written_to_at_the_same_place() {
    let disk = SimDisk::default();
    disk.copy_on_write();
    let mut known = Known::default();
    let mut life = begin(&disk).unwrap();
    for round in 0..40_u64 {
        let body = vec![round as u8; 300];
        known.bodies.push(body.clone());
        let mut chunk = Chunk::default();
        push(&mut chunk, &body);
        disk.set_room(Some(100 * (round % 4)));
        let mut refused = 0;
        while let Err(refusal) = life.journal.append(&mut chunk, &life.spares) {
            assert!(matches!(refusal, AppendError::NotNow(_)));
            refused += 1;
            check(&disk.after_kill(), &known).unwrap();
            disk.set_room(if refused < 3 { Some(200) } else { None });
        }
        life.journal.flush().unwrap();
        known.certain = life.journal.certain();
        check(&disk.after_kill(), &known).unwrap();
    }
}

#[test]
fn after_a_failed_flush_nothing_is_written_and_none_is_tried_again() {
    let disk = SimDisk::default();
    let mut known = Known::default();
    let mut life = begin(&disk).unwrap();
    life.run(2, &mut Random::new(1), &mut known);
    let mut chunk = Chunk::default();
    push(&mut chunk, b"never certain");
    life.journal.append(&mut chunk, &life.spares).unwrap();
    disk.break_flushes();
    assert!(matches!(life.journal.flush(), Err(AppendError::Failed(_))));
    let operations = disk.operations();
    assert!(matches!(life.journal.flush(), Err(AppendError::Failed(_))));
    assert!(matches!(
        life.journal.append(&mut Chunk::default(), &life.spares),
        Err(AppendError::Failed(_))
    ));
    life.journal.settle();
    assert_eq!(disk.operations(), operations);
    assert_eq!(life.journal.certain(), known.certain);
    let Err(AppendError::Failed(error)) = life.journal.flush() else { panic!("it flushed") };
    assert!(error.to_string().contains("flush"), "{error}");
}

#[test]
fn another_stores_segment_is_refused() {
    let (disk, known) = killed(1);
    let refused = recovery::read(&disk, [7; 16], known.table, &mut |_, _, _| Ok(()));
    assert!(refused.unwrap_err().to_string().contains("another store"));
}

#[test]
fn frames_that_a_crash_left_behind_the_end_never_come_back() {
    let disk = SimDisk::default();
    let mut known = Known::default();
    let mut life = begin(&disk).unwrap();
    let body = |number: u8| vec![number; 600];
    let append = |life: &mut Life, known: &mut Known, numbers: std::ops::Range<u8>| {
        let mut chunk = Chunk::default();
        for number in numbers {
            known.bodies.push(body(number));
            push(&mut chunk, &body(number));
        }
        life.journal.append(&mut chunk, &life.spares).unwrap();
    };
    // Until a segment is full, so that the next chunk is the first one in the next segment.
    let room = (CAPACITY - START - RESERVE) / frame::padded(HEAD + 600) as u64;
    append(&mut life, &mut known, 0..u8::try_from(room).unwrap());
    life.journal.flush().unwrap();
    known.certain = life.journal.certain();
    append(&mut life, &mut known, 100..105);
    let disk = disk.after_kill();
    // Of what was never flushed the crash left all but the first frame in the second segment.
    let second = segment::name(2);
    let begin = usize::try_from(START).unwrap();
    disk.with(&second, |bytes| bytes[begin..begin + 512].fill(0));
    let mut life = recover(&disk, &mut known).unwrap();
    append(&mut life, &mut known, 200..201);
    life.journal.flush().unwrap();
    known.certain = life.journal.certain();
    let found = check(&disk.after_kill(), &known).unwrap();
    assert_eq!(found.last, known.certain);
}
