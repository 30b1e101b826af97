//! What a peer has not taken yet.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::held::Still;
use super::{Connection, READ};
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::time::{Clock, Time};

/// Bytes to be written, from `written` on.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub bytes: Vec<u8>,
    pub written: usize,
    /// Since when the peer takes nothing, or less than its pace.
    pub taken: Still,
    /// Since when the peer has taken nothing.
    pub stalled: Time,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Connection<S, C> {
    /// Writes what earlier turns left and what this turn added; returns whether some of it is left.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: Time, scratch: &mut Scratch) -> bool {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.bytes.extend_from_slice(&scratch.out);
            let n = write_some(&mut self.stream, cx, &unwritten.bytes[unwritten.written..]);
            unwritten.written += n;
            if unwritten.written == unwritten.bytes.len() {
                self.unwritten = None;
            } else if unwritten.written > READ && unwritten.written * 2 > unwritten.bytes.len() {
                unwritten.bytes.drain(..unwritten.written);
                unwritten.written = 0;
            }
            if n > 0
                && let Some(unwritten) = &mut self.unwritten
            {
                unwritten.stalled = now;
                let timeout = self.shared.broker.policy().limits.write_timeout.0;
                unwritten.taken.advance(n, timeout, now);
            }
            self.count_written(n);
        } else if !scratch.out.is_empty() {
            let n = write_some(&mut self.stream, cx, &scratch.out);
            self.count_written(n);
            if n < scratch.out.len() {
                let bytes = scratch.out[n..].to_vec();
                self.unwritten = Some(Box::new(Unwritten {
                    bytes,
                    written: 0,
                    taken: Still::from(now),
                    stalled: now,
                }));
            }
        }
        scratch.out.clear();
        let blocked = self.unwritten.is_some();
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
        blocked
    }

    fn count_written(&self, n: usize) {
        let metrics = self.shared.broker.metrics();
        metrics.add(Counter::BytesSent, n as u64);
        metrics.add(Counter::Writes, u64::from(n > 0));
    }
}

/// Writes without waiting, until all is written or the stream says that it will wake the task: a
/// short write alone promises no wake. An error is left to the next read to report.
fn write_some<S: AsyncWrite + Unpin>(stream: &mut S, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match Pin::new(&mut *stream).poll_write(cx, &bytes[written..]) {
            Poll::Ready(Ok(n)) if n > 0 => written += n,
            Poll::Ready(_) | Poll::Pending => break,
        }
    }
    written
}
