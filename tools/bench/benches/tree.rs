//! What a subscription and a retained name cost: bytes first, then nanoseconds.
//!
//! `cargo bench --bench tree` prints the bytes at the top.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sluice_bench::names::{self, FEW, Subscriptions};
use sluicemq::topic::{Retained, TopicName};

/// The system's allocator, counting the bytes that are out.
struct Counting;

static OUT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` unchanged; a counter is all that is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OUT.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn device(i: usize) -> String {
    format!("fleet/site{}/device{i:05}/cmd", i % 1000)
}

fn memory() {
    subscriptions("cmd");
    subscriptions("#");
    let (mut store, before) = (Retained::new(), OUT.load(Ordering::Relaxed));
    for i in 0..MANY {
        store.insert(TopicName::trusted(&device(i)), i as u64);
    }
    report("retained name", "fleet/site123/device45678/cmd", OUT.load(Ordering::Relaxed) - before);
    stalls(&store);
}

fn subscriptions(last: &str) {
    let filters: Vec<String> = (0..MANY).map(|i| device(i).replace("cmd", last)).collect();
    let (mut tree, before, mut slowest) =
        (Subscriptions::new(1), OUT.load(Ordering::Relaxed), Duration::ZERO);
    let start = Instant::now();
    for (filter, key) in filters.iter().zip(0..) {
        let start = Instant::now();
        tree.insert(filter, key, 0);
        slowest = slowest.max(start.elapsed());
    }
    report("subscription", &filters[45_678], OUT.load(Ordering::Relaxed) - before);
    println!(
        "  {} filters, {:?} in all, slowest insert {slowest:?}",
        tree.filters(),
        start.elapsed()
    );
    let start = Instant::now();
    for (filter, key) in filters.iter().zip(0..) {
        tree.remove(filter, key);
    }
    let left = OUT.load(Ordering::Relaxed) - before;
    println!("  all removed in {:?}, {left} bytes left", start.elapsed());
}

fn report(what: &str, like: &str, bytes: usize) {
    println!("{MANY} of {what} ({like}): {} bytes each", bytes / MANY);
}

/// How long a filter that matches nothing holds a store for one call.
fn stalls(store: &Retained<u64>) {
    let (mut after, mut resume, mut calls) = (None::<String>, None, 0);
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    loop {
        let call = Instant::now();
        let end = store.scan("+/+/+/x", after.as_deref(), &mut 1000, &mut resume, &mut |_, _| true);
        slowest = slowest.max(call.elapsed());
        calls += 1;
        if end {
            break;
        }
        after = resume.take();
    }
    println!("  +/+/+/x over all: {:?} in {calls} calls, slowest {slowest:?}", start.elapsed());
}

fn count(tree: &Subscriptions, name: &str) -> usize {
    let mut found = 0;
    tree.visit(TopicName::trusted(black_box(name)), &mut |key, _| {
        black_box(key);
        found += 1;
    });
    found
}

/// Calls `run` on one name after another, in an order no cache foresees.
fn over(criterion: &mut Criterion, title: &str, names: &[String], run: impl Fn(&str) -> usize) {
    assert!(names.iter().all(|name| run(name) > 0));
    let mut at = 0;
    criterion.bench_function(title, |bench| {
        bench.iter(|| {
            at = (at + 7919) % names.len();
            run(&names[at])
        });
    });
}

fn visits(criterion: &mut Criterion) {
    memory();
    let tree = names::hundred_thousand();
    let (exact, plus, rest) = (names::exact(), names::plus(), names::rest());
    over(criterion, "visit 100k, exact, hot", &exact[..1], |name| count(&tree, name));
    over(criterion, "visit 100k, exact, 100 names", &exact[..100], |name| count(&tree, name));
    over(criterion, "visit 100k, exact, all names", &exact, |name| count(&tree, name));
    over(criterion, "visit 100k, +", &plus, |name| count(&tree, name));
    over(criterion, "visit 100k, #", &rest, |name| count(&tree, name));

    let mut wide = Subscriptions::new(1);
    for key in 0..FEW as u64 {
        wide.insert("fleet/+/news", key, 0);
    }
    over(criterion, "visit 100k under one filter", &["fleet/a/news".into()], |name| {
        count(&wide, name)
    });
}

fn changes(criterion: &mut Criterion) {
    let mut tree = names::hundred_thousand();
    let mut at = 0;
    criterion.bench_function("insert and remove, 100k others", |bench| {
        let name = || {
            at = (at + 7919) % FEW;
            format!("site{}/device{at}/cmd", at % 100)
        };
        bench.iter_batched(
            name,
            |name| (tree.insert(&name, 1, 0), tree.remove(&name, 1)),
            BatchSize::SmallInput,
        );
    });
    let mut wide = Subscriptions::new(1);
    for key in 0..FEW as u64 {
        wide.insert("fleet/+/news", key * 2, 0);
    }
    criterion.bench_function("insert and remove, 100k under the same filter", |bench| {
        bench.iter(|| {
            at = (at + 7919) % FEW;
            let key = at as u64 * 2 + 1;
            (wide.insert("fleet/+/news", key, 0), wide.remove("fleet/+/news", key))
        });
    });
}

fn retained(criterion: &mut Criterion) {
    let names: Vec<String> = (0..FEW).map(device).collect();
    let mut store = Retained::new();
    for name in &names {
        store.insert(TopicName::trusted(name), 1_u64);
    }
    over(criterion, "retained get, 100k", &names, |name| {
        usize::from(store.get(TopicName::trusted(name)).is_some())
    });
    let mut at = 0;
    criterion.bench_function("retained replace, 100k", |bench| {
        bench.iter(|| {
            at = (at + 7919) % names.len();
            store.insert(TopicName::trusted(&names[at]), 2)
        });
    });
    criterion.bench_function("retained scan, fleet/site7/+/cmd, 100 of 100k", |bench| {
        bench.iter(|| {
            let mut found = 0;
            store.scan(
                "fleet/site7/+/cmd",
                None,
                &mut usize::MAX.clone(),
                &mut None,
                &mut |_, _| {
                    found += 1;
                    true
                },
            );
            assert_eq!(found, 100);
        });
    });
}

const MANY: usize = 1_000_000;

criterion_group!(benches, visits, changes, retained);
criterion_main!(benches);
