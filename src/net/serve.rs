//! Carries bytes between a stream and a link: all the asynchronous protocol code there is.
//!
//! Each connection is one hand-written future. It never awaits a single thing: every turn looks at
//! readable, writable, wakes, deadline and stop. Scratch memory belongs to the thread, so an idle
//! connection owns no buffer.

mod deadline;
mod held;
mod paused;
mod write;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use thin_vec::ThinVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use self::held::{AccountState, Still};
use self::write::Unwritten;
use super::sockets::Sockets;
use super::websocket::BrokenFrame;
use super::wheel::{Ticket, Wheel};
use crate::broker::link::Link;
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::broker::{Broker, Flow, RefusalNote};
use crate::codec::Reason;
use crate::message::{Grounds, RefusalKind};
use crate::time::{Clock, Time};

/// What all connections share.
#[derive(Debug)]
pub struct ServeContext<C> {
    /// The broker.
    pub broker: Broker,
    /// Where the time is read: once a turn.
    pub clock: C,
    /// Deadlines.
    pub wheel: Wheel,
    /// The broker is stopping: every connection says so and ends.
    pub stopping: AtomicBool,
    /// What all connections may take of the open files that the system permits.
    pub sockets: Arc<Sockets>,
}

impl<C: Clock> ServeContext<C> {
    /// What connections to `broker` share.
    pub fn new(broker: Broker, clock: C) -> ServeContext<C> {
        ServeContext {
            broker,
            clock,
            wheel: Wheel::default(),
            stopping: AtomicBool::new(false),
            sockets: Arc::default(),
        }
    }

    /// Tells every connection to end: DISCONNECT 0x8B, then close.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wheel.wake_all();
    }
}

/// Serves `link` on `stream` until either ends. An error is one of the stream.
pub fn serve<S, C>(link: Link, stream: S, shared: Arc<ServeContext<C>>) -> Serve<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Clock,
{
    let ticket = shared.wheel.register();
    let connection = Connection {
        link,
        stream,
        shared,
        ticket,
        partial: ThinVec::new(),
        unwritten: None,
        read: true,
        unread: false,
        look: StreamLook::None,
        known: AccountState::Not,
        stage: StreamStage::Open,
        packet: Still::NONE,
        armed: Time::NEVER,
        sleep: None,
    };
    Serve { connection: Some(Box::new(connection)) }
}

/// The future of one connection.
///
/// A pointer wide: a runtime rounds a task up to 128 bytes, and the state is boxed apart.
#[must_use]
pub struct Serve<S: AsyncRead + AsyncWrite + Unpin, C: Clock> {
    connection: Option<Box<Connection<S, C>>>,
}

struct Connection<S, C> {
    link: Link,
    stream: S,
    shared: Arc<ServeContext<C>>,
    ticket: Ticket,
    /// Read and not yet consumed: a partial packet, or what a pause holds back.
    partial: ThinVec<u8>,
    /// What the peer has not taken yet: made after a short write.
    unwritten: Option<Box<Unwritten>>,
    /// The link takes bytes.
    read: bool,
    /// `partial` is to be given to the link again.
    unread: bool,
    look: StreamLook,
    known: AccountState,
    /// Since when the packet that has begun in `partial` stands still, if one has.
    packet: Still,
    stage: StreamStage,
    /// When the wheel wakes the task at the latest.
    armed: Time,
    sleep: Option<Pin<Box<Sleep>>>,
}

const _: () = assert!(
    size_of::<Connection<tokio::net::TcpStream, crate::time::SystemClock>>() <= 152,
    "an idle connection should stay small"
);

/// What was looked for since something was read last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StreamLook {
    None,
    /// The link has looked over all of `partial`, while it was paused.
    Over,
    /// The stream was asked again since a deadline has passed, once or twice.
    Again,
    Twice,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StreamStage {
    Open,
    /// The peer has gone while the link was paused: what it had sent waits for its turn, and nothing
    /// more is read or written.
    PeerGone,
    /// The link is over: write what is left, then shut down.
    Flushing {
        until: Time,
    },
    /// Shut down: read and discard, so that no reset destroys the last bytes written.
    Draining {
        until: Time,
        left: u32,
    },
}

/// Memory that all connections of a thread share.
struct Memory {
    buf: Vec<u8>,
    scratch: Scratch,
}

thread_local! {
    static MEMORY: RefCell<Memory> =
        RefCell::new(Memory { buf: vec![0; READ], scratch: Scratch::default() });
}

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Reads of one turn.
const READS: usize = 4;
/// A partial packet up to this is copied before the next read; a longer one is read onto.
const CARRY: usize = 4 * 1024;
/// How long the peer may take to read the last bytes.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of the peer are discarded after that.
const DISCARD: u32 = 64 * 1024;

impl<S, C> Future for Serve<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Clock,
{
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connection.as_deref_mut() else { return Poll::Ready(Ok(())) };
        let result = MEMORY.with_borrow_mut(|memory| {
            let turn = AssertUnwindSafe(|| connection.counted_turn(cx, memory));
            // A panic costs this connection, and no other; the panic hook has told of it.
            catch_unwind(turn).unwrap_or_else(|_| {
                let now = connection.shared.clock.now();
                connection.link.recover(now, &mut memory.scratch);
                Poll::Ready(Err(io::Error::other("it panicked")))
            })
        });
        if result.is_ready() {
            self.finish();
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Serve<S, C> {
    fn finish(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.let_go();
        connection.shared.wheel.leave(connection.ticket);
        if !connection.link.is_closed() {
            let now = connection.shared.clock.now();
            // Not with the thread's scratch: a task may be dropped within the turn of another one. And
            // no panic leaves a destructor: a second one would end the process.
            let mut scratch = Scratch::default();
            let hang_up = AssertUnwindSafe(|| connection.link.hang_up(now, &mut scratch));
            if catch_unwind(hang_up).is_err() {
                connection.link.recover(now, &mut scratch);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Drop for Serve<S, C> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Connection<S, C> {
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        memory: &mut Memory,
    ) -> Poll<io::Result<()>> {
        let Memory { buf, scratch } = memory;
        scratch.out.clear();
        if self.known == AccountState::Not {
            self.known = AccountState::Here;
            self.shared.wheel.set_waker(self.ticket, cx.waker());
        }
        if let StreamStage::Open | StreamStage::PeerGone = self.stage {
            let busy = match self.stage {
                StreamStage::Open => self.read_and_poll(cx, now, buf, scratch),
                _ => self.work_off(cx, now, scratch),
            };
            if self.shared.stopping.load(Ordering::Acquire) && !self.link.is_closed() {
                self.link.close(Reason::ServerShuttingDown, now, scratch);
            }
            if self.link.is_closed() {
                self.partial = ThinVec::new();
                self.stage = StreamStage::Flushing { until: now.after(LINGER) };
            } else if busy {
                cx.waker().wake_by_ref();
            }
        }
        self.finish_turn(cx, now, buf, scratch)
    }

    /// Reads, lets the link work, writes. Returns whether there is more to do at once.
    fn read_and_poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        buf: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> bool {
        let Some(reads) = self.read_input(cx, now, buf, scratch) else {
            self.hang_up(now, scratch);
            return false;
        };
        if reads == 0 && self.asks_again(now) {
            step_back(cx);
            return false;
        }
        let unwritten = self.unwritten.as_ref();
        let unwritten = unwritten.map_or(0, |unwritten| unwritten.bytes.len() - unwritten.written);
        let unwritten = self.said_unwritten(unwritten);
        let flow = self.link.poll(cx.waker(), now, unwritten, scratch);
        let Flow { read, more, unread, .. } = flow;
        let resumed = read && !self.read;
        self.read = read;
        self.unread = unread;
        if !read {
            self.look_ahead(cx, now, buf, scratch);
        }
        self.note_packet(now, scratch);
        let blocked = self.write(cx, now, scratch);
        if unread || (more && !blocked) {
            step_back(cx);
            return false;
        }
        reads == READS || resumed
    }

    /// Reads until the stream is empty or the link stops. Returns how many reads that were; `None`:
    /// the peer has gone.
    fn read_input(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        buf: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let mut reads = 0;
        while reads < READS && !self.link.is_closed() {
            if self.unread {
                self.unread = false;
                self.offer_partial(now, scratch);
            } else if self.read {
                match self.read_some(cx, now, buf, scratch) {
                    Poll::Pending => break,
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return None,
                }
            } else {
                break;
            }
            reads += 1;
            // The link may have stopped reading: it says so when it is polled.
            if self.link.holds_back() {
                break;
            }
        }
        Some(reads)
    }

    /// The peer is gone, and what is left to write has no reader.
    fn hang_up(&mut self, now: Time, scratch: &mut Scratch) {
        self.link.hang_up(now, scratch);
        self.unwritten = None;
        scratch.out.clear();
    }

    /// One read, and what the link makes of it. `false`: the peer is gone.
    fn read_some(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        buf: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Poll<bool> {
        let onto = self.partial.len() > CARRY;
        let carry = self.partial.len();
        let target = if onto {
            if !self.may_grow(now) {
                return Poll::Pending;
            }
            self.grow_partial();
            &mut self.partial[carry..]
        } else {
            buf.resize(READ + CARRY, 0);
            buf[..carry].copy_from_slice(&self.partial);
            &mut buf[carry..]
        };
        let mut target = ReadBuf::new(target);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut target);
        let n = target.filled().len();
        if onto {
            self.partial.truncate(carry + n);
        }
        match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if n > 0 => {}
            Poll::Ready(Ok(())) => return Poll::Ready(false),
            Poll::Ready(Err(error)) => {
                self.note_broken(&error, now);
                return Poll::Ready(false);
            }
        }
        self.shared.broker.metrics().add(Counter::BytesReceived, n as u64);
        self.look = StreamLook::None;
        self.note_part(carry, n, now);
        self.packet.advance(n, self.shared.broker.policy().limits.packet_timeout.0, now);
        if onto {
            self.offer_partial(now, scratch);
        } else {
            let bytes = &buf[..carry + n];
            let used = self.link.receive(bytes, now, scratch);
            self.note_used(used);
            self.keep(&bytes[used..]);
        }
        Poll::Ready(true)
    }

    /// Says what the peer did, if the stream failed because of that.
    fn note_broken(&self, error: &io::Error, now: Time) {
        let broken = error.get_ref().and_then(|inner| inner.downcast_ref::<BrokenFrame>());
        if let Some(BrokenFrame { why, .. }) = broken {
            let note = RefusalNote::new(Grounds::new(RefusalKind::WebSocketFrame));
            self.link.note_refusal(&note.because(why), now);
        }
    }

    fn offer_partial(&mut self, now: Time, scratch: &mut Scratch) {
        let partial = std::mem::take(&mut self.partial);
        let used = self.link.receive(&partial, now, scratch);
        self.note_used(used);
        if used == 0 {
            self.partial = partial;
        } else {
            self.keep(&partial[used..]);
        }
    }

    /// Keeps a partial packet: allocated only if there is one.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.partial = ThinVec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// The last bytes of a connection, and the deadline of the next turn.
    fn finish_turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        buf: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
        if let StreamStage::Flushing { until } = self.stage {
            let blocked = self.write(cx, now, scratch);
            if until <= now {
                return Poll::Ready(Ok(()));
            }
            if !blocked {
                match Pin::new(&mut self.stream).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => {
                        self.stage = StreamStage::Draining { until, left: DISCARD };
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
        }
        if let StreamStage::Draining { until, left } = &mut self.stage {
            buf.resize(READ + CARRY, 0);
            loop {
                if *until <= now || *left == 0 {
                    return Poll::Ready(Ok(()));
                }
                let mut target = ReadBuf::new(buf);
                match Pin::new(&mut self.stream).poll_read(cx, &mut target) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) if !target.filled().is_empty() => {
                        let read = u32::try_from(target.filled().len()).unwrap_or(u32::MAX);
                        *left = left.saturating_sub(read);
                    }
                    Poll::Ready(_) => return Poll::Ready(Ok(())),
                }
            }
        }
        self.arm(cx, now, scratch)
    }
}

/// Wakes the task after those that are ready by now, and after the streams have been asked: a task that
/// only wakes itself takes its turn some sixty times before a runtime with one worker looks at any stream.
fn step_back(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}
