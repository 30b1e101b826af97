//! Sluice: an MQTT 3.1.1 and 5 broker. `ARCHITECTURE.md` is the map.
//!
//! Floors, from the bottom; imports go downward only:
//!
//! * floor 0: [`time`], [`config`], [`place`], `nearest`, [`sync`], [`fault`]
//! * floor 1: [`codec`], [`topic`], [`shape`]: pure parts that know nothing of each other
//! * floor 2: [`message`], [`session`]: the protocol, pure
//! * floor 3: [`broker`]: shared state, synchronous, deterministic
//! * floor 4: [`net`], [`http`], [`store`], [`auth`], [`certs`], [`settings`], [`logging`],
//!   `cluster`:
//!   adapters to the world
//! * above them: [`run`], which puts the house together; [`import`], which reads what other brokers have

//!
//! # A broker inside a program
//!
#![doc = concat!("```\n", include_str!("../examples/embed.rs"), "```")]
// One function has an exception, and says why: it gives memory back to the system (`net/trim.rs`).
#![deny(unsafe_code)]
// What a command prints is printed by `logging::console`; else a reader that has gone is a panic.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod auth;
pub mod broker;
pub mod certs;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod codec;
pub mod config;
pub mod fault;
pub mod http;
pub mod import;
pub mod logging;
mod memory;
pub mod message;
mod nearest;
pub mod net;
#[cfg(feature = "otel")]
pub mod otel;
pub mod place;
#[cfg(test)]
mod random;
pub mod run;
pub mod session;
pub mod settings;
pub mod shape;
pub mod store;
pub mod sync;
pub mod time;
pub mod topic;
