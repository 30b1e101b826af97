//! What the documents point to exists.

use std::path::{Path, PathBuf};

use super::lines_of;

/// Files that the documents beside `Cargo.toml` name in backquotes or link to, and that are not there.
pub fn documents(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(root).expect("a readable folder");
    let mut documents: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    documents.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    documents.sort();
    for document in documents {
        let name = document.file_name().expect("a file").to_string_lossy();
        for (number, line) in lines_of(&document).iter().enumerate() {
            let quoted = line.split('`').skip(1).step_by(2).filter(|text| is_source(text));
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let links = links.filter(|link| !link.starts_with("http") && !link.starts_with('#'));

            for path in quoted.chain(links) {
                if !root.join(path).exists() && !root.join("src").join(path).exists() {
                    found.push(format!("{name}:{}: {path} is not there", number + 1));
                }
            }
        }
    }
    found
}

fn is_source(text: &str) -> bool {
    text.ends_with(".rs") && text.contains('/') && !text.contains('*')
}
