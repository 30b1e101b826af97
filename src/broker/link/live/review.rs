//! Rules of access that have changed, now or while the client was away: what they do not allow any more ends.

use super::Live;
use crate::broker::ports::LoginDetails;
use crate::broker::turn::Turn;
use crate::message::{Circumstances, Standing};
use crate::session::Context;

impl Live {
    /// The client was let in: with the groups and claims of `details`, as what let it in says.
    pub(in crate::broker::link) fn set_standing(
        &self,
        details: Option<Box<LoginDetails>>,
        turn: &Turn<'_>,
    ) {
        let identity = self.session.identity();
        let says = |of: &LoginDetails| !of.groups.is_empty() || !of.claims.is_empty();
        if !details.as_deref().is_some_and(says) && !turn.broker.0.ports.access.has_rules() {
            // It may have been here before, and have shown what it does not show now.
            return identity.forget_standing();
        }
        let LoginDetails { groups, claims, .. } = details.map(|of| *of).unwrap_or_default();
        let shown = Circumstances { groups, claims, ..Circumstances::default() };
        identity.set_standing(Standing::Of(shown));
        self.note_standing(turn);
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
        let Live { session, attachment } = self;
        let cx = Context { session: attachment.id(), ..turn.context() };
        session.review(&cx, &mut |action| attachment.carry_out(action, turn));
        self.carry_out_changes(turn);
    }
}
