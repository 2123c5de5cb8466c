//! The body of an answer: whole, a stream of changes, or messages of gRPC; its request is being answered as long as it is there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::idle::Busy;
use super::watch::Changes;

/// A body.
pub enum Answer {
    /// All of it at once.
    Whole(Full<Bytes>),
    /// Changes as they come.
    Changes(Box<Changes>),
    /// Messages of gRPC and what stands behind them.
    Frames(Frames),
}

/// Frames that are there, or come as somebody sends them.
pub struct Frames {
    ready: VecDeque<Frame<Bytes>>,
    coming: Option<mpsc::Receiver<Frame<Bytes>>>,
}

impl Frames {
    /// These and no more.
    #[must_use]
    pub fn of(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        Self { ready: frames.into_iter().collect(), coming: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        match (self.ready.pop_front(), &mut self.coming) {
            (None, Some(coming)) => coming.poll_recv(context),
            (frame, _) => Poll::Ready(frame),
        }
    }
}

impl From<mpsc::Receiver<Frame<Bytes>>> for Frames {
    /// As they come.
    fn from(coming: mpsc::Receiver<Frame<Bytes>>) -> Self {
        Self { ready: VecDeque::new(), coming: Some(coming) }
    }
}

/// A body that tells when it was sent.
pub struct Held {
    body: Answer,
    _busy: Busy,
}

impl Held {
    /// This body is the answer to that request.
    #[must_use]
    pub const fn new(body: Answer, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Answer {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::Whole(Full::default())
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Changes(body) => Pin::new(body.as_mut()).poll_frame(context),
            Self::Frames(frames) => frames.poll(context).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Changes(_) | Self::Frames(_) => SizeHint::new(),
        }
    }
}
