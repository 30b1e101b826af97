//! A message with several receivers stays until each of them is done with it, however often one says
//! so.

use sluicemq::broker::ports::{Batch, Fact, Mark, Publication, Store, StoredCopy};
use sluicemq::codec::{Properties, QoS};
use sluicemq::message::{
    ClientId, Draft, Identity, Meter, Mid, ReceiverId, SessionId, SubscriptionIds,
};
use sluicemq::store::DurableStore;
use sluicemq::time::Time;
use sluicemq::topic::TopicName;

use super::rows::Disk;

#[test]
fn who_says_twice_that_it_is_done_takes_nothing_from_the_others() {
    for restarts in [false, true] {
        let disk = Disk::default();
        let (mut store, _) = open(&disk);
        submit(&store, vec![publication(&[1, 2, 3])], &[]);
        for (done, left) in [(1, &[2, 3][..]), (1, &[2, 3]), (3, &[2]), (3, &[2]), (1, &[2])] {
            submit(&store, Vec::new(), &[(receiver(done), MESSAGE), (receiver(done), MESSAGE)]);
            disk.write_all(|| {});
            let (opened, waiting) = open(&disk);
            assert_eq!(waiting, left);
            if restarts {
                store = opened;
            }
        }
        submit(
            &store,
            Vec::new(),
            &[(receiver(2), MESSAGE), (receiver(2), MESSAGE), (receiver(3), MESSAGE)],
        );
        assert!(disk.rows().is_empty(), "{:?}", disk.rows());
    }
}

/// A store that was replayed, and the receivers that wait for a message in it.
fn open(disk: &Disk) -> (DurableStore<Disk>, Vec<u64>) {
    let store = disk.open();
    let mut waiting = Vec::new();
    let told = store.replay(Meter::forever(), &|_| Mark::default(), &mut |fact| {
        if let Fact::Queued(queued) = fact {
            waiting.extend(queued.copies.iter().map(|copy| copy.receiver.to_bits()));
        }
    });
    told.unwrap();
    (store, waiting)
}

fn submit(store: &DurableStore<Disk>, publishes: Vec<Publication>, settled: &[(ReceiverId, Mid)]) {
    let batch = Batch { publishes, settled: settled.to_vec(), ..Batch::default() };
    store.submit(batch);
}

/// The first message that a store is given.
const MESSAGE: Mid = Mid::new(1);

fn receiver(number: u64) -> ReceiverId {
    ReceiverId::session(SessionId::new(number))
}

fn publication(receivers: &[u64]) -> Publication {
    let publisher = Identity::new(ClientId::new("p"), None, Meter::forever());
    let draft = Draft {
        topic: TopicName::trusted("t"),
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        properties: Properties::EMPTY,
        payload: b"m",
    };
    let copy = |number: &u64| StoredCopy {
        receiver: receiver(*number),
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: SubscriptionIds::default(),
        band: 1,
    };
    Publication {
        message: draft.into_message(&publisher, Time::from_secs(1)),
        copies: receivers.iter().map(copy).collect(),
        retained: None,
    }
}
