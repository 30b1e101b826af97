//! What a decision costs, with a hundred rules and with none.

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_bench::access::Publisher;

fn decisions(criterion: &mut Criterion) {
    for (name, mut publisher) in [
        ("access-100-rules", Publisher::of_new_topics()),
        ("access-known-topic", Publisher::of_one_topic()),
        ("access-no-rules", Publisher::without_rules()),
    ] {
        assert!(publisher.ask());
        criterion.bench_function(name, |bench| bench.iter(|| publisher.ask()));
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
