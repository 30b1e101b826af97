//! Where tables are written: files of their own, or a part of a document between two marks.

use std::path::Path;

/// What stands before and behind the tables of a program in a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Marks {
    /// Before them.
    pub begin: &'static str,
    /// Behind them.
    pub end: &'static str,
}

/// A document around the tables.
#[derive(Debug, Eq, PartialEq)]
pub struct Document {
    marks: Marks,
    before: String,
    after: String,
}

impl Marks {
    /// Reads a document with these marks.
    pub fn read(self, path: &Path) -> Result<Document, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        let Marks { begin, end } = self;
        self.around(&text)
            .ok_or_else(|| format!("{}: no {begin} and {end} behind it", path.display()))
    }

    /// The two parts of a text with marks.
    fn around(self, text: &str) -> Option<Document> {
        let (before, rest) = text.split_once(self.begin)?;
        let (_, after) = rest.split_once(self.end)?;
        Some(Document { marks: self, before: before.into(), after: after.into() })
    }
}

impl Document {
    /// With these tables.
    pub fn with(&self, tables: &str) -> String {
        let Marks { begin, end } = self.marks;
        format!("{}{begin}\n\n{}\n\n{end}{}", self.before, tables.trim(), self.after)
    }
}

/// Writes a file, and makes the folder it is to be in.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_the_place_of_those_between_the_marks() {
        let marks = Marks { begin: "<begin>", end: "<end>" };
        let new = marks.around("a\n<begin>\nold\n<end>\nb\n").unwrap().with("new\n\n");
        assert_eq!(new, "a\n<begin>\n\nnew\n\n<end>\nb\n");
        assert_eq!(marks.around(&new).unwrap().with("new"), new);
        assert_eq!(marks.around("a <end> <begin>"), None);
    }
}
