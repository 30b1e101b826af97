//! What became of each line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// ImportFiles in the order in which they were read.
    order: usize,
    line: usize,
    file: Arc<str>,
}

impl Place {
    /// Line `line` (0: none of its lines) of the `order`th file that was read.
    pub(super) fn new(order: usize, file: &Arc<str>, line: usize) -> Place {
        Place { order, line, file: file.clone() }
    }

    /// A file that comes behind all that are read line by line.
    pub(super) fn of_file(path: &Path) -> Place {
        Place::new(usize::MAX, &path.display().to_string().into(), 0)
    }

    /// Another line of the same file.
    pub(super) fn at(&self, line: usize) -> Place {
        Place { line, ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What became of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It holds as before.
    Carried,
    /// It holds, but not as before.
    Differs,
    /// Sluice has nothing like it.
    Missing,
}

impl Fate {
    fn words(self) -> &'static str {
        match self {
            Fate::Carried => "carried over",
            Fate::Differs => "differs",
            Fate::Missing => "no counterpart",
        }
    }
}

/// What became of one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportFinding {
    place: Place,
    fate: Fate,
    text: String,
}

impl ImportFinding {
    /// What became of it.
    pub fn fate(&self) -> Fate {
        self.fate
    }
}

impl fmt::Display for ImportFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.fate.words(), self.text)
    }
}

/// What became of every line.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    findings: Vec<ImportFinding>,
}

impl ImportReport {
    /// All of it, file after file, in the order of lines.
    pub fn findings(&self) -> &[ImportFinding] {
        &self.findings
    }

    /// How many lines have become `fate`.
    pub fn count(&self, fate: Fate) -> usize {
        self.findings.iter().filter(|finding| finding.fate == fate).count()
    }

    pub(super) fn carried(&mut self, place: &Place, text: impl Into<String>) {
        self.add(place, Fate::Carried, text.into());
    }

    pub(super) fn differs(&mut self, place: &Place, text: impl Into<String>) {
        self.add(place, Fate::Differs, text.into());
    }

    pub(super) fn missing(&mut self, place: &Place, text: impl Into<String>) {
        self.add(place, Fate::Missing, text.into());
    }

    /// What holds as before, or what differs.
    pub(super) fn either(&mut self, place: &Place, text: String, difference: Option<String>) {
        match difference {
            None => self.carried(place, text),
            Some(difference) => self.differs(place, format!("{text}: {difference}")),
        }
    }

    fn add(&mut self, place: &Place, fate: Fate, text: String) {
        self.findings.push(ImportFinding { place: place.clone(), fate, text });
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|one, other| one.place.cmp(&other.place));
        // What stands for several listeners is said once.
        self.findings.dedup();
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        let [carried, differs, missing] =
            [Fate::Carried, Fate::Differs, Fate::Missing].map(|fate| self.count(fate));
        write!(f, "{carried} carried over, {differs} differ, {missing} without counterpart")
    }
}
