//! What `top` knows of the broker.

use std::collections::VecDeque;

use serde_json::Value;

use super::TopShared;
use crate::command_line::ctl::ClientOrder;
use crate::ctl::api::{Api, ApiPath};
use crate::ctl::failure::CtlFailure;

/// The broker as it was last seen.
#[derive(Clone, Debug, Default)]
pub struct TopState {
    /// Rises with everything that is new.
    pub version: u64,
    /// Answer of `/status`.
    pub status: Value,
    /// Points of the figures, one each second (before the start one each five), the newest last.
    pub points: VecDeque<Value>,
    /// The clients that come first in the order that is wanted.
    pub clients: Vec<Value>,
    /// Why nothing new comes.
    pub problem: Option<String>,
}

/// Points that are kept.
const POINTS_MAX: usize = 512;
/// Clients that are asked for.
const CLIENTS_MAX: usize = 100;

impl TopState {
    /// Asks for everything once.
    ///
    /// # Errors
    ///
    /// The broker refuses, or is not reached.
    pub fn begin(&mut self, api: &Api) -> Result<(), CtlFailure> {
        self.status = api.get(&ApiPath::of("/status"))?;
        self.clients = clients(api, ClientOrder::QueueMessages)?;
        if let Value::Array(points) = api.get(&ApiPath::of("/history"))?["points"].take() {
            points.into_iter().for_each(|point| self.push(point));
        }
        Ok(())
    }

    fn push(&mut self, point: Value) {
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }
}

/// Follows the figures until the feed ends; why it has ended.
pub(super) fn follow(api: &Api, shared: &TopShared) -> CtlFailure {
    let mut feed = match api.feed(&ApiPath::of("/feeds/figures")) {
        Ok(feed) => feed,
        Err(failure) => return failure,
    };
    loop {
        let point = match feed.next() {
            Ok(Some(event)) if event.name == "figures" => event.data,
            Ok(Some(event)) if event.name == "end" => return api.lost("the broker stops"),
            Ok(Some(_)) => continue,
            Ok(None) => return api.lost("it was closed"),
            Err(error) => return api.lost(&error.to_string()),
        };
        // Asked for without the lock: the terminal is drawn meanwhile.
        let asked = api
            .get(&ApiPath::of("/status"))
            .and_then(|status| Ok((status, clients(api, shared.sort())?)));
        let (status, clients) = match asked {
            Ok(asked) => asked,
            Err(failure) => return failure,
        };
        let mut watched = shared.locked();
        watched.push(point);
        watched.status = status;
        watched.clients = clients;
        watched.problem = None;
        watched.version += 1;
    }
}

fn clients(api: &Api, sort: ClientOrder) -> Result<Vec<Value>, CtlFailure> {
    let path = ApiPath::of("/clients").with("sort", sort.name()).with("order", "desc");
    let mut answer = api.get(&path.with("limit", CLIENTS_MAX))?;
    Ok(match answer["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}
