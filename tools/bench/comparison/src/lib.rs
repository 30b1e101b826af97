//! Brokers beside each other: how they are started, loaded and watched, and the tables that come of
//! it. `tools/bench/compare` and `tools/bench/durable` build everything and call the programs.

pub mod broker;
pub mod document;
pub mod durable;
pub mod figures;
pub mod load;
pub mod rows;
pub mod table;
pub mod watch;
