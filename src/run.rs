//! The life of the process: open every listener, say so, serve, reload, stop.

mod begin;
mod built;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(not(feature = "cluster"))]
#[path = "run/no_cluster.rs"]
mod cluster;
mod files;
mod http;
mod listeners;
#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel"))]
#[path = "run/no_otel.rs"]
mod otel;
mod process;
mod ready;
mod reload;
mod rules;
pub mod signals;
mod system;
mod systemd;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use begin::Begun;
use cluster::ClusterNode;
pub use files::look_at_files;
use http::HttpEnd;
pub use http::HttpListening;
use listeners::{Acceptor, listening, open};
pub use listeners::{ListenError, Listening, Place};
use otel::Collector;
use process::{ProcessEnd, Reloads};
use ready::say_ready;
use reload::{Files, Reloader};
pub use rules::{read_rules, rule_set};
use signals::{Signals, Wish};
use systemd::{Manager, MoreTime};
use watch::{Task, Watch};

use crate::auth::PasswordFileError;
use crate::broker::metrics::Counter;
use crate::broker::restore::Restored;
use crate::broker::turn::Scratch;
use crate::config::{Config, Durability};
use crate::fault;
use crate::net::serve::ServeContext;
use crate::net::trim::trim;
use crate::settings::{Settings, SettingsError};
use crate::store::engine::{Engine, Report};
use crate::store::{DurableStore, Exports, OpenError};
use crate::time::{Clock, SystemClock, Time};

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Listener(#[from] ListenError),
    /// The password file cannot be used.
    #[error(transparent)]
    Passwords(#[from] PasswordFileError),
    /// The file of rules cannot be used.
    #[error(transparent)]
    Rules(#[from] SettingsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What the store remembers cannot be taken over.
    #[error("the store cannot be taken over: {0}")]
    Restore(String),
    /// This broker cannot be a node of the cluster.
    #[error("cannot join the cluster: {0}")]
    Cluster(String),
    /// The runtime or a signal cannot be set up.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// A task or thread has ended without which the broker does not serve.
    #[error("{0} has ended: the broker cannot go on without it")]
    Ended(String),
}

impl RunError {
    /// The exit code of the process: 2 if it could not start, 70 if it could not go on.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Ended(_) => 70,
            _ => 2,
        }
    }
}

/// Reads the configuration again; the error has a line for each mistake.
pub type Reread<'a> = dyn Fn() -> Result<Settings, Vec<String>> + 'a;

/// Runs a broker until a signal asks for its end; one that has come before is acted on at once. `ready`
/// is called with the listeners once every one is open, before the machine-readable line is printed; `reread` at SIGHUP.
pub fn run(
    settings: &Settings,
    signals: Signals,
    ready: impl FnOnce(&[Listening], Option<&HttpListening>),
    reread: &Reread<'_>,
) -> Result<(), RunError> {
    let config = &settings.from_here();
    raise_open_files();
    if std::env::var_os("SLUICE_FAULTS").is_some() {
        fault::arm();
    }
    let manager = Manager::of_environment();
    let more_time = Some(manager.ask_for_more_time());
    let mut life = Life { config, settings, signals, manager, more_time, reread };
    if life.is_over() {
        return Ok(());
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.broker.workers > 0 {
        builder.worker_threads(config.broker.workers as usize);
    }
    // Threads beside the workers only give memory back.
    let runtime = builder.max_blocking_threads(2).enable_all().build()?;
    life.manager.status("opening the store");
    let (durable, report) = crate::store::open(&config.store)?.unzip();
    let durable = durable.map(Arc::new);
    let serve =
        |store: &Arc<DurableStore<Engine>>| Exports::serve(store.clone(), &config.store.path);
    let exports = durable.as_ref().map(serve).transpose()?;
    let result = runtime.block_on(life.live(durable.clone(), report, ready));
    let more_time = life.manager.ask_for_more_time();
    if let Err(RunError::Ended(_)) = &result {
        give_up_later();
    }
    runtime.shutdown_timeout(Duration::from_millis(100));
    drop(exports);
    if let Some(durable) = durable {
        close(durable);
    }
    drop(more_time);
    result
}

/// What has lost a part may not even end in order: it ends all the same.
fn give_up_later() {
    let later = || {
        std::thread::sleep(GIVE_UP);
        crate::logging::flush(Duration::from_secs(1));
        std::process::exit(70);
    };
    if std::thread::Builder::new().name("give up".to_owned()).spawn(later).is_err() {
        std::process::exit(70);
    }
}

/// How long an end may take that follows from a part that is lost.
const GIVE_UP: Duration = Duration::from_secs(5);

/// A last checkpoint, so that the next start has nothing to do.
fn close(durable: Arc<DurableStore<Engine>>) {
    let closed = match Arc::try_unwrap(durable).map(DurableStore::into_rows) {
        Ok(Some(engine)) => engine.close(),
        // Another owner still reads it: everything that it was given is written all the same.
        Ok(None) => Ok(()),
        Err(durable) => durable.rows().checkpoint_now(),
    };
    match closed {
        Ok(()) => info!("store closed, with a last checkpoint"),
        Err(error) => error!(%error, "no last checkpoint; the journal has what it lacks"),
    }
}

/// The life of the process, and what it is told by others.
struct Life<'a> {
    config: &'a Config,
    settings: &'a Settings,
    signals: Signals,
    manager: Manager,
    more_time: Option<MoreTime>,
    reread: &'a Reread<'a>,
}

impl Life<'_> {
    async fn live(
        &mut self,
        durable: Option<Arc<DurableStore<Engine>>>,
        report: Option<Report>,
        ready: impl FnOnce(&[Listening], Option<&HttpListening>),
    ) -> Result<(), RunError> {
        let config = self.config;
        let newest = durable.as_ref().map_or(Time::START, |durable| durable.newest());
        let clock = SystemClock::start(newest);
        let Some(begun) = self.begin(&durable, report, &clock).await? else { return Ok(()) };
        let Begun { authenticator, rights, broker, taken, member } = begun;
        let collector = Collector::of(&config.otel)?;
        let shared = Arc::new(ServeContext::new(broker.clone(), clock));
        let acceptors = open(config, &shared)?;
        let each = acceptors.iter().zip(&config.listener);
        let listening: Vec<_> =
            each.map(|(open, settings)| listening(open, settings)).collect::<Result<_, _>>()?;
        let away = member.as_ref().map(ClusterNode::log_away);
        let (process, reloads) = ProcessEnd::new(&shared, self.settings, &listening, away);
        let http = http::open(config, &shared, process, self.settings.is_development())?;
        // Not before the listeners are open: if one cannot be, that error is the only line.
        say_restored(config, taken);
        files::warn_of_open_secrets(config);
        if self.is_over() {
            return Ok(());
        }
        let tls = acceptors.iter().filter_map(Acceptor::tls);
        let tls: Vec<_> = tls.chain(http.iter().filter_map(HttpEnd::tls)).cloned().collect();
        system::share_out(config, &shared.sockets);
        let served = http.as_ref().map(HttpEnd::listening);
        ready(&listening, served);
        say_ready(&listening, served);
        served.iter().for_each(|http| http::say_listening(config, http));
        let watch = Watch::new();
        let mut tasks = start(&watch, &shared, acceptors);
        tasks.extend(member.into_iter().flat_map(|member| member.start(&watch, &listening)));
        let files = Files { tls, authenticator, http, collector };
        let mut reloader = Reloader::start(shared.clone(), config.clone(), files, rights, &watch);
        let ended = self.serve(&mut reloader, reloads, watch, durable.as_deref()).await;
        tasks.iter().for_each(Task::stop);
        reloader.stop();
        if ended.is_ok() {
            stop(config, &shared).await;
            reloader.finish_export().await;
            info!("stopped");
        }
        ended
    }

    /// Whether a signal has asked for the end before the broker was ready.
    fn is_over(&self) -> bool {
        let ending = self.signals.ending();
        if let Some(signal) = ending {
            self.manager.stopping("stopping");
            info!(signal, "stopping, before the broker was ready");
        }
        ending.is_some()
    }

    /// Serves until a signal asks for the end, or a part is lost.
    async fn serve(
        &mut self,
        reloader: &mut Reloader,
        mut reloads: Reloads,
        mut watch: Watch,
        store: Option<&DurableStore<Engine>>,
    ) -> Result<(), RunError> {
        let _reporting = watch.report(&self.manager)?;
        self.more_time = None;
        self.manager.ready(SERVING);
        loop {
            let (wish, asked) = tokio::select! {
                wish = self.signals.next() => (wish?, None),
                Some(asked) = reloads.recv() => (Wish::Reload, Some(asked)),
                name = watch.ended() => return Err(lost(name)),
                name = dead_thread(store) => return Err(lost(name)),
            };
            match wish {
                Wish::Reload => {
                    self.manager.reloading();
                    let end = reloader.reload(self.reread, &watch);
                    self.manager.ready(SERVING);
                    // It may not wait for the answer any more.
                    asked.map(|asked| asked.send(end));
                }
                Wish::Stop(signal) => {
                    self.manager.stopping("stopping");
                    self.more_time = Some(self.manager.ask_for_more_time());
                    info!(signal, "stopping");
                    return Ok(());
                }
            }
        }
    }
}

/// What systemd shows of a broker that serves.
const SERVING: &str = "serving";

/// A part is lost, and is named in the log at once.
fn lost(name: String) -> RunError {
    error!(task = name, "it has ended, and the broker cannot go on without it");
    RunError::Ended(name)
}

/// Waits until a thread of the store has ended before its time.
async fn dead_thread(store: Option<&DurableStore<Engine>>) -> String {
    loop {
        tokio::time::sleep(TICK).await;
        if let Some(name) = store.and_then(DurableStore::dead_thread) {
            return name;
        }
    }
}

/// Starts the tasks that accept connections, keep deadlines and look after what no connection owns.
fn start(
    watch: &Watch,
    shared: &Arc<ServeContext<SystemClock>>,
    acceptors: Vec<Acceptor<SystemClock>>,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for acceptor in acceptors {
        let name = format!("accepting on listener {}", acceptor.name());
        tasks.push(watch.start(&name, acceptor.accept()));
    }
    let wheel = shared.clone();
    tasks.push(watch.start("wheel", async move { wheel.wheel.turn(&wheel.clock).await }));
    tasks.push(watch.start("tick", tick(shared.clone())));
    tasks.push(watch.start("trim", trim(shared.clone())));
    tasks
}

/// Logs what was restored from the store; it is in force before the first client connects.
fn say_restored(config: &Config, taken: Option<(Restored, Duration, Report)>) {
    let Some((restored, time, report)) = taken else {
        info!("the store is memory: a restart forgets sessions and messages");
        return;
    };
    match config.store.durability {
        Durability::Sync => {}
        Durability::Os => warn!("store.durability = \"os\": a power cut loses the last seconds"),
        Durability::None => warn!("store.durability = \"none\": a crash loses the last moments"),
    }
    info!(
        path = %config.store.path.display(),
        sessions = restored.sessions(),
        subscriptions = restored.subscriptions(),
        messages = restored.messages(),
        retained = restored.retained(),
        wills = restored.wills(),
        delayed = restored.delayed(),
        seconds = time.as_secs_f64(),
        table_seconds = report.table_time.as_secs_f64(),
        "store open"
    );
}

/// Looks after parked Sessions, retained messages and `$SYS`. A panic in one round, which may come of
/// what one client has left behind, does not end it; one in each of many rounds does.
async fn tick<C: Clock>(shared: Arc<ServeContext<C>>) {
    let mut scratch = Scratch::default();
    let mut in_a_row = 0;
    loop {
        let now = shared.clock.now();
        shared.broker.metrics().add(Counter::Panics, crate::logging::take_panics());
        let round = AssertUnwindSafe(|| {
            fault::reach("tick");
            shared.broker.tick(now, &mut scratch)
        });
        let next = match catch_unwind(round) {
            Ok(next) => {
                in_a_row = 0;
                next
            }
            Err(_) => {
                in_a_row += 1;
                if in_a_row == PANICS_MAX {
                    return;
                }
                shared.broker.recover(now, &mut scratch);
                None
            }
        };
        let wait = next.map_or(TICK, |next| next.since(now)).min(TICK);
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Rounds of the tick that panic, one after the other, before it is given up.
const PANICS_MAX: u32 = 10;

/// Upper bound on the delay of a parked Session's Will.
const TICK: Duration = Duration::from_millis(100);

/// Sends DISCONNECT 0x8B to every client, and waits until it is written.
async fn stop<C: Clock>(config: &Config, shared: &Arc<ServeContext<C>>) {
    shared.stop();
    let deadline = shared.clock.now().after(config.broker.stop_timeout.0);
    while shared.wheel.registered() > 0 {
        if shared.clock.now() >= deadline {
            warn!(connections = shared.wheel.registered(), "not all connections ended in time");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Raises the soft limit of open files to the hard one, and says so.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(from = limit.current, to = limit.maximum, "open files: soft limit raised"),
        Err(error) => warn!(%error, "open files: soft limit stays"),
    }
}

fn seed() -> u64 {
    getrandom::u64().expect("the system has random bytes")
}
