//! Imports go downward only, and never to a neighbour.

use std::path::Path;

use super::source::Source;
use super::{FLOORS, NO_NEIGHBOURS};

/// Names from the crate's root that go up, or sideways where there are no neighbours.
pub fn floors(root: &Path) -> Vec<String> {
    let floor = |module: &str| FLOORS.iter().find(|(name, _)| *name == module).map(|&(_, f)| f);
    let mut found = Vec::new();
    for source in Source::read_all(root, "src") {
        let Some(here) = source.module.first() else { continue };
        let Some(on) = floor(here) else {
            found.push(format!("{}:1: module {here} has no floor", source.path));
            continue;
        };
        for name in source.names() {
            let Some(target) = name.absolute(&source.module) else { continue };
            let Some(there) = target.first().filter(|there| *there != here) else { continue };
            let at = format!("{}:{}", source.path, name.line);
            match floor(there) {
                None => found.push(format!("{at}: {there} is no module with a floor")),
                Some(up) if up > on => {
                    found.push(format!("{at}: {here} (floor {on}) names {there} (floor {up})"))
                }
                Some(level) if level == on && NO_NEIGHBOURS.contains(&on) && !name.test => {
                    found.push(format!("{at}: {here} (floor {on}) names its neighbour {there}"))
                }
                Some(_) => {}
            }
        }
    }
    found.dedup();
    found
}

/// `main.rs`, `lib.rs` and modules without a floor stand above all.
pub fn floor_of(source: &Source) -> u8 {
    let module = source.module.first();
    FLOORS.iter().find(|(name, _)| module.is_some_and(|m| m == name)).map_or(u8::MAX, |&(_, f)| f)
}
