//! Who may come in: password files.

pub mod file;
mod gate;

pub use self::file::{PasswordFile, PasswordFileError};
pub use self::gate::{Gate, PermitAll, Rights};
