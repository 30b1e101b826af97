//! Authentication and permissions: the broker's ports, over password files.

pub mod edit;
pub mod file;
mod password_auth;
mod rights;

pub use self::file::{PasswordFile, PasswordFileError};
pub use self::password_auth::PasswordAuth;
pub use self::rights::{PermitAll, Rights};
