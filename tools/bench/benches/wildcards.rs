//! What one PUBLISH costs at many filters with wildcards that are made to cost as much as they can.
//!
//! `cargo bench -p sluice-bench --bench wildcards` prints for each family of filters, and for more and more
//! of them, the CPU time of one PUBLISH in a whole broker without sockets: decoding, matching, gathering of
//! the receivers, their queues. Each PUBLISH has a topic of its own, so that none is found in the cache of
//! topics. The arguments, if any, choose families by a part of their names.

use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sluice_bench::links::Links;
use sluicemq::broker::Link;
use sluicemq::codec::{self, Packet, Publish, Version};

/// Filters, by number, and the topic of each PUBLISH.
struct Family {
    name: &'static str,
    filter: fn(usize) -> String,
    topic: fn(usize, usize) -> String,
}

const FAMILIES: [Family; 14] = [
    Family {
        name: "none matches, all levels shared",
        filter: ending,
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "none matches, deeper topic",
        filter: |n| mixed(n, 18),
        topic: |n, i| a(n, &format!("z{i}/q")),
    },
    Family {
        name: "none matches, # below each",
        filter: |n| mixed(n, 17) + "/x/#",
        topic: |n, i| a(n, &format!("z{i}/q/r")),
    },
    Family {
        name: "none matches, 31 levels",
        filter: |n| mixed(n, 18) + &"/a".repeat(12) + "/q",
        topic: |_, i| "a/".repeat(30) + &format!("z{i}"),
    },
    Family {
        name: "none matches, two of each shape",
        filter: |n| mixed(n / 2, 18) + &format!("/q{}", n % 2),
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "all match, 18 levels",
        filter: |n| mixed(n, 18) + "/+",
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "all match, # at the end",
        filter: |n| mixed(n, 18) + "/#",
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "all match, two + at most",
        filter: two_at_most,
        topic: |_, i| "a/".repeat(30) + &format!("z{i}"),
    },
    Family {
        name: "trie, none matches",
        filter: |n| ordinary(n, 11) + "/q",
        topic: |_, i| a(11, &format!("z{i}")),
    },
    Family {
        name: "trie, none matches, # below each",
        filter: |n| ordinary(n, 11) + "/q/#",
        topic: |_, i| a(12, &format!("z{i}")),
    },
    Family {
        name: "trie, all match, # at every node",
        filter: |n| ordinary_of_any_length(n) + "/#",
        topic: |_, i| a(30, &format!("z{i}")),
    },
    Family {
        name: "both, none matches",
        filter: |n| if n % 8 == 0 { ordinary(n / 8, 11) + "/q/#" } else { ending(n) },
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "both, all match",
        filter: |n| {
            if n % 8 == 0 { ordinary_of_any_length(n / 8) + "/#" } else { mixed(n, 18) + "/+" }
        },
        topic: |n, i| a(n, &format!("z{i}")),
    },
    Family {
        name: "shared, none matches",
        filter: |n| format!("$share/g{}/{}", n % 7, ending(n)),
        topic: |n, i| a(n, &format!("z{i}")),
    },
];

/// Filters of each client.
const EACH: usize = 1000;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("filters\tclients\tCPU of one PUBLISH, mean\tof the slowest\tfamily");
    for family in &FAMILIES {
        if !wanted.is_empty() && !wanted.iter().any(|part| family.name.contains(part.as_str())) {
            continue;
        }
        for filters in [1, 1024, 4096, 16_384, 65_536, 262_144] {
            measure(family, filters);
        }
    }
}

fn measure(family: &Family, filters: usize) {
    let mut links = Links::new();
    let clients = filters.div_ceil(EACH);
    let mut receivers = Vec::new();
    for client in 0..clients {
        let mut link = links.connect(&format!("s{client}"), Version::V5);
        let own = client * filters / clients..(client + 1) * filters / clients;
        let texts: Vec<String> = own.map(family.filter).collect();
        for some in texts.chunks(100) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            links.subscribe(&mut link, &some, Version::V5);
        }
        receivers.push(link);
    }
    let mut publisher = links.connect("p", Version::V5);
    let (mut all, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let took = publish(&mut links, &mut publisher, &(family.topic)(18, round));
        all += took;
        slowest = slowest.max(took);
    }
    let mean = all / ROUNDS as u32;
    println!("{filters}\t{clients}\t{mean:?}\t{slowest:?}\t{}", family.name);
}

fn publish(links: &mut Links, publisher: &mut Link, topic: &str) -> Duration {
    let mut bytes = Vec::new();
    let publish = Publish { topic, payload: b"x", ..Publish::default() };
    codec::encode(&Packet::Publish(publish), Version::V5, usize::MAX, &mut bytes)
        .expect("it is well-formed");
    let before = cpu();
    links.publish(publisher, &bytes);
    cpu() - before
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// `a/a/…/last` with `depth` times `a`.
fn a(depth: usize, last: &str) -> String {
    "a/".repeat(depth) + last
}

/// `depth` levels, each `a` or `+` as the bits of `number` say.
fn mixed(number: usize, depth: usize) -> String {
    let levels: Vec<&str> =
        (0..depth).map(|bit| if number >> bit & 1 == 0 { "a" } else { "+" }).collect();
    levels.join("/")
}

fn ending(number: usize) -> String {
    mixed(number, 18) + "/q"
}

/// Up to 31 levels with at most two `+` and `#` at the end: there are few such filters, and all clients
/// have the same.
fn two_at_most(number: usize) -> String {
    let (len, pair) = (number % 31 + 1, number / 31 % 1000);
    let (first, second) = (pair % 31, pair / 31);
    let levels: Vec<&str> =
        (0..len).map(|at| if at == first || at == second { "+" } else { "a" }).collect();
    levels.join("/") + "/#"
}

/// `depth` levels, at most 12 and at most four of them `+`: there are few such filters, and all clients
/// have the same. By one name they lead to all nodes of the trie that one name can lead to.
fn ordinary(number: usize, depth: usize) -> String {
    static MASKS: LazyLock<Vec<usize>> =
        LazyLock::new(|| (0..1 << 12).filter(|mask: &usize| mask.count_ones() <= 4).collect());
    // They are in order: those of fewer levels come first.
    let of_depth = MASKS.partition_point(|mask| *mask < 1 << depth);
    mixed(MASKS[number % of_depth], depth)
}

/// The same of 1 to 12 levels.
fn ordinary_of_any_length(number: usize) -> String {
    ordinary(number / 12, number % 12 + 1)
}

const ROUNDS: usize = 20;
