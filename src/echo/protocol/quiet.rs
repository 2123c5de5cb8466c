//! A stream that fails when its peer is silent, or takes nothing, for too long.
//!
//! Separate because one limit on the bytes below holds for every protocol above them. A read that has bytes costs nothing more:
//! the limit is looked at when there are none, and is passed after one to two of its spans. A write that waits has one span.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The stream.
pub struct Quiet<S> {
    stream: S,
    span: Duration,
    is_heard: bool,
    until: Pin<Box<Sleep>>,
    /// Until when the peer has to take something; none while it does.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Quiet<S> {
    /// Fails after one to two spans of silence.
    pub fn new(stream: S, span: Duration) -> Self {
        Self { stream, span, is_heard: false, until: Box::pin(sleep(span)), stuck: None }
    }
}

impl<S> Quiet<S> {
    /// What became of a write, or that it has waited for too long.
    fn within<T>(&mut self, context: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stuck = None;
            return taken;
        }
        let span = self.span;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(span)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Quiet<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.is_heard = true;
            return Poll::Ready(read);
        }
        while this.until.as_mut().poll(context).is_ready() {
            if !this.is_heard {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.is_heard = false;
            let next = this.until.deadline() + this.span;
            this.until.as_mut().reset(next);
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Quiet<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.within(context, taken)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_flush(context);
        this.within(context, taken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
