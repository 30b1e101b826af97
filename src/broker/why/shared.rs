//! What of the decisions is about other clients: the members of a group share, and one client alone has an exclusive
//! filter.

use super::walk::Walk;
use crate::broker::mailbox::LaneFor;
use crate::session::Subscription;
use crate::topic::TopicFilter;

impl Walk<'_> {
    /// The groups that the client is in, if nothing else brings it the message.
    pub(super) fn groups(&mut self, shared: &[&(TopicFilter, Subscription)]) {
        for (filter, _) in shared {
            let Some(group) = self.broker.0.router.group_of(filter) else { continue };
            let (members, (strategy, _)) = (group.connected(), group.sharing());
            self.pass(
                "group",
                format!(
                    "A message goes to one member of {filter}: {members} of them are connected, and share as {strategy} \
                     says.",
                    filter = filter.as_str(),
                    strategy = strategy.name(),
                ),
            );
            let client = &self.question.client_id;
            match group.lane_for(self.question.topic()) {
                LaneFor::Any => {}
                LaneFor::Depends => {
                    let text = "Which of them has the message depends on its publisher, or on a User Property.";
                    self.pass("lane", text.to_owned());
                }
                LaneFor::Member(member) if member == *client => {
                    self.pass("lane", "It has the messages of the topic.".to_owned());
                }
                LaneFor::Member(member) => {
                    let text =
                        format!("Another member, \"{member}\", has the messages of the topic.");
                    let advice = "It is so while that member is connected: see `strategy` in docs/queues.md.";
                    self.stop("lane", "another_member", text, advice);
                }
            }
            let aside = group.set_aside_count();
            if aside > 0 {
                let text =
                    format!("{aside} of its messages wait for a consumer that may receive them.");
                self.pass("aside", text);
            }
            let postponed = group.postponed();
            if postponed > 0 {
                let text = format!(
                    "{postponed} of its messages have failed, and wait for another attempt."
                );
                self.pass("postponed", text);
            }
            // It waits there as it was published: what a member is granted counts when that takes it.
            self.queue(&group, self.question.qos);
        }
    }

    /// Which client has an exclusive Subscription to the topic, in words; empty if none has.
    pub(super) fn exclusive_holder(&self) -> String {
        let held = self.broker.0.router.exclusive_holder(self.question.topic());
        let said = held.map(|(filter, client)| {
            format!(
                " {filter} is client \"{client}\"'s, and no other can have it.",
                filter = filter.as_str()
            )
        });
        said.unwrap_or_default()
    }
}
