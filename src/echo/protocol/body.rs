//! The body of an answer: nothing, one message, or as many as are asked for on a stream of gRPC.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::LONGEST_MESSAGE;
use super::answer::Receipts;
use crate::wire::grpc;
use crate::wire::node::NodeFrame;

/// Where gRPC says how a call ended.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The call was answered.
const OK: HeaderValue = HeaderValue::from_static("0");

/// What came is no message (INVALID_ARGUMENT).
const INVALID: HeaderValue = HeaderValue::from_static("3");

/// A body.
pub enum Answer {
    /// All of it at once, and whether the end of a call of gRPC follows.
    Whole(Option<Bytes>, bool),
    /// An answer to each message as it comes.
    Stream(Box<Conversation>),
}

/// A stream of gRPC in both directions. It answers no faster than it is read, so that one that is never read holds one answer.
pub struct Conversation {
    incoming: Option<Incoming>,
    buffer: BytesMut,
    receipts: Arc<Receipts>,
}

impl Conversation {
    /// Answers these messages.
    #[must_use]
    pub fn new(incoming: Incoming, receipts: Arc<Receipts>) -> Self {
        Self { incoming: Some(incoming), buffer: BytesMut::new(), receipts }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
            match ready!(Pin::new(incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.buffer.extend_from_slice(&data);
                    match self.answers() {
                        Ok(answers) if answers.is_empty() => {}
                        Ok(answers) => return Poll::Ready(Some(Frame::data(answers.freeze()))),
                        Err(_) => return Poll::Ready(Some(self.end(INVALID))),
                    }
                }
                // One that ends within a message has not ended well.
                None if self.buffer.is_empty() => return Poll::Ready(Some(self.end(OK))),
                None | Some(Err(_)) => return Poll::Ready(Some(self.end(INVALID))),
            }
        }
    }

    fn answers(&mut self) -> Result<BytesMut, grpc::FrameError> {
        let mut answers = BytesMut::new();
        while let Some(frame) = grpc::next::<NodeFrame>(&mut self.buffer, LONGEST_MESSAGE)? {
            answers.extend_from_slice(&grpc::frame(&self.receipts.of_frame(frame)));
        }
        Ok(answers)
    }

    fn end(&mut self, status: HeaderValue) -> Frame<Bytes> {
        self.incoming = None;
        trailers(status)
    }
}

fn trailers(status: HeaderValue) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(GRPC_STATUS, status)]))
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes, _) if bytes.is_some() => bytes.take().map(Frame::data),
            Self::Whole(_, has_trailers) => std::mem::take(has_trailers).then(|| trailers(OK)),
            Self::Stream(conversation) => ready!(conversation.poll_next(context)),
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None, false))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes, false) => hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            _ => hyper::body::SizeHint::new(),
        }
    }
}
