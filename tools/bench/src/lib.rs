//! Benchmarks of Sluice, in `benches/`. `cargo bench -p sluice-bench`.
