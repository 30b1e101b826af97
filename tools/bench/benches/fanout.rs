//! What the store pays for one message that waits for many: CPU and bytes of journal.
//! `cargo bench -p sluice-bench --bench fanout [FOLDER]`.
//!
//! A message of 256 bytes is handed in with 1,000 receivers, and the next one when it is durable; at
//! the end all receivers are done with all of them. The folder should be on the disk that is to be
//! measured: a folder of the system's for temporary files may be in memory.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sluicemq::broker::ports::{Batch, Progress, Publication, Store, StoredCopy};
use sluicemq::codec::{Properties, QoS};
use sluicemq::config;
use sluicemq::message::{
    ClientId, Draft, Identity, Message, Meter, ReceiverId, SessionId, SubscriptionIds,
};
use sluicemq::time::{Clock, SystemClock, Time};
use sluicemq::topic::TopicName;

const MESSAGES: usize = 1000;
const RECEIVERS: u64 = 1000;
const PAYLOAD: [u8; 256] = [7; 256];

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, Into::into);
    let root = tempfile::tempdir_in(folder).expect("a folder");
    let section =
        config::StoreConfig { path: root.path().join("data"), ..config::StoreConfig::default() };
    let opened = sluicemq::store::open(&section).expect("an empty folder");
    let (store, _) = opened.expect("a store on disk");
    // Lets it make its spare segment and its ballast first.
    store.rows().checkpoint_now().expect("a checkpoint");
    std::thread::sleep(Duration::from_millis(500));

    let now = SystemClock::start(Time::START).now();
    let publisher = Identity::new(ClientId::new("publisher"), None, Meter::forever());
    let draft = Draft {
        topic: TopicName::trusted("plant/hall-4/line-2/temperature"),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    };
    let messages: Vec<Message> =
        (0..MESSAGES).map(|_| draft.into_message(&publisher, now)).collect();
    // Every third Session of a fleet: their numbers do not follow each other.
    let copy = |number: u64| StoredCopy {
        receiver: ReceiverId::session(SessionId::new(number * 3 + 1)),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: SubscriptionIds::default(),
        band: 1,
    };
    let batches: Vec<Batch> = messages
        .iter()
        .map(|message| {
            let copies = (0..RECEIVERS).map(copy).collect();
            let publication = Publication { message: message.clone(), copies, retained: None };
            Batch { publishes: vec![publication], ..Batch::default() }
        })
        .collect();
    run("published", MESSAGES as u64, &store, batches);

    let settled: Vec<Batch> = (0..RECEIVERS)
        .map(|number| {
            let mids = messages.iter().filter_map(Message::mid);
            let settled = mids.map(|mid| (copy(number).receiver, mid)).collect();
            Batch { settled, ..Batch::default() }
        })
        .collect();
    run("acknowledged by a receiver", MESSAGES as u64 * RECEIVERS, &store, settled);
}

/// Hands in batch after batch, each when the one before is durable, and says what each of `count`
/// things in them took.
fn run(
    what: &str,
    count: u64,
    store: &sluicemq::store::DurableStore<sluicemq::store::engine::Engine>,
    batches: Vec<Batch>,
) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let before = store.rows().stats();
    let (begun, all) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    let mut own = Duration::ZERO;
    for batch in batches {
        store.admit(64 << 10).expect("room for it");
        let begun = cpu(ClockId::ThreadCPUTime);
        let receipt = store.submit(batch);
        own += cpu(ClockId::ThreadCPUTime) - begun;
        while store.state(receipt, &waker) == Progress::Pending {
            std::thread::park();
        }
    }
    let waited = begun.elapsed();
    store.rows().checkpoint_now().expect("a checkpoint");
    let all = cpu(ClockId::ProcessCPUTime) - all;
    let after = store.rows().stats();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{what}: {:.2} µs of CPU (of it {:.2} to hand in), {:.1} bytes of journal, {:.1} µs until \
         durable; {} rows in the table",
        each(all),
        each(own),
        (after.bytes - before.bytes) as f64 / count as f64,
        each(waited),
        after.table_rows,
    );
}

fn cpu(which: ClockId) -> Duration {
    let time = clock_gettime(which);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
