//! MQTT over WebSocket [MQTT5-6.0.0-1, -2, -3, -4]: the upgrade of a connection, and the bytes in its binary
//! messages as a stream.
//!
//! The upgrade and the headers of frames are read and made by tungstenite. Whole frames are not: a library that
//! gathers them would keep up to a packet for each client, outside of `totals.connection_bytes_max`.

mod frames;
mod upgrade;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::coding::CloseCode;

pub use frames::BrokenFrame;
use frames::{BrokerFrames, ClientFrames, Wishes};
pub use upgrade::{GrantedUpgrade, Upgrade, Upgraded};

/// The bytes in the binary messages on `S`, of which the upgrade is done. How a message is cut into frames, and
/// packets into messages, says nothing. Each write becomes one message.
///
/// A read fails with a [`BrokenFrame`] inside if the client breaks the protocol; the close frame with the code
/// for that is written then.
#[derive(Debug)]
pub struct WebSocketStream<S> {
    inner: S,
    incoming: ClientFrames,
    outgoing: BrokerFrames,
    gives: Gives,
}

/// What a read gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gives {
    Payload,
    /// The client has closed, or has broken the protocol: the end.
    Ended,
    /// The stream is shut down: what still comes is read for nothing, until the peer closes.
    Anything,
}

impl<S> WebSocketStream<S> {
    /// The messages on `inner`.
    pub fn new(inner: S) -> WebSocketStream<S> {
        let (incoming, outgoing) = (ClientFrames::default(), BrokerFrames::default());
        WebSocketStream { inner, incoming, outgoing, gives: Gives::Payload }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketStream<S> {
    /// Writes the control frames that may be written now.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.control().is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, self.outgoing.control()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.control_written(n);
        }
        Poll::Ready(Ok(()))
    }

    /// What was read, from `before` on, becomes payload.
    fn take(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), BrokenFrame> {
        let mut asked = Wishes::default();
        let taken = self.incoming.take(&mut buf.filled_mut()[before..], &mut asked);
        buf.set_filled(before + taken.unwrap_or(0));
        if asked.close.is_some() {
            self.gives = Gives::Ended;
        }
        self.outgoing.answer(asked);
        taken.map(|_| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gives == Gives::Ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if buf.filled().len() == before || this.gives == Gives::Anything {
            return Poll::Ready(Ok(()));
        }
        let taken = this.take(buf, before);
        if let Err(broken) = taken {
            this.gives = Gives::Ended;
            this.outgoing.close(Some(broken.code));
        }
        // What cannot be written now goes with the next write.
        let _ = this.poll_control(cx)?;
        let _ = Pin::new(&mut this.inner).poll_flush(cx)?;
        taken.map_err(io::Error::other)?;
        if buf.filled().len() == before && this.gives != Gives::Ended {
            // Headers and control frames only. Others have their turn before more of them is read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketStream<S> {
    /// After a short write `bytes` must go on where it ended: the length of the frame is written.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.outgoing.is_within() {
            ready!(this.poll_control(cx))?;
            if this.outgoing.is_closing() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            this.outgoing.begin(bytes.len());
        }
        loop {
            let next = this.outgoing.next(bytes).map(IoSlice::new);
            let n = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, &next))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let payload = this.outgoing.written(n);
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outgoing.close(Some(CloseCode::Normal));
        ready!(this.poll_control(cx))?;
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        this.gives = Gives::Anything;
        Poll::Ready(Ok(()))
    }
}
