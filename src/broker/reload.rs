//! What another configuration changes while the broker runs.

use std::task::Waker;

use super::mailbox::{Mailbox, Notice};
use super::turn::Scratch;
use super::{Broker, classes};
use crate::config::Config;
use crate::time::Time;

impl Broker {
    /// Puts in force what of another configuration concerns the broker, for clients that are connected
    /// too. What waits stays, in the band that it has; a turn that has begun goes on under the rules
    /// before.
    pub fn reload(&self, config: &Config, now: Time) {
        self.0.dedup.set(config);
        self.0.queue_settings.set(config, self.0.dedup.rules());
        self.0.classes.set(config);
        let mut scratch = Scratch::default();
        let mut turn = self.turn(&mut scratch, now);
        self.set_named_queues(config, &mut turn);
        self.set_keep_logs(config, &mut turn);
        turn.finish();
        self.0.pools.set(config, now);
        self.0.registry.set_takeovers_max(config.limits.takeovers_max);
        self.0.router.set_exclusive_max(config.session.exclusive_max.0);
        self.0.delays.set_span_max(config.delayed.span_max.0);
        self.reload_overload(config, now);
        for (_, mailbox, connected) in self.0.registry.mailboxes() {
            if !connected {
                self.classify_absent(&mailbox);
            }
            mailbox.forget_topics(&config.queue);
            if let Some(waker) = mailbox.notify(Notice::Reclassify) {
                waker.wake();
            }
        }
        self.0.router.set_groups(&config.group).into_iter().for_each(Waker::wake);
        for (_, group) in self.0.router.groups() {
            group.forget_topics(&config.queue);
        }
    }

    /// Other logins may be in force: whether any client has a verified user name decides what owners may have.
    pub fn look_who_is_verified(&self) {
        self.0.owners.all().set_verifies(self.0.ports.authenticator.checks_names());
    }

    /// The rules for a client that is not connected.
    pub(super) fn classify_absent(&self, mailbox: &Mailbox) {
        let Some(identity) = mailbox.owner().identity() else { return };
        let who = classes::Who {
            client_id: identity.client_id.as_str(),
            user: identity.user_name.as_deref(),
            ..classes::Who::default()
        };
        mailbox.set_rules(&self.0.classes.of_absent(&mailbox.class(), who));
    }
}
