//! Who may come in: password files.

pub mod file;

pub use self::file::{PasswordFile, PasswordFileError};
