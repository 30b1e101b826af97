//! A connection with a paused link: it reads on a little, so that pings are answered and the end of the
//! stream is noticed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CARRY, Connection, READ, StreamLook, StreamStage};
use crate::broker::NOBODY_READS;
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::time::{Clock, Time};

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Connection<S, C> {
    /// Reads on behind what the pause holds back, as far as the link allows, and lets the link look that
    /// over.
    #[inline(never)]
    pub(super) fn look_ahead(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        buf: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) {
        while let Some(room) = self.link.room_ahead(&self.partial) {
            if room == 0 {
                break;
            }
            buf.resize(READ + CARRY, 0);
            let mut target = ReadBuf::new(&mut buf[..room.min(READ)]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut target) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !target.filled().is_empty() => {
                    let read = target.filled();
                    self.shared.broker.metrics().add(Counter::BytesReceived, read.len() as u64);
                    self.partial.reserve_exact(read.len());
                    self.partial.extend_from_slice(read);
                    self.look = StreamLook::None;
                }
                Poll::Ready(result) => return self.on_end(&result, now, scratch),
            }
        }
        if self.look != StreamLook::Over && self.link.look_ahead(&self.partial, scratch) {
            self.look = StreamLook::Over;
        }
    }

    /// The stream has ended while the link is paused.
    fn on_end(&mut self, result: &io::Result<()>, now: Time, scratch: &mut Scratch) {
        // TLS calls it an error when the other side ends without a closing alert.
        let broken =
            result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof);
        if self.link.outlives(&self.partial, broken) {
            self.stage = StreamStage::PeerGone;
            self.unwritten = None;
            scratch.out.clear();
        } else {
            self.hang_up(now, scratch);
        }
    }

    /// One turn without a peer. Returns whether there is more to do at once.
    pub(super) fn work_off(&mut self, cx: &Context<'_>, now: Time, scratch: &mut Scratch) -> bool {
        if self.shared.broker.buffers().leaves(self.ticket.number()) {
            self.hang_up(now, scratch);
            return false;
        }
        if self.unread {
            self.unread = false;
            self.offer_partial(now, scratch);
        }
        let flow = self.link.poll(cx.waker(), now, NOBODY_READS, scratch);
        scratch.out.clear();
        self.unread = flow.unread;
        if flow.read && !flow.unread {
            // Everything that came whole is handled.
            self.hang_up(now, scratch);
        }
        flow.unread
    }
}
