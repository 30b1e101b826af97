//! What the routes say: the receivers of a topic, and the groups with their members.

use std::sync::Arc;

use super::Broker;
use super::mailbox::{Account, Mailbox};
use super::router::GroupFound;
use crate::codec::QoS;
use crate::config::Strategy;
use crate::message::{ClientId, GroupId, Identity, ReceiverId, ReceiverKind};
use crate::session::{Asked, Decision};
use crate::topic::{TopicFilter, TopicName};

/// A client or group that a message of a topic would go to.
#[derive(Clone, Debug)]
pub struct ReceiverView {
    receiver: ReceiverId,
    name: Arc<str>,
    qos: QoS,
    permission: Permission,
    connected: bool,
}

/// Whether something is allowed, and which rule says so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Permission {
    allowed: bool,
    rule: Option<String>,
}

/// One group of Shared Subscriptions at one moment.
#[derive(Clone, Debug)]
pub struct GroupView {
    id: GroupId,
    filter: TopicFilter,
    members: Vec<ClientId>,
    member_count: usize,
    connected: u32,
    account: Account,
    depth: (usize, u64),
    strategy: Strategy,
    lanes: Vec<(ClientId, u16)>,
}

/// Members of one group that are named.
pub(super) const MEMBERS_MAX: usize = 100;

impl Broker {
    /// The receivers of a message of `topic`, each once, by number: at most `max` of those behind `after`, and how
    /// many there are in all. What is asked of the routes is what a PUBLISH asks; nothing is locked meanwhile but
    /// them.
    pub fn receivers_of(
        &self,
        topic: TopicName<'_>,
        after: Option<ReceiverId>,
        max: usize,
    ) -> (Vec<ReceiverView>, usize) {
        let matches = self.0.router.wanted_by(topic);
        let page = matches.iter().filter(|found| Some(found.receiver()) > after).take(max);
        let views = page.map(|found| {
            let mailbox = found.mailbox();
            ReceiverView {
                receiver: found.receiver(),
                name: mailbox.owner().name(),
                qos: found.qos(),
                permission: self.permission_of(mailbox, topic, found.qos()),
                connected: mailbox.is_attached(),
            }
        });
        (views.collect(), matches.len())
    }

    /// Groups by number: at most `max` of those behind `after`.
    pub fn groups(&self, after: Option<GroupId>, max: usize) -> Vec<GroupView> {
        let groups = self.0.router.group_page(after, max, MEMBERS_MAX);
        groups.into_iter().map(GroupView::of).collect()
    }

    /// Whether a client may be sent a message of `topic`: what a link asks before it sends one.
    pub fn may_receive(&self, who: &Identity, topic: TopicName<'_>, qos: QoS) -> Permission {
        let asked = Asked::Receive { topic, qos, retain: false, bytes: 0 };
        self.permission(self.0.ports.access.may(who, &asked))
    }

    /// A decision in words.
    pub(super) fn permission(&self, decision: Decision) -> Permission {
        let rule = decision.rule().and_then(|rule| self.0.ports.access.rule_name(rule));
        Permission { allowed: decision.is_allowed(), rule }
    }

    /// Whether the owner of `mailbox` may; of a group, whether one of its members may, as far as it is named.
    fn permission_of(&self, mailbox: &Mailbox, topic: TopicName<'_>, qos: QoS) -> Permission {
        if let Some(identity) = mailbox.owner().identity() {
            return self.may_receive(identity, topic, qos);
        }
        let members = mailbox.owner().group().map(|id| self.0.router.members(id, MEMBERS_MAX));
        let mut last = Permission::default();
        for member in members.unwrap_or_default() {
            last = self.may_receive(&member, topic, qos);
            if last.allowed {
                break;
            }
        }
        last
    }
}

impl ReceiverView {
    /// Its number: pages go on behind it.
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Its Client Identifier, if it is a client.
    pub fn client_id(&self) -> Option<ClientId> {
        match self.receiver.kind() {
            ReceiverKind::Session(_) => Some(ClientId::new(&self.name)),
            ReceiverKind::Group(_) => None,
        }
    }

    /// Its Client Identifier, or the whole filter of the group.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The highest `QoS` granted by a Subscription of it that matches; of a group, 2.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it may have a message of the topic.
    pub fn permission(&self) -> &Permission {
        &self.permission
    }

    /// It is connected; of a group, one of its members is.
    pub fn is_connected(&self) -> bool {
        self.connected
    }
}

impl Permission {
    /// It is allowed.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// What the rule that decides is called; `None` where no rule was needed.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }
}

impl GroupView {
    /// Of what the routes say of it.
    pub(super) fn of((id, filter, mailbox, members, member_count): GroupFound) -> GroupView {
        let members = members.iter().map(|member| member.client_id.clone()).collect();
        let (connected, account) = (mailbox.connected(), mailbox.account());
        let depth = mailbox.depth();
        let (strategy, mut lanes) = mailbox.sharing();
        lanes.truncate(MEMBERS_MAX);
        GroupView { id, filter, members, member_count, connected, account, depth, strategy, lanes }
    }

    /// Its number: pages go on behind it.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Its whole filter.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// How its members share.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// How many lanes each connected member owns, where they share by lanes; a hundred members at most, those that
    /// have been there longest first.
    pub fn lanes(&self) -> &[(ClientId, u16)] {
        &self.lanes
    }

    /// Its members, a hundred at most.
    pub fn members(&self) -> &[ClientId] {
        &self.members
    }

    /// How many it has.
    pub fn member_count(&self) -> usize {
        self.member_count
    }

    /// How many of them are connected.
    pub fn connected(&self) -> u32 {
        self.connected
    }

    /// What was routed to it and what became of it.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Copies that it has lost, for all reasons.
    pub fn lost(&self) -> u64 {
        self.account.ledger.iter().flatten().map(|count| u64::from(*count)).sum()
    }

    /// Copies that wait for it, and their bytes.
    pub fn depth(&self) -> (usize, u64) {
        self.depth
    }
}
