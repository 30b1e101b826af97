//! Which clients may connect.

use std::path::PathBuf;

use super::problems::Problems;
use super::section::InForce::{Live, Restart};
use super::section::{key, rows};

rows! {
    /// Which clients may connect.
    pub struct AuthConfig {
        /// Users and passwords in mosquitto's `$7$` format. SIGHUP reads the file again. Not set: user
        /// names in CONNECT are not believed: a client that gives one is as anonymous as one that gives none.
        password_file: Option<PathBuf> =
            key(Restart, None).example(Some("passwords".into())).names_file();
        /// User names that may read dead letters, under `$dead/`: a pattern as in `[[class]]`. Not set: no
        /// user may.
        dead_letter_users: Option<String> =
            key(Live, None).example(Some("operator-*".to_owned()));
    }
}

impl AuthConfig {
    /// Adds what is wrong with it.
    pub(super) fn check(&self, found: &mut Problems) {
        if self.password_file.as_deref().is_some_and(|path| path.as_os_str().is_empty()) {
            found.add("auth.password_file", "is empty; leave the key out to check no passwords");
        }
    }
}
