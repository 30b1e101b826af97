//! The decisions, one after the other.

use std::time::Duration;

use super::{LOSSES_MAX, Why, WhyQuestion, WhyStep, WhyVerdict, span};
use crate::broker::Broker;
use crate::broker::details::{ClientDetails, Slowed};
use crate::broker::dropped::LossCause;
use crate::broker::link::NotRead;
use crate::broker::mailbox::{Mailbox, Offer, Outlook, WaitingCopy};
use crate::broker::overload::SHED;
use crate::codec::{self, PacketId, Properties, Publish, QoS};
use crate::config::{QueueConfig, QueuePolicy};
use crate::message::{Identity, Loss};
use crate::session::{Asked, Subscription};
use crate::time::Time;
use crate::topic::TopicFilter;

/// The decisions on the way of one message, as far as they have been looked at.
pub(super) struct Walk<'a> {
    pub(super) broker: &'a Broker,
    pub(super) question: &'a WhyQuestion,
    now: Time,
    steps: Vec<WhyStep>,
    finding: Option<Obstacle>,
}

/// What stands in the way.
struct Obstacle {
    verdict: WhyVerdict,
    reason: &'static str,
    explanation: String,
    advice: String,
}

/// What the client's own Subscriptions grant.
struct OwnGrant {
    qos: QoS,
    /// Each of them leaves out what the client publishes itself.
    no_local: bool,
}

/// Copies of a queue that are looked through for the topic, and their bytes.
const LOOKS: usize = 256;
const LOOK_BYTES: u64 = 1024 * 1024;

impl<'a> Walk<'a> {
    pub fn new(broker: &'a Broker, question: &'a WhyQuestion, now: Time) -> Walk<'a> {
        Walk { broker, question, now, steps: Vec::new(), finding: None }
    }

    /// There is no Session of the client.
    pub fn without_session(&mut self) {
        let client = &self.question.client_id;
        let (reason, text, advice) = match self.broker.0.departures.last(client) {
            None => (
                "unknown_client",
                format!(
                    "No client \"{client}\" has a Session, and none had one that is remembered."
                ),
                "Check the Client Identifier, letter by letter; the log names clients as they connect.",
            ),
            Some(gone) => {
                let ago = span(self.now.since(gone.at));
                let how = match gone.with_connection {
                    true => "ended with its connection",
                    false => "was over, or was ended, while it was away",
                };
                (
                    "offline_without_session",
                    format!(
                        "The client is not connected, and has no Session: the last one {how}, {ago} ago."
                    ),
                    "Connect without Clean Start and with a Session Expiry Interval above 0 (up to \
                     `session.expiry_max`): then messages of QoS 1 and 2 wait for it.",
                )
            }
        };
        self.stop("known", reason, text, advice);
    }

    /// All that is asked on the way of a message.
    pub fn all(&mut self, details: &ClientDetails, subscriptions: &[(TopicFilter, Subscription)]) {
        self.session(details);
        let (shared, own): (Vec<_>, Vec<_>) =
            subscriptions.iter().partition(|(filter, _)| filter.is_shared());
        if shared.is_empty() && own.is_empty() {
            return self.not_subscribed(details);
        }
        let Some((mailbox, _)) = self.broker.0.registry.mailbox(&self.question.client_id) else {
            return;
        };
        let Some(identity) = mailbox.owner().identity() else { return };
        let granted = self.subscribed(&own, &shared);
        self.broker_wide();
        let qos = granted.qos.min(self.question.qos);
        let from_queue =
            own.is_empty() && shared.iter().all(|(filter, _)| filter.queue().is_some());
        self.permitted(identity, qos, from_queue);
        self.size(details, qos);
        if own.is_empty() {
            self.groups(&shared);
        } else {
            self.no_local(&granted);
            self.queue(&mailbox, qos);
        }
        self.waits(details, &mailbox, qos);
        self.retained();
    }

    /// What has come of it.
    pub fn end(self) -> Why {
        let Walk { broker, question, steps, finding, .. } = self;
        let client = question.client_id.as_str();
        let losses = broker.recent_losses(Some(client), Some(&question.topic), LOSSES_MAX);
        let finding = finding.unwrap_or_else(|| {
            let copies = losses.iter().filter_map(|note| match note.cause() {
                LossCause::Copy(loss) => Some((note, loss)),
                LossCause::Publish(_) => None,
            });
            let (verdict, now) =
                (WhyVerdict::WouldArrive, "A message that is published now would be sent at once.");
            match copies.max_by_key(|(note, _)| note.last()) {
                None => Obstacle {
                    verdict,
                    reason: "nothing",
                    explanation: now.to_owned(),
                    advice: String::new(),
                },
                Some((note, loss)) => {
                    let (ago, meaning) = (span(self.now.since(note.last())), loss.meaning());
                    let explanation =
                        format!("{now} The last that did not arrive was lost {ago} ago: {meaning}");
                    Obstacle {
                        verdict,
                        reason: loss.name(),
                        explanation,
                        advice: loss.advice().to_owned(),
                    }
                }
            }
        });
        let Obstacle { verdict, reason, explanation, advice } = finding;
        Why { verdict, reason, explanation, advice, steps, losses }
    }

    fn session(&mut self, details: &ClientDetails) {
        self.pass("known", "The client has a Session.".to_owned());
        let expiry = details.terms().expiry;
        let lasts = match expiry {
            0 => "It ends with its connection: nothing waits for the client while it is away."
                .to_owned(),
            u32::MAX => "It outlives its connection, and never ends by itself.".to_owned(),
            seconds => {
                let lasts = span(Duration::from_secs(seconds.into()));
                format!("It outlives its connection for {lasts}.")
            }
        };
        self.pass("session", lasts);
        let Some(since) = details.connected_since() else {
            let ends = details.ends().map(|ends| span(ends.since(self.now)));
            let ends = ends.map(|left| format!("; its Session ends in {left}")).unwrap_or_default();
            let text = format!("The client is not connected{ends}.");
            return self.steps.push(WhyStep { step: "connected", ok: false, text });
        };
        let address =
            details.connection().map(|connection| connection.address()).unwrap_or_default();
        let since = span(self.now.since(since));
        self.pass("connected", format!("It is connected from {address} for {since}."));
    }

    fn not_subscribed(&mut self, details: &ClientDetails) {
        let count = details.subscription_count();
        let dollar = if self.question.topic.starts_with('$') {
            " A filter that begins with a wildcard does not match a topic that begins with $."
        } else {
            ""
        };
        let exclusive = self.exclusive_holder();
        let text =
            format!("None of its {count} Subscriptions matches the topic.{dollar}{exclusive}");
        let advice = "Subscribe the client to a filter that matches; levels are compared letter by letter, and a \
                      leading slash is a level of its own.";
        self.stop("subscribed", "not_subscribed", text, advice);
    }

    fn subscribed(
        &mut self,
        own: &[&(TopicFilter, Subscription)],
        shared: &[&(TopicFilter, Subscription)],
    ) -> OwnGrant {
        let matching = if own.is_empty() { shared } else { own };
        let qos = matching.iter().map(|(_, subscription)| subscription.options.qos).max();
        let names: Vec<_> =
            own.iter().chain(shared).take(4).map(|(filter, _)| filter.as_str()).collect();
        let (count, qos) = (own.len() + shared.len(), qos.unwrap_or_default());
        let (names, level) = (names.join(", "), qos as u8);
        let more = if count > 4 { ", …" } else { "" };
        self.pass("subscribed", format!("It is subscribed by {names}{more}, with QoS {level}."));
        let no_local = own.iter().all(|(_, subscription)| subscription.options.no_local);
        OwnGrant { qos, no_local: no_local && !own.is_empty() }
    }

    /// What is asked of a message whoever is to have it.
    fn broker_wide(&mut self) {
        let bytes = self.question.payload_bytes + self.question.topic.len();
        if self.broker.admit(bytes).is_err() {
            self.lose(
                "memory",
                Loss::MemoryFull,
                "All queues together are full: it is refused to its publisher.",
            );
        }
        if self.broker.pressure().level() >= SHED && self.question.qos == QoS::AtMostOnce {
            self.stop(
                "overload",
                "overload",
                "The broker is overloaded, and drops what is published with QoS 0.".to_owned(),
                "Publish with QoS 1, or take load off the broker; `overload.level_max` bounds what it does.",
            );
        }
        if self.broker.no_room_for_messages() && self.question.qos > QoS::AtMostOnce {
            self.stop(
                "store",
                "store_full",
                "The store takes nothing new: it is refused to its publisher.".to_owned(),
                "Give the disk room, or raise `store.pending_bytes_max`; `/readyz` says what is wrong.",
            );
        }
    }

    /// `from_queue`: only a named queue brings it the message, and loses none that it may not have.
    fn permitted(&mut self, identity: &Identity, qos: QoS, from_queue: bool) {
        let bytes = self.question.payload_bytes;
        let asked = Asked::Receive { topic: self.question.topic(), qos, retain: false, bytes };
        let access = &self.broker.0.ports.access;
        let permission = self.broker.permission(access.may(identity, &asked));
        let rule = permission.rule().map(|rule| format!(": {rule}")).unwrap_or_default();
        if permission.is_allowed() {
            self.pass("permitted", format!("It may receive the topic{rule}."));
        } else if from_queue {
            let text = format!(
                "It may not receive the topic{rule}: the message goes to another consumer, or waits for one that may."
            );
            self.wait("permitted", "set_aside", text, Loss::NotAuthorized.advice());
        } else {
            let text = format!("It may not receive the topic{rule}.");
            self.lose("permitted", Loss::NotAuthorized, &text);
        }
    }

    /// Whether a PUBLISH with such a payload fits the packets that the client takes.
    fn size(&mut self, details: &ClientDetails, qos: QoS) {
        let max = details.terms().packet_max;
        if max == u32::MAX {
            return self.pass("size", "It takes packets of any size.".to_owned());
        }
        let largest = self.broker.policy().limits.packet_bytes_max.len();
        let payload = vec![0; self.question.payload_bytes.min(largest)];
        let publish = Publish {
            qos,
            topic: &self.question.topic,
            packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MAX),
            properties: Properties::EMPTY,
            payload: &payload,
            ..Publish::default()
        };
        let len = codec::publish_len(&publish, details.terms().version);
        let text = format!("The packet has {len} bytes at least, and it takes up to {max}.");
        if len <= max as usize {
            self.pass("size", text);
        } else {
            self.lose("size", Loss::TooLarge, &text);
        }
    }

    fn no_local(&mut self, granted: &OwnGrant) {
        if !granted.no_local {
            return;
        }
        let text = "Its Subscriptions have No Local: it is not sent what it has published itself."
            .to_owned();
        if self.question.publisher.as_ref() != Some(&self.question.client_id) {
            return self.pass("no_local", text);
        }
        let advice = "Subscribe without No Local; a bridge always has it.";
        self.stop("no_local", "no_local", text, advice);
    }

    /// What a mailbox would say if the message came now.
    pub(super) fn queue(&mut self, mailbox: &Mailbox, qos: QoS) {
        let (topic, bytes) =
            (self.question.topic(), self.question.payload_bytes + self.question.topic.len());
        let (outlook, queue) = self.broker.outlook(mailbox, Offer { topic, qos, bytes }, self.now);
        let depth = depth(mailbox, &queue);
        match outlook {
            Outlook::Waits => self.pass("queue", format!("Its queue has room: {depth}.")),
            Outlook::Lost(Loss::OfflineQos0) => {
                let text = "It would be sent with QoS 0, and that does not wait for a client that is away.";
                self.lose("queue", Loss::OfflineQos0, text);
            }
            Outlook::Lost(loss) => {
                let text =
                    format!("Its queue is full, and its policy is {}: {depth}.", policy(&queue));
                self.lose("queue", loss, &text);
            }
            Outlook::Replaces(loss) => {
                let text = match loss {
                    Loss::Conflated => {
                        "A message of the topic waits already: a newer one takes its place"
                            .to_owned()
                    }
                    Loss::DroppedQos0 => format!(
                        "Its queue is full ({}): one of QoS 0 that waits makes room",
                        policy(&queue)
                    ),
                    _ => format!(
                        "Its queue is full ({}): what has waited longest makes room",
                        policy(&queue)
                    ),
                };
                self.wait("queue", loss.name(), format!("{text}: {depth}."), loss.advice());
            }
        }
    }

    /// What holds back a message that is kept, and what waits already.
    fn waits(&mut self, details: &ClientDetails, mailbox: &Mailbox, qos: QoS) {
        self.waiting(mailbox);
        let Some(connection) = details.connection() else {
            return self.find(
                WhyVerdict::WouldWait,
                "offline",
                "The client is not connected: what is kept for it is sent when it is back."
                    .to_owned(),
                "Connect the client, with the same Client Identifier and without Clean Start.",
            );
        };
        let window = details.window();
        let (used, size) = (window.used(), window.size());
        if window.free() == 0 && qos > QoS::AtMostOnce {
            self.wait(
                "window",
                "window_full",
                format!(
                    "Its window is full: {used} of {size} messages are sent and not acknowledged."
                ),
                "Have the client acknowledge what it gets, with a larger Receive Maximum; \
                 `session.inflight_max` bounds that.",
            );
        } else {
            self.pass(
                "window",
                format!("Its window has room: {used} of {size} messages are not acknowledged."),
            );
        }
        match connection.slowed() {
            None => self.pass("shaping", "Nothing slows down what it is sent.".to_owned()),
            Some(slowed) => self.shaped(slowed, details),
        }
        if connection.not_read() == Some(NotRead::Unwritten) {
            self.wait(
                "writing",
                "not_reading",
                "The client does not read what it is sent: as much as may waits to be written."
                    .to_owned(),
                "Look at the client and its network; it is closed after `limits.write_timeout`.",
            );
        }
    }

    fn shaped(&mut self, slowed: Slowed, details: &ClientDetails) {
        let class = &details.view().class;
        let class =
            if class.is_empty() { "[shaping]".to_owned() } else { format!("class {class:?}") };
        let (text, advice) = match slowed {
            Slowed::ByItself(until) => (
                format!(
                    "Its own buckets ({class}) are full: the next leaves in {}.",
                    span(until.since(self.now))
                ),
                "Raise `shaping.messages_rate` or `shaping.bytes_rate`, here or in its class.",
            ),
            Slowed::ByOthers => (
                "It waits for its turn in buckets that it shares with other clients.".to_owned(),
                "Raise `broker.egress.messages_rate` or `broker.egress.bytes_rate`, or those of its listener.",
            ),
        };
        self.wait("shaping", "shaped", text, advice);
    }

    /// What waits of the topic already, as far as memory has it.
    fn waiting(&mut self, mailbox: &Mailbox) {
        let all = mailbox.page(LOOKS, LOOK_BYTES);
        let of_topic = |copy: &&WaitingCopy| {
            copy.message().is_some_and(|message| message.topic() == self.question.topic())
        };
        let waiting: Vec<_> = all.iter().filter(of_topic).collect();
        let expired = waiting.iter().filter(|copy| copy.expires() <= self.now).count();
        let count = waiting.len();
        if expired > 0 {
            let text = format!(
                "Of {count} messages of the topic that wait, {expired} have expired: they will not be sent."
            );
            return self.wait("expiry", Loss::Expired.name(), text, Loss::Expired.advice());
        }
        if count > 0 {
            self.pass(
                "expiry",
                format!("{count} messages of the topic wait already; none has expired."),
            );
        }
    }

    fn retained(&mut self) {
        let text = match self.broker.0.router.retained().get(self.question.topic()) {
            None => "No message is retained for the topic.".to_owned(),
            Some(message) => format!(
                "A message of {} bytes is retained for the topic; a client is sent it when it subscribes.",
                message.payload().len(),
            ),
        };
        self.pass("retained", text);
    }

    pub(super) fn pass(&mut self, step: &'static str, text: String) {
        self.steps.push(WhyStep { step, ok: true, text });
    }

    /// A copy would be lost for this reason of the ledger.
    fn lose(&mut self, step: &'static str, loss: Loss, text: &str) {
        self.stop(step, loss.name(), text.to_owned(), loss.advice());
    }

    /// It would not come.
    pub(super) fn stop(
        &mut self,
        step: &'static str,
        reason: &'static str,
        text: String,
        advice: &str,
    ) {
        self.steps.push(WhyStep { step, ok: false, text: text.clone() });
        self.find(WhyVerdict::WouldNotArrive, reason, text, advice);
    }

    /// It would come later.
    fn wait(&mut self, step: &'static str, reason: &'static str, text: String, advice: &str) {
        self.steps.push(WhyStep { step, ok: false, text: text.clone() });
        self.find(WhyVerdict::WouldWait, reason, text, advice);
    }

    /// Of all that stands in the way the worst counts, and of several the first.
    fn find(&mut self, verdict: WhyVerdict, reason: &'static str, text: String, advice: &str) {
        if self.finding.as_ref().is_none_or(|found| found.verdict < verdict) {
            let advice = advice.to_owned();
            self.finding = Some(Obstacle { verdict, reason, explanation: text, advice });
        }
    }
}

fn policy(queue: &QueueConfig) -> &'static str {
    match queue.policy {
        QueuePolicy::Reject => "\"reject\"",
        QueuePolicy::DropOldest => "\"drop_oldest\"",
        QueuePolicy::DropNewest => "\"drop_newest\"",
        QueuePolicy::DropQos0First => "\"drop_qos0_first\"",
        QueuePolicy::Conflate => "\"conflate\"",
    }
}

fn depth(mailbox: &Mailbox, queue: &QueueConfig) -> String {
    let (messages, bytes) = mailbox.depth();
    let (messages_max, bytes_max) = (queue.messages_max, queue.bytes_max.0);
    format!("{messages} of {messages_max} messages wait, {bytes} of {bytes_max} bytes")
}
