//! Where something stands in a file: line and column, both from 1.

/// Line and column, both from 1.
pub type LineColumn = (usize, usize);

/// Where the byte at `at` stands; columns are counted in characters.
pub fn place(text: &str, at: usize) -> LineColumn {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Where section number `index` of a PEM file begins, counted from 0; the first line if there is no such section.
pub fn pem_section(bytes: &[u8], index: usize) -> LineColumn {
    let text = String::from_utf8_lossy(bytes);
    let begins = text.lines().zip(1..).filter(|(line, _)| line.starts_with(BEGIN));
    begins.map(|(_, number)| number).nth(index).map_or((1, 1), |line| (line, 1))
}

/// Where a PEM file is damaged: the first character that cannot be there, or the line where an end is missing.
pub fn pem_damage(bytes: &[u8]) -> LineColumn {
    let text = String::from_utf8_lossy(bytes);
    let (mut open, mut last) = (false, 1);
    for (line, number) in text.lines().zip(1..) {
        last = number;
        if line.starts_with(BEGIN) || line.starts_with("-----END ") {
            let begins = line.starts_with(BEGIN);
            if begins == open || !line.trim_end().ends_with("-----") {
                return (number, 1);
            }
            open = begins;
        } else if open && !line.contains(": ") {
            let is_good = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
            if let Some(column) = line.trim_end().chars().position(|c| !is_good(c)) {
                return (number, column + 1);
            }
        }
    }
    if open { (last, 1) } else { pem_section(bytes, 0) }
}

const BEGIN: &str = "-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        let text = "a\nüb\nc";
        for (at, wanted) in [(0, (1, 1)), (2, (2, 1)), (4, (2, 2)), (6, (3, 1)), (99, (3, 2))] {
            assert_eq!(place(text, at), wanted, "{at}");
        }
    }

    #[test]
    fn damage_in_pem_has_a_place() {
        for (text, wanted) in [
            ("", (1, 1)),
            ("x\n-----BEGIN A-----\nAA==\n-----END A-----\n", (2, 1)),
            ("-----BEGIN A-----\nAA!=\n-----END A-----\n", (2, 3)),
            ("-----BEGIN A-----\nAA==\n", (2, 1)),
            ("-----BEGIN A-----\nAA==\n-----END A", (3, 1)),
            ("-----BEGIN A-----\nAA==\n-----BEGIN A-----\n", (3, 1)),
            (
                "-----BEGIN A-----\nDEK-Info: x,y\n\nAA==\n-----END A-----\n-----END A-----\n",
                (6, 1),
            ),
        ] {
            assert_eq!(pem_damage(text.as_bytes()), wanted, "{text:?}");
        }
        let two = b"-----BEGIN A-----\nAA==\n-----END A-----\n-----BEGIN A-----\n";
        assert_eq!([0, 1, 2].map(|index| pem_section(two, index)), [(1, 1), (4, 1), (1, 1)]);
    }
}
