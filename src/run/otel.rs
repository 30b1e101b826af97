//! Spans for OpenTelemetry: gathered from a sample of all messages, and sent to the collector.
//!
//! A task makes spans of what sampled messages have come through, a thread sends them, so that a slow collector keeps
//! only that thread. What is between the two has a bound; what does not fit is counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::auth::{HttpClient, PasswordFileError};
use crate::broker::Broker;
use crate::broker::metrics::Counter;
use crate::broker::trace::{Sampling, TraceHandle, TraceOf, TraceOrder};
use crate::config::OtelConfig;
use crate::otel::{OtelSpan, SpanMaker, request};
use crate::sync::{Mutex, whole};

/// A collector, with what its requests need.
pub(super) struct Collector {
    client: HttpClient,
    config: OtelConfig,
}

/// The export of spans, until this is dropped.
pub(super) struct Exporter {
    gatherer: Arc<Mutex<Option<SpanGatherer>>>,
    task: AbortHandle,
    /// The thread has ended.
    ended: oneshot::Receiver<()>,
    timeout: Duration,
}

/// How often it is looked for stages of messages. Those of one such time must fit into the queue of the trace.
const EVERY: Duration = Duration::from_millis(100);
/// Looks until spans are sent though they are few.
const LOOKS: u32 = 10;
/// Spans of one request.
const SPANS_MAX: usize = 512;
/// Requests that wait.
const REQUESTS_MAX: usize = 8;

impl Collector {
    /// The collector that is configured, if one is. Reads the token and the certificates.
    pub fn of(config: &OtelConfig) -> Result<Option<Collector>, PasswordFileError> {
        let Some(server) = config.server() else { return Ok(None) };
        Ok(Some(Collector { client: HttpClient::of(&server)?, config: config.clone() }))
    }

    /// Begins to sample and to export. Within the runtime.
    pub fn start(self, broker: &Broker) -> std::io::Result<Exporter> {
        let OtelConfig { sample, flagged_max, timeout, endpoint, .. } = self.config;
        let (batches, waiting) = mpsc::channel(REQUESTS_MAX);
        let (ends, ended) = oneshot::channel();
        let (client, told) = (self.client, broker.clone());
        std::thread::Builder::new().name("otel export".to_owned()).spawn(move || {
            export(&client, waiting, &told);
            // There may be no one that waits for it.
            let _ = ends.send(());
        })?;
        let of = TraceOf::Sample(Arc::new(Sampling::new(sample, flagged_max, super::seed())));
        let order = TraceOrder { of, payload_max: 0, events_max: u64::MAX };
        let gatherer = SpanGatherer {
            trace: broker.trace(order, 0).expect("one of a sample is always begun"),
            maker: SpanMaker::new(super::seed()),
            spans: Vec::new(),
            looks: 0,
            batches,
            broker: broker.clone(),
        };
        let gatherer = Arc::new(Mutex::new(Some(gatherer)));
        let task = tokio::spawn(gather(gatherer.clone())).abort_handle();
        let endpoint = endpoint.unwrap_or_default();
        info!(endpoint, sample, flagged_max, "messages are sampled for OpenTelemetry");
        Ok(Exporter { gatherer, task, ended, timeout: timeout.0 })
    }
}

impl Exporter {
    /// Ends it, and waits until the last spans are sent, no longer than a request may take.
    pub async fn finish(mut self) {
        self.stop();
        let _ = tokio::time::timeout(self.timeout, &mut self.ended).await;
    }

    /// Ends the sample. The thread sends what it was given, and ends.
    fn stop(&self) {
        self.task.abort();
        if let Some(mut gatherer) = whole(self.gatherer.lock()).take() {
            gatherer.look(true);
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes spans of what sampled messages come through.
struct SpanGatherer {
    trace: TraceHandle,
    maker: SpanMaker,
    /// Not handed over yet.
    spans: Vec<OtelSpan>,
    /// Looks since the last were.
    looks: u32,
    batches: mpsc::Sender<Vec<OtelSpan>>,
    broker: Broker,
}

async fn gather(gatherer: Arc<Mutex<Option<SpanGatherer>>>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(gatherer) = &mut *whole(gatherer.lock()) else { return };
        gatherer.look(false);
    }
}

impl SpanGatherer {
    /// Takes what has come; `is_last`: no other look follows.
    fn look(&mut self, is_last: bool) {
        let taken = self.trace.take();
        self.broker.metrics().add(Counter::SpansDropped, taken.missed);
        taken.events.iter().for_each(|event| self.maker.take(event, &mut self.spans));
        self.looks += 1;
        if self.spans.len() >= SPANS_MAX || self.looks >= LOOKS || is_last {
            self.looks = 0;
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let mut spans = std::mem::take(&mut self.spans).into_iter();
        while !spans.as_slice().is_empty() {
            let batch: Vec<OtelSpan> = spans.by_ref().take(SPANS_MAX).collect();
            let count = batch.len() as u64;
            if self.batches.try_send(batch).is_err() {
                self.broker.metrics().add(Counter::SpansDropped, count);
            }
        }
    }
}

/// Sends what waits, until no more comes. The log has a line when the collector begins to fail, and one when it takes
/// spans again.
fn export(client: &HttpClient, mut waiting: mpsc::Receiver<Vec<OtelSpan>>, broker: &Broker) {
    let mut fails = false;
    while let Some(spans) = waiting.blocking_recv() {
        let (count, said) = (spans.len() as u64, client.post(&request(&spans)));
        let counter = if said.is_ok() { Counter::SpansExported } else { Counter::SpansDropped };
        broker.metrics().add(counter, count);
        match &said {
            Err(error) if !fails => {
                let url = client.url();
                warn!(url, error, "the collector takes no spans: they are dropped and counted");
            }
            Ok(_) if fails => info!(url = client.url(), "the collector takes spans again"),
            _ => {}
        }
        fails = said.is_err();
    }
}
