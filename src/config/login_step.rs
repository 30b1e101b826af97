//! The steps of a login.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pattern::matches;
use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};

rows! {
    /// How clients log in, instead of `password_file` above and `allow_anonymous` of the listeners: each login
    /// passes through these steps in their order. A step lets it in, refuses it, or passes it on. A login that
    /// no step lets in is refused.
    pub struct LoginStep {
        /// `"certificate"`: the identity in a client certificate (see `identity` in `[listener.tls]`).
        /// `"password"`: user and password, in `file`. `"scram"`: SCRAM-SHA-256 and -512 as enhanced
        /// authentication, with users whose passwords `sluice passwd --scram` has set in `file`. `"anonymous"`:
        /// all that no step before it has refused, and that gave no user name and password which one before it
        /// has looked up. A step passes on what it is not made for: an unknown user, too.
        kind: LoginKind = key(Live, LoginKind::Password).required(LoginKind::Password).words::<LoginKind>();
        /// The listeners that it is for: patterns as in `[[class]]`. Empty: all.
        listeners: Vec<String> = key(Live, Vec::new()).example(vec!["*".to_owned()]);
        /// Password file of `"password"` and `"scram"`. SIGHUP reads it again.
        file: Option<PathBuf> = key(Live, None).example(Some("passwords".into())).names_file();
        /// The Client Identifier must be the user name, or the login is refused.
        client_id_is_user: bool = key(Live, false);
    }
}

/// What a step looks at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// The identity in a client certificate.
    Certificate,
    /// User and password.
    #[default]
    Password,
    /// SCRAM as enhanced authentication.
    Scram,
    /// Nothing.
    Anonymous,
}

impl LoginStep {
    /// Whether what it lets in has a user name that was checked.
    pub fn checks_names(&self) -> bool {
        self.kind != LoginKind::Anonymous
    }

    /// Whether it is for the clients of that listener; none: of a client in this process.
    pub fn is_for(&self, listener: Option<&str>) -> bool {
        let fits =
            |pattern: &String| listener.is_some_and(|name| matches(pattern.as_bytes(), name));
        self.listeners.is_empty() || self.listeners.iter().any(fits)
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let wants_file = matches!(self.kind, LoginKind::Password | LoginKind::Scram);
        match &self.file {
            None if wants_file => {
                found.add(format!("{at}.file"), "is missing: the password file of this step")
            }
            Some(path) if path.as_os_str().is_empty() => {
                found.add(format!("{at}.file"), "a file name is missing");
            }
            Some(_) if !wants_file => {
                found.add(format!("{at}.file"), "is set, and a step of this kind reads none");
            }
            _ => {}
        }
        if self.client_id_is_user && self.kind == LoginKind::Anonymous {
            found.add(format!("{at}.client_id_is_user"), "is set, and no user is named here");
        }
    }
}
