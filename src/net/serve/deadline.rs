//! When a connection is next looked at though nothing comes.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, StreamStage};
use crate::broker::turn::Scratch;
use crate::codec::Reason;
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

    /// Has the task woken at the next deadline: by the wheel if it is far, else exactly.
    pub(super) fn arm(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<()>> {
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
