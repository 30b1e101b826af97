//! Looking into one client. A Session has one owner, which alone may read it: of a client that is away that is
//! the registry, of one that is connected its link, which is asked through its mailbox and answers in its next
//! turn. Questions that are under way are bounded in number; one that is given up leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Broker;
use super::details::{ClientDetails, Question};
use super::mailbox::{Mailbox, Notice};
use super::registry::Whereabouts;
use super::turn::Turn;
use crate::message::{ClientId, ReceiverKind, SessionId};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

/// A question about one client: see [`Broker::enquire`].
#[must_use = "it is asked when it is polled"]
pub struct Enquiry {
    broker: Broker,
    client_id: ClientId,
    question: Arc<Question>,
    asked: Option<(EnquiryKey, Arc<OpenEnquiry>)>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoAnswer {
    /// There is no Session of this Client Identifier.
    Unknown,
    /// As many questions are under way as may be: try again.
    Busy,
}

/// The questions that links are still to answer.
#[derive(Debug, Default)]
pub(super) struct Enquiries {
    /// How many, so that the end of a connection need not take the lock.
    count: AtomicUsize,
    open: Mutex<OpenEnquiries>,
}

#[derive(Debug, Default)]
struct OpenEnquiries {
    by_session: BTreeMap<EnquiryKey, Arc<OpenEnquiry>>,
    last: u64,
}

/// A Session, and the number of the question.
type EnquiryKey = (SessionId, u64);

/// One question to a link.
#[derive(Debug)]
pub(super) struct OpenEnquiry {
    question: Arc<Question>,
    state: Mutex<EnquiryState>,
}

#[derive(Debug, Default)]
struct EnquiryState {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Outcome {
    Answered(Box<ClientDetails>),
    /// The Session has left its link.
    Moved,
}

/// Questions under way at once.
const ENQUIRIES_MAX: usize = 1024;
/// How often one that is polled looks for a Session that moves.
const ROUNDS: usize = 4;

impl Broker {
    /// Asks about one client; nothing happens before it is polled.
    pub fn enquire(&self, client_id: &ClientId, question: Question) -> Enquiry {
        let (broker, question) = (self.clone(), Arc::new(question));
        Enquiry { broker, client_id: client_id.clone(), question, asked: None }
    }

    /// A Session has left its link: what was asked of the link is asked anew, by those that asked.
    #[inline]
    pub(super) fn session_moved(&self, id: SessionId, turn: &mut Turn<'_>) {
        if !self.0.enquiries.is_empty() {
            let open = self.0.enquiries.take(id);
            turn.wakers.extend(open.iter().filter_map(|enquiry| enquiry.settle(Outcome::Moved)));
        }
    }
}

impl Enquiry {
    /// How it stands; while it is pending, `waker` is woken when that changes. A link that is in a long turn, or
    /// not run at all, lets it wait: the caller sets a limit.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]. After an answer or an error it may be polled again, and asks again.
    pub fn poll(&mut self, waker: &Waker, now: Time) -> Poll<Result<ClientDetails, NoAnswer>> {
        for _ in 0..ROUNDS {
            if let Some((_, asked)) = &self.asked {
                match asked.outcome(waker) {
                    None => return Poll::Pending,
                    Some(Outcome::Answered(details)) => {
                        self.asked = None;
                        return Poll::Ready(Ok(*details));
                    }
                    Some(Outcome::Moved) => self.asked = None,
                }
            }
            match self.look(now) {
                Whereabouts::Nowhere => return Poll::Ready(Err(NoAnswer::Unknown)),
                Whereabouts::OnItsWay => break,
                Whereabouts::Parked(details) => {
                    let details = details.map(|details| self.with_will(details));
                    return Poll::Ready(details.ok_or(NoAnswer::Unknown));
                }
                Whereabouts::Attached(mailbox) => {
                    if let Err(error) = self.ask(&mailbox, waker) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        // It is on its way from one owner to another, within a turn of theirs.
        waker.wake_by_ref();
        Poll::Pending
    }

    fn look(&self, now: Time) -> Whereabouts<Option<ClientDetails>> {
        let cx = self.broker.context(now);
        let read = |parked: &_| ClientDetails::of_parked(parked, &self.question, &cx);
        self.broker.0.registry.look(&self.client_id, read)
    }

    /// Asks the link of `mailbox`. If the Session has left it meanwhile, nothing is asked.
    fn ask(&mut self, mailbox: &Arc<Mailbox>, waker: &Waker) -> Result<(), NoAnswer> {
        let ReceiverKind::Session(id) = mailbox.receiver().kind() else {
            return Err(NoAnswer::Unknown);
        };
        let shared = &*self.broker.0;
        let (key, open) = shared.enquiries.open(id, &self.question, waker).ok_or(NoAnswer::Busy)?;
        // A link that has left before this did not see the question.
        let still = match shared.registry.look(&self.client_id, |_| ()) {
            Whereabouts::Attached(now) => Arc::ptr_eq(&now, mailbox),
            _ => false,
        };
        if !still {
            shared.enquiries.forget(key);
            return Ok(());
        }
        self.asked = Some((key, open));
        if let Some(waker) = mailbox.notify(Notice::Answer) {
            waker.wake();
        }
        Ok(())
    }

    /// The Will of a client that is away may be in the store only.
    fn with_will(&self, details: ClientDetails) -> ClientDetails {
        let Some(will) = details.will().filter(|will| will.is_stored()).cloned() else {
            return details;
        };
        let id = details.view().id;
        let whole = self.broker.0.ports.store.will(id).ok().map(Arc::new);
        details.with_will(whole.or(Some(will)))
    }
}

/// It is not answered any more.
impl Drop for Enquiry {
    fn drop(&mut self) {
        if let Some((key, _)) = self.asked.take() {
            self.broker.0.enquiries.forget(key);
        }
    }
}

impl std::fmt::Debug for Enquiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enquiry").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Enquiries {
    #[inline]
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// The questions to the link of Session `id`: they are taken out, and each is to be settled.
    #[cold]
    pub fn take(&self, id: SessionId) -> Vec<Arc<OpenEnquiry>> {
        let mut open = self.lock();
        let keys = open.by_session.range((id, 0)..=(id, u64::MAX));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        let taken = keys.iter().filter_map(|key| open.by_session.remove(key)).collect();
        self.count.store(open.by_session.len(), Ordering::Release);
        taken
    }

    /// A new question; `None` if there are as many as may be.
    fn open(
        &self,
        id: SessionId,
        question: &Arc<Question>,
        waker: &Waker,
    ) -> Option<(EnquiryKey, Arc<OpenEnquiry>)> {
        let mut open = self.lock();
        if open.by_session.len() >= ENQUIRIES_MAX {
            return None;
        }
        open.last += 1;
        let key = (id, open.last);
        let state = Mutex::new(EnquiryState { outcome: None, waker: Some(waker.clone()) });
        let enquiry = Arc::new(OpenEnquiry { question: question.clone(), state });
        open.by_session.insert(key, enquiry.clone());
        self.count.store(open.by_session.len(), Ordering::Release);
        Some((key, enquiry))
    }

    fn forget(&self, key: EnquiryKey) {
        let mut open = self.lock();
        open.by_session.remove(&key);
        self.count.store(open.by_session.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, OpenEnquiries> {
        whole(self.open.lock())
    }
}

impl OpenEnquiry {
    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The link answers; returns the waker of the one that asked, to be woken with no lock held.
    pub fn answer(&self, details: ClientDetails) -> Option<Waker> {
        self.settle(Outcome::Answered(Box::new(details)))
    }

    fn settle(&self, outcome: Outcome) -> Option<Waker> {
        let mut state = whole(self.state.lock());
        state.outcome = Some(outcome);
        state.waker.take()
    }

    fn outcome(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = whole(self.state.lock());
        if state.outcome.is_none() {
            state.waker = Some(waker.clone());
        }
        state.outcome.take()
    }
}
