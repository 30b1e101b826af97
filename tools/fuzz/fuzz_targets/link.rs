//! Any bytes played as conversations of a few clients; see `tests/fuzz/links.rs`.
#![no_main]

#[path = "../../../tests/fuzz/links.rs"]
mod links;

libfuzzer_sys::fuzz_target!(|data: &[u8]| links::play(data));
