//! Changes of a password file: one program at a time, and a reader sees the old file or the new one.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{FlockOperation, flock};

use super::file::{self, ITERATIONS, PasswordFileError, is_blank};
use super::stored::{HashMethod, SALT_LEN, StoredPassword};

/// A user and the password to be.
pub type NewPassword = (String, Vec<u8>);

/// The hash of `password` as a password file holds it: `$7$iterations$salt$hash`, for example.
pub fn hash_password(password: &[u8], method: HashMethod) -> Result<String, PasswordFileError> {
    if password.is_empty() || password.len() > 65_535 {
        return Err(PasswordFileError::Password);
    }
    if let HashMethod::Scram { .. } = method
        && !password.iter().all(|byte| (b' '..=b'~').contains(byte))
    {
        // Clients prepare others by rules (RFC 4013) that this does not know.
        return Err(PasswordFileError::ScramPassword);
    }
    let mut salt = [0; SALT_LEN];
    getrandom::fill(&mut salt).map_err(PasswordFileError::Random)?;
    Ok(StoredPassword::new(method, &salt, password).to_string())
}

/// Gives `user` the `password` in the file at `path`, which is made if it is not there.
pub fn set_password(path: &Path, user: &str, password: &[u8]) -> Result<(), PasswordFileError> {
    let method = HashMethod::Pbkdf2 { iterations: ITERATIONS };
    set_passwords(path, &[(user.to_owned(), password.to_owned())], method).map(|_| ())
}

/// Gives all users of `entries` their passwords, hashed by `method`, in the file at `path`, which is made if it
/// is not there. All or none. How many users are new.
pub fn set_passwords(
    path: &Path,
    entries: &[NewPassword],
    method: HashMethod,
) -> Result<usize, PasswordFileError> {
    if entries.iter().any(|(user, _)| !is_new_name(user)) {
        return Err(PasswordFileError::UserName);
    }
    // Hashing takes time: before others are kept waiting.
    let hashed = hash_all(entries, method)?;
    let locked = Locked::wait_for(path)?;
    let text = if locked.path.exists() { file::read(&locked.path)? } else { String::new() };
    let mut lines: Vec<&str> = text.lines().collect();
    let known = lines.iter().enumerate().filter_map(|(at, line)| Some((user_of(line)?, at)));
    let known: HashMap<&str, usize> = known.collect();
    let mut new = 0;
    for ((user, _), line) in entries.iter().zip(&hashed) {
        match known.get(user.as_str()) {
            Some(at) => lines[*at] = line,
            None => {
                lines.push(line);
                new += 1;
            }
        }
    }
    locked.replace(&lines)?;
    Ok(new)
}

/// Takes `user` out of the file at `path`. How many users are left.
pub fn delete_user(path: &Path, user: &str) -> Result<usize, PasswordFileError> {
    let locked = Locked::wait_for(path)?;
    let text = file::read(&locked.path)?;
    let kept: Vec<&str> = text.lines().filter(|line| user_of(line) != Some(user)).collect();
    if kept.len() == text.lines().count() {
        return Err(PasswordFileError::Unknown { path: path.to_owned(), user: user.to_owned() });
    }
    locked.replace(&kept)?;
    Ok(kept.iter().filter(|line| user_of(line).is_some()).count())
}

/// The users of the file at `path`, in its order.
pub fn users(path: &Path) -> Result<Vec<String>, PasswordFileError> {
    Ok(file::read(path)?.lines().filter_map(user_of).map(str::to_owned).collect())
}

/// Reads lines `user:password`; empty lines and those that begin with `#` are left out. A password may hold
/// colons. Every line that is wrong is named by its number, and no message holds a password.
pub fn read_batch(bytes: &[u8]) -> Result<Vec<NewPassword>, PasswordFileError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut entries, mut wrong) = (Vec::new(), Vec::new());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        match batch_line(line) {
            Err(problem) => wrong.push(format!("line {number}: {problem}")),
            Ok(entry) => {
                if let Some(first) = seen.insert(entry.0.clone(), number) {
                    wrong.push(format!("line {number}: this user has line {first}, too"));
                }
                entries.push(entry);
            }
        }
    }
    if wrong.is_empty() { Ok(entries) } else { Err(PasswordFileError::Lines(wrong)) }
}

fn batch_line(line: &[u8]) -> Result<NewPassword, String> {
    let colon =
        line.iter().position(|byte| *byte == b':').ok_or("expected user:password, found no ':'")?;
    let user = std::str::from_utf8(&line[..colon]).map_err(|_| "the user name is not UTF-8")?;
    let password = &line[colon + 1..];
    if !is_new_name(user) {
        return Err(PasswordFileError::UserName.to_string());
    }
    if password.is_empty() || password.len() > 65_535 {
        return Err(PasswordFileError::Password.to_string());
    }
    Ok((user.to_owned(), password.to_owned()))
}

/// The lines of the file, hashed on all processors.
fn hash_all(entries: &[NewPassword], method: HashMethod) -> Result<Vec<String>, PasswordFileError> {
    let line = |(user, password): &NewPassword| -> Result<String, PasswordFileError> {
        Ok(format!("{user}:{}", hash_password(password, method)?))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = entries.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let shares = entries.chunks(share);
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(line).collect())).collect();
        let mut lines = Vec::with_capacity(entries.len());
        for thread in threads {
            let share: Result<Vec<String>, PasswordFileError> =
                thread.join().expect("hashing does not panic");
            lines.extend(share?);
        }
        Ok(lines)
    })
}

/// The right to change a password file, until this is dropped. The lock is on the folder: the file itself is
/// replaced, and a file beside it would stay behind.
struct Locked {
    /// Behind a link, the file is replaced and not the link.
    path: PathBuf,
    folder: File,
}

impl Locked {
    /// Waits until no other program changes it.
    fn wait_for(path: &Path) -> Result<Locked, PasswordFileError> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let lock = || {
            let folder = File::open(folder)?;
            loop {
                match flock(&folder, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => break done?,
                }
            }
            Ok(folder)
        };
        match lock() {
            Ok(folder) => Ok(Locked { path, folder }),
            Err(source) => Err(PasswordFileError::File {
                verb: "lock the folder of password file",
                path,
                source,
            }),
        }
    }

    /// All or nothing, also when the power fails. Its owner and mode stay; a new one is private.
    fn replace(&self, lines: &[&str]) -> Result<(), PasswordFileError> {
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        // A program that was killed left it behind: under the lock no other program writes it.
        let _ = fs::remove_file(&new);
        let written = write_as(&new, &self.path, lines)
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| self.folder.sync_all());
        written.map_err(|source| {
            let _ = fs::remove_file(&new);
            PasswordFileError::File { verb: "write password file", path: self.path.clone(), source }
        })
    }
}

fn write_as(new: &Path, old: &Path, lines: &[&str]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let mut mode = 0o600;
    if let Ok(old) = fs::metadata(old) {
        let mine = file.metadata()?;
        if (old.uid(), old.gid()) != (mine.uid(), mine.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        mode = old.mode() & 0o777;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let mut text = lines.join("\n");
    if !lines.is_empty() {
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The user of a line, if it is an entry.
fn user_of(line: &str) -> Option<&str> {
    if is_blank(line) { None } else { line.split_once(':').map(|(user, _)| user) }
}

/// A line that begins with `#` is a comment.
fn is_new_name(user: &str) -> bool {
    file::is_user_name(user) && !user.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::super::PasswordFile;
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn what_no_entry_could_hold_is_refused() {
        let (_dir, path) = file("");
        for user in ["", "a:b", "a\nb", "#a"] {
            assert!(
                matches!(set_password(&path, user, b"x"), Err(PasswordFileError::UserName)),
                "{user:?}"
            );
        }
        assert!(matches!(set_password(&path, "ann", b""), Err(PasswordFileError::Password)));
        assert!(matches!(
            set_password(&path, "ann", &[b'x'; 65_536]),
            Err(PasswordFileError::Password)
        ));
    }

    #[test]
    fn the_mode_stays_and_a_link_to_it_stays_a_link() {
        let (dir, path) = file("");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        set_password(&link, "ann", b"secret").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        set_password(&dir.path().join("new"), "ann", b"secret").unwrap();
        let mode = fs::metadata(dir.path().join("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left behind");
    }

    #[test]
    fn what_a_killed_program_left_behind_is_no_hindrance() {
        let (dir, path) = file("");
        fs::write(dir.path().join("passwords.new"), "half a li").unwrap();
        set_password(&path, "ann", b"secret").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_list_is_taken_whole_or_not_at_all() {
        let list = b"\xef\xbb\xbf# people\r\nann:a:b \r\n\r\nb\xc3\xbcb:\xff\n";
        let entries = read_batch(list).unwrap();
        assert_eq!(entries[0], ("ann".to_owned(), b"a:b ".to_vec()));
        assert_eq!(entries[1], ("b\u{fc}b".to_owned(), vec![0xff]));
        let (_dir, path) = file("ann:$6$AAAA$AAAA\n# end\n");
        assert_eq!(
            set_passwords(&path, &entries, HashMethod::Pbkdf2 { iterations: 2 }).unwrap(),
            1
        );
        assert_eq!(users(&path).unwrap(), ["ann", "b\u{fc}b"]);
        let file = PasswordFile::load(&path).unwrap();
        assert!(file.check("ann", b"a:b ") && file.check("b\u{fc}b", b"\xff"));
        assert_eq!(file.iterations("ann"), 2);

        let error =
            read_batch(b"ann:x\nsecret\n:secret\nbob:\n\xff:secret\nann:secret\n").unwrap_err();
        let wanted = "\
line 2: expected user:password, found no ':'
line 3: a user name is 1 to 65535 bytes without ':' and control characters
line 4: a password is 1 to 65535 bytes
line 5: the user name is not UTF-8
line 6: this user has line 1, too";
        assert_eq!(error.to_string(), wanted);
    }
}
