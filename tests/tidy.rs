//! Proves of the source what no compiler checks: the floors of the house, words that have one
//! place only, lines that ask for the protocol version, clauses that are cited, files that grow.
//!
//! Every rule is a function over a folder, so that each is tried on a small tree below
//! `tests/fixtures/tidy` that breaks it. What a rule says is data at the top of this file.

#[path = "tidy/cycles.rs"]
mod cycles;
#[path = "tidy/measures.rs"]
mod measures;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cycles::{Cycle, Imports};
use measures::{Figures, MEASURES, Measure};
use source::{Named, Source};

/// The floor of each module of `src`. `main.rs` and `lib.rs` stand above all and are free.
const FLOORS: &[(&str, u8)] = &[
    ("time", 0),
    ("config", 0),
    ("sync", 0),
    // Of tests alone.
    ("random", 0),
    ("codec", 1),
    ("topic", 1),
    ("shape", 1),
    ("message", 2),
    ("session", 2),
    ("broker", 3),
    ("net", 4),
    ("store", 4),
    ("auth", 4),
    ("certs", 4),
    ("settings", 4),
    ("logging", 4),
    // Puts the house together.
    ("run", 5),
    // Beside `main.rs`, of the binary alone.
    ("password", 5),
    ("store_command", 5),
];

/// The modules of these floors know nothing of each other; their tests may.
const NO_NEIGHBOURS: &[u8] = &[1, 4];

/// Paths that may be named only in some places, outside tests.
const WORDS: &[Word] = &[
    // The runtime and the network.
    Word { path: &["tokio"], place: Only(TOKIO) },
    Word { path: &["tokio_rustls"], place: Only(&["src/net/tls.rs"]) },
    Word { path: &["rustls"], place: Only(&["src/net/tls.rs"]) },
    // Beside the one file that uses it, the line that declares that file.
    Word { path: &["sled"], place: Only(&["src/store/sled.rs", "src/store/mod.rs"]) },
    Word { path: &["redb"], place: Only(&["src/store/redb.rs", "src/store/mod.rs"]) },
    // Floors 0 to 3 never wait and never touch a socket or a file.
    Word { path: &["std", "fs"], place: From(4) },
    Word { path: &["TcpListener"], place: From(4) },
    Word { path: &["TcpStream"], place: From(4) },
    Word { path: &["UdpSocket"], place: From(4) },
    Word { path: &["ToSocketAddrs"], place: From(4) },
    Word { path: &["std", "io"], place: From(4) },
    Word { path: &["std", "process"], place: From(4) },
    Word { path: &["std", "env"], place: From(4) },
    // A turn asks whether its thread panics: dropped unfinished, it is no second panic then.
    Word { path: &["std", "thread"], place: FromAnd(4, "src/broker/turn.rs") },
    Word { path: &["async"], place: From(4) },
    Word { path: &["await"], place: From(4) },
    // Clocks are read in one file; the runtime sleeps by its own, and the dates in certificates
    // are wall clock.
    Word { path: &["Instant", "now"], place: Only(&["src/time.rs", "src/net/serve.rs"]) },
    Word {
        path: &["SystemTime", "now"],
        place: Only(&["src/time.rs", "src/certs.rs", "src/net/tls.rs"]),
    },
    // Nothing below floor 4 draws randomness, hash seeds included.
    Word { path: &["getrandom"], place: From(4) },
    Word { path: &["rand"], place: From(4) },
    Word { path: &["fastrand"], place: From(4) },
    Word { path: &["RandomState"], place: From(4) },
    Word { path: &["DefaultHasher"], place: From(4) },
    Word { path: &["foldhash", "HashMap"], place: From(4) },
    Word { path: &["foldhash", "HashSet"], place: From(4) },
    Word { path: &["HashMap", "new"], place: From(4) },
    Word { path: &["HashMap", "with_capacity"], place: From(4) },
    Word { path: &["HashSet", "new"], place: From(4) },
    Word { path: &["HashSet", "with_capacity"], place: From(4) },
    // Every queue has a maximum.
    Word { path: &["unbounded_channel"], place: Only(&[]) },
    Word { path: &["UnboundedSender"], place: Only(&[]) },
    Word { path: &["unbounded"], place: Only(&[]) },
    Word { path: &["std", "sync", "mpsc"], place: Only(&[]) },
    // A panic says why it cannot happen: `expect("…")`.
    Word { path: &["unwrap"], place: Only(&[]) },
    Word { path: &["dbg"], place: Only(&[]) },
];

/// Where the runtime may be named: sockets, the life of the process, passwords checked beside the
/// workers.
const TOKIO: &[&str] = &["src/net/", "src/run.rs", "src/run/", "src/auth/password_auth.rs"];

/// Macros and attributes that are left behind by unfinished work: not even in tests and tools.
const UNFINISHED: &[&[&str]] =
    &[&["todo", "!", "("], &["unimplemented", "!", "("], &["#", "[", "ignore"]];

/// Hash maps and the number of their parameters when the hasher is named.
const HASHED: &[(&str, usize)] = &[("HashMap", 3), ("HashSet", 2)];

/// How often each file outside the codec names a protocol version. Version 5 is the house
/// language: ask only where the protocol truly differs, and say so here.
const VERSIONS: &[(&str, usize)] = &[
    // An older client cannot be told an assigned Client Identifier, nor another Keep Alive; a Session
    // from the store has no client yet.
    ("src/session/connect.rs", 3),
    // Above our Receive Maximum; a refusal of a PUBLISH.
    ("src/session/inbound.rs", 2),
    // Reason Strings are not even made.
    ("src/session/mod.rs", 1),
    // An older client knows no Receive Maximum, and cannot be told that the disk is full: its reads
    // pause.
    ("src/broker/link/live.rs", 1),
    ("src/broker/link/not_read.rs", 1),
    // Nor can it be refused a PUBLISH.
    ("src/broker/link/limits.rs", 1),
    ("src/broker/link/attachment.rs", 1),
    // AUTH is of version 5; an overtaken older client is just closed.
    ("src/broker/link/opening.rs", 2),
    // A client of our own, which speaks version 5.
    ("src/net/live_check.rs", 2),
];

/// Files of `src` that may import from each other. Shorten a list when a cycle becomes smaller.
const CYCLES: &[&[&str]] = &[
    &[
        "src/broker/link/limits.rs",
        "src/broker/link/coalesce.rs",
        "src/broker/link/live.rs",
        "src/broker/link/login.rs",
        "src/broker/link/attachment.rs",
    ],
    &["src/settings/file.rs", "src/settings/keys.rs"],
];

/// Lines of detail below a measure that is above its ratchet.
const WORST_SHOWN: usize = 12;

struct Word {
    path: &'static [&'static str],
    place: Place,
}

enum Place {
    /// Files below these paths.
    Only(&'static [&'static str]),
    /// This floor and those above it.
    From(u8),
    /// The same, and one file below.
    FromAnd(u8, &'static str),
}
use Place::{From, FromAnd, Only};

#[test]
fn imports_go_downward_only_and_never_sideways() {
    none(&floors(&house()));
}

#[test]
fn reserved_words_stand_only_where_they_belong() {
    none(&words(&house()));
}

#[test]
fn the_protocol_version_is_asked_for_only_in_listed_lines() {
    none(&versions(&house(), VERSIONS));
}

#[test]
fn every_cited_clause_exists_and_is_proved() {
    none(&clauses(&house()));
}

#[test]
fn no_measure_is_above_its_ratchet() {
    none(&ratchets(&Figures::of(&house()), |measure| measure.max));
}

#[test]
fn files_import_in_one_direction() {
    none(&cycles(&house(), CYCLES));
}

/// `tools/measure` prints the table of the trees that `MEASURE` and `AGAINST` name.
#[test]
fn the_table_of_measures_has_a_row_for_each() {
    let tree = |name| std::env::var_os(name).map(PathBuf::from);
    let now = Figures::of(&tree("MEASURE").unwrap_or_else(house));
    let before = tree("AGAINST").map(|tree| Figures::of(&tree));
    let table = measures::table(&now, before.as_ref());
    println!("{table}");
    for measure in MEASURES {
        assert!(table.contains(measure.name), "{} is missing", measure.name);
    }
}

#[test]
fn what_the_documents_point_to_exists() {
    none(&documents(&house()));
}

#[test]
fn an_upward_import_is_reported() {
    reported(
        &floors(&fixture("upward")),
        &["src/codec/decode.rs:3: codec (floor 1) names session (floor 2)"],
    );
}

#[test]
fn a_sideways_import_is_reported_however_it_is_spelt() {
    reported(
        &floors(&fixture("sideways")),
        &[
            "src/codec.rs:5: codec (floor 1) names its neighbour topic",
            "src/codec.rs:8: codec (floor 1) names its neighbour shape",
            "src/codec.rs:10: codec (floor 1) names its neighbour shape",
            "src/codec.rs:14: codec (floor 1) names its neighbour topic",
            "src/kitchen.rs:1: module kitchen has no floor",
        ],
    );
}

#[test]
fn reserved_words_are_reported() {
    reported(
        &words(&fixture("words")),
        &[
            "src/session.rs:2: RandomState belongs on floor 4 and above",
            "src/session.rs:3: std::fs belongs on floor 4 and above",
            "src/session.rs:5: HashMap without a named hasher",
            "src/session.rs:8: RandomState belongs on floor 4 and above",
            "src/session.rs:10: SystemTime::now belongs only in \
             src/time.rs, src/certs.rs, src/net/tls.rs",
            "src/session.rs:11: tokio belongs only in src/net/, src/run.rs, src/run/, src/auth/password_auth.rs",
            "src/session.rs:12: unwrap belongs nowhere",
            "src/session.rs:13: todo!( is unfinished work",
            "src/session.rs:24: #[ignore is unfinished work",
        ],
    );
}

#[test]
fn a_line_that_asks_for_the_version_is_reported() {
    let tree = fixture("versions");
    none(&versions(&tree, &[("src/session.rs", 2)]));
    let asked = "src/session.rs: names a Version:: 2 times (lines 4, 5), listed";
    reported(&versions(&tree, &[]), &[&format!("{asked} 0")]);
    reported(
        &versions(&tree, &[("src/session.rs", 1), ("src/gone.rs", 1)]),
        &[&format!("{asked} 1"), "src/gone.rs: names no Version::, listed 1"],
    );
}

#[test]
fn a_clause_that_is_unknown_or_unproved_is_reported() {
    reported(
        &clauses(&fixture("clauses")),
        &[
            "src/session.rs:5: cites MQTT5-9.9.9-9, which is in no list",
            "tests/conformance/ping.mqtt:2: proves MQTT311-9.9.9-9, which is in no list",
            "cited but proved by no script or test: MQTT311-3.12.4-1 MQTT5-3.1.0-2",
        ],
    );
}

#[test]
fn a_document_that_points_to_nothing_is_reported() {
    reported(
        &documents(&fixture("documents")),
        &["MAP.md:3: src/gone.rs is not there", "MAP.md:4: GONE.md is not there"],
    );
}

#[test]
fn every_measure_counts_what_it_says() {
    let figures = Figures::of(&fixture("measures"));
    let counted: Vec<String> = MEASURES
        .iter()
        .map(|measure| format!("{}: {:.1}", measure.name, (measure.of)(&figures)))
        .collect();
    reported(
        &counted,
        &[
            "longest function, lines: 7.0",
            "95 % of functions have at most, lines: 7.0",
            "longest file of src and tools, lines outside tests: 28.0",
            "longest file of tests, lines: 1.0",
            "functions with 6 or more parameters, % of src/broker: 33.3",
            "functions with 6 or more parameters, % of src: 25.0",
            "public fields in 1,000 lines of src/broker: 136.4",
            "public fields in 1,000 lines of src: 107.1",
            "types that share a name, % of src: 50.0",
            "who-words in 1,000 words of comments of src: 69.0",
            "who-words in 1,000 words of comments of tests and tools: 250.0",
            "files of src in an import cycle: 0.0",
        ],
    );
}

#[test]
fn a_measure_above_its_ratchet_is_reported_with_what_makes_it() {
    let figures = Figures::of(&fixture("measures"));
    let found =
        ratchets(&figures, |measure| if measure.name.ends_with("src") { 26.0 } else { 300.0 });
    reported(
        &found,
        &[
            "public fields in 1,000 lines of src: 107.14, 26.00 at most\n    \
             3 public fields: src/broker/mod.rs",
            "types that share a name, % of src: 50.00, 26.00 at most\n    \
             Plate: src/broker/mod.rs:11, src/lib.rs:3",
            "who-words in 1,000 words of comments of src: 68.97, 26.00 at most\n    \
             src/broker/mod.rs:1: Whoever reads this finds two.\n    \
             src/broker/mod.rs:3: Two public fields, one private: nobody sees it.",
        ],
    );
}

#[test]
fn an_import_cycle_is_reported_however_it_is_spelt() {
    let tree = fixture("cycles");
    let files = ["src/kitchen/cook.rs", "src/kitchen/oven/grate.rs", "src/kitchen/waiter.rs"];
    none(&cycles(&tree, &[&files]));
    let cycle = "files import from each other: \
                 src/kitchen/cook.rs src/kitchen/oven/grate.rs src/kitchen/waiter.rs\n  \
                 src/kitchen/cook.rs:1: super::Servant of src/kitchen/waiter.rs\n  \
                 src/kitchen/oven/grate.rs:1: super::super::cook::Cook of src/kitchen/cook.rs\n  \
                 src/kitchen/waiter.rs:5: house::Grate of src/kitchen/oven/grate.rs";
    reported(&cycles(&tree, &[]), &[cycle]);
    reported(&cycles(&tree, &[&files[1..]]), &[cycle]);
}

/// Names from the crate's root that go up, or sideways where there are no neighbours.
fn floors(root: &Path) -> Vec<String> {
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

/// Words out of place, and what unfinished work leaves behind.
fn words(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for source in Source::read_all(root, "src") {
        let mut here = BTreeSet::new();
        for name in source.names().iter().filter(|name| !name.test) {
            for word in WORDS.iter().filter(|word| word.is_in(name) && !word.may_stand(&source)) {
                here.insert((
                    name.line,
                    format!("{} belongs {}", word.path.join("::"), word.place),
                ));
            }
        }
        if floor_of(&source) < 4 {
            let lines = unnamed_hashers(&source);
            here.extend(lines.map(|(line, map)| (line, format!("{map} without a named hasher"))));
        }
        found.extend(here.iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)));
        found.extend(unfinished(&source));
    }
    for folder in ["tests", "tools"] {
        found.extend(Source::read_all(root, folder).iter().flat_map(unfinished));
    }
    found
}

/// Lines outside the codec that name a version, against what `listed` allows.
fn versions(root: &Path, listed: &[(&str, usize)]) -> Vec<String> {
    let mut listed: BTreeMap<&str, usize> = listed.iter().copied().collect();
    let mut found = Vec::new();
    for source in Source::read_all(root, "src") {
        if source.module.first().is_some_and(|module| module == "codec") {
            continue;
        }
        let lines: Vec<String> = source
            .names()
            .iter()
            .filter(|name| !name.test)
            .filter(|name| name.segments.iter().rev().skip(1).any(|part| part == "Version"))
            .map(|name| name.line.to_string())
            .collect();
        let allowed = listed.remove(source.path.as_str()).unwrap_or(0);
        if lines.len() != allowed {
            let (path, count, lines) = (&source.path, lines.len(), lines.join(", "));
            found.push(format!(
                "{path}: names a Version:: {count} times (lines {lines}), listed {allowed}"
            ));
        }
    }
    found.extend(
        listed.iter().map(|(path, count)| format!("{path}: names no Version::, listed {count}")),
    );
    found
}

/// Clauses cited in the source that no list of the standard has, or that nothing proves.
fn clauses(root: &Path) -> Vec<String> {
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

/// Measures above the limit that `max` gives, each with the worst that it counts.
fn ratchets(figures: &Figures, max: impl Fn(&Measure) -> f64) -> Vec<String> {
    let above = MEASURES.iter().filter(|measure| (measure.of)(figures) > max(measure));
    let report = |measure: &Measure| {
        let worst = (measure.worst)(figures);
        let worst: Vec<&str> = worst.iter().take(WORST_SHOWN).map(String::as_str).collect();
        let (name, is, max) = (measure.name, (measure.of)(figures), max(measure));
        format!("{name}: {is:.2}, {max:.2} at most\n    {}", worst.join("\n    "))
    };
    above.map(report).collect()
}

/// Cycles of imports that have a file beyond those that one of `allowed` lists.
fn cycles(root: &Path, allowed: &[&[&str]]) -> Vec<String> {
    let is_allowed = |cycle: &Cycle| {
        let among = |listed: &[&str]| cycle.paths.iter().all(|path| listed.contains(&&**path));
        allowed.iter().any(|listed| among(listed))
    };
    let mut cycles = Imports::of(root).cycles();
    cycles.retain(|cycle| !is_allowed(cycle));
    cycles.iter().map(|cycle| format!("files import from each other: {cycle}")).collect()
}

/// Files that the documents beside `Cargo.toml` name in backquotes or link to, and that are not there.
fn documents(root: &Path) -> Vec<String> {
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

impl Word {
    /// As a whole path from its first segment if it names a crate, anywhere in a path otherwise.
    fn is_in(&self, name: &Named) -> bool {
        let krate = self.path[0].starts_with(char::is_lowercase) && self.path[0] != "unwrap";
        if krate {
            name.segments
                .iter()
                .map(String::as_str)
                .take(self.path.len())
                .eq(self.path.iter().copied())
        } else {
            name.holds(self.path)
        }
    }

    fn may_stand(&self, source: &Source) -> bool {
        match self.place {
            Only(paths) => paths.iter().any(|path| source.path.starts_with(path)),
            From(floor) => floor_of(source) >= floor,
            FromAnd(floor, path) => floor_of(source) >= floor || source.path == path,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Only([]) => write!(f, "nowhere"),
            Only(paths) => write!(f, "only in {}", paths.join(", ")),
            From(floor) | FromAnd(floor, _) => write!(f, "on floor {floor} and above"),
        }
    }
}

/// `main.rs`, `lib.rs` and modules without a floor stand above all.
fn floor_of(source: &Source) -> u8 {
    let module = source.module.first();
    FLOORS.iter().find(|(name, _)| module.is_some_and(|m| m == name)).map_or(u8::MAX, |&(_, f)| f)
}

/// Types such as `HashMap<K, V>` that leave the hasher to chance, outside tests.
fn unnamed_hashers(source: &Source) -> impl Iterator<Item = (usize, &'static str)> {
    (0..source.tokens.len()).filter_map(|at| {
        let (map, full) = HASHED.iter().find(|(map, _)| source.word(at) == *map)?;
        let open = if source.word(at + 1) == "::" { at + 2 } else { at + 1 };
        let parameters = parameters(source, open)?;
        let token = &source.tokens[at];
        (parameters < *full && !token.test).then_some((token.line, *map))
    })
}

/// The number of parameters between the `<` at `open` and its `>`.
fn parameters(source: &Source, open: usize) -> Option<usize> {
    let (mut depth, mut count) = (0, 1);
    for at in open..source.tokens.len() {
        match source.word(at) {
            "<" | "(" | "[" => depth += 1,
            ">" if source.word(at - 1) == "-" => {}
            ">" | ")" | "]" => depth -= 1,
            "," if depth == 1 && source.word(at + 1) != ">" => count += 1,
            _ => {}
        }
        if depth == 0 {
            return (at > open).then_some(count);
        }
    }
    None
}

fn unfinished(source: &Source) -> Vec<String> {
    (0..source.tokens.len())
        .flat_map(|at| UNFINISHED.iter().map(move |words| (at, words)))
        .filter(|(at, words)| words.iter().enumerate().all(|(i, w)| source.word(at + i) == *w))
        .map(|(at, words)| {
            let line = source.tokens[at].line;
            format!("{}:{line}: {} is unfinished work", source.path, words.concat())
        })
        .collect()
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

fn lines_of(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(str::to_owned).collect()
}

fn house() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    house().join("tests/fixtures/tidy").join(name)
}

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[track_caller]
fn reported(found: &[String], expected: &[&str]) {
    assert_eq!(found.join("\n"), expected.join("\n"));
}
