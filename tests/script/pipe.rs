//! The driver through the connection task: tokio, its clock paused, pipes in place of sockets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use sluicemq::broker::link::Link;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Ports};
use sluicemq::net::{ServeContext, serve};
use sluicemq::time::{Clock, Time};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::link::{Accounts, Everything, LateStore, config, peer};
use crate::script::driver::{Came, Driver, Stage};
use crate::script::language::Script;

/// Connections are pipes that hold so many bytes each way.
#[derive(Clone, Copy, Debug)]
pub struct Pipes {
    pub bytes: usize,
}

impl Stage for Pipes {
    type Driver = Served;

    fn set(&self, script: &Script) -> Result<Served, String> {
        let config = config(script)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .map_err(|error| error.to_string())?;
        let clock = runtime.block_on(async { PausedClock(Instant::now()) });
        let ports = Ports {
            store: Arc::new(LateStore::forgetful()),
            authenticator: Arc::new(Accounts(script.accounts.clone())),
            access: Arc::new(Everything),
        };
        let now = runtime.block_on(async { clock.now() });
        let broker = Broker::new(&config, ports, 7, now);
        let shared = Arc::new(ServeContext::new(broker, clock));
        let wheel = shared.clone();
        runtime.spawn(async move { wheel.wheel.turn(&wheel.clock).await });
        let pace = Arc::new(AtomicU64::new(PACE_MS));
        runtime.spawn(tick(shared.clone(), pace.clone()));
        Ok(Served { runtime, shared, pace, ends: Vec::new(), bytes: self.bytes })
    }
}

/// The time of a runtime with a paused clock.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Time {
        Time::from_secs(1_000_000_000).after(self.0.elapsed())
    }
}

/// How often the broker is looked after, as in the process.
const PACE_MS: u64 = 100;

/// What the process does beside its connections.
async fn tick(shared: Arc<ServeContext<PausedClock>>, pace: Arc<AtomicU64>) {
    let mut turn = Scratch::default();
    loop {
        let now = shared.clock.now();
        let next = shared.broker.tick(now, &mut turn);
        let most = Duration::from_millis(pace.load(Ordering::Relaxed));
        let wait = next.map_or(most, |next| next.since(now)).min(most);
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
    }
}

/// A broker with a task for each connection.
pub struct Served {
    runtime: Runtime,
    shared: Arc<ServeContext<PausedClock>>,
    pace: Arc<AtomicU64>,
    ends: Vec<End>,
    bytes: usize,
}

struct End {
    stream: Option<DuplexStream>,
    task: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    /// Lets every task run until none can: only then the paused clock moves.
    fn settle(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
}

impl Driver for Served {
    fn open(&mut self) -> usize {
        let (ours, theirs) = tokio::io::duplex(self.bytes);
        let peer = peer(self.ends.len());
        let shared = self.shared.clone();
        let link =
            self.runtime.block_on(async { Link::new(&shared.broker, peer, shared.clock.now()) });
        let task = self.runtime.spawn(serve(link, theirs, shared));
        self.ends.push(End { stream: Some(ours), task: Some(task) });
        self.settle();
        self.ends.len() - 1
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        let Some(stream) = &mut self.ends[conn].stream else { return };
        // An end that is closed takes nothing more: the script sees it as an end.
        let _ = self.runtime.block_on(stream.write_all(bytes));
        self.settle();
    }

    fn cut(&mut self, conn: usize) {
        self.ends[conn].stream = None;
        self.settle();
    }

    fn advance(&mut self, span: Duration) {
        // Days at the process's pace would be millions of turns.
        let hours = span.as_secs() / 3600;
        self.pace.store(PACE_MS.max(hours * 10_000), Ordering::Relaxed);
        self.runtime.block_on(async { tokio::time::sleep(span).await });
        self.pace.store(PACE_MS, Ordering::Relaxed);
        self.settle();
    }

    fn read(&mut self, conn: usize) -> Came {
        let end = &mut self.ends[conn];
        let Some(stream) = &mut end.stream else { return Came::End };
        let mut space = vec![0; self.bytes.min(64 * 1024)];
        let polled = self.runtime.block_on(std::future::poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut space);
            let polled = Pin::new(&mut *stream).poll_read(cx, &mut buf);
            let len = buf.filled().len();
            Poll::Ready(polled.map(|result| result.map(|()| len)))
        }));
        match polled {
            Poll::Pending => Came::Nothing,
            Poll::Ready(Ok(len)) if len > 0 => {
                // There may be room for more now.
                self.settle();
                space.truncate(len);
                Came::Bytes(space)
            }
            Poll::Ready(_) => {
                if let Some(task) = end.task.take().filter(JoinHandle::is_finished) {
                    let ended = self.runtime.block_on(task);
                    assert!(ended.is_ok(), "the task of the connection panicked");
                }
                Came::End
            }
        }
    }

    fn settles(&self) -> bool {
        true
    }

    fn barrier(&mut self) {}
}
