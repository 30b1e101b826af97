//! What several resources ask for: pages, topics and filters of a query, answers of links and of the store.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::ports::{Progress, Receipt};
use crate::broker::{ClientDetails, NoAnswer, Question};
use crate::http::problem::HttpProblem;
use crate::http::site::Site;
use crate::message::ClientId;
use crate::topic::{TopicFilter, TopicName};

/// Items of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemPage<T> {
    /// The items of this page.
    items: Vec<T>,
    /// The `cursor` of the next page; none after the last one.
    next: Option<String>,
}

/// Items of a page, unless `limit` says another number, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// The most bytes of a topic, filter or Client Identifier in a query: as MQTT has them.
const TEXT_MAX: usize = 65_535;
/// Clients that are asked at once.
const AT_ONCE: usize = 64;
/// A link that does not answer for this long is not waited for.
const LINK_TIME: Duration = Duration::from_secs(5);
/// The store is not waited for longer than this.
const STORE_TIME: Duration = Duration::from_secs(30);

impl<T> ItemPage<T> {
    /// These, and where the next page begins.
    pub fn new(items: Vec<T>, next: Option<String>) -> ItemPage<T> {
        ItemPage { items, next }
    }
}

/// How many items a page has.
pub(super) fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
}

/// A cursor that is a number.
pub(super) fn number(cursor: Option<&str>) -> Result<Option<u64>, HttpProblem> {
    cursor.map(|cursor| cursor.parse().map_err(|_| bad_cursor())).transpose()
}

/// A cursor that no answer gave.
pub(super) fn bad_cursor() -> HttpProblem {
    HttpProblem::bad_request("this is no `next` of an earlier page")
}

/// A Client Identifier of a path or query.
pub(super) fn client_id(text: &str) -> Result<ClientId, HttpProblem> {
    match text.len() {
        1..=TEXT_MAX => Ok(ClientId::new(text)),
        _ => Err(HttpProblem::bad_request("a Client Identifier has 1 to 65,535 bytes")),
    }
}

/// A Topic Name of a query.
pub(super) fn topic<'a>(text: &'a str, site: &Site) -> Result<TopicName<'a>, HttpProblem> {
    let limits = &site.broker().policy().topic;
    TopicName::parse(text, limits)
        .map_err(|error| HttpProblem::bad_request(format!("the topic {text:?}: {error}")))
}

/// A Topic Filter of a query.
pub(super) fn filter(text: &str, site: &Site) -> Result<TopicFilter, HttpProblem> {
    let limits = &site.broker().policy().topic;
    TopicFilter::parse(text, limits)
        .map_err(|error| HttpProblem::bad_request(format!("the filter {text:?}: {error}")))
}

/// There is no Session of a client.
pub(super) fn no_client(client_id: &ClientId) -> HttpProblem {
    HttpProblem::not_found(format!("no client \"{client_id}\" has a session"))
}

/// One client in full.
pub(super) async fn details(
    site: &Site,
    client_id: &ClientId,
    question: Question,
) -> Result<ClientDetails, HttpProblem> {
    let mut enquiry = site.broker().enquire(client_id, question);
    let answer = poll_fn(|cx| enquiry.poll(cx.waker(), site.process().now()));
    match tokio::time::timeout(LINK_TIME, answer).await {
        Ok(Ok(details)) => Ok(details),
        Ok(Err(NoAnswer::Unknown)) => Err(no_client(client_id)),
        Ok(Err(NoAnswer::Busy)) => Err(too_many()),
        Err(_) => Err(HttpProblem::unavailable(
            "the client's connection does not answer: the broker is busy; try again",
        )),
    }
}

/// The same of several clients; of one that has gone meanwhile, or does not answer, nothing.
pub(super) async fn details_of_all(
    site: &Site,
    client_ids: &[ClientId],
    question: &Question,
) -> Vec<Option<ClientDetails>> {
    let mut all = Vec::with_capacity(client_ids.len());
    for some in client_ids.chunks(AT_ONCE) {
        let enquire = |id| (site.broker().enquire(id, question.clone()), None);
        let mut open: Vec<_> = some.iter().map(enquire).collect();
        let answers = poll_fn(|cx| {
            let now = site.process().now();
            let mut waits = false;
            for (enquiry, answer) in open.iter_mut().filter(|(_, answer)| answer.is_none()) {
                match enquiry.poll(cx.waker(), now) {
                    Poll::Ready(found) => *answer = Some(found),
                    Poll::Pending => waits = true,
                }
            }
            if waits { Poll::Pending } else { Poll::Ready(()) }
        });
        let _ = tokio::time::timeout(LINK_TIME, answers).await;
        all.extend(open.into_iter().map(|(_, answer)| answer.and_then(Result::ok)));
        tokio::task::yield_now().await;
    }
    all
}

/// As many questions are under way as may be.
pub(super) fn too_many() -> HttpProblem {
    HttpProblem::unavailable("too much is asked at once; try again")
}

/// Waits until what the store was told is safe.
pub(super) async fn durable(site: &Site, receipt: Option<Receipt>) -> Result<(), HttpProblem> {
    let Some(receipt) = receipt else { return Ok(()) };
    let safe = poll_fn(|cx| match site.broker().durability(receipt, cx.waker()) {
        Progress::Pending => Poll::Pending,
        done => Poll::Ready(done),
    });
    match tokio::time::timeout(STORE_TIME, safe).await {
        Ok(Progress::Durable) => Ok(()),
        Ok(_) => Err(HttpProblem::unavailable("the store has failed: it is not safe on disk")),
        Err(_) => {
            Err(HttpProblem::unavailable("it is done, and not safe on disk yet: the store is slow"))
        }
    }
}
