//! Authentication and permissions: the broker's ports, over password files and certificates.

mod chain;
pub mod edit;
mod failures;
pub mod file;
mod line;
mod login;
mod means;
mod password_auth;
mod pool;
mod rights;
mod scram;
mod scramming;
mod stored;
mod successes;
#[cfg(feature = "jwt")]
mod token;
#[cfg(not(feature = "jwt"))]
#[path = "no_token.rs"]
mod token;

pub use self::file::{PasswordFile, PasswordFileError};
pub use self::password_auth::{PasswordAuth, UsersReloaded, look_at_keys};
pub use self::rights::{PermitAll, Rights};
pub use self::scram::ScramHash;
pub use self::stored::{ARGON2, HashMethod};
