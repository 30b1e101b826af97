//! What the log is written to: standard error, or a file that is rotated by size.
//!
//! The crates that rotate files split lines, panic where a folder cannot be made, or drop lines without a word
//! once a file cannot be opened.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::queue::{Output, write_all};

/// Standard error, beside the lock that the standard library has for it.
pub(super) struct StandardError(File);

/// A file, and those that it was before: `file.1` is the newest of them.
pub(super) struct RotatedFile {
    path: PathBuf,
    /// Bytes after which another file begins; 0: never.
    bytes_max: u64,
    /// Length from which another file is to begin: `bytes_max`, or more after it could not.
    turn_at: u64,
    /// Old files that are kept.
    old_max: u32,
    /// None while it cannot be opened.
    file: Option<File>,
    /// Its length.
    len: u64,
}

impl StandardError {
    pub fn open() -> io::Result<StandardError> {
        Ok(StandardError(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl Output for StandardError {
    fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        write_all(&mut self.0, lines)
    }

    fn reopen(&mut self) {}
}

impl RotatedFile {
    pub fn open(path: &Path, bytes_max: u64, old_max: u32) -> io::Result<RotatedFile> {
        let path = path.to_owned();
        let mut rotated =
            RotatedFile { path, bytes_max, turn_at: bytes_max, old_max, file: None, len: 0 };
        rotated.file()?;
        Ok(rotated)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            // A pipe without a reader is an error: to open it would else wait for one.
            options.create(true).append(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
            // Others read neither client names nor addresses.
            let file = options.mode(0o640).open(&self.path)?;
            let metadata = file.metadata()?;
            self.len = metadata.len();
            // A terminal or a pipe is never moved away: it is not the log's own.
            self.turn_at = if metadata.is_file() { self.bytes_max } else { 0 };
            self.file = Some(file);
        }
        Ok(self.file.as_mut().expect("it was opened"))
    }

    /// The file becomes an old one, and another begins. Where that fails, as in a folder that is not the
    /// broker's, this one goes on, and the next attempt is made after as many bytes again.
    fn rotate(&mut self) {
        for number in (1..self.old_max).rev() {
            let _ = std::fs::rename(self.old(number), self.old(number + 1));
        }
        let moved = match self.old_max {
            0 => std::fs::remove_file(&self.path),
            _ => std::fs::rename(&self.path, self.old(1)),
        };
        match moved {
            Ok(()) => self.file = None,
            // Another program has moved it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.file = None,
            Err(_) => self.turn_at = self.len.saturating_add(self.bytes_max),
        }
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let file = self.file().map_err(|error| (0, error))?;
        let done = write_all(file, lines);
        let written = done.as_ref().map_or_else(|(written, _)| *written, |()| lines.len());
        self.len += written as u64;
        if done.is_err() {
            // Perhaps another file can be had.
            self.file = None;
        }
        done
    }
}

impl Output for RotatedFile {
    fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut begin = 0;
        while begin < lines.len() {
            self.file().map_err(|error| (begin, error))?;
            let rest = &lines[begin..];
            let room = self.turn_at.saturating_sub(self.len);
            let fits = self.turn_at == 0 || rest.len() as u64 <= room;
            // One line at least goes into a file that is empty, or that could not be moved.
            let first = self.len == 0 || self.turn_at > self.bytes_max;
            let end = if fits { rest.len() } else { whole_lines(rest, room, first) };
            self.append(&rest[..end]).map_err(|(written, error)| (begin + written, error))?;
            begin += end;
            if !fits {
                self.rotate();
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.file = None;
    }
}

/// Bytes of the whole lines at the front of `lines` that have room; `first`: of one at least.
fn whole_lines(lines: &[u8], room: u64, first: bool) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    let is_end = |byte: &u8| *byte == b'\n';
    match lines[..room].iter().rposition(is_end) {
        Some(at) => at + 1,
        None if first => lines.iter().position(is_end).map_or(lines.len(), |at| at + 1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_full_file_becomes_an_old_one_between_two_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RotatedFile::open(&path, 10, 2).unwrap();
        file.write(b"12345\n12\n").unwrap();
        file.write(b"1234567\n1234567890123\n1\n").unwrap();
        assert_eq!(text(&path), "1\n");
        assert_eq!(text(&file.old(1)), "1234567890123\n", "one line that is longer than a file");
        assert_eq!(text(&file.old(2)), "1234567\n");
        assert!(!file.old(3).exists(), "two are kept");
        // It goes on where it was.
        let mut file = RotatedFile::open(&path, 10, 2).unwrap();
        file.write(b"2\n").unwrap();
        assert_eq!(text(&path), "1\n2\n");
    }

    #[test]
    fn a_file_that_another_program_has_moved_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RotatedFile::open(&path, 0, 0).unwrap();
        file.write(b"before\n").unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        file.reopen();
        file.write(b"after\n").unwrap();
        assert_eq!(text(&path), "after\n");
    }

    #[test]
    fn a_file_that_cannot_become_an_old_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = RotatedFile::open(&path, 10, 1).unwrap();
        // What stands where the old one should: root may rename anything else.
        std::fs::create_dir(file.old(1)).unwrap();
        file.write(b"1234567\n1234567890123\n1\n").unwrap();
        assert_eq!(text(&path), "1234567\n1234567890123\n1\n");
        // One that is opened with more in it than it should have, too.
        let mut file = RotatedFile::open(&path, 10, 1).unwrap();
        file.write(b"2\n").unwrap();
        file.write(b"3\n").unwrap();
        assert!(text(&path).ends_with("\n1\n2\n3\n"));
        // Once it can be moved it is, after as many bytes again.
        std::fs::remove_dir(file.old(1)).unwrap();
        file.write(b"123456789\nlast\n").unwrap();
        assert_eq!((text(&path).as_str(), file.old(1).exists()), ("last\n", true));
    }

    #[test]
    fn what_is_no_file_is_never_moved_and_a_pipe_without_a_reader_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(RotatedFile::open(&path, 10, 1).is_err());
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut file = RotatedFile::open(&path, 10, 1).unwrap();
        file.write(b"1234567890123\n1234567890123\n").unwrap();
        assert!(path.exists() && !file.old(1).exists());
        drop(reader);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/log");
        assert!(RotatedFile::open(&path, 10, 1).is_err());
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        let mut file = RotatedFile::open(&path, 10, 1).unwrap();
        std::fs::remove_dir_all(folder.path().join("deep")).unwrap();
        file.reopen();
        let (written, _) = file.write(b"lost\n").unwrap_err();
        assert_eq!(written, 0);
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        file.write(b"kept\n").unwrap();
        assert_eq!(text(&path), "kept\n");
        let mut full = RotatedFile::open(Path::new("/dev/full"), 0, 0).unwrap();
        assert_eq!(full.write(b"x\n").unwrap_err().1.kind(), io::ErrorKind::StorageFull);
    }
}
