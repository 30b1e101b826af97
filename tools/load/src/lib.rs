//! `sluice-load`: makes load for an MQTT broker and verifies what comes back.
//!
//! Every message carries its publisher, its sequence number, when it was due and a checksum, so
//! that loss, duplicates, order, corruption and latency are known, not guessed.

pub mod outcome;
