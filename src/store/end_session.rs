//! Ends one Session of a store that no broker has open, with all that waits for its client.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::open::{OpenError, open};
use crate::broker::ports::{Batch, Fact, Mark, Store};
use crate::config::StoreConfig;
use crate::message::{ClientId, Loss, Meter, Mid, ReceiverId, SessionId};
use crate::session::{Action, Op, Record, Session};
use crate::topic::TopicName;

/// What a Session had that was ended.
#[derive(Debug)]
pub struct EndedSession {
    user_name: Option<String>,
    subscriptions: usize,
    has_will: bool,
    messages: BTreeMap<String, u64>,
}

impl EndedSession {
    /// Its verified user, if it had one.
    pub fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// Its Subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// It had a Will that was still to be published: it is gone.
    pub fn has_will(&self) -> bool {
        self.has_will
    }

    /// How many messages waited or were in flight, by topic.
    pub fn messages(&self) -> &BTreeMap<String, u64> {
        &self.messages
    }
}

/// What the store says of the Sessions of one client.
#[derive(Debug, Default)]
struct SessionSearch {
    records: BTreeMap<SessionId, Record>,
    /// The copies that wait for them or are in flight, and how many of each topic.
    copies: Vec<(ReceiverId, Mid)>,
    messages: BTreeMap<String, u64>,
}

impl SessionSearch {
    fn note(&mut self, fact: Fact, client_id: &ClientId, topic: &str) {
        match fact {
            Fact::Session(id, Op::Session { identity, expiry })
                if identity.client_id == *client_id =>
            {
                self.records.insert(id, Record::new(identity, expiry));
            }
            Fact::Session(id, op) => {
                if let Some(record) = self.records.get_mut(&id) {
                    record.add(op);
                }
            }
            Fact::Queued(message) => {
                for receiver in self.records.keys().map(|id| ReceiverId::session(*id)) {
                    if message.copies.iter().any(|copy| copy.receiver == receiver) {
                        self.copies.push((receiver, message.mid));
                        *self.messages.entry(topic.to_owned()).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
    }

    /// What is to be taken out of the store, and of which Session.
    fn end(self) -> Option<(Batch, EndedSession)> {
        let mut batch = Batch { settled: self.copies, ..Batch::default() };
        let newest = self.records.values().next_back()?;
        let ended = EndedSession {
            user_name: newest.identity().user_name.as_deref().map(Into::into),
            subscriptions: newest.subscriptions().len(),
            has_will: newest.will().is_some(),
            messages: self.messages,
        };
        for (id, record) in self.records {
            Session::restore(record).end(Loss::SessionEnded, &mut |action| match action {
                Action::Remember(op) => batch.ops.push((id, op)),
                Action::Ended { copy, .. } => {
                    let receiver = ReceiverId::of(id, copy.group());
                    // Its own copies are those that the store has told of.
                    let mid = copy.mid().filter(|_| copy.group().is_some());
                    batch.settled.extend(mid.map(|mid| (receiver, mid)));
                }
                _ => {}
            });
        }
        Some((batch, ended))
    }
}

/// Ends the Session of `client_id` in the store on disk that `section` describes. Messages of groups that were
/// in flight to it wait again for the others of the group. `None`: there is no such Session.
///
/// # Errors
///
/// What is wrong with the store, or that a broker has it open.
pub fn end_session(
    section: &StoreConfig,
    client_id: &str,
) -> Result<Option<EndedSession>, OpenError> {
    let Some((store, _)) = open(section)? else { return Ok(None) };
    let (client_id, mut search) = (ClientId::new(client_id), SessionSearch::default());
    // The store shows the topic of each message before the message itself.
    let topic = RefCell::new(String::new());
    let mark = |name: TopicName<'_>| {
        name.as_str().clone_into(&mut topic.borrow_mut());
        Mark::default()
    };
    let told = store.replay(Meter::forever(), &mark, &mut |fact| {
        search.note(fact, &client_id, &topic.borrow());
    });
    told.map_err(|what| OpenError::Row { path: section.path.clone(), what })?;
    let ended = search.end().map(|(batch, ended)| {
        store.submit(batch);
        ended
    });
    if let Some(engine) = store.into_rows() {
        engine.close()?;
    }
    Ok(ended)
}
