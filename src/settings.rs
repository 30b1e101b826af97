//! The configuration from its layers: built-in < files < environment < command line.
//!
//! Each layer is checked strictly by itself, so that a mistake is named where it was written; then the
//! `config` crate lays them over each other and keeps where each value came from.

mod file;
mod judge;
mod keys;
mod layer;
mod load;
mod log_format;
mod mosquitto;
mod queue_body;
mod rules;
mod show;
mod syntax;
mod text;

pub use self::load::{Settings, SettingsError, load};
pub use self::log_format::log_format;
pub use self::rules::load_rules;
pub use self::show::EffectiveKey;

/// The full names of all keys as they are declared, with `0` for the number in a list.
pub fn key_names() -> Vec<String> {
    keys::Keys::all().paths().to_vec()
}
