//! Why a message of a topic does not arrive at a client: the decisions that the broker takes on its way, in the
//! same order and by the same functions, each with what it says. Looking changes nothing.

mod shared;
mod walk;

use std::task::{Poll, Waker, ready};
use std::time::Duration;

use super::Broker;
use super::details::{ClientDetails, Question};
use super::enquiry::{Enquiry, NoAnswer};
use super::recent_losses::LossNote;
use crate::codec::QoS;
use crate::message::ClientId;
use crate::session::Subscription;
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};
use walk::Walk;

/// A message of which it is asked whether it would arrive.
#[derive(Clone, Debug)]
pub struct WhyQuestion {
    client_id: ClientId,
    topic: Box<str>,
    qos: QoS,
    payload_bytes: usize,
    publisher: Option<ClientId>,
}

/// Asks [`Broker::why`].
#[derive(Debug)]
#[must_use = "it is asked when it is polled"]
pub struct WhyEnquiry {
    broker: Broker,
    question: WhyQuestion,
    enquiry: Enquiry,
    subscriptions: Vec<(TopicFilter, Subscription)>,
    rounds: usize,
}

/// Whether a message that is published now would arrive, and why not.
#[derive(Clone, Debug)]
pub struct Why {
    verdict: WhyVerdict,
    reason: &'static str,
    explanation: String,
    advice: String,
    steps: Vec<WhyStep>,
    losses: Vec<LossNote>,
}

/// What would become of a message that is published now.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum WhyVerdict {
    /// It would be sent at once.
    WouldArrive,
    /// It would be kept, and sent later.
    WouldWait,
    /// It would not come.
    WouldNotArrive,
}

/// One decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WhyStep {
    step: &'static str,
    ok: bool,
    text: String,
}

/// Subscriptions that match, asked for at once; and how often.
const PAGE: usize = 256;
const ROUNDS_MAX: usize = 64;
/// Losses that are told.
const LOSSES_MAX: usize = 16;

impl Broker {
    /// Asks why messages of a topic do not arrive at a client; nothing happens before it is polled.
    pub fn why(&self, question: WhyQuestion) -> WhyEnquiry {
        let asked = self.about(TopicName::trusted(&question.topic));
        let enquiry = self.enquire(&question.client_id, asked);
        WhyEnquiry { broker: self.clone(), question, enquiry, subscriptions: Vec::new(), rounds: 0 }
    }

    /// Asks for the Subscriptions by which a message of `topic` comes, and those to named queues that collect it.
    fn about(&self, topic: TopicName<'_>) -> Question {
        let wanted = self.0.router.wanted_by(topic);
        let owners = wanted.iter().map(|found| found.mailbox().owner());
        let queues = owners.filter(|owner| owner.is_queue()).map(|owner| owner.name());
        Question::default().matching(topic).or_to(queues.collect()).subscriptions(PAGE)
    }
}

impl WhyQuestion {
    /// A message of `QoS` 1 without payload, from a publisher that is not said.
    pub fn new(client_id: ClientId, topic: TopicName<'_>) -> WhyQuestion {
        let (topic, qos) = (topic.as_str().into(), QoS::AtLeastOnce);
        WhyQuestion { client_id, topic, qos, payload_bytes: 0, publisher: None }
    }

    /// Published with this `QoS`.
    #[must_use]
    pub fn qos(self, qos: QoS) -> WhyQuestion {
        WhyQuestion { qos, ..self }
    }

    /// With a payload of so many bytes.
    #[must_use]
    pub fn payload_bytes(self, payload_bytes: usize) -> WhyQuestion {
        WhyQuestion { payload_bytes, ..self }
    }

    /// Published by this client.
    #[must_use]
    pub fn publisher(self, publisher: ClientId) -> WhyQuestion {
        WhyQuestion { publisher: Some(publisher), ..self }
    }

    fn topic(&self) -> TopicName<'_> {
        TopicName::trusted(&self.topic)
    }
}

impl WhyEnquiry {
    /// How it stands: see [`Enquiry::poll`].
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Busy`]; that there is no such client is an answer.
    pub fn poll(&mut self, waker: &Waker, now: Time) -> Poll<Result<Why, NoAnswer>> {
        loop {
            let details = match ready!(self.enquiry.poll(waker, now)) {
                Ok(details) => details,
                Err(NoAnswer::Unknown) => return Poll::Ready(Ok(self.unknown(now))),
                Err(busy) => return Poll::Ready(Err(busy)),
            };
            self.subscriptions.extend_from_slice(details.subscriptions());
            match details.next() {
                Some(next) if self.rounds < ROUNDS_MAX => {
                    self.rounds += 1;
                    let question = self.broker.about(self.question.topic());
                    let question = question.after(Some(next.clone()));
                    self.enquiry = self.broker.enquire(&self.question.client_id, question);
                }
                _ => return Poll::Ready(Ok(self.explain(&details, now))),
            }
        }
    }

    fn explain(&mut self, details: &ClientDetails, now: Time) -> Why {
        let subscriptions = std::mem::take(&mut self.subscriptions);
        let mut walk = Walk::new(&self.broker, &self.question, now);
        walk.all(details, &subscriptions);
        walk.end()
    }

    fn unknown(&self, now: Time) -> Why {
        let mut walk = Walk::new(&self.broker, &self.question, now);
        walk.without_session();
        walk.end()
    }
}

impl Why {
    /// What would become of it.
    pub fn verdict(&self) -> WhyVerdict {
        self.verdict
    }

    /// The first decision that stands in the way, in one word; where none does, the reason of the latest loss that is
    /// remembered, or `nothing`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The same in sentences.
    pub fn explanation(&self) -> &str {
        &self.explanation
    }

    /// What to change; empty if there is nothing.
    pub fn advice(&self) -> &str {
        &self.advice
    }

    /// Each decision that was looked at.
    pub fn steps(&self) -> &[WhyStep] {
        &self.steps
    }

    /// What this client has lost of this topic lately, where that is remembered, the newest first.
    pub fn losses(&self) -> &[LossNote] {
        &self.losses
    }
}

impl WhyVerdict {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            WhyVerdict::WouldArrive => "would_arrive",
            WhyVerdict::WouldWait => "would_wait",
            WhyVerdict::WouldNotArrive => "would_not_arrive",
        }
    }
}

impl WhyStep {
    /// Which decision it is, in one word.
    pub fn step(&self) -> &'static str {
        self.step
    }

    /// It lets the message pass.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A length of time, short enough for a sentence.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{} ms", span.as_millis()),
        10..600 => format!("{seconds} s"),
        600..36_000 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}
