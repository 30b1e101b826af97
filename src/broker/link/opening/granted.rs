//! A Session on its way to its client.

use std::sync::Arc;

use crate::broker::link::pause::{Before, Left};
use crate::broker::mailbox::Mailbox;
use crate::broker::ports::Receipt;
use crate::broker::registry::Parked;
use crate::broker::turn::Turn;
use crate::message::{ClientId, Identity, SessionId};
use crate::session::{Action, Op, Session, Terms, WillMessage};
use crate::time::Time;

/// A Session that is claimed, new or resumed, on its way to its client.
pub struct Granted {
    pub id: SessionId,
    pub session: Session,
    pub mailbox: Arc<Mailbox>,
    /// The last batch with anything of it.
    pub newest: Option<Receipt>,
    /// It was there before.
    pub present: bool,
    /// The Session Expiry Interval that the store knows.
    remembered: u32,
    /// When the Will that its client left behind is due.
    will_due: Time,
}

impl Granted {
    pub fn new(
        id: SessionId,
        parked: Option<Box<Parked>>,
        identity: Arc<Identity>,
        terms: &Terms,
        now: Time,
    ) -> Granted {
        match parked {
            Some(parked) => {
                let Parked { mut session, mailbox, newest, will_due, .. } = *parked;
                let remembered = session.terms().expiry;
                session.resume(terms.clone(), now);
                Granted { id, session, mailbox, newest, present: true, remembered, will_due }
            }
            None => {
                let mailbox = Arc::new(Mailbox::for_session(id, identity.clone()));
                let session = Session::new(identity, terms.clone(), now);
                let (newest, present, remembered, will_due) = (None, false, 0, Time::NEVER);
                Granted { id, session, mailbox, newest, present, remembered, will_due }
            }
        }
    }

    /// Attaches it to its client; returns what it was before, if CONNACK has to wait for the store.
    pub(in crate::broker::link) fn attach(
        &mut self,
        client_id: &ClientId,
        will: Option<WillMessage>,
        turn: &mut Turn<'_>,
    ) -> Option<Before> {
        let Granted { id, session, mailbox, present, remembered, will_due, .. } = self;
        let left_behind = session.will().cloned();
        let cx = turn.context();
        let mut ops = Vec::new();
        let mut remember = |action: Action<'_>| {
            if let Action::Remember(op) = action {
                ops.push((*id, op));
            }
        };
        session.remember_expiry(*remembered, &cx, &mut remember);
        session.set_will(will, &cx, &mut remember);
        mailbox.attach(session.lasts());
        turn.broker.0.registry.attach(client_id, mailbox);
        // What CONNACK promises is safe before it leaves: the Session's expiry, the Will, also that of a
        // Session that does not last [MQTT5-3.1.2-7], and the end of the Session that was there before.
        turn.batch.ops.append(&mut ops);
        let waits = !turn.batch.is_empty();
        if *present && cx.remembers {
            ops.push((*id, Op::Attached));
        }
        turn.broker.remember_unawaited(ops);
        if !waits {
            return None;
        }
        let will =
            left_behind.and_then(|will| turn.broker.whole_will(*id, session.identity(), will));
        Some(if *present {
            Before::Parked(Box::new(Left { will, will_due: *will_due, expiry: *remembered }))
        } else {
            Before::Nothing
        })
    }
}
