//! What is wrong with a command line, in one line.

use clap::error::{ContextKind, ErrorKind};

/// What is wrong, in one line; `names` are the scenarios there are.
pub fn in_one_line(error: &clap::Error, names: &[String]) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            no_scenario(&context(ContextKind::InvalidSubcommand).unwrap_or_default(), names)
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("no scenario; there are {}", names.join(", "))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = context(ContextKind::InvalidArg).unwrap_or_default();
            format!("{} is missing", missing.replace('\n', ", "))
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let mut line = line.trim_start_matches("error: ").to_string();
            if let Some(near) = context(ContextKind::SuggestedArg) {
                line += &format!(": did you mean {near}?");
            }
            line
        }
    }
}

/// There is no scenario of this name; the nearest one, or all.
pub fn no_scenario(asked: &str, names: &[String]) -> String {
    match nearest(asked, names) {
        Some(near) => format!("there is no scenario {asked:?}: did you mean {near:?}?"),
        None => format!("there is no scenario {asked:?}; there are {}", names.join(", ")),
    }
}

/// The name that differs least from `asked`, if it is not too far from it.
pub fn nearest<'n>(asked: &str, names: &'n [String]) -> Option<&'n String> {
    let distances = names.iter().map(|name| (distance(asked, name), name));
    let near = distances.filter(|(far, name)| far * 2 <= name.len());
    near.min_by_key(|(far, _)| *far).map(|(_, name)| name)
}

/// How many letters have to be changed, added or removed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..to.len() {
            let changed = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_words_is_in_letters() {
        for (from, to, letters) in [("", "abc", 3), ("pair", "pair", 0), ("pare", "pair", 2)] {
            assert_eq!(distance(from, to), letters);
        }
    }

    #[test]
    fn only_what_is_near_is_named() {
        let names = ["pair".to_string(), "fanout".into()];
        assert_eq!(nearest("fanuot", &names), Some(&names[1]));
        assert_eq!(nearest("zebra", &names), None);
    }
}
