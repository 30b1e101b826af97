//! The report: one page that a person would rather look at than read.
//!
//! [`html::page`] makes it from what runs found. It needs nothing but a browser: no network, no
//! script that it could not do without, in light and in dark, on a telephone and on paper.

mod axis;
mod charts;
pub mod html;
mod markup;
mod overview;
mod plot;
mod tables;
mod timeline;
mod unit;
mod verdict;
