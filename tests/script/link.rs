//! The driver on the broker's core alone: no socket, no thread, a clock that is told.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use sluicemq::broker::link::{Link, PeerInfo};
use sluicemq::broker::ports::{
    Accepted, AuthRequest, AuthStep, Authenticator, Batch, Progress, Receipt, Refused, Store,
    Verdict,
};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Ports};
use sluicemq::codec::Reason;
use sluicemq::config::Config;
use sluicemq::message::Identity;
use sluicemq::session::{Access, Asked, Decision};
use sluicemq::time::Time;

use crate::script::driver::{Came, Driver, Stage};
use crate::script::language::Script;

/// How the core is driven.
#[derive(Clone, Copy, Debug)]
pub struct Core {
    /// The store remembers, and everything it is given becomes durable only when nothing else is
    /// left to do.
    pub lasting: bool,
    /// Bytes come in pieces of this many.
    pub piece: usize,
}

impl Stage for Core {
    type Driver = Links;

    fn set(&self, script: &Script) -> Result<Links, String> {
        let store = LateStore { remembers: self.lasting, ..LateStore::forgetful() };
        let store = Arc::new(store);
        let ports = Ports {
            store: store.clone(),
            authenticator: Arc::new(Accounts(script.accounts.clone())),
            access: Arc::new(Everything),
        };
        let now = Time::from_secs(1_000_000_000);
        let broker = Broker::new(&config(script)?, ports, 7, now);
        Ok(Links {
            broker,
            store,
            now,
            turn: Scratch::default(),
            ends: Vec::new(),
            piece: self.piece,
        })
    }
}

/// The default configuration with what the script sets.
pub fn config(script: &Script) -> Result<Config, String> {
    let mut lines: Vec<String> =
        script.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    lines.push("listener = [{ address = \"127.0.0.1:0\" }]".to_owned());
    let config: Config = toml::from_str(&lines.join("\n")).map_err(|error| error.to_string())?;
    config.check().map_err(|problems| format!("{problems:?}"))?;
    Ok(config)
}

/// What is known of the client on the `number`th connection.
pub fn peer(number: usize) -> PeerInfo {
    PeerInfo {
        address: "127.0.0.1:1".to_owned(),
        anonymous: true,
        nonce: 1 + number as u128,
        ..PeerInfo::default()
    }
}

/// A broker and the links of a script's connections.
pub struct Links {
    broker: Broker,
    store: Arc<LateStore>,
    now: Time,
    turn: Scratch,
    ends: Vec<End>,
    piece: usize,
}

struct End {
    link: Link,
    /// Sent, and not yet offered to the link.
    sent: Vec<u8>,
    /// Offered to the link, and not consumed.
    offered: Vec<u8>,
    /// Written by the link, and not yet read.
    written: Vec<u8>,
    reads: bool,
    unread: bool,
    closed: bool,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Flag>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Driver for Links {
    fn open(&mut self) -> usize {
        self.ends.push(End {
            link: Link::new(&self.broker, peer(self.ends.len()), self.now),
            sent: Vec::new(),
            offered: Vec::new(),
            written: Vec::new(),
            reads: true,
            unread: false,
            closed: false,
            woken: Arc::new(Flag(AtomicBool::new(true))),
        });
        self.settle();
        self.ends.len() - 1
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        let piece =
            if self.piece.saturating_mul(4000) < bytes.len() { bytes.len() } else { self.piece };
        for piece in bytes.chunks(piece) {
            self.ends[conn].sent.extend_from_slice(piece);
            self.ends[conn].woken.0.store(true, Ordering::Relaxed);
            if self.piece < usize::MAX {
                self.turn(conn);
            }
        }
        self.settle();
    }

    fn cut(&mut self, conn: usize) {
        self.turn.out.clear();
        if !self.ends[conn].closed {
            self.ends[conn].link.hang_up(self.now, &mut self.turn);
        }
        self.ends[conn].closed = true;
        self.settle();
    }

    fn advance(&mut self, span: Duration) {
        let target = self.now.after(span);
        let mut rounds = 0;
        loop {
            let tick = self.broker.tick(self.now, &mut self.turn);
            self.settle();
            let ends = self.ends.iter().filter(|end| !end.closed);
            let next = ends.filter_map(|end| end.link.deadline()).chain(tick).min();
            let Some(next) = next.filter(|next| *next <= target) else { break };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            assert!(rounds < 1000, "a deadline stays at {next:?} though it is past");
            self.now = self.now.max(next);
            for end in &self.ends {
                if end.link.deadline().is_some_and(|deadline| deadline <= self.now) {
                    end.woken.0.store(true, Ordering::Relaxed);
                }
            }
            self.settle();
        }
        self.now = target;
    }

    fn read(&mut self, conn: usize) -> Came {
        let end = &mut self.ends[conn];
        if !end.written.is_empty() {
            return Came::Bytes(std::mem::take(&mut end.written));
        }
        if end.closed { Came::End } else { Came::Nothing }
    }

    fn settles(&self) -> bool {
        true
    }

    fn barrier(&mut self) {}
}

impl Links {
    /// Lets every link work until none is woken and everything is durable.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let mut quiet = true;
            for conn in 0..self.ends.len() {
                if self.ends[conn].woken.0.swap(false, Ordering::Relaxed) && !self.ends[conn].closed
                {
                    self.turn(conn);
                    quiet = false;
                }
            }
            if quiet && !self.store.commit() {
                return;
            }
        }
        panic!("the links never come to rest");
    }

    /// One turn of one link, as the connection task does it.
    fn turn(&mut self, conn: usize) {
        let Links { turn, ends, now, .. } = self;
        let end = &mut ends[conn];
        if end.closed {
            return;
        }
        turn.out.clear();
        let fresh = end.reads && !end.sent.is_empty();
        if fresh {
            end.offered.append(&mut end.sent);
        }
        if (fresh || end.unread) && !end.offered.is_empty() {
            let used = end.link.receive(&end.offered, *now, turn);
            end.offered.drain(..used);
        }
        let waker = Waker::from(end.woken.clone());
        let flow = end.link.poll(&waker, *now, 0, turn);
        end.reads = flow.read;
        end.unread = flow.unread;
        end.closed = flow.close;
        if !flow.read
            && let Some(room) = end.link.room_ahead(&end.offered)
        {
            let read = room.min(end.sent.len());
            end.offered.extend(end.sent.drain(..read));
            end.link.look_ahead(&end.offered, turn);
        }
        end.written.extend_from_slice(&turn.out);
        if flow.more || flow.unread || flow.read && !end.sent.is_empty() {
            end.woken.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A store that keeps nothing, and says that it is durable as late as it can.
pub struct LateStore {
    remembers: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    submitted: u64,
    durable: u64,
    wakers: Vec<Waker>,
}

impl LateStore {
    /// A store that remembers nothing, so that no answer waits for it.
    pub fn forgetful() -> LateStore {
        LateStore { remembers: false, state: Mutex::default() }
    }

    /// Everything submitted becomes durable; whether anything did.
    fn commit(&self) -> bool {
        let mut state = self.state.lock().expect("no panic holds it");
        let news = state.durable < state.submitted;
        state.durable = state.submitted;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        news
    }
}

impl Store for LateStore {
    fn remembers(&self) -> bool {
        self.remembers
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn submit(&self, _: Batch) -> Receipt {
        let mut state = self.state.lock().expect("no panic holds it");
        state.submitted += 1;
        Receipt(state.submitted)
    }

    fn state(&self, receipt: Receipt, waker: &Waker) -> Progress {
        let mut state = self.state.lock().expect("no panic holds it");
        if receipt.0 <= state.durable {
            return Progress::Durable;
        }
        state.wakers.push(waker.clone());
        Progress::Pending
    }
}

/// The accounts a script names; without any everybody is let in.
pub struct Accounts(pub Vec<(String, String)>);

impl Authenticator for Accounts {
    fn checks_names(&self) -> bool {
        !self.0.is_empty()
    }

    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep {
        let known = self.0.iter().any(|(user, password)| {
            request.user_name == Some(user) && request.password == Some(password.as_bytes())
        });
        AuthStep::Verdict(if request.method.is_some() {
            Verdict::Refuse(Reason::BadAuthenticationMethod)
        } else if known || self.0.is_empty() {
            Verdict::Accept(Accepted::as_user(request.user_name))
        } else {
            Verdict::Refuse(Reason::BadUserNameOrPassword)
        })
    }
}

/// Everybody may do everything.
pub struct Everything;

impl Access for Everything {
    fn may(&self, _: &Identity, _: &Asked<'_>) -> Decision {
        Decision::ALLOWED
    }
}
