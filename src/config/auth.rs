//! Which clients may connect.

use std::path::{Path, PathBuf};

use super::login_step::LoginStep;
use super::problems::Problems;
use super::section::InForce::{Live, Restart};
use super::section::{key, list, rows};
use super::units::{Size, Span};

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
        /// Threads that check passwords, beside the workers; 0 is one for each two processors, at least one.
        /// A check of `$argon2id$` takes as much memory on each as its line says, mostly 46 MiB.
        threads: u32 = key(Restart, 0).range(0..=256);
        /// Logins that wait for a check, over all addresses, which take turns. One more is refused with 0x89, or
        /// takes the place of one of the address that has most of them.
        queue_max: u32 = key(Live, 4096).range(1..=1_000_000);
        /// Longest password that is checked; a longer one is wrong.
        password_bytes_max: Size = key(Live, Size::kib(4)).range(Size(64)..=Size(65_535));
        /// After so many failed logins of one user from one address (IPv6: from one network of 64 bits) its
        /// logins from there are refused with 0x8A for `ban_time`, whatever the password; 0 is no limit.
        failures_max: u32 = key(Live, 5).range(0..=1_000_000);
        /// After so many failed logins from one address, of whichever users, all logins from there are refused.
        /// 0 is no limit: behind one address there may be a whole fleet.
        failures_per_address_max: u32 = key(Live, 50).range(0..=1_000_000);
        /// After so many failed logins of one user, from whichever addresses, its logins are refused from
        /// addresses from which one has failed; 0 is no limit.
        failures_per_user_max: u32 = key(Live, 100).range(0..=1_000_000);
        /// In this time as many failures are forgotten as are permitted.
        failures_time: Span = key(Live, Span::secs(60)).range(Span::secs(1)..=Span::secs(86_400));
        /// How long no login is looked at after too many failed; each further time twice as long.
        ban_time: Span = key(Live, Span::secs(60)).range(Span::secs(1)..=Span::secs(86_400));
        /// The longest such time.
        ban_time_max: Span = key(Live, Span::secs(3600)).range(Span::secs(1)..=Span::secs(86_400 * 30));
        /// Sections `[[auth.step]]`.
        step: Vec<LoginStep> = list(Live);
    }
}

impl AuthConfig {
    /// The password files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_steps = self.step.iter().filter_map(|step| step.file.as_deref());
        self.password_file.as_deref().into_iter().chain(of_steps)
    }

    /// The variables of the environment that have secrets.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let tokens = self.step.iter().filter_map(|step| step.http.as_ref()?.token_env.as_deref());
        self.step.iter().filter_map(|step| step.keys_env.as_deref()).chain(tokens)
    }

    /// The steps for the listener of this name.
    pub fn steps_for(&self, listener: &str) -> impl Iterator<Item = &LoginStep> {
        self.step.iter().filter(move |step| step.is_for(Some(listener)))
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, found: &mut Problems) {
        if self.password_file.as_deref().is_some_and(|path| path.as_os_str().is_empty()) {
            found.add("auth.password_file", "is empty; leave the key out to check no passwords");
        }
        if self.password_file.is_some() && !self.step.is_empty() {
            found.add(
                "auth.password_file",
                "is not looked at where there is [[auth.step]]: make it the file of a step",
            );
        }
        for (index, step) in self.step.iter().enumerate() {
            step.check(&format!("auth.step.{index}"), found);
        }
    }
}
