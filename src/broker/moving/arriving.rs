//! A Session has come from another node.

use std::sync::Arc;

use tracing::info;

use super::Entrance;
use crate::broker::Broker;
use crate::broker::cluster_log::LogEntry;
use crate::broker::mailbox::{Copy, Mailbox, Offer, Setting};
use crate::broker::metrics::Counter;
use crate::broker::ports::{Batch, Mark, Publication, Queued, StoredCopy};
use crate::broker::record::Record as InOrder;
use crate::broker::session_record::{ArrivedSession, MovedCopy, MovedSession};
use crate::broker::turn::{Scratch, Turn};
use crate::codec::QoS;
use crate::message::{ClientId, Message, Mid, ReceiverId, SessionId};
use crate::session::{Op, Record, WillMessage};

impl Broker {
    /// Makes the Session here, with what waits for it. Only the last batch makes it a Session: what a crash leaves of the
    /// one before belongs to no Session.
    pub(super) fn arrive(&self, arrived: ArrivedSession, turn: &mut Turn<'_>) {
        let ArrivedSession { moved, copies, later } = arrived;
        let MovedSession { client_id, mut facts, .. } = moved;
        let id = self.0.registry.next_session();
        let receiver = ReceiverId::session(id);
        self.count_will(&mut facts);
        let queued = self.keep_arrived(id, &mut facts, &copies);
        let Some(record) = record_of(&facts) else { return };
        turn.batch.ops.extend(facts.into_iter().map(|fact| (id, fact)));
        let count = queued.iter().flatten().count() + record.flights().len();
        let (parked, mailbox) = self.revive_arrived(id, record, turn.now);
        self.0.metrics.add(Counter::Routed, count as u64);
        let mut qos0 = Vec::new();
        for (copy, mid) in copies.into_iter().zip(queued) {
            match mid {
                Some(mid) => self.queue_arrived(&mailbox, &copy, mid, turn),
                None => qos0.push(copy.message),
            }
        }
        let qos0 = qos0.into_iter().map(|message| self.entry_of(message));
        for entry in qos0.chain(later) {
            self.route_to(receiver, &entry, turn);
        }
        info!(client = %client_id, session = %id, copies = count, "session came from another node");
        turn.wakers.extend(self.0.registry.arrive(parked));
        self.settle_entry(&client_id, Entrance::Arrived, turn);
    }

    /// Gives the store the messages of a Session that comes, and the numbers that they have there to what waits.
    fn keep_arrived(
        &self,
        id: SessionId,
        facts: &mut [Op],
        copies: &[MovedCopy],
    ) -> Vec<Option<Mid>> {
        let receiver = ReceiverId::session(id);
        let mut batch = Batch::default();
        let mut keep = |message: &Message, copy: StoredCopy| {
            let (message, copies) = (message.clone(), vec![copy]);
            batch.publishes.push(Publication { message, copies, retained: None });
        };
        for fact in facts.iter_mut() {
            match fact {
                Op::Sent { delivery, .. } => {
                    let (qos, retain, ids) = (delivery.qos, delivery.retain, delivery.ids.clone());
                    keep(&delivery.message, StoredCopy { receiver, qos, retain, ids, band: 0 });
                    (delivery.stored, delivery.group) = (true, None);
                }
                // The message itself is not needed any more.
                Op::Released { group, mid, .. } => (*group, *mid) = (None, None),
                _ => {}
            }
        }
        let is_kept = |copy: &MovedCopy| copy.qos > QoS::AtMostOnce;
        for copy in copies.iter().filter(|copy| is_kept(copy)) {
            let MovedCopy { message, qos, retain, ids, band } = copy;
            let (qos, retain, ids, band) = (*qos, *retain, ids.clone(), *band);
            keep(message, StoredCopy { receiver, qos, retain, ids, band });
        }
        // The number of the Session is used from here on.
        let parked = facts.iter().find(|fact| matches!(fact, Op::Parked { .. }));
        batch.ops.extend(parked.map(|parked| (id, parked.clone())));
        self.0.ports.store.submit(batch);
        let mid = |copy: &MovedCopy| copy.message.mid().filter(|_| is_kept(copy));
        copies.iter().map(mid).collect()
    }

    /// The Will of a Session that comes is counted for its owner.
    fn count_will(&self, facts: &mut [Op]) {
        for fact in facts {
            if let Op::Will(will, identity) = fact {
                let owner = self.0.owners.of_client(identity).clone();
                let whole = WillMessage::restore(&will.draft(), will.delay);
                *will = Arc::new(whole.counted(self.0.wills, owner));
            }
        }
    }

    /// A message that waited, as the log had it.
    pub(super) fn entry_of(&self, message: Message) -> LogEntry {
        let parts = message.parts();
        let user = parts.user_name.map(Into::into);
        let publisher = Arc::new(self.publisher_elsewhere(ClientId::new(parts.publisher), user));
        LogEntry { message, publisher, retains: false, with: None }
    }

    /// Puts what waited into the queue; what it says is in the store.
    fn queue_arrived(&self, mailbox: &Mailbox, copy: &MovedCopy, mid: Mid, turn: &mut Turn<'_>) {
        let MovedCopy { message, qos, retain, ids, band } = copy;
        let (qos, retain, ids, band) = (*qos, *retain, ids.clone(), *band);
        let (now, topic) = (turn.now, message.topic());
        let settings = &turn.scratch.settings;
        let lanes = settings.has_priorities();
        let setting = Setting { lanes, ..settings.setting(self.0.router.topic_hash(), now) };
        let hash = self.0.router.topic_hash().of(topic.as_str().as_bytes());
        let mark = Mark { hash, band: settings.band(topic, &message.properties()) };
        let stored = StoredCopy { receiver: mailbox.receiver(), qos, retain, ids, band };
        let queued = Queued {
            mid,
            mark,
            bytes: message.bytes(),
            received: message.received,
            expires: message.expires,
            copies: Vec::new(),
        };
        mailbox.restore(&queued, &stored, &setting);
    }

    /// Routes a message of the log to this receiver alone: the others have it.
    fn route_to(&self, receiver: ReceiverId, entry: &LogEntry, turn: &mut Turn<'_>) {
        let shared = &*self.0;
        let draft = &entry.message.draft();
        let (received, bytes) = (entry.message.received, entry.message.bytes());
        let (publisher, message) = (&entry.publisher, Some(entry.message.clone()));
        let (kept, retains, follow) = (true, false, 0);
        let record =
            &mut InOrder { draft, publisher, received, bytes, kept, retains, message, follow };
        let Scratch { settings, recent, pending_pushes, gone, batch, .. } = &mut *turn.scratch;
        let publisher = (publisher.as_ref(), &draft.properties);
        let matches = shared.router.route(draft.topic, publisher, None, recent).matches;
        let Some(found) = matches.iter().find(|found| found.receiver() == receiver) else { return };
        shared.metrics.add(Counter::Routed, 1);
        let setting = settings.setting(shared.router.topic_hash(), turn.now);
        let band = settings.band(draft.topic, &draft.properties);
        let qos = found.qos().min(draft.qos);
        let retain = draft.retain && found.retain_as_published();
        let open = pending_pushes.of(found, pending_pushes.receivers());
        if !open.grant.spend(qos, bytes) {
            let offer = Offer { topic: draft.topic, qos, bytes };
            if let Err(refusal) = found.mailbox().reserve(offer, &setting, &mut open.grant, gone) {
                return self.refuse_copy(refusal, (found.mailbox(), qos), record, gone);
            }
            let spent = open.grant.spend(qos, bytes);
            debug_assert!(spent, "room was reserved for it");
        }
        let stored = open.grant.is_durable() && qos > QoS::AtMostOnce;
        let (message, ids) = (record.share(), found.ids().clone());
        if stored {
            let copies = vec![StoredCopy { receiver, qos, retain, ids: ids.clone(), band }];
            batch.publishes.push(Publication { message: message.clone(), copies, retained: None });
        }
        open.copies.push(Copy { message, qos, retain, ids, stored, band });
    }
}

/// The Session that these facts are of.
fn record_of(facts: &[Op]) -> Option<Record> {
    let first = facts.iter().find_map(|fact| match fact {
        Op::Session { identity, expiry } => Some(Record::new(identity.clone(), *expiry)),
        _ => None,
    });
    let mut record = first?;
    facts.iter().for_each(|fact| record.add(fact.clone()));
    Some(record)
}
