//! The row engine.

pub mod disk;
pub mod error;
pub mod frame;
pub mod journal;
#[cfg(test)]
mod simulation;
pub mod table;
