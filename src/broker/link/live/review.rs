//! Rules of access that have changed, now or while the client was away: what they do not allow any more ends.

use super::Live;
use crate::broker::turn::Turn;
use crate::message::{Circumstances, Standing};

impl Live {
    /// The client was let in: with these groups and claims, as what let it in says.
    pub(in crate::broker::link) fn set_standing(
        &self,
        groups: Vec<Box<str>>,
        claims: Vec<(Box<str>, Box<str>)>,
        turn: &Turn<'_>,
    ) {
        let identity = self.session.identity();
        if !groups.is_empty() || !claims.is_empty() || turn.broker.0.ports.access.has_rules() {
            let shown = Circumstances { groups, claims, ..Circumstances::default() };
            identity.set_standing(Standing::Of(shown));
            self.note_standing(turn);
        } else if !identity.is_unknown() {
            // It was here before, and showed what it does not show now.
            identity.set_standing(Standing::Unknown);
        }
    }

    /// Notes what the connection shows of its client, beside its groups and claims.
    pub(in crate::broker::link) fn note_standing(&self, turn: &Turn<'_>) {
        let (attachment, broker) = (&self.attachment, turn.broker);
        let names = attachment.origin.listener().and_then(|id| broker.0.listeners.names(id));
        let certificate = attachment.flow.as_ref().and_then(|flow| flow.certificate.as_deref());
        let identity = self.session.identity();
        let shown = identity.with_kept(|kept| match std::mem::take(&mut kept.standing) {
            Standing::Of(shown) => (shown, None),
            Standing::Unknown | Standing::Past => (Circumstances::default(), None),
        });
        identity.set_standing(Standing::Of(Circumstances {
            listener: names.map(|names| names.name().into()),
            address: attachment.origin.address(),
            certificate: certificate.map(Into::into),
            ..shown
        }));
    }

    /// Other rules are in force.
    pub(in crate::broker::link) fn look_again(&mut self, turn: &mut Turn<'_>) {
        self.reconsider(turn);
        if turn.broker.0.ports.access.has_rules() {
            self.note_standing(turn);
        }
        self.review(turn);
    }

    /// Ends the Subscriptions that the client may not have any more.
    pub(in crate::broker::link) fn review(&mut self, turn: &mut Turn<'_>) {
        let cx = turn.context();
        let Live { session, attachment } = self;
        session.review(&cx, &mut |action| attachment.carry_out(action, turn));
        self.carry_out_changes(turn);
    }
}
