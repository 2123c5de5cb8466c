//! HTTP/2 frames as they pass: where a request ends and its answer begins, and whether a GOAWAY came. Pure.
//!
//! Separate because on an HTTP/2 connection not every byte after the request is of the answer: settings and window updates
//! come in between, and would be taken for its first byte. RFC 9113 section 4.1 has the layout.

/// Bytes before the payload of every frame.
const HEADER_LENGTH: usize = 9;

/// What a client sends before its first frame (RFC 9113 section 3.4).
const PREFACE_LENGTH: usize = 24;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

/// What one read or write held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// A HEADERS frame began that may be the head of the answer.
    pub headers_begun: bool,
    /// Such frames that the next one showed to be of interim answers (1xx): before the body only the last is the head. One
    /// that ends the stream counts as the head too, for an answer without a body has hardly ever trailers.
    pub interim_count: u32,
    /// A HEADERS frame ended.
    pub headers_ended: bool,
    /// The peer wants no further requests.
    pub goaway: bool,
}

/// One direction of a connection.
#[derive(Clone, Debug)]
pub struct Frames {
    header: [u8; HEADER_LENGTH],
    filled: usize,
    /// Bytes of payload, or of the preface, that are still to pass.
    pending: usize,
    kind: Option<u8>,
    answer: Answer,
    /// Bytes of the head that began last, as they are packed.
    head_length: usize,
}

/// The answer that is coming in.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// Its stream; 0 before the first.
    stream: [u8; 4],
    /// Whether some of its body has come.
    has_body: bool,
}

impl Answer {
    const NONE: Self = Self { stream: [0; 4], has_body: false };
}

impl Frames {
    /// What the client sends.
    #[must_use]
    pub const fn of_client() -> Self {
        Self {
            header: [0; HEADER_LENGTH],
            filled: 0,
            pending: PREFACE_LENGTH,
            kind: None,
            answer: Answer::NONE,
            head_length: 0,
        }
    }

    /// What the server sends.
    #[must_use]
    pub const fn of_server() -> Self {
        Self { pending: 0, ..Self::of_client() }
    }

    /// Bytes of the head that began last, as they are packed.
    #[must_use]
    pub const fn head_length(&self) -> usize {
        self.head_length
    }

    /// Takes the next bytes, however they are cut.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            if self.pending > 0 {
                let passed = self.pending.min(bytes.len());
                self.pending -= passed;
                bytes = &bytes[passed..];
            } else {
                let taken = (HEADER_LENGTH - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled < HEADER_LENGTH {
                    break;
                }
                self.begin(&mut seen);
            }
            if self.pending == 0 && self.kind.take() == Some(HEADERS) {
                seen.headers_ended = true;
            }
        }
        seen
    }

    fn begin(&mut self, seen: &mut Seen) {
        let [a, b, c, kind, _, stream @ ..] = self.header;
        self.filled = 0;
        self.pending = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = Some(kind);
        match kind {
            HEADERS => self.head_length = self.pending,
            CONTINUATION => self.head_length += self.pending,
            _ => {}
        }
        match kind {
            HEADERS if stream != self.answer.stream => {
                self.answer = Answer { stream, has_body: false };
                seen.headers_begun = true;
            }
            // What comes behind the body are trailers.
            HEADERS if !self.answer.has_body => {
                seen.headers_begun = true;
                seen.interim_count += 1;
            }
            DATA => self.answer.has_body |= stream == self.answer.stream,
            _ => {}
        }
        seen.goaway |= kind == GOAWAY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0xab, usize::from(length)));
        frame
    }

    #[test]
    fn settings_are_not_the_beginning_of_an_answer() {
        let mut frames = Frames::of_server();
        assert_eq!(frames.feed(&[frame(4, 6), frame(8, 4)].concat()), Seen::default());
        let answer = Seen { headers_begun: true, headers_ended: true, ..Seen::default() };
        assert_eq!(frames.feed(&frame(HEADERS, 20)), answer);
        assert!(frames.feed(&frame(GOAWAY, 8)).goaway);
    }

    #[test]
    fn heads_before_the_body_are_interim_and_behind_it_trailers() {
        let mut frames = Frames::of_server();
        let counts = |seen: Seen| (seen.headers_begun, seen.interim_count);
        assert_eq!(counts(frames.feed(&frame(HEADERS, 5))), (true, 0));
        assert_eq!(counts(frames.feed(&[frame(HEADERS, 5), frame(8, 4), frame(HEADERS, 9)].concat())), (true, 2));
        assert_eq!(counts(frames.feed(&[frame(DATA, 5), frame(HEADERS, 3)].concat())), (false, 0));
        let mut next = frame(HEADERS, 5);
        next[8] = 3;
        assert_eq!(counts(frames.feed(&next)), (true, 0), "the next answer begins anew");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_taken(bytes in proptest::collection::vec(0u8..=255, 0..300), cut in 0usize..300) {
            let (mut whole, mut parts) = (Frames::of_server(), Frames::of_server());
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let seen = whole.feed(&bytes);
            let (one, two) = (parts.feed(first), parts.feed(second));
            proptest::prop_assert_eq!(seen.goaway, one.goaway | two.goaway);
            proptest::prop_assert_eq!(seen.interim_count, one.interim_count + two.interim_count);
        }
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let bytes = [vec![b'P'; PREFACE_LENGTH], frame(4, 0), frame(HEADERS, 7), frame(0, 3)].concat();
        let mut frames = Frames::of_client();
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for (at, byte) in bytes.iter().enumerate() {
            let seen = frames.feed(std::slice::from_ref(byte));
            begun.extend(seen.headers_begun.then_some(at));
            ended.extend(seen.headers_ended.then_some(at));
        }
        let header_end = PREFACE_LENGTH + HEADER_LENGTH + HEADER_LENGTH - 1;
        assert_eq!((begun, ended), (vec![header_end], vec![header_end + 7]));
    }
}
