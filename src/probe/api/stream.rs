//! The byte stream under HTTP, in the clear or over TLS, with a note of when a request left and its answer began.
//!
//! Separate because these two stamps are taken as close to the socket as the bytes are still HTTP: inside of TLS, outside
//! of hyper. What hyper adds to either side of them is in `api.total` and in no phase.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::frames::Frames;
use super::head::Heads;
use super::spec::Version;
use crate::model::Stamp;
use crate::sys::clock;
use crate::wire::failure_of;

/// TLS that ended without the word that says so (close_notify): whoever stands in between may have cut it.
pub const CUT: &str = "tls_cut";

/// An open connection without its HTTP.
pub enum Transport {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What was noted of a connection; shared by its stream and by whoever asks.
#[derive(Debug, Default)]
pub struct Marks {
    /// When the latest write before the answer began: what is written can be answered before its write returns.
    written: Cell<Option<Stamp>>,
    /// When the first read of the answer ended.
    first: Cell<Option<Stamp>>,
    /// The heads of the answer over HTTP/1.1.
    heads: Cell<Heads>,
    /// Interim answers before it over HTTP/2.
    interim_count: Cell<u32>,
    /// Bytes of the head over HTTP/2, as they are packed.
    head_length: Cell<usize>,
    /// Whether the server wants no further requests on it.
    goaway: Cell<bool>,
    /// How TLS broke after its handshake.
    tls_failure: Cell<Option<&'static str>>,
}

/// A transport that takes notes.
pub struct Stamped {
    transport: Transport,
    marks: Rc<Marks>,
    /// What was sent and received so far, in frames, where it is HTTP/2.
    frames: Option<Box<(Frames, Frames)>>,
}

impl Marks {
    /// Forgets the request before.
    pub fn arm(&self) {
        self.written.set(None);
        self.first.set(None);
        self.heads.set(Heads::default());
        self.interim_count.set(0);
    }

    /// Bytes of the head over HTTP/2, as they are packed.
    #[must_use]
    pub fn head_length(&self) -> usize {
        self.head_length.get()
    }

    /// Interim answers (1xx) before the final one.
    #[must_use]
    pub fn interim_count(&self) -> u32 {
        self.interim_count.get() + self.heads.get().interim_count()
    }

    /// When the end of the request was handed to the kernel and when its answer began, once both are so.
    #[must_use]
    pub fn span(&self) -> Option<(Stamp, Stamp)> {
        self.written.get().zip(self.first.get())
    }

    /// Whether the server wants no further requests on this connection.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.goaway.get()
    }

    /// How TLS broke after its handshake.
    #[must_use]
    pub fn tls_failure(&self) -> Option<&'static str> {
        self.tls_failure.get()
    }
}

impl Stamped {
    /// Takes notes of this transport, which is going to speak this version.
    #[must_use]
    pub fn new(transport: Transport, version: Version) -> (Self, Rc<Marks>) {
        let marks = Rc::new(Marks::default());
        let frames = (version == Version::Two).then(|| Box::new((Frames::of_client(), Frames::of_server())));
        (Self { transport, marks: Rc::clone(&marks), frames }, marks)
    }

    fn note_written(&mut self, at: Stamp, bytes: &[u8]) {
        let is_request = match &mut self.frames {
            None => self.marks.first.get().is_none(),
            Some(frames) => frames.0.feed(bytes).headers_ended,
        };
        if is_request {
            self.marks.written.set(Some(at));
        }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        match &mut self.frames {
            None if self.marks.first.get().is_some() => {}
            None => {
                let mut heads = self.marks.heads.get();
                self.marks.first.set(heads.feed(bytes, clock::now()));
                self.marks.heads.set(heads);
            }
            Some(frames) => {
                let seen = frames.1.feed(bytes);
                if seen.goaway {
                    self.marks.goaway.set(true);
                }
                self.marks.head_length.set(frames.1.head_length());
                self.marks.interim_count.set(self.marks.interim_count.get() + seen.interim_count);
                if seen.headers_begun && (self.marks.first.get().is_none() || seen.interim_count > 0) {
                    self.marks.first.set(Some(clock::now()));
                }
            }
        }
    }

    fn note_error(&self, error: &io::Error) {
        if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            self.marks.tls_failure.set(Some(failure_of(error).kind));
        } else if error.kind() == io::ErrorKind::UnexpectedEof && matches!(self.transport, Transport::Tls(_)) {
            self.marks.tls_failure.set(Some(CUT));
        }
    }
}

impl AsyncRead for Stamped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        };
        match &polled {
            Poll::Ready(Ok(())) => {
                let bytes = &buffer.filled()[before..];
                if !bytes.is_empty() {
                    self.note_read(bytes);
                }
            }
            Poll::Ready(Err(error)) => self.note_error(error),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let began = clock::now();
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        match &polled {
            Poll::Ready(Ok(length)) => self.note_written(began, &bytes[..*length]),
            Poll::Ready(Err(error)) => self.note_error(error),
            Poll::Pending => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
