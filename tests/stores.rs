//! Stores that earlier versions wrote, below `tests/stores`: each is opened by this version, and every
//! Session, message, retained message and Will in it is there. `tests/stores/README.md` says how one
//! is added.

mod asking;
#[path = "stores/contents.rs"]
mod contents;
#[path = "stores/dump.rs"]
mod dump;
mod process;
mod wire;
#[path = "stores/work.rs"]
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use process::{Sluice, new_folder, program};

/// A configuration with the smallest segments. No checkpoint is written but at an orderly stop, so that
/// a killed broker leaves rows in the table and others in the journal alone.
const CONFIG: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[broker]
sys_interval = '0s'

[http]
address = '127.0.0.1:0'
token_file = 'token'

[[named_queue]]
name = 'configured'
bindings = ['n/#']

[[dedup]]
filter = 'n/#'
key = 'payload'
window = '7d'

[session]
expiry_max = '4294967295s'

[[priority]]
filter = 'urgent/#'
band = 3

[store]
segment_bytes = '1MiB'
journal_bytes_max = '64MiB'
checkpoint_interval = '1h'
";

/// The first of them, which has less in it.
const OLDEST: &str = "layout-1.store";

/// Those that have named queues, delayed messages and keys of `[[dedup]]` too.
const WITH_WORK: [&str; 2] = ["work.store", "attempts.store"];

/// Those that have messages which have failed, and a log of kept messages.
const WITH_ATTEMPTS: [&str; 1] = ["attempts.store"];

/// Set to the path of a file below `tests/stores` to have a store of this version written there.
const WRITE: &str = "SLUICE_WRITE_STORE";

#[test]
fn every_store_of_an_earlier_version_is_opened_and_all_of_it_is_delivered() {
    let stores = stores();
    assert!(!stores.is_empty(), "no store below tests/stores");
    for path in stores {
        println!("{}", path.display());
        let folder = new_folder();
        dump::unpack(&std::fs::read_to_string(&path).expect("a dump"), &folder.path().join("data"));
        let mut broker = Sluice::start_in(folder, CONFIG);
        contents::all_there(&broker);
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name != OLDEST {
            contents::newer_there(&broker);
        }
        if WITH_WORK.contains(&name) {
            work::all_there(&broker);
        }
        if WITH_ATTEMPTS.contains(&name) {
            work::attempts_are_there(&broker);
        }
        assert_eq!(broker.stop(), Some(0));
        assert_sound(&broker);
    }
}

#[test]
fn a_store_of_this_version_is_opened_and_all_of_it_is_delivered() {
    for ending in [Ending::Killed, Ending::Stopped] {
        let mut broker = written(ending);
        // What expires in a store expires by the clock on the wall.
        std::thread::sleep(Duration::from_secs(contents::SHORT_S.into()));
        broker.start_again();
        contents::all_there(&broker);
        contents::newer_there(&broker);
        work::all_there(&broker);
        work::attempts_are_there(&broker);
        work::keys_are_there(&broker);
        assert_eq!(broker.stop(), Some(0));
        assert_sound(&broker);
    }
}

#[test]
fn a_dump_is_unpacked_as_it_was() {
    let broker = written(Ending::Killed);
    let dumped = dump::pack(&broker.file("data"));
    let folder = new_folder();
    dump::unpack(&dumped, folder.path());
    assert!(dump::pack(folder.path()) == dumped);
    if let Some(path) = std::env::var_os(WRITE) {
        std::fs::write(path, dumped).expect("a dump");
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Killed,
    Stopped,
}

/// A broker that is gone, and its store: the first half is in the table, the second in the journal.
fn written(ending: Ending) -> Sluice {
    let mut broker = Sluice::start(CONFIG);
    contents::write_first_half(&broker);
    work::write_first_half(&broker);
    assert_eq!(broker.stop(), Some(0));
    broker.start_again();
    let connected = contents::write_second_half(&broker);
    work::write_second_half(&broker);
    match ending {
        Ending::Killed => broker.kill(),
        Ending::Stopped => assert_eq!(broker.stop(), Some(0)),
    }
    drop(connected);
    broker
}

fn assert_sound(broker: &Sluice) {
    let mut command = program();
    command.arg("--config").arg(broker.file("sluice.toml")).args(["store", "check"]);
    let checked = command.output().expect("the broker's program");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{said}");
}

fn stores() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut stores: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "store")).collect();
    stores.sort();
    stores
}
