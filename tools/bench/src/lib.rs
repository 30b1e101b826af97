//! Benchmarks of Sluice.
//!
//! `cargo bench -p sluice-bench` for time, `tools/bench/check` for instructions, which are the same
//! at every run, `tools/bench/compare` for whole brokers beside each other. What they share is here.

pub mod access;
pub mod links;
pub mod names;
