//! Proves of the source what no compiler checks: the floors of the house, words that have one
//! place only, lines that ask for the protocol version, clauses that are cited, files that grow.
//!
//! What the rules say is data in this file, but for the measures, which have a table of their own. A
//! rule is a function over a folder in a file below `tests/tidy`; each is tried on a small tree below
//! `tests/fixtures/tidy` that breaks it.

#[path = "tidy/clauses.rs"]
mod clauses;
#[path = "tidy/count.rs"]
mod count;
#[path = "tidy/cycles.rs"]
mod cycles;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/measures.rs"]
mod measures;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::path::{Path, PathBuf};

use clauses::clauses;
use cycles::cycles;
use documents::documents;
use floors::floors;
use measures::{Figures, MEASURES, ratchets};
use words::{versions, words};

/// The floor of each module of `src`. `main.rs` and `lib.rs` stand above all and are free.
const FLOORS: &[(&str, u8)] = &[
    ("time", 0),
    ("config", 0),
    ("place", 0),
    ("nearest", 0),
    ("sync", 0),
    ("fault", 0),
    ("memory", 0),
    // Of tests alone.
    ("random", 0),
    ("codec", 1),
    ("topic", 1),
    ("shape", 1),
    ("message", 2),
    ("session", 2),
    ("broker", 3),
    ("net", 4),
    ("http", 4),
    ("store", 4),
    ("auth", 4),
    ("otel", 4),
    ("cluster", 4),
    ("certs", 4),
    ("settings", 4),
    ("logging", 4),
    // Puts the house together.
    ("run", 5),
    // Reads what other brokers have.
    ("import", 5),
    // Beside `main.rs`, of the binary alone.
    ("acl_command", 5),
    ("command_line", 5),
    ("check_command", 5),
    ("cluster_command", 5),
    ("ctl", 5),
    ("ctl_command", 5),
    ("import_command", 5),
    ("password", 5),
    ("store_command", 5),
];

/// The modules of these floors know nothing of each other; their tests may.
const NO_NEIGHBOURS: &[u8] = &[1, 4];

/// Paths that may be named only in some places, outside tests.
const WORDS: &[Word] = &[
    // The runtime and the network.
    Word { path: &["tokio"], place: Only(TOKIO) },
    Word { path: &["tokio_rustls"], place: Only(&["src/net/tls"]) },
    Word { path: &["rustls"], place: Only(&["src/net/tls"]) },
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
    Word { path: &["Instant", "now"], place: Only(&["src/time.rs", "src/net/serve/deadline.rs"]) },
    Word {
        path: &["SystemTime", "now"],
        place: Only(&["src/time.rs", "src/certs.rs", "src/net/tls"]),
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

/// Where the runtime may be named: sockets, the life of the process.
const TOKIO: &[&str] = &[
    "src/net/",
    "src/http.rs",
    "src/http/",
    "src/cluster.rs",
    "src/cluster/",
    "src/run.rs",
    "src/run/",
];

/// Macros and attributes that are left behind by unfinished work: not even in tests and tools.
const UNFINISHED: &[&[&str]] =
    &[&["todo", "!", "("], &["unimplemented", "!", "("], &["#", "[", "ignore"]];

/// Hash maps and the number of their parameters when the hasher is named.
const HASHED: &[(&str, usize)] = &[("HashMap", 3), ("HashSet", 2)];

/// How often each file outside the codec names a protocol version. Version 5 is the house
/// language: ask only where the protocol truly differs, and say so here.
const VERSIONS: &[(&str, usize)] = &[
    // An older client cannot be told an assigned Client Identifier, nor another Keep Alive; a Session
    // from the store has no client yet. 3.1 has no Client Identifier of the server's choice at all.
    ("src/session/connect.rs", 5),
    // Above our Receive Maximum; a refusal of a PUBLISH.
    ("src/session/inbound.rs", 2),
    // An older UNSUBACK says nothing of a filter.
    ("src/session/subscribe.rs", 1),
    // Reason Strings are not even made.
    ("src/session/mod.rs", 1),
    // An older client knows no Receive Maximum, and cannot be told that the disk is full: its reads
    // pause.
    ("src/broker/link/live/admission.rs", 2),
    ("src/broker/link/not_read.rs", 1),
    // Nor can it be refused a PUBLISH.
    ("src/broker/link/attachment.rs", 1),
    // An overtaken older client is just closed.
    ("src/broker/link/claiming.rs", 1),
    // AUTH is of version 5.
    ("src/broker/link/opening.rs", 1),
    // A trace names the version of a CONNECT.
    ("src/broker/trace/describe.rs", 3),
    // A client of our own, which speaks version 5.
    ("src/net/live_check.rs", 2),
];

/// Files of `src` that may import from each other. Shorten a list when a cycle becomes smaller.
const CYCLES: &[&[&str]] = &[];

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
             src/time.rs, src/certs.rs, src/net/tls",
            "src/session.rs:11: tokio belongs only in src/net/, src/http.rs, src/http/, \
             src/cluster.rs, src/cluster/, src/run.rs, src/run/",
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
