//! `sluice ctl`: asks a running broker over its HTTP listener, and says what it answers.
//!
//! - What is asked is in `src/ctl_command.rs`; here is how: where the broker is ([`target`]), a request and its
//!   answer ([`api`]), a feed ([`feed`]), and how an answer looks ([`columns`], [`table`], [`sheet`], [`units`],
//!   [`visible`]).
//! - Fields that end in a unit (`_bytes`, `_seconds`) are shown with it, whatever else is in an answer: a field that
//!   is new in the API is shown without a change here.
//! - No control or format character of an answer is printed as it is, within JSON neither.

pub mod api;
pub mod columns;
pub mod failure;
pub mod feed;
pub mod interrupt;
pub mod ledger;
pub mod list;
pub mod output;
pub mod sheet;
pub mod streams;
pub mod table;
pub mod target;
pub mod top;
pub mod units;
pub mod visible;
pub mod why;
