//! What a turn has lost, as plain data: filled by mailboxes and by the ledger, which tells it at the
//! end of the turn.

use std::borrow::Cow;
use std::sync::Arc;

use super::ports::Batch;
use super::topic_ledger::TopicClass;
use crate::codec::QoS;
use crate::message::{Grounds, Loss, Message, Mid, ReceiverId, RefusalKind};
use crate::topic::TopicName;

/// What a turn has lost and not yet told. Nothing is owned before the first loss: whether there is one is asked
/// several times a turn.
#[derive(Debug, Default)]
pub struct Gone(Option<Box<Untold>>);

#[derive(Debug, Default)]
struct Untold {
    /// What mailboxes gave up, as it was: neither counted nor told.
    fallen: Vec<Letter>,
    /// What is counted: for the log.
    told: Vec<(DropLine, u64)>,
    /// What is counted and told, and wants a dead letter.
    letters: Vec<Letter>,
    /// Receivers with an owner that may have no more, each with the limit.
    full: Vec<(Arc<str>, Grounds)>,
    /// What is to be remembered of it.
    fresh: Vec<FreshLoss>,
    /// Losses beyond those.
    unlisted: u64,
    /// Messages that logs have trimmed: how many, and the rows of those that the store has.
    trimmed: (u64, Vec<(ReceiverId, Mid)>),
}

/// A copy that was lost, and what is still to be done about it.
#[derive(Debug)]
pub struct Letter {
    /// Client Identifier, or the filter of a group; empty if that is not to be told.
    name: Arc<str>,
    receiver: ReceiverId,
    loss: Loss,
    qos: QoS,
    /// `None`: only the store has it.
    message: Option<Message>,
    /// What is to be settled with the store, once all is told.
    mid: Option<Mid>,
    /// It is to be published: else its topic alone is of interest.
    wanted: bool,
    /// The attempts at it, if all have failed.
    tries: Option<Box<Tries>>,
}

/// What a dead letter tells of the attempts at its message.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    /// How many there were.
    pub attempts: u16,
    /// Client Identifier of the last consumer.
    pub consumer: Arc<str>,
    /// Why the last one has failed.
    pub reason: &'static str,
}

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LossCause {
    /// A copy that was routed to the receiver was lost.
    Copy(Loss),
    /// What the client published was refused, or at `QoS` 0 dropped, before it was routed.
    Publish(RefusalKind),
}

/// A loss that is to be remembered.
#[derive(Debug)]
pub struct FreshLoss {
    /// The receiver's name, or the publisher's; empty if there is none.
    pub(super) receiver: Arc<str>,
    /// The topic, cut at a length; `None` if it is not in memory.
    pub(super) topic: Option<Arc<str>>,
    /// Why.
    pub(super) cause: LossCause,
    /// How many there were.
    pub(super) count: u64,
}

/// What one line of the log is about: the receiver's name, the class of topics, and the reason.
pub(super) type DropLine = (Arc<str>, TopicClass, Loss);

/// Topics of dead letters begin with this.
pub(super) const DEAD: &str = "$dead/";
/// Losses of one turn that are told apart.
pub const TURN_MAX: usize = 256;
/// Bytes of a text that is remembered or shown.
const TEXT_BYTES_MAX: usize = 256;
/// The end of a text that was cut.
pub(super) const CUT_MARK: &str = "…";

impl Gone {
    /// A mailbox gave a copy up.
    pub fn fall(&mut self, letter: Letter) {
        self.untold().fallen.push(letter);
    }

    /// A copy that is counted and told is to have a dead letter.
    pub(super) fn want_letter(&mut self, letter: Letter) {
        self.untold().letters.push(letter);
    }

    /// There was no room at a receiver, because its owner may have no more.
    pub fn note_full(&mut self, name: Arc<str>, grounds: Grounds) {
        let full = &mut self.untold().full;
        if full.last().is_none_or(|(last, _)| *last != name) {
            full.push((name, grounds));
        }
    }

    /// Takes out the receivers with an owner that may have no more.
    pub(super) fn take_full(&mut self) -> Vec<(Arc<str>, Grounds)> {
        self.take(|untold| &mut untold.full)
    }

    /// Takes out what mailboxes gave up.
    pub(super) fn take_fallen(&mut self) -> Vec<Letter> {
        self.take(|untold| &mut untold.fallen)
    }

    /// Takes out what the log is to be told.
    pub(super) fn take_told(&mut self) -> Vec<(DropLine, u64)> {
        self.take(|untold| &mut untold.told)
    }

    /// Takes out what wants a dead letter.
    pub(super) fn take_letters(&mut self) -> Vec<Letter> {
        self.take(|untold| &mut untold.letters)
    }

    /// For the log: a copy that is counted.
    pub(super) fn tell(&mut self, receiver: &Arc<str>, class: TopicClass, loss: Loss) {
        let told = &mut self.untold().told;
        match told.last_mut() {
            Some(((last, of, why), sum)) if *why == loss && *of == class && last == receiver => {
                *sum += 1;
            }
            _ => told.push(((receiver.clone(), class, loss), 1)),
        }
    }

    /// A loss is to be remembered.
    pub(super) fn remember(&mut self, loss: FreshLoss) {
        let Untold { fresh, unlisted, .. } = self.untold();
        if let Some(last) = fresh.last_mut()
            && last.is_same(&loss)
        {
            last.count += loss.count;
        } else if fresh.len() < TURN_MAX {
            fresh.push(loss);
        } else {
            *unlisted += loss.count;
        }
    }

    /// Takes out what is to be remembered, and how much was lost beyond that.
    pub(super) fn take_fresh(&mut self) -> (Vec<FreshLoss>, u64) {
        (self.take(|untold| &mut untold.fresh), self.take(|untold| &mut untold.unlisted))
    }

    /// A log has trimmed a message, which the store has if it has a number.
    pub fn note_trimmed(&mut self, log: ReceiverId, mid: Option<Mid>) {
        let (count, rows) = &mut self.untold().trimmed;
        *count += 1;
        rows.extend(mid.map(|mid| (log, mid)));
    }

    /// Takes out what logs have trimmed.
    pub(super) fn take_trimmed(&mut self) -> (u64, Vec<(ReceiverId, Mid)>) {
        self.take(|untold| &mut untold.trimmed)
    }

    /// Nothing was lost that is not told.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|untold| untold.is_empty())
    }

    #[cold]
    fn untold(&mut self) -> &mut Untold {
        self.0.get_or_insert_default()
    }

    fn take<T: Default>(&mut self, part: impl FnOnce(&mut Untold) -> &mut T) -> T {
        self.0.as_mut().map_or_else(T::default, |untold| std::mem::take(part(untold)))
    }
}

impl Untold {
    fn is_empty(&self) -> bool {
        let counted = self.fallen.len() | self.told.len() | self.letters.len();
        counted | self.full.len() | self.fresh.len() | self.trimmed.0 as usize == 0
    }
}

impl LossCause {
    /// The name in logs and in `$SYS`.
    pub const fn name(self) -> &'static str {
        match self {
            LossCause::Copy(loss) => loss.name(),
            LossCause::Publish(kind) => kind.name(),
        }
    }

    /// What to change so that it does not happen again; of a refusal, what it means.
    pub const fn advice(self) -> &'static str {
        match self {
            LossCause::Copy(loss) => loss.advice(),
            LossCause::Publish(kind) => kind.help(),
        }
    }
}

impl FreshLoss {
    /// One loss.
    pub(super) fn new(
        receiver: Arc<str>,
        topic: Option<TopicName<'_>>,
        cause: LossCause,
    ) -> FreshLoss {
        FreshLoss {
            receiver,
            topic: topic.map(|topic| shortened(topic.as_str()).into()),
            cause,
            count: 1,
        }
    }

    fn is_same(&self, other: &FreshLoss) -> bool {
        self.cause == other.cause && self.receiver == other.receiver && self.topic == other.topic
    }
}

/// A text of a peer, cut at a length: then it ends with [`CUT_MARK`].
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=TEXT_BYTES_MAX).rfind(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}{CUT_MARK}", &text[..end]).into()
}

/// What has become of the rows of lost copies: the proof, for [`Metrics::lose`], that no copy is counted as
/// lost while the store keeps it.
///
/// [`Metrics::lose`]: super::metrics::Metrics::lose
#[derive(Debug, Default)]
#[must_use]
pub struct RowsEnded {
    copies: u64,
}

impl RowsEnded {
    /// One copy that was never handed to the store.
    pub(super) fn never_stored() -> RowsEnded {
        RowsEnded { copies: 1 }
    }

    /// One copy that is settled with its letter, or when its topic is known.
    pub(super) fn with_letter(_letter: &Letter) -> RowsEnded {
        RowsEnded { copies: 1 }
    }

    /// One more copy: the store, if it has it, forgets it with this batch.
    pub(super) fn settle(&mut self, batch: &mut Batch, receiver: ReceiverId, mid: Option<Mid>) {
        batch.settled.extend(mid.map(|mid| (receiver, mid)));
        self.copies += 1;
    }

    /// How many copies.
    pub fn copies(&self) -> u64 {
        self.copies
    }
}

impl Letter {
    /// Of a copy of which neither the log nor a dead letter is to tell. The store keeps the copy under
    /// `mid`, if at all, until the letter is settled.
    pub fn new(receiver: ReceiverId, loss: Loss, mid: Option<Mid>) -> Letter {
        let (name, qos, message) = (Arc::default(), QoS::default(), None);
        Letter { name, receiver, loss, qos, message, mid, wanted: false, tries: None }
    }

    /// The `QoS` of the copy, and its message if that is in memory.
    pub fn with_copy(self, qos: QoS, message: Option<Message>) -> Letter {
        Letter { qos, message, ..self }
    }

    /// The receiver's name: a Client Identifier, or the filter of a group. `wanted`: the receiver's
    /// queue asks for dead letters.
    pub fn with_name(self, name: Arc<str>, wanted: bool) -> Letter {
        Letter { name, wanted, ..self }
    }

    /// The attempts at it, if all have failed.
    pub(super) fn with_tries(self, tries: Option<Box<Tries>>) -> Letter {
        Letter { tries, ..self }
    }

    /// The attempts at it, if all have failed.
    pub(super) fn tries(&self) -> Option<&Tries> {
        self.tries.as_deref()
    }

    /// The store has given the message.
    pub(super) fn set_message(&mut self, message: Message) {
        self.message = Some(message);
    }

    /// The receiver's name; empty if that is not to be told.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The receiver.
    pub fn receiver(&self) -> ReceiverId {
        self.receiver
    }

    /// Why the copy was lost.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The `QoS` of the copy.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// The message; `None` if only the store has it.
    pub fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// The message in the store, if the store keeps it for the receiver.
    pub fn mid(&self) -> Option<Mid> {
        self.mid
    }

    /// What the store forgets once all is told.
    pub(super) fn row(&self) -> Option<(ReceiverId, Mid)> {
        self.mid.map(|mid| (self.receiver, mid))
    }

    /// It is to be published: else its topic alone is of interest.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// There is to be a dead letter, and it is none itself.
    pub(super) fn is_to_be_published(&self) -> bool {
        let own = self.message.as_ref().is_some_and(|message| is_dead(message.topic()));
        self.wanted && self.loss.is_drop() && !own
    }
}

/// Whether it is a topic of dead letters.
pub(super) fn is_dead(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with(DEAD)
}
