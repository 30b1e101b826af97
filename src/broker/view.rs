//! What a broker says of itself and of its clients at one moment. Looking changes nothing: no link
//! is woken, and at most one mailbox is locked at a time.

use std::sync::Arc;

use super::Broker;
use super::mailbox::{Account, Mailbox, Pace};
use super::metrics::Counter;
use super::overload::{Cause, Pressure, Reading};
use super::ports::StoreFigures;
use super::registry::PageStart;
use super::topic_ledger::TopicLosses;
use crate::message::{ClientId, GroupId, ReceiverKind, SessionId};

/// One client and its Session at one moment: plain data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientView {
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// The user name its Session was made under.
    pub user_name: Option<Arc<str>>,
    /// The number of its Session: another Session of the same client has another.
    pub id: SessionId,
    /// It is connected.
    pub connected: bool,
    /// What was routed to it and what became of it.
    pub account: Account,
    /// Bytes of what waits.
    pub queued_bytes: u64,
    /// The class it is in; empty for none.
    pub class: Arc<str>,
    /// How its messages are shaped, if they are.
    pub pace: Option<Pace>,
}

/// Some of the clients of a broker.
#[derive(Clone, Debug)]
pub struct ClientPage {
    clients: Vec<ClientView>,
    next: Option<PageStart>,
}

impl ClientPage {
    /// The clients, in no order.
    pub fn clients(&self) -> &[ClientView] {
        &self.clients
    }

    /// Where the next page begins; `None` after the last one.
    pub fn next(&self) -> Option<PageStart> {
        self.next
    }
}

/// Figures of a broker at one moment: plain data.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Each Session, by client.
    pub sessions: Vec<ClientView>,
    /// Each group's account, by number.
    pub groups: Vec<(GroupId, Account)>,
    /// Retained messages and their bytes.
    pub retained: (usize, u64),
    /// Subscriptions.
    pub subscriptions: usize,
    /// The ledger by class of topics; empty where none is configured.
    pub topics: Vec<TopicLosses>,
    /// Bytes of messages in memory.
    pub message_bytes: u64,
    /// What the store has to say of itself.
    pub store: Option<StoreFigures>,
    /// How hard the broker is pressed, and by what.
    pub overload: OverloadView,
    /// How much is done in one go.
    pub batch: Batching,
}

/// How much is done in one go, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batching {
    /// Packets written to clients.
    packets: u64,
    /// Writes that they took.
    writes: u64,
    /// Messages handed to the store.
    stored: u64,
    /// Commits of the store.
    commits: u64,
}

/// How hard the broker is pressed at one moment.
#[derive(Clone, Debug, Default)]
pub struct OverloadView {
    /// The level, and what each publisher may bring in.
    pressure: Pressure,
    /// What the level is due to.
    cause: Option<Cause>,
    /// Each cause as it stands.
    readings: Vec<Reading>,
}

impl Batching {
    /// Packets to clients, in one write to a socket.
    pub fn packets_per_write(&self) -> f64 {
        self.packets as f64 / self.writes.max(1) as f64
    }

    /// Messages that the store was given, in one commit of it.
    pub fn messages_per_commit(&self) -> f64 {
        self.stored as f64 / self.commits.max(1) as f64
    }
}

impl OverloadView {
    /// The level, and what each publisher may bring in.
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// What the level is due to.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Each cause as it stands.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }
}

impl Broker {
    /// The client of this Client Identifier, if it has a Session.
    pub fn client(&self, client_id: &ClientId) -> Option<ClientView> {
        let (mailbox, connected) = self.0.registry.mailbox(client_id)?;
        ClientView::new(client_id.clone(), &mailbox, connected)
    }

    /// A page of at most `max` clients; `PageStart::default()` is where the first one begins.
    ///
    /// The cost is bounded by `max`, however many clients there are; a page may have few clients or
    /// none and still have a next one. A client that is there from the first page to the last is in
    /// at least one of them. One that comes or goes meanwhile may be in none; if the table of
    /// Sessions grows meanwhile the pages begin again, and a client may be in two.
    pub fn clients(&self, from: PageStart, max: usize) -> ClientPage {
        let (found, next) = self.0.registry.page(from, max);
        let found = found.into_iter();
        let views = found.filter_map(|(client_id, mailbox, connected)| {
            ClientView::new(client_id, &mailbox, connected)
        });
        ClientPage { clients: views.collect(), next }
    }

    /// All figures at this moment, of every client too: for tests and small brokers. It costs as much
    /// as there are clients; see [`Broker::client`] and [`Broker::clients`].
    pub fn view(&self) -> View {
        let shared = &*self.0;
        let sessions = shared.registry.mailboxes().into_iter();
        let sessions = sessions.filter_map(|(client_id, mailbox, connected)| {
            ClientView::new(client_id, &mailbox, connected)
        });
        let groups = shared.router.groups();
        let store = shared.ports.store.figures();
        View {
            sessions: sessions.collect(),
            groups: groups.iter().map(|(id, mailbox)| (*id, mailbox.account())).collect(),
            retained: shared.router.retained().totals(),
            subscriptions: shared.router.subscriptions(),
            topics: shared.metrics.topics().losses(),
            message_bytes: shared.meter.bytes(),
            batch: self.batching(store.as_ref()),
            store,
            overload: self.overload_view(),
        }
    }

    /// How hard it is pressed, and by what.
    pub fn overload_view(&self) -> OverloadView {
        let (cause, readings) = self.readings();
        OverloadView { pressure: self.pressure(), cause, readings }
    }

    /// How much is done in one go, by the store's `figures` too.
    pub(crate) fn batching(&self, figures: Option<&StoreFigures>) -> Batching {
        let sum = |counter| self.0.metrics.sum(counter);
        Batching {
            packets: sum(Counter::Packets),
            writes: sum(Counter::Writes),
            stored: sum(Counter::Stored),
            commits: figures.map_or(0, |figures| figures.commits),
        }
    }

    /// What is in flight in parked Sessions, by client and the group it came from: for checks of
    /// the first law.
    pub fn parked_in_flight(&self) -> Vec<(ClientId, Vec<Option<GroupId>>)> {
        self.0.registry.parked_in_flight()
    }
}

impl ClientView {
    pub(super) fn new(
        client_id: ClientId,
        mailbox: &Mailbox,
        connected: bool,
    ) -> Option<ClientView> {
        let ReceiverKind::Session(id) = mailbox.receiver().kind() else { return None };
        Some(ClientView {
            client_id,
            user_name: mailbox.owner().identity().and_then(|owner| owner.user_name.clone()),
            id,
            connected,
            account: mailbox.account(),
            queued_bytes: mailbox.depth().1,
            class: mailbox.class(),
            pace: mailbox.pace(),
        })
    }
}
