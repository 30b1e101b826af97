//! Authentication and permissions: the broker's ports, over password files and certificates.

mod chain;
mod compile;
pub mod edit;
mod explain;
mod failures;
pub mod file;
mod filters;
#[cfg(feature = "auth-http")]
mod http;
#[cfg(not(feature = "auth-http"))]
#[path = "no_http.rs"]
mod http;
#[cfg(feature = "jwt")]
mod keys;
mod line;
mod login;
mod means;
#[cfg(any(feature = "jwt", feature = "auth-http"))]
mod names;
mod password_auth;
mod pool;
mod recent;
mod rights;
mod rules;
mod scram;
mod scramming;
mod stored;
mod successes;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests;
#[cfg(feature = "jwt")]
mod token;
#[cfg(not(feature = "jwt"))]
#[path = "no_token.rs"]
mod token;

pub use self::explain::{Explanation, PassedOver};
pub use self::file::{PasswordFile, PasswordFileError};
#[cfg(feature = "otel")]
pub(crate) use self::http::HttpClient;
pub use self::password_auth::{AuthReadAgain, PasswordAuth, UsersReloaded, look_at_keys};
pub use self::rights::{PermitAll, Rights};
pub use self::rules::{ReadRules, RuleSet};
pub use self::scram::ScramHash;
pub use self::stored::{ARGON2, HashMethod};
