//! Password files in mosquitto's format: one `user:$7$iterations$salt$hash` a line, PBKDF2 with
//! HMAC-SHA-512, or `user:$argon2id$...`; `user:$6$salt$hash`, one salted SHA-512, is read but not written.
//!
//! A wrong password and an unknown user cost the same time, and no message holds a password or a
//! hash.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;

use super::scram::{ScramHash, ScramKeys};
use super::stored::{SALT_LEN, StoredPassword};
use super::successes::Successes;

pub use super::stored::ITERATIONS_MAX;
use crate::place::{LineColumn, place};

/// Iterations of new hashes, as `mosquitto_passwd` of 2.1 does by default: under a millisecond.
pub const ITERATIONS: u32 = 1000;
/// Iterations of new keys for SCRAM: a client of SCRAM spends them at each login, the broker never.
pub const SCRAM_ITERATIONS: u32 = 4096;

/// A check that costs no more iterations than this is made where it is asked for: some 40 µs.
const CHEAP: u32 = 100;

/// Most passwords that are known to be right: some 6 MiB.
const SUCCESSES_MAX: usize = 65_536;
/// Most mistakes of a file that are told.
const MISTAKES_MAX: usize = 20;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The users and passwords of one file, in force and replaceable.
#[derive(Debug)]
pub struct PasswordFile {
    path: PathBuf,
    users: ArcSwap<Users>,
    /// Chooses the entry that an unknown user is checked against; a client cannot guess it.
    lottery: RandomState,
    /// Passwords that were right since the file was last read.
    successes: Successes<()>,
}

/// Why a password file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordFileError {
    /// It could not be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no users any more, and had some.
    #[error(
        "{}:1:1: is empty: it would lock out every user. To mean that, restart the broker",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// What is wrong with lines of a password file, or of a list of users and passwords: a line for each, and
    /// where it is.
    #[error("{}", .0.join("\n"))]
    Lines(Vec<String>),
    /// No entry could hold this user name.
    #[error("a user name is 1 to 65535 bytes without ':' and control characters")]
    UserName,
    /// MQTT could not carry this password, or it is empty.
    #[error("a password is 1 to 65535 bytes")]
    Password,
    /// The keys of tokens cannot be used.
    #[error("{from}: the keys of tokens cannot be used: {problem}")]
    Keys {
        /// File, line and column, or what else they are from.
        from: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A server cannot be asked over HTTP.
    #[error("{from}: {problem}")]
    Http {
        /// File, line and column, or what else it is from.
        from: String,
        /// What is wrong.
        problem: String,
    },
    /// Keys of SCRAM are made of plain passwords only.
    #[error("a password for SCRAM is of printable ASCII characters")]
    ScramPassword,
    /// There is no such user to delete.
    #[error("there is no user {user:?} in {}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The user.
        user: String,
    },
    /// The system gave no random bytes.
    #[error("no random bytes for a salt: {0}")]
    Random(getrandom::Error),
}

impl PasswordFile {
    /// Reads the file at `path`.
    pub fn load(path: impl Into<PathBuf>) -> Result<PasswordFile, PasswordFileError> {
        let path = path.into();
        let users = Users::read(&path)?;
        let successes = Successes::new(SUCCESSES_MAX).map_err(PasswordFileError::Random)?;
        let users = ArcSwap::from_pointee(users);
        Ok(PasswordFile { path, users, lottery: RandomState::new(), successes })
    }

    /// The number of users in force.
    pub fn len(&self) -> usize {
        self.users.load().by_name.len()
    }

    /// Whether no user is in force: every user name is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the file again. Leaves what is in force if it cannot, or if the file has become empty: that is
    /// taken for an accident of what writes it. The number of users.
    pub fn reload(&self) -> Result<usize, PasswordFileError> {
        let users = self.read_again()?;
        self.put_in_force(users);
        Ok(self.len())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds now, unless it has become empty.
    pub(super) fn read_again(&self) -> Result<Users, PasswordFileError> {
        let users = Users::read(&self.path)?;
        if users.by_name.is_empty() && !self.is_empty() {
            return Err(PasswordFileError::Empty { path: self.path.clone() });
        }
        Ok(users)
    }

    /// Exchanges the users.
    pub(super) fn put_in_force(&self, users: Users) -> UsersChanged {
        let before = self.users.swap(users.into());
        self.successes.forget();
        let users = self.users.load();
        let mut changed = UsersChanged::default();
        for (user, entry) in &before.by_name {
            match users.by_name.get(user) {
                None => changed.fewer = true,
                Some(now) if now.identity() == entry.identity() => {}
                Some(_) => changed.other_passwords.push(user.to_string()),
            }
        }
        changed
    }

    /// Whether `password` is the one of `user`. Takes as long for an unknown user.
    pub fn check(&self, user: &str, password: &[u8]) -> bool {
        let users = self.users.load();
        let (entry, known) = self.entry(&users, user);
        let right = entry.matches(password) & known;
        if right && entry.cost() > CHEAP {
            self.successes.note(&parts(user, entry, password), ());
        }
        right
    }

    /// Whether `password` is the one of `user`, if that is cheap to say: the hash is, or it was right lately.
    /// `None`: [`PasswordFile::check`] will tell. Takes as long for an unknown user.
    pub(super) fn check_cheaply(&self, user: &str, password: &[u8]) -> Option<bool> {
        let users = self.users.load();
        let (entry, known) = self.entry(&users, user);
        if entry.cost() <= CHEAP {
            return Some(entry.matches(password) & known);
        }
        let was_right = self.successes.find(&parts(user, entry, password)).is_some() & known;
        was_right.then_some(true)
    }

    /// Whether there is such a user.
    pub fn knows(&self, user: &str) -> bool {
        self.users.load().by_name.contains_key(user)
    }

    /// What [`PasswordFile::check`] will cost, in iterations of PBKDF2: some 0.4 µs each. One for `$6$`.
    pub fn iterations(&self, user: &str) -> u32 {
        self.entry(&self.users.load(), user).0.cost()
    }

    /// Whether any user has keys of SCRAM.
    pub(super) fn has_scram(&self) -> bool {
        self.users.load().by_name.values().any(StoredPassword::is_scram)
    }

    /// The keys of `user` for SCRAM with this hash function. For a user that has none they are such as one would
    /// have, always the same, and no proof fits them.
    pub(super) fn scram(&self, user: &str, hash: ScramHash) -> ScramKeys {
        let users = self.users.load();
        if let Some(keys) = users.by_name.get(user).and_then(|entry| entry.scram(hash)) {
            return keys;
        }
        let bytes = self.successes.bytes_of(user);
        let like: Vec<ScramKeys> =
            users.decoys.iter().filter_map(|entry| entry.scram(hash)).collect();
        let ticket = usize::from(u16::from_be_bytes([bytes[30], bytes[31]]));
        let like = like.get(ticket % like.len().max(1));
        let (iterations, salt_len) =
            like.map_or((SCRAM_ITERATIONS, SALT_LEN), |keys| (keys.iterations, keys.salt.len()));
        let salt: Vec<u8> = bytes.iter().copied().cycle().take(salt_len).collect();
        ScramKeys { iterations, salt: salt.into(), keys: vec![0; 2 * hash.len()].into() }
    }

    /// The entry of `user`; for an unknown user always the same one of the decoys. So its check costs
    /// what a known user's does, also in a file of mixed costs.
    fn entry<'a>(&self, users: &'a Users, user: &str) -> (&'a StoredPassword, bool) {
        if let Some(entry) = users.by_name.get(user) {
            return (entry, true);
        }
        let ticket = self.lottery.hash_one(user) % users.decoys.len() as u64;
        (&users.decoys[ticket as usize], false)
    }
}

/// What other users in force change.
#[derive(Debug, Default)]
pub(super) struct UsersChanged {
    /// Some are gone.
    pub fewer: bool,
    /// They have another password than before, or the same one set anew.
    pub other_passwords: Vec<String>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Users {
    by_name: HashMap<Box<str>, StoredPassword>,
    /// Entries as costly as those of the users, which no password matches; at least one.
    decoys: Vec<StoredPassword>,
}

impl Users {
    fn read(path: &Path) -> Result<Users, PasswordFileError> {
        let text = read(path)?;
        let (mut by_name, mut wrong) = (HashMap::new(), Vec::new());
        for (line, number) in text.lines().zip(1..).filter(|(line, _)| !is_blank(line)) {
            let before = entry(line).map(|(user, entry)| by_name.insert(user.into(), entry));
            let problem = match before {
                Ok(None) => continue,
                Ok(Some(_)) => (1, "this user has an earlier line"),
                Err(problem) => problem,
            };
            if wrong.len() == MISTAKES_MAX {
                wrong.push(format!("{}: and more of the kind", path.display()));
                break;
            }
            wrong.push(at(path, (number, problem.0), problem.1));
        }
        if !wrong.is_empty() {
            return Err(PasswordFileError::Lines(wrong));
        }
        let mut decoys: Vec<StoredPassword> = by_name.values().map(StoredPassword::decoy).collect();
        if decoys.is_empty() {
            decoys.push(StoredPassword::unknown(ITERATIONS));
        }
        Ok(Users { by_name, decoys })
    }
}

/// All that says that a password was right: a password that is set anew is another one.
fn parts<'a>(user: &'a str, entry: &'a StoredPassword, password: &'a [u8]) -> [&'a [u8]; 4] {
    let [salt, hash] = entry.identity();
    [user.as_bytes(), salt, hash, password]
}

/// User and password of a line; or the column, from 1, and what is wrong there.
fn entry(line: &str) -> Result<(&str, StoredPassword), (usize, &'static str)> {
    let (user, hash) = line.split_once(':').ok_or((1, "expected user:$7$..., found no ':'"))?;
    if !is_user_name(user) {
        return Err((1, "the user name is empty or holds control characters"));
    }
    let entry = StoredPassword::parse(hash);
    Ok((user, entry.map_err(|problem| (user.chars().count() + 2, problem))?))
}

fn at(path: &Path, (line, column): LineColumn, problem: &str) -> String {
    format!("{}:{line}:{column}: {problem}", path.display())
}

/// The text of a password file, without a byte order mark at its start.
pub(super) fn read(path: &Path) -> Result<String, PasswordFileError> {
    let bytes = fs::read(path).map_err(|source| PasswordFileError::File {
        verb: "read password file",
        path: path.to_owned(),
        source,
    })?;
    let wrong = |place, problem| PasswordFileError::Lines(vec![at(path, place, problem)]);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(wrong((1, 1), "the file is UTF-16; save it as UTF-8"));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(before);
        wrong(place(&before, before.len()), "the line is not UTF-8")
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// Whether a line is empty or a comment.
pub(super) fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// Whether an entry can hold this user name.
pub(super) fn is_user_name(user: &str) -> bool {
    (1..=65_535).contains(&user.len()) && !user.chars().any(|c| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::super::edit::{delete_user, hash_password, set_password};
    use super::super::stored::HashMethod;
    use super::super::stored::tests::WORK;
    use super::*;

    const ONE: HashMethod = HashMethod::Pbkdf2 { iterations: 1 };

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_password_opens_its_own_user_only() {
        let (_dir, path) = file("# people\n\n");
        set_password(&path, "ann", b"secret").unwrap();
        set_password(&path, "bob", b"other").unwrap();
        let users = PasswordFile::load(&path).unwrap();
        assert!(users.check("ann", b"secret"));
        assert!(users.check("bob", b"other"));
        for (user, password) in
            [("ann", "other"), ("ann", ""), ("eve", "secret"), ("", ""), ("ann", "secret ")]
        {
            assert!(!users.check(user, password.as_bytes()), "{user} {password}");
        }
        set_password(&path, "ann", b"fresh").unwrap();
        delete_user(&path, "bob").unwrap();
        assert!(users.check("bob", b"other"), "not reloaded yet");
        assert_eq!(users.reload().unwrap(), 1);
        assert!(users.check("ann", b"fresh") && !users.check("ann", b"secret"));
        assert!(!users.check("bob", b"other"));
        assert!(fs::read_to_string(&path).unwrap().starts_with("# people\n\nann:$7$1000$"));
        let error = delete_user(&path, "bob").unwrap_err().to_string();
        assert!(error.starts_with("there is no user \"bob\" in "), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_what_is_in_force() {
        let (_dir, path) = file("");
        set_password(&path, "ann", b"secret").unwrap();
        let users = PasswordFile::load(&path).unwrap();
        fs::write(&path, "ann:plain").unwrap();
        assert!(
            users
                .reload()
                .unwrap_err()
                .to_string()
                .contains("passwords:1:5: the password is not hashed")
        );
        assert!(users.check("ann", b"secret"));
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_by_its_number() {
        let good = format!("ann:{}", hash_password(b"x", ONE).unwrap());
        let hash = BASE64.encode([0; 64]);
        for (line, wanted) in [
            ("ann", "1: expected user:$7$..., found no ':'"),
            ("ann:secret", "5: the password is not hashed"),
            (":$6$AAAA$AAAA", "1: the user name is empty"),
            ("ann:$5$x$y", "5: unknown kind of hash"),
            ("ann:$7$0$AAAA$AAAA", "5: the iterations are not a number"),
            ("ann:$7$x$AAAA$AAAA", "5: the iterations are not a number"),
            ("ann:$7$99999999$AAAA$AAAA", "5: the iterations are not a number"),
            ("ann:$7$1000$AAAA", "5: expected $7$iterations$salt$hash"),
            ("ann:$7$1000$!$AAAA", "5: the salt is not base64"),
            ("ann:$7$1000$AAAA$!", "5: the hash is not base64"),
            ("ann:$7$1000$AAAA$AAAA", "5: the hash is not of 64 bytes"),
            (&format!("ann:$6$AAAA${hash}$"), "5: expected $7$iterations$salt$hash"),
            (&good, "1: this user has an earlier line"),
        ] {
            let (_dir, path) = file(&format!("{good}\n# comment\n{line}\n"));
            let error = PasswordFile::load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("passwords:3:{wanted}")), "{line}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_first_twenty_mistakes_of_a_file_are_told_at_once() {
        for (lines, wanted) in [(1, 1), (20, 20), (21, 21), (1000, 21)] {
            let (_dir, path) = file(&"ann\n".repeat(lines));
            let error = PasswordFile::load(&path).unwrap_err().to_string();
            assert_eq!(error.lines().count(), wanted, "{error}");
            assert_eq!(error.ends_with("passwords: and more of the kind"), lines > 20, "{error}");
            assert!(lines == 1 || error.contains("passwords:2:1: expected user"), "{error}");
        }
    }

    /// The work is counted where hashes are made; what is left is a look into a table.
    #[test]
    fn a_stranger_costs_what_a_user_costs() {
        let slow = hash_password(b"x", HashMethod::Pbkdf2 { iterations: 300 }).unwrap();
        let argon2 = HashMethod::Argon2 { memory: 64, passes: 1, lanes: 1 };
        let memory = hash_password(b"x", argon2).unwrap();
        for (hash, cost) in [(slow, 300), (memory, 256)] {
            let (_dir, path) = file(&format!("ann:{hash}\n"));
            let users = PasswordFile::load(&path).unwrap();
            let work = |user: &str, password: &[u8], wanted: bool| {
                WORK.set(0);
                assert_eq!(users.check(user, password), wanted, "{user}");
                WORK.get()
            };
            for (user, password, right) in [
                ("ann", b"wrong", false),
                ("stranger", b"wrong", false),
                ("stranger", b"other", false),
            ] {
                assert_eq!(work(user, password, right), cost, "{user}");
                assert_eq!(users.check_cheaply(user, password), None, "{user}");
            }
            assert_eq!((work("ann", b"x", true), WORK.get()), (cost, cost));
        }
    }

    #[test]
    fn a_password_that_was_right_is_cheap_until_the_file_is_read_again() {
        let hash = hash_password(b"secret", HashMethod::Pbkdf2 { iterations: 101 }).unwrap();
        let (_dir, path) = file(&format!("ann:{hash}\nbob:{hash}\n"));
        let users = PasswordFile::load(&path).unwrap();
        assert_eq!(users.check_cheaply("ann", b"secret"), None);
        assert!(users.check("ann", b"secret") && !users.check("ann", b"wrong"));
        WORK.set(0);
        assert_eq!(users.check_cheaply("ann", b"secret"), Some(true));
        for (user, password) in
            [("ann", &b"wrong"[..]), ("ann", b""), ("bob", b"secret"), ("eve", b"secret")]
        {
            assert_eq!(users.check_cheaply(user, password), None, "{user}");
        }
        assert_eq!(WORK.get(), 0, "no hash was made");
        users.reload().unwrap();
        assert_eq!(users.check_cheaply("ann", b"secret"), None);
        // A cheap hash is made at once, also of a stranger.
        let cheap = hash_password(b"secret", HashMethod::Pbkdf2 { iterations: 100 }).unwrap();
        fs::write(&path, format!("ann:{cheap}\n")).unwrap();
        users.reload().unwrap();
        for (user, password, right) in
            [("ann", "secret", true), ("ann", "x", false), ("eve", "secret", false)]
        {
            assert_eq!(users.check_cheaply(user, password.as_bytes()), Some(right), "{user}");
        }
    }

    #[test]
    fn files_of_other_editors_are_read_or_named() {
        let good = format!("ann:{}", hash_password(b"x", ONE).unwrap());
        let (_dir, path) = file("");
        for text in [format!("\u{feff}{good}\n"), format!("\u{feff}\r\n{good}\r\n")] {
            fs::write(&path, text).unwrap();
            assert!(PasswordFile::load(&path).unwrap().check("ann", b"x"));
        }
        let utf_16: Vec<u8> =
            format!("\u{feff}{good}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, wanted) in [
            (utf_16, "passwords:1:1: the file is UTF-16; save it as UTF-8"),
            ([good.as_bytes(), b"\nb\xfcb:x\n"].concat(), "passwords:2:2: the line is not UTF-8"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = PasswordFile::load(&path).unwrap_err().to_string();
            assert!(error.ends_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_file_that_becomes_empty_locks_nobody_out() {
        let (_dir, path) = file("# none yet\n");
        let users = PasswordFile::load(&path).unwrap();
        assert!(users.is_empty());
        assert_eq!(users.reload().unwrap(), 0, "it was empty before");
        set_password(&path, "ann", b"secret").unwrap();
        assert_eq!(users.reload().unwrap(), 1);
        for empty in ["", "\r\n", "# all gone\n", "\u{feff}"] {
            fs::write(&path, empty).unwrap();
            let error = users.reload().unwrap_err().to_string();
            assert!(
                error.contains("passwords:1:1: is empty: it would lock out every user"),
                "{error}"
            );
            assert!(users.check("ann", b"secret"), "{empty:?}");
        }
    }
}
