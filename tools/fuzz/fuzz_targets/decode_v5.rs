//! Any bytes into the decoder of version 5: no panic; what it takes, it writes again, and reads
//! again as the same.
#![no_main]

#[path = "../codec.rs"]
mod codec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::check(data, sluicemq::codec::Version::V5));
