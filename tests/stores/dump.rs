//! A folder of files as text: most of a store's files is zeros, which are left out.
//!
//! ```text
//! file journal/0000000001.journal 1048576     path and length
//! 4096 0102                                   offset, and the bytes there
//! ```

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The folder as text.
pub fn pack(folder: &Path) -> String {
    let mut text = String::new();
    for path in files(folder) {
        let bytes = fs::read(&path).expect("a file");
        let name = path.strip_prefix(folder).expect("in the folder").to_str().expect("a name");
        writeln!(text, "file {name} {}", bytes.len()).expect("memory");
        for (number, line) in bytes.chunks(LINE).enumerate() {
            let Some(first) = line.iter().position(|byte| *byte != 0) else { continue };
            let end = line.iter().rposition(|byte| *byte != 0).expect("not all are zero") + 1;
            write!(text, "{} ", number * LINE + first).expect("memory");
            for byte in &line[first..end] {
                write!(text, "{byte:02x}").expect("memory");
            }
            text.push('\n');
        }
    }
    text
}

/// Makes the files of `text` below `folder`.
pub fn unpack(text: &str, folder: &Path) {
    let mut file = None;
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("file ") {
            let (name, len) = named.rsplit_once(' ').expect("a name and a length");
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let made = File::create_new(path).expect("a new file");
            made.set_len(len.parse().expect("a length")).expect("a file");
            file = Some(made);
        } else {
            let (offset, digits) = line.split_once(' ').expect("an offset and bytes");
            let file = file.as_ref().expect("a file before its bytes");
            file.write_all_at(&bytes(digits), offset.parse().expect("an offset")).expect("a write");
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

/// All files in a folder and in those in it, in the order of their paths.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(inside).collect()
}

/// Bytes of one line.
const LINE: usize = 48;
