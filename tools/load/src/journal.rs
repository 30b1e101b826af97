//! What was acknowledged, written down while it happens: a file of lines that is only appended to,
//! so that whatever ends the run, every message in it was acknowledged.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Writes down what was acknowledged.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Acknowledged and not yet written: ranges by stream, to (excluded) behind from.
    pending: BTreeMap<u32, Vec<(u64, u64)>>,
}

impl Journal {
    /// Appends to a file that is there.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn append_to(path: &Path) -> Result<Journal, Error> {
        let file = OpenOptions::new().append(true).open(path).map_err(|source| Error::File {
            what: "cannot write",
            path: path.display().to_string(),
            source,
        })?;
        Ok(Journal { path: path.into(), file, pending: BTreeMap::new() })
    }

    /// Message `sequence` of `stream` was acknowledged.
    pub fn note(&mut self, stream: u32, sequence: u64) {
        let ranges = self.pending.entry(stream).or_default();
        match ranges.last_mut() {
            Some((_, to)) if *to == sequence => *to += 1,
            _ => ranges.push((sequence, sequence + 1)),
        }
    }

    /// Writes what was noted, with one call, so that lines of two threads stay whole.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let mut lines = String::new();
        for (stream, ranges) in std::mem::take(&mut self.pending) {
            for (from, to) in ranges {
                lines += &format!("{ACKNOWLEDGED} {stream} {from} {to}\n");
            }
        }
        self.file.write_all(lines.as_bytes()).map_err(|source| Error::File {
            what: "cannot write",
            path: self.path.display().to_string(),
            source,
        })
    }

    /// Whether something is noted and not written.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Numbers that were acknowledged, as ranges by stream, sorted and merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acknowledged(pub BTreeMap<u32, Vec<(u64, u64)>>);

impl Acknowledged {
    /// Takes one line of a journal; gives it back if it is of another kind.
    pub fn read<'l>(&mut self, line: &'l str) -> Option<&'l str> {
        let mut words = line.split(' ');
        if words.next() != Some(ACKNOWLEDGED) {
            return Some(line);
        }
        let (stream, from, to) = (words.next(), words.next(), words.next());
        let numbers = (
            stream.and_then(|word| word.parse().ok()),
            from.and_then(|word| word.parse().ok()),
            to.and_then(|word| word.parse().ok()),
        );
        let (Some(stream), Some(from), Some(to)) = numbers else { return Some(line) };
        self.0.entry(stream).or_default().push((from, to));
        None
    }

    /// Sorts and merges what was read.
    pub fn merge(&mut self) {
        for ranges in self.0.values_mut() {
            ranges.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
            for &(from, to) in ranges.iter() {
                match merged.last_mut() {
                    Some((_, end)) if *end >= from => *end = to.max(*end),
                    _ => merged.push((from, to)),
                }
            }
            *ranges = merged;
        }
    }

    /// How many messages.
    pub fn count(&self) -> u64 {
        self.0.values().flatten().map(|(from, to)| to - from).sum()
    }

    /// How many numbers of `stream` are both acknowledged and in `missing`, which is sorted; and
    /// the first of them.
    pub fn missing(&self, stream: u32, missing: &[(u64, u64)]) -> (u64, Option<u64>) {
        let (mut count, mut first) = (0, None);
        for &(from, to) in self.0.get(&stream).into_iter().flatten() {
            let behind = missing.partition_point(|range| range.1 <= from);
            for range in missing[behind..].iter().take_while(|range| range.0 < to) {
                let (start, end) = (range.0.max(from), range.1.min(to));
                count += end - start;
                first = first.or(Some(start));
            }
        }
        (count, first)
    }
}

/// First word of a line that says what was acknowledged: stream, from, to (excluded).
const ACKNOWLEDGED: &str = "acknowledged";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::mix;

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut journal = Journal::append_to(file.path()).unwrap();
        for sequence in [0, 1, 2, 5, 6, 4] {
            journal.note(3, sequence);
        }
        journal.flush().unwrap();
        journal.note(3, 3);
        journal.note(1, 9);
        assert!(journal.is_pending());
        journal.flush().unwrap();
        let mut read = Acknowledged::default();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.lines().all(|line| read.read(line).is_none()));
        assert_eq!(read.read("client 3 4 5"), Some("client 3 4 5"));
        read.merge();
        assert_eq!(read.0, BTreeMap::from([(1, vec![(9, 10)]), (3, vec![(0, 7)])]));
        assert_eq!(read.count(), 8);
    }

    #[test]
    fn acknowledged_and_missing_meet_as_in_sets() {
        for seed in 0..200 {
            let random = |place: u64| mix(seed * 1000 + place).is_multiple_of(3);
            let acknowledged: Vec<u64> = (0..60).filter(|at| random(*at)).collect();
            let missing: Vec<u64> = (0..60).filter(|at| random(100 + at)).collect();
            let mut read = Acknowledged::default();
            let ranges = acknowledged.iter().map(|at| (*at, at + 1)).collect();
            read.0.insert(0, ranges);
            read.merge();
            let mut gone = Acknowledged(BTreeMap::from([(
                0,
                missing.iter().map(|at| (*at, at + 1)).collect(),
            )]));
            gone.merge();
            let both: Vec<u64> =
                acknowledged.iter().filter(|at| missing.contains(at)).copied().collect();
            let found = read.missing(0, &gone.0[&0]);
            assert_eq!(found, (both.len() as u64, both.first().copied()), "seed {seed}");
        }
    }
}
