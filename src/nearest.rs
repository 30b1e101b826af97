//! The name that a misspelt one may have been meant to be.

/// The name nearest to `word`, if one is near enough to be meant.
/// Its words may be in another order: `max_packet_bytes` is near to `packet_bytes_max`.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let sorted_word = in_order(word);
    let far = |name: &str| distance(word, name).min(distance(&sorted_word, &in_order(name)));
    let (far, name) = names.into_iter().map(|name| (far(name), name)).min()?;
    (far <= (word.len() / 3).max(1)).then_some(name)
}

/// A name with its words in one order; those of a section stay in front.
fn in_order(name: &str) -> String {
    let words = |segment: &str| {
        let mut words: Vec<&str> = segment.split('_').collect();
        words.sort_unstable();
        words.join("_")
    };
    name.split('.').map(words).collect::<Vec<_>>().join(".")
}

/// Levenshtein's: single characters put in, left out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in other.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, other, wanted) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("qos_mx", "qos_max", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), wanted, "{one} {other}");
            assert_eq!(distance(other, one), wanted, "{other} {one}");
        }
    }
}
