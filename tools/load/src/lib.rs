//! `sluice-load`: makes load for an MQTT broker and verifies what comes back.
//!
//! Every message carries its publisher, its sequence number, when it was due and a checksum, so
//! that loss, duplicates, order, corruption and latency are known, not guessed.
//!
//! A [`scenario`] makes a [`plan`]; an [`engine`] carries it out against a [`target`] and gives an
//! [`outcome`], from which every kind of output is made. What can be pure is pure and knows no
//! socket and no clock: [`stamp`], [`verify`], [`routes`], [`client`], [`window`], [`payload`].

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod client;
pub mod command;
pub mod compare;
pub mod csv;
pub mod engine;
pub mod error;
pub mod journal;
pub mod measure;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod process;
pub mod progress;
pub mod quantity;
#[cfg(test)]
#[path = "../../../src/random.rs"]
mod random;
pub mod report;
pub mod require;
pub mod routes;
pub mod scenario;
pub mod stamp;
pub mod table;
pub mod target;
pub mod verify;
pub mod window;
