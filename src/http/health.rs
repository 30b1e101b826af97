//! `/healthz` and `/readyz`, for programs that start and stop brokers and send them clients.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::site::Site;
use crate::broker::Summary;
use crate::broker::overload::SHED;
use crate::broker::ports::Refused;

/// Both.
pub fn routes() -> Router<Site> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(site): State<Site>) -> (StatusCode, String) {
    let reasons = not_ready(&site, &site.broker().summary());
    match reasons.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

/// Why no client should be sent here, in words; nothing if they may come. That HTTP is served says that the
/// listeners are open, and that a node of a cluster has joined.
pub fn not_ready(site: &Site, summary: &Summary) -> Vec<String> {
    let (process, level) = (site.process(), summary.overload.pressure().level());
    let is_stopping = process.is_stopping() || site.broker().is_draining();
    reasons(is_stopping, summary.store_refuses, process.log_away(), level)
}

fn reasons(
    is_stopping: bool,
    store: Option<Refused>,
    log_away: Option<Duration>,
    level: u8,
) -> Vec<String> {
    let stopping = is_stopping.then_some("the broker is stopping");
    let store = match store {
        // It makes room by itself, soon.
        None | Some(Refused::Slow) => None,
        Some(Refused::Full) => Some("the store or its disk is full"),
        Some(Refused::Trouble) => Some("the store cannot write now: the log says why"),
        Some(Refused::Failed) => Some("the store has failed: the log says why"),
    };
    let overloaded = (level >= SHED).then_some("the broker is overloaded: level 3");
    let away =
        |span: Duration| format!("the cluster's log has not answered for {} s", span.as_secs());
    let mut reasons: Vec<String> =
        [stopping, store, overloaded].into_iter().flatten().map(str::to_owned).collect();
    reasons.extend(log_away.map(away));
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_in_words() {
        for (store, wanted) in [
            (None, ""),
            (Some(Refused::Slow), ""),
            (Some(Refused::Full), "is full"),
            (Some(Refused::Trouble), "cannot write"),
            (Some(Refused::Failed), "has failed"),
        ] {
            let said = reasons(false, store, None, 2).join("\n");
            assert!(said.contains(wanted) && said.is_empty() == wanted.is_empty(), "{said}");
        }
        let away = Some(Duration::from_millis(4900));
        assert_eq!(reasons(true, Some(Refused::Failed), away, 3).len(), 4);
        assert_eq!(reasons(false, None, None, 3), ["the broker is overloaded: level 3"]);
        let said = ["the cluster's log has not answered for 4 s"];
        assert_eq!(reasons(false, None, away, 0), said);
    }
}
