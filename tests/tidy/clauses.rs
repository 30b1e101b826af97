//! Clauses of the standard: every one that the source cites exists, and a script or a test proves it.

use std::collections::BTreeSet;
use std::path::Path;

use super::lines_of;
use super::source::{self, Source};

/// Clauses cited in the source that no list of the standard has, or that nothing proves.
pub fn clauses(root: &Path) -> Vec<String> {
    let known: BTreeSet<String> = ["mqtt-v5.tsv", "mqtt-v311.tsv"]
        .iter()
        .flat_map(|list| lines_of(&root.join("tests/spec").join(list)))
        .filter_map(|line| Some(line.split_once('\t')?.0.to_owned()))
        .collect();
    let mut found = Vec::new();
    let mut cited = BTreeSet::new();
    for source in Source::read_all(root, "src") {
        for (number, line) in source.text.lines().enumerate() {
            for clause in cited_in(line) {
                if !known.contains(&clause) {
                    let at = format!("{}:{}", source.path, number + 1);
                    found.push(format!("{at}: cites {clause}, which is in no list"));
                }
                cited.insert(clause);
            }
        }
    }
    let mut proved = BTreeSet::new();
    for (path, number, clause) in proofs(root) {
        if !known.contains(&clause) {
            found.push(format!("{path}:{number}: proves {clause}, which is in no list"));
        }
        proved.insert(clause);
    }
    let open: Vec<&str> =
        cited.intersection(&known).filter(|c| !proved.contains(*c)).map(|c| &**c).collect();
    if !open.is_empty() {
        found.push(format!("cited but proved by no script or test: {}", open.join(" ")));
    }
    found
}

/// Clauses in brackets: `[MQTT5-3.1.2-22]`, and the short form `[MQTT5-4.8.2-4, -5]`. A section
/// without the number of a clause, `[MQTT5-3.1]`, points a reader there and claims nothing.
fn cited_in(line: &str) -> Vec<String> {
    let mut cited = Vec::new();
    for part in line.split('[').skip(1).filter(|part| is_clause(part)) {
        let Some((list, _)) = part.split_once(']') else { continue };
        let mut section = "";
        for clause in list.split(',').map(str::trim) {
            match clause.strip_prefix('-') {
                Some(number) => cited.push(format!("{section}-{number}")),
                None if clause.matches('-').count() == 2 => cited.push(clause.to_owned()),
                None => {}
            }
            if let Some((whole, _)) = clause.rsplit_once('-').filter(|(whole, _)| !whole.is_empty())
            {
                section = whole;
            }
        }
    }
    cited
}

fn is_clause(text: &str) -> bool {
    text.starts_with("MQTT5-") || text.starts_with("MQTT311-")
}

/// Clauses after `proves` at the start of a line of a script, or of a comment of a test.
fn proofs(root: &Path) -> Vec<(String, usize, String)> {
    let mut scripts = Vec::new();
    if let Ok(entries) = std::fs::read_dir(root.join("tests/conformance")) {
        scripts.extend(entries.map(|entry| entry.expect("a readable folder").path()));
    }
    for folder in ["src", "tests"] {
        source::collect(&root.join(folder), &mut scripts);
    }
    scripts.sort();
    let mut proofs = Vec::new();
    for script in scripts {
        let path =
            script.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        for (number, line) in lines_of(&script).iter().enumerate() {
            let line = line.trim_start().trim_start_matches('/').trim_start();
            let Some(clauses) = line.strip_prefix("proves ") else { continue };
            let clauses = clauses.split([' ', ',']).filter(|clause| is_clause(clause));
            proofs.extend(clauses.map(|clause| (path.clone(), number + 1, clause.to_owned())));
        }
    }
    proofs
}
