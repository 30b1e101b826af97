//! When a connection is next looked at though nothing comes.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, StreamLook, StreamStage};
use crate::broker::peer_log::RefusalNote;
use crate::broker::turn::Scratch;
use crate::codec::Reason;
use crate::message::{Grounds, RefusalKind};
use crate::net::wheel::LEAD;
use crate::time::{Clock, Time};

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Connection<S, C> {
    fn deadline(&self, now: Time) -> Option<Time> {
        match self.stage {
            StreamStage::Flushing { until } | StreamStage::Draining { until, .. } => Some(until),
            StreamStage::PeerGone => self.link.deadline(),
            StreamStage::Open => {
                let timeout = self.shared.broker.policy().limits.write_timeout.0;
                let unwritten = self.unwritten.as_ref();
                let stalled = unwritten.map(|unwritten| unwritten.stalled.after(timeout));
                let own = [self.packet_due(now), self.retry(now)];
                [self.link.deadline(), stalled].into_iter().chain(own).flatten().min()
            }
        }
    }

    /// Whether the stream is asked again before a deadline that has passed is held against the peer. A process
    /// that stood still (it was stopped, or its machine was) finds its timers due before it hears of
    /// the bytes that came meanwhile. Nothing was read in this turn.
    pub(super) fn asks_again(&mut self, now: Time) -> bool {
        let may_be_late = self.read && (self.sleep.is_some() || self.armed <= now);
        let is_late = may_be_late && self.deadline(now).is_some_and(|deadline| deadline <= now);
        self.look = match self.look {
            StreamLook::None | StreamLook::Over if is_late => StreamLook::Again,
            StreamLook::Over => StreamLook::Over,
            // Another thread may have been told of the bytes, and not have said so yet.
            StreamLook::Again if is_late => StreamLook::Twice,
            _ => StreamLook::None,
        };
        self.is_asking()
    }

    fn is_asking(&self) -> bool {
        matches!(self.look, StreamLook::Again | StreamLook::Twice)
    }

    /// Has the task woken at the next deadline: by the wheel if it is far, else exactly.
    pub(super) fn arm(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
        if self.is_asking() {
            // Its next turn comes at once.
            return Poll::Pending;
        }
        let Some(deadline) = self.deadline(now) else {
            self.sleep = None;
            return Poll::Pending;
        };
        let timeout = self.shared.broker.policy().limits.write_timeout.0;
        if self.stage == StreamStage::Open
            && self
                .unwritten
                .as_ref()
                .is_some_and(|unwritten| unwritten.stalled.after(timeout) <= now)
        {
            // A peer that takes nothing gets no DISCONNECT either: its unwritten bytes go with it.
            let note = RefusalNote::new(Grounds::new(RefusalKind::WriteTimeout));
            self.link.note_refusal(&note, now);
            self.link.close(Reason::UnspecifiedError, now, scratch);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let wait = deadline.since(now);
        if wait > LEAD + Duration::from_millis(500) {
            self.sleep = None;
            let at = deadline.before(LEAD);
            if self.armed <= now || at < self.armed {
                self.armed = at;
                self.shared.wheel.arm(self.ticket, at);
            }
            return Poll::Pending;
        }
        let mut sleep = self.sleep.take().unwrap_or_else(|| Box::pin(tokio::time::sleep(wait)));
        sleep.as_mut().reset(tokio::time::Instant::now() + wait);
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.sleep = Some(sleep);
        Poll::Pending
    }
}
