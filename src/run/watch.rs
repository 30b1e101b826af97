//! Watches the tasks and threads without which the broker does not serve: one that ends is noticed at
//! once, and one that hangs is not reported as well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{error, info};

use super::systemd::{Manager, watchdog};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::{Clock, SystemClock, Time};

/// The watched tasks.
pub struct Watch {
    shared: Arc<WatchShared>,
    ended: mpsc::Receiver<String>,
    ends: mpsc::Sender<String>,
}

/// A watched task.
pub struct Task {
    beat: Arc<Beat>,
    handle: AbortHandle,
}

struct WatchShared {
    clock: SystemClock,
    beats: Mutex<Vec<Arc<Beat>>>,
    over: AtomicBool,
}

/// The life of one task.
struct Beat {
    name: String,
    /// When it was last seen to go on, in milliseconds.
    last_ms: AtomicU64,
    /// It was told to end.
    stopped: AtomicBool,
}

/// How often a task that waits for something shows that it could go on.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// A task that has not gone on for so long hangs, where no watchdog says how long that is.
const HANGS: Duration = Duration::from_secs(10);

impl Watch {
    /// A watch over nothing yet.
    pub fn new() -> Watch {
        let (ends, ended) = mpsc::channel(16);
        let shared = WatchShared {
            clock: SystemClock::start(Time::START),
            beats: Mutex::default(),
            over: AtomicBool::new(false),
        };
        Watch { shared: Arc::new(shared), ended, ends }
    }

    /// Starts a task that is not to end before it is told to. Within the runtime.
    pub fn start(&self, name: &str, body: impl Future<Output = ()> + Send + 'static) -> Task {
        let beat = Arc::new(Beat {
            name: name.to_owned(),
            last_ms: AtomicU64::new(self.shared.now_ms()),
            stopped: AtomicBool::new(false),
        });
        self.shared.beats().push(beat.clone());
        let watched = Watched {
            body: Box::pin(body),
            every: tokio::time::interval(BEAT_EVERY),
            end: TellsItsEnd { beat: beat.clone(), ends: self.ends.clone() },
            shared: self.shared.clone(),
        };
        Task { beat, handle: tokio::spawn(watched).abort_handle() }
    }

    /// The name of the next task that has ended without being told to.
    pub async fn ended(&mut self) -> String {
        // It is never closed: one sender is here.
        self.ended.recv().await.unwrap_or_default()
    }

    /// Tells the manager that the process is well as long as all tasks go on, and the log which does
    /// not. It is a thread, so that it can say so when no task runs any more.
    pub fn report(&self, manager: &Manager) -> std::io::Result<Reporting> {
        let (shared, manager) = (self.shared.clone(), manager.another());
        let limit = watchdog();
        let every = limit.map_or(BEAT_EVERY, |limit| (limit / 4).min(BEAT_EVERY));
        let body = move || {
            let hangs = limit.map_or(HANGS, |limit| limit / 2);
            let (mut said, mut told) = (None, shared.clock.now());
            manager.alive();
            while !shared.over.load(Ordering::Relaxed) {
                std::thread::park_timeout(every);
                let hanging = shared.hanging(hangs);
                if let Some(name) = &hanging
                    && said.is_none()
                {
                    error!(task = name, "hangs");
                }
                if let (Some(name), None) = (&said, &hanging) {
                    info!(task = name, "goes on");
                }
                // At least twice in the time that the watchdog waits.
                if limit.is_some_and(|limit| shared.clock.now().since(told) + every >= limit / 2)
                    && hanging.is_none()
                {
                    manager.alive();
                    told = shared.clock.now();
                }
                said = hanging;
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(body)?;
        Ok(Reporting { shared: self.shared.clone(), thread: Some(thread) })
    }
}

/// The thread that reports; dropped, it ends.
pub struct Reporting {
    shared: Arc<WatchShared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Task {
    /// Ends it.
    pub fn stop(&self) {
        self.beat.stopped.store(true, Ordering::Relaxed);
        self.handle.abort();
    }
}

impl WatchShared {
    fn now_ms(&self) -> u64 {
        self.clock.now().as_nanos() / 1_000_000
    }

    /// The name of a task that has not gone on for so long.
    fn hanging(&self, limit: Duration) -> Option<String> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let now = self.now_ms();
        let mut beats = self.beats();
        beats.retain(|beat| !beat.stopped.load(Ordering::Relaxed));
        let hangs =
            |beat: &&Arc<Beat>| now.saturating_sub(beat.last_ms.load(Ordering::Relaxed)) > limit;
        beats.iter().find(hangs).map(|beat| beat.name.clone())
    }

    fn beats(&self) -> MutexGuard<'_, Vec<Arc<Beat>>> {
        whole(self.beats.lock())
    }
}

/// A future that is seen to be polled: one that blocks its thread is not.
struct Watched {
    body: Pin<Box<dyn Future<Output = ()> + Send>>,
    every: tokio::time::Interval,
    end: TellsItsEnd,
    shared: Arc<WatchShared>,
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.every.poll_tick(cx).is_ready() {}
        let polled = self.body.as_mut().poll(cx);
        // After, not before: a body that never returns does not go on.
        self.end.beat.last_ms.store(self.shared.now_ms(), Ordering::Relaxed);
        polled
    }
}

/// Tells of the end of a task, by a panic too.
struct TellsItsEnd {
    beat: Arc<Beat>,
    ends: mpsc::Sender<String>,
}

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        if !self.beat.stopped.swap(true, Ordering::Relaxed) {
            // If there is no room, the end of others is being told.
            let _ = self.ends.try_send(self.beat.name.clone());
        }
    }
}
