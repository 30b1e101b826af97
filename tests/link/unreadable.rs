//! Messages in a store that can no longer be read: the clients that they wait for are closed.

#[path = "../simulation/rows.rs"]
#[allow(dead_code)] // Each test uses its part.
mod rows;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::task::{Wake, Waker};
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::ports::Store;
use sluicemq::broker::ports::{Progress, Refused};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Ports};
use sluicemq::config::Config;
use sluicemq::message::Loss;
use sluicemq::store::engine::{Blob, Lookup, RowBatch, StoreError, Visit};
use sluicemq::store::{Loader, Rows};

use super::{Client, NOW, hex};
use rows::Disk;

/// Clean Start 0, Session Expiry Interval 255 s, Client Identifier `s`.
const AWAY: &str = "10 13 0004 4d515454 05 00 0000 05 11 000000ff 0001 73";

#[test]
fn a_client_whose_messages_cannot_be_read_is_closed_and_they_are_kept() {
    let disk = Disk::default();
    let broker = broker_on(Arc::new(disk.open()));
    let said = |client: &mut Client, bytes: &str| {
        let at_once = client.send(bytes);
        disk.write(usize::MAX);
        [at_once, client.send("")].concat()
    };
    let mut away = Client::of(&broker);
    said(&mut away, AWAY);
    said(&mut away, "82 07 0001 00 0001 61 01");
    said(&mut away, "e0 00");
    let mut publisher = Client::of(&broker);
    said(&mut publisher, "10 0e 0004 4d515454 05 02 0000 00 0001 70");
    assert_eq!(said(&mut publisher, "32 07 0001 61 0001 00 78"), hex("40 02 0001"));
    disk.write(usize::MAX);
    drop((away, publisher, broker));
    for _ in 0..2 {
        let broker = broker_on(unreadable(&disk));
        for _ in 0..2 {
            let mut client = Client::of(&broker);
            let answers = until_closed(&mut client, AWAY, &disk);
            // CONNACK, and in the end DISCONNECT 0x80.
            assert!(answers.starts_with(&[0x20]), "{answers:02x?}");
            let after = answers.get(2 + usize::from(answers[1])..).unwrap_or_default();
            assert!(after.starts_with(&[0xE0]) && after[2] == 0x80, "{answers:02x?}");
        }
    }
    let broker = broker_on(Arc::new(disk.open()));
    let mut client = Client::of(&broker);
    let answers = said(&mut client, AWAY);
    assert!(answers.ends_with(&hex("61 0001 00 78")), "it was kept: {answers:02x?}");
}

#[test]
fn a_message_whose_row_means_nothing_is_lost_once_and_the_row_goes() {
    let disk = Disk::default();
    let broker = broker_on(Arc::new(disk.open()));
    let said = |client: &mut Client, bytes: &str| {
        let at_once = client.send(bytes);
        disk.write(usize::MAX);
        [at_once, client.send("")].concat()
    };
    let mut away = Client::of(&broker);
    said(&mut away, AWAY);
    said(&mut away, "82 07 0001 00 0001 61 01");
    said(&mut away, "e0 00");
    let nothing_waits = disk.rows();
    let mut publisher = Client::of(&broker);
    said(&mut publisher, "10 0e 0004 4d515454 05 02 0000 00 0001 70");
    said(&mut publisher, "32 07 0001 61 0001 00 21");
    said(&mut publisher, "32 07 0001 61 0002 00 78");
    drop((away, publisher, broker));
    let broker = broker_on(store_on(&disk, Damaged(disk.clone())));
    let mut client = Client::of(&broker);
    let answers = said(&mut client, AWAY);
    assert!(answers.ends_with(&hex("32 07 0001 61 0001 00 78")), "the next one: {answers:02x?}");
    said(&mut client, "40 02 0001");
    said(&mut client, "e0 00");
    assert_eq!(broker.metrics().lost(Loss::Unreadable), 1);
    assert_eq!(disk.rows(), nothing_waits, "else it would be lost again after each start");
}

/// Sends bytes and polls the client whenever it is woken, until it is closed: what it was sent.
fn until_closed(client: &mut Client, bytes: &str, disk: &Disk) -> Vec<u8> {
    let (sender, told) = mpsc::channel();
    let waker = Waker::from(Arc::new(Tell(sender)));
    client.link.receive(&hex(bytes), client.now, &mut client.turn);
    loop {
        client.link.poll(&waker, client.now, 0, &mut client.turn);
        disk.write(usize::MAX);
        if client.link.is_closed() {
            return std::mem::take(&mut client.turn.out);
        }
        if told.recv_timeout(DEADLINE).is_err() {
            panic!("nobody wakes it; it was sent {:02x?}", client.turn.out);
        }
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

struct Tell(Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

fn broker_on(store: Arc<dyn Store>) -> Broker {
    let ports = Ports {
        store,
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    let broker = Broker::new(&Config::default(), ports, 1, NOW);
    broker.restore(NOW, &mut Scratch::default()).expect("rows that mean something");
    broker
}

/// A store on a disk with rows that cannot be read after the start.
fn unreadable(disk: &Disk) -> Arc<dyn Store> {
    store_on(disk, Unreadable(disk.clone()))
}

/// A store that starts with what is on `disk`, and reads by `rows` after that.
fn store_on(disk: &Disk, rows: impl Rows + 'static) -> Arc<dyn Store> {
    let mut loader = Loader::default();
    let shown = disk.scan(&[], &mut |key, value| {
        loader.visit(key, value);
        ControlFlow::Continue(())
    });
    shown.expect("a scan");
    Arc::new(loader.finish(rows).expect("rows that mean something"))
}

struct Unreadable(Disk);

/// The rows of messages with this payload mean nothing after the start.
struct Damaged(Disk);

const DAMAGED: u8 = b'!';

impl Rows for Damaged {
    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        self.0.room(waker)
    }

    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        self.0.admit(bytes)
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        self.0.submit(batch)
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        self.0.state(number, waker)
    }

    fn find(&self, key: &[u8]) -> Lookup {
        match self.0.find(key) {
            Lookup::Value(value) if value.contains(&DAMAGED) => Lookup::Value([0xFF][..].into()),
            found => found,
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(prefix, visit)
    }
}

impl Rows for Unreadable {
    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        self.0.room(waker)
    }

    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        self.0.admit(bytes)
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        self.0.submit(batch)
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        self.0.state(number, waker)
    }

    fn find(&self, _key: &[u8]) -> Lookup {
        Lookup::InTable
    }

    fn get(&self, _key: &[u8]) -> Result<Option<Blob>, StoreError> {
        Err(StoreError::Failed("the table has failed".to_owned()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(prefix, visit)
    }
}
