//! What a link says of its client when it is asked.

use super::Live;
use crate::broker::details::{ClientDetails, ConnectionView, Question, Slowed};
use crate::broker::turn::Turn;
use crate::shape::Shaper;

impl Live {
    /// Answers all that is asked about its client.
    #[cold]
    pub(in crate::broker::link) fn answer_enquiries(&self, turn: &mut Turn<'_>) {
        for asked in turn.broker.0.enquiries.take(self.attachment.id()) {
            if let Some(details) = self.details(asked.question(), turn) {
                turn.wakers.extend(asked.answer(details));
            }
        }
    }

    fn details(&self, question: &Question, turn: &Turn<'_>) -> Option<ClientDetails> {
        let Live { session, attachment } = self;
        let broker = turn.broker;
        let names = attachment.origin.listener().and_then(|id| broker.0.listeners.names(id));
        let certificate = attachment.flow.as_ref().and_then(|flow| flow.certificate.clone());
        let connection = ConnectionView {
            address: attachment.origin.to_string(),
            listener: names.map(|names| names.name().into()),
            certificate,
            not_read: self.not_read(broker, Some(turn)),
            slowed: self.slowed(turn),
        };
        let (cx, halved) = (turn.context(), turn.pressure.level());
        let session = (session, &*attachment.mailbox);
        ClientDetails::new(session, question, (&cx, halved), Some(connection))
    }

    /// What keeps its messages back.
    fn slowed(&self, turn: &Turn<'_>) -> Option<Slowed> {
        let attachment = &self.attachment;
        if attachment.is_held_by_itself(turn.now) {
            return attachment.shaper().map(Shaper::ready_at).map(Slowed::ByItself);
        }
        attachment.mailbox.pace().filter(|pace| pace.waits).map(|_| Slowed::ByOthers)
    }
}
