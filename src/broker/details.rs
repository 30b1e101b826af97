//! One client in full: what its Session says of itself, wherever that is. The Session is read where it lies,
//! by its link or under the lock of the registry, and only so much of it as is asked for.

use std::fmt;
use std::sync::Arc;

use super::link::NotRead;
use super::mailbox::Mailbox;
use super::parked::Parked;
use super::view::ClientView;
use crate::message::Delivery;
use crate::session::window::FlightStage;
use crate::session::{Context, Session, Subscription, Terms, WillMessage};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};

/// How much of a client is looked at: nothing but its figures, unless more is asked for.
#[derive(Clone, Debug, Default)]
pub struct Question {
    after: Option<TopicFilter>,
    matching: Option<Box<str>>,
    /// Whole filters of named queues that collect that topic.
    queues: Vec<Arc<str>>,
    subscriptions_max: usize,
    flights_max: usize,
}

/// One client in full, at one moment.
#[derive(Clone, Debug)]
pub struct ClientDetails {
    view: ClientView,
    terms: Terms,
    since: Time,
    connection: Option<ConnectionView>,
    /// When its Session ends, and when its Will is due, while it is away.
    ends: Time,
    will_due: Time,
    subscriptions: Vec<(TopicFilter, Subscription)>,
    subscription_count: usize,
    next: Option<TopicFilter>,
    window: WindowView,
    flights: Vec<Delivery>,
    will: Option<Arc<WillMessage>>,
    oldest: Option<Time>,
}

/// What is known of the connection of a client that is connected.
#[derive(Clone, Debug, Default)]
pub struct ConnectionView {
    pub(super) address: String,
    pub(super) listener: Option<Box<str>>,
    pub(super) certificate: Option<Box<str>>,
    pub(super) not_read: Option<NotRead>,
    pub(super) slowed: Option<Slowed>,
}

/// Something keeps messages of a client back now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Slowed {
    /// Its own buckets (`[shaping]`, or those of its class), until then.
    ByItself(Time),
    /// Buckets that it shares with others (`[broker.egress]`, `[listener.egress]`): until it has its turn.
    ByOthers,
}

/// What is in flight to a client, and how much may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WindowView {
    size: u16,
    used: usize,
    free: usize,
}

/// Subscriptions that are looked at for one answer.
const LOOKS: usize = 1024;

impl Question {
    /// At most so many Subscriptions too, from the first filter on.
    #[must_use]
    pub fn subscriptions(self, max: usize) -> Question {
        Question { subscriptions_max: max, ..self }
    }

    /// Only those behind this filter.
    #[must_use]
    pub fn after(self, after: Option<TopicFilter>) -> Question {
        Question { after, ..self }
    }

    /// Only those with a filter that this topic matches.
    #[must_use]
    pub fn matching(self, topic: TopicName<'_>) -> Question {
        Question { matching: Some(topic.as_str().into()), ..self }
    }

    /// And those to these named queues, by their whole filters.
    #[must_use]
    pub fn or_to(self, queues: Vec<Arc<str>>) -> Question {
        Question { queues, ..self }
    }

    /// At most so many messages in flight too, in the order of sending.
    #[must_use]
    pub fn flights(self, max: usize) -> Question {
        Question { flights_max: max, ..self }
    }
}

impl ClientDetails {
    /// What `session`, with its `mailbox`, says to a question. `halved`: how often its window is halved.
    pub(super) fn new(
        (session, mailbox): (&Session, &Mailbox),
        question: &Question,
        (cx, halved): (&Context<'_>, u8),
        connection: Option<ConnectionView>,
    ) -> Option<ClientDetails> {
        let client_id = session.identity().client_id.clone();
        let window = WindowView {
            size: session.window_size(cx, halved),
            used: session.window().len(),
            free: session.room(cx, halved, 1).window,
        };
        let (subscriptions, next) = subscriptions(session, question);
        let sent = session.window().flights().filter_map(|flight| match &flight.state {
            FlightStage::Sent(delivery) => Some(delivery.clone()),
            FlightStage::Released { .. } | FlightStage::GivenAway(..) => None,
        });
        Some(ClientDetails {
            view: ClientView::new(client_id, mailbox, connection.is_some())?,
            terms: session.terms().clone(),
            since: session.connected_since(),
            connection,
            ends: Time::NEVER,
            will_due: Time::NEVER,
            subscriptions,
            subscription_count: session.subscription_count(),
            next,
            window,
            flights: sent.take(question.flights_max).collect(),
            will: session.will().cloned(),
            oldest: mailbox.oldest(),
        })
    }

    /// The same of a Session without a connection.
    pub(super) fn of_parked(
        parked: &Parked,
        question: &Question,
        cx: &Context<'_>,
    ) -> Option<ClientDetails> {
        let details =
            ClientDetails::new((&parked.session, &parked.mailbox), question, (cx, 0), None);
        let Parked { expires, will_due, .. } = *parked;
        details.map(|details| ClientDetails { ends: expires, will_due, ..details })
    }

    /// The same with its Will, which was in the store only.
    pub(super) fn with_will(self, will: Option<Arc<WillMessage>>) -> ClientDetails {
        ClientDetails { will, ..self }
    }

    /// Its figures.
    pub fn view(&self) -> &ClientView {
        &self.view
    }

    /// What CONNECT agreed: of a client that is away, its last; after a restart of the broker, nothing of it but
    /// the Session Expiry Interval.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Since when it is connected, to the second; `None`: it is not.
    pub fn connected_since(&self) -> Option<Time> {
        self.connection.as_ref().map(|_| self.since)
    }

    /// Its connection, if it is connected.
    pub fn connection(&self) -> Option<&ConnectionView> {
        self.connection.as_ref()
    }

    /// When its Session ends, if it is away and its Session ends by itself.
    pub fn ends(&self) -> Option<Time> {
        (self.ends != Time::NEVER).then_some(self.ends)
    }

    /// When its Will is published, if it is away and has one.
    pub fn will_due(&self) -> Option<Time> {
        (self.will_due != Time::NEVER).then_some(self.will_due)
    }

    /// The Subscriptions that were asked for, sorted by filter.
    pub fn subscriptions(&self) -> &[(TopicFilter, Subscription)] {
        &self.subscriptions
    }

    /// How many it has.
    pub fn subscription_count(&self) -> usize {
        self.subscription_count
    }

    /// There may be more of those that were asked for: behind this filter.
    pub fn next(&self) -> Option<&TopicFilter> {
        self.next.as_ref()
    }

    /// What is in flight, and how much may be.
    pub fn window(&self) -> WindowView {
        self.window
    }

    /// The messages in flight that were asked for, in the order of sending; without those of `QoS` 2 that it
    /// has received and not completed.
    pub fn flights(&self) -> &[Delivery] {
        &self.flights
    }

    /// Its Will.
    pub fn will(&self) -> Option<&Arc<WillMessage>> {
        self.will.as_ref()
    }

    /// When what waits first for it was received; `None` if nothing waits, or only the store knows.
    pub fn oldest_queued(&self) -> Option<Time> {
        self.oldest
    }
}

impl WindowView {
    /// Messages of `QoS` 1 and 2 that may be in flight at once.
    pub fn size(self) -> u16 {
        self.size
    }

    /// So many are.
    pub fn used(self) -> usize {
        self.used
    }

    /// So many more may be sent now: none while what was in flight on an earlier connection is sent again.
    pub fn free(self) -> usize {
        self.free
    }
}

impl ConnectionView {
    /// Its address, as the listener says it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What its listener is called; none of a client in this process.
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    /// The identity in its certificate.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Why what it sends is not read now.
    pub fn not_read(&self) -> Option<NotRead> {
        self.not_read
    }

    /// What keeps its messages back now.
    pub fn slowed(&self) -> Option<Slowed> {
        self.slowed
    }
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotRead::Unwritten => "it does not read what it is sent",
            NotRead::Receivers => "receivers of its messages are more than half full",
            NotRead::Store => "a PUBLISH waits until the store has room",
            NotRead::Rate => "a packet waits until a rate allows it",
            NotRead::Overload => "a PUBLISH waits because the broker is overloaded",
            NotRead::Greeting => "CONNACK waits for the store",
            NotRead::Filters => {
                "filters of its last SUBSCRIBE or UNSUBSCRIBE are still to be served"
            }
            NotRead::HeldAnswers => "too many answers wait for the store",
            NotRead::OwedAnswers => "too many of its PUBLISHes await their answer",
        })
    }
}

/// The Subscriptions that are asked for, and where to go on if there may be more.
fn subscriptions(
    session: &Session,
    question: &Question,
) -> (Vec<(TopicFilter, Subscription)>, Option<TopicFilter>) {
    let Question { after, matching, queues, subscriptions_max: max, .. } = question;
    let topic = matching.as_deref().map(TopicName::trusted);
    let (mut found, mut last) = (Vec::new(), None::<&TopicFilter>);
    if *max == 0 {
        return (found, None);
    }
    for (looked, (filter, subscription)) in session.subscriptions_after(after.as_ref()).enumerate()
    {
        if looked == LOOKS || found.len() == *max {
            return (found, last.cloned());
        }
        last = Some(filter);
        let is_of_queue = || queues.iter().any(|queue| **queue == *filter.as_str());
        if topic.is_none_or(|topic| filter.matches(topic)) || is_of_queue() {
            found.push((filter.clone(), *subscription));
        }
    }
    (found, None)
}
