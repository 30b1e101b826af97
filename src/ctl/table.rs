//! Tables that fit the terminal.
//!
//! Text is cut where it must be, and says so with `…`; numbers and moments are never cut. What still does not fit are the
//! last columns: they are left out, and named below the table.

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::units::{is_number, label, shown};

/// Between two columns.
const GAP: usize = 2;
/// Text is not cut below this width.
const TEXT_MIN: usize = 8;
/// Fields that say when, beside those that end in `time`.
const MOMENTS: &[&str] =
    &["received", "stored_at", "certificate_ends", "oldest", "due", "first", "last"];

struct TableColumn {
    cells: Vec<String>,
    width: usize,
    is_number: bool,
    may_be_cut: bool,
}

/// `rows` with these fields as columns; `width`: of the terminal, if it is one.
pub fn table<'a>(
    rows: &[Value],
    fields: impl IntoIterator<Item = &'a str>,
    width: Option<usize>,
) -> String {
    let fields: Vec<&str> = fields.into_iter().collect();
    let mut columns: Vec<_> = fields.iter().map(|field| TableColumn::of(field, rows)).collect();
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let mut text = String::new();
    for line in 0..=rows.len() {
        let cells: Vec<_> = columns.iter().map(|column| column.cell(line)).collect();
        text.push_str(cells.join(&" ".repeat(GAP)).trim_end());
        text.push('\n');
    }
    let left_out: Vec<_> = fields[columns.len()..].iter().map(|field| label(field)).collect();
    if !left_out.is_empty() {
        text.push_str(&format!("(too narrow for: {}; --json has all)\n", left_out.join(", ")));
    }
    text
}

/// The names of all fields of `rows`, those in `first` before the others.
pub fn fields<'a>(rows: &'a [Value], first: &[&'a str]) -> Vec<&'a str> {
    let all = || rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys());
    let mut fields: Vec<&str> =
        first.iter().copied().filter(|field| all().any(|name| name == field)).collect();
    for name in all() {
        if !fields.contains(&name.as_str()) {
            fields.push(name);
        }
    }
    fields
}

impl TableColumn {
    fn of(field: &str, rows: &[Value]) -> TableColumn {
        let values = || rows.iter().map(|row| row.get(field).unwrap_or(&Value::Null));
        // Above a number it is known what is counted.
        let name = field.strip_suffix("_messages").unwrap_or(field);
        let mut cells = vec![label(name).to_uppercase()];
        cells.extend(values().map(|value| shown(field, value)));
        let width = cells.iter().map(|cell| cell.width()).max().unwrap_or_default();
        let mut said = values().filter(|value| !value.is_null()).peekable();
        let is_number = said.peek().is_some() && said.all(is_number);
        let is_moment = field.ends_with("time") || MOMENTS.contains(&field);
        TableColumn { cells, width, is_number, may_be_cut: !is_number && !is_moment }
    }

    fn cell(&self, line: usize) -> String {
        let cell = cut(&self.cells[line], self.width);
        let padding = " ".repeat(self.width.saturating_sub(cell.width()));
        if self.is_number { format!("{padding}{cell}") } else { format!("{cell}{padding}") }
    }
}

/// Makes columns narrower, the widest first, and leaves out the last ones, until they fit.
fn fit(columns: &mut Vec<TableColumn>, width: usize) {
    loop {
        let gaps = GAP * columns.len().saturating_sub(1);
        let taken = columns.iter().map(|column| column.width).sum::<usize>() + gaps;
        if taken <= width || columns.len() <= 1 {
            return;
        }
        let text = columns.iter_mut().filter(|column| column.may_be_cut && column.width > TEXT_MIN);
        match text.max_by_key(|column| column.width) {
            Some(widest) => widest.width -= 1,
            None => drop(columns.pop()),
        }
    }
}

/// As much of `text` as fits, with `…` if that is not all.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = 1;
    let fits = |c: &char| {
        taken += c.width().unwrap_or_default();
        taken <= width
    };
    let mut beginning: String = text.chars().take_while(fits).collect();
    beginning.push('…');
    beginning
}

/// `text` in lines of at most `width`, cut between words where that is possible.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one at least");
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> [Value; 2] {
        [
            json!({ "client_id": "lamp-in-the-kitchen-of-house-17", "queue_messages": 3, "user": null }),
            json!({ "client_id": "世界\u{202e}", "queue_messages": 12_345, "user": "ann" }),
        ]
    }

    #[test]
    fn a_table_takes_the_room_that_it_needs() {
        let text = table(&rows(), ["client_id", "queue_messages", "user"], None);
        let wanted = "\
CLIENT ID                        QUEUE  USER
lamp-in-the-kitchen-of-house-17      3  -
世界\\u{202e}                     12345  ann
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn where_it_does_not_fit_text_is_cut_and_then_columns_are_left_out() {
        let text = table(&rows(), ["client_id", "queue_messages", "user"], Some(27));
        assert!(text.lines().all(|line| line.width() <= 27), "{text}");
        assert!(text.contains("lamp-in-the-k…") && text.contains("12345"), "{text}");
        let text = table(&rows(), ["client_id", "queue_messages", "user"], Some(15));
        let wanted = "\
CLIENT …  QUEUE
lamp-in…      3
世界\\u{…  12345
(too narrow for: user; --json has all)
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrapped("the queue is full: raise", 10), ["the queue", "is full:", "raise"]);
        assert_eq!(wrapped("", 10), [""]);
    }
}
