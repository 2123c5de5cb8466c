//! The heads of an answer over HTTP/1.1 as their bytes pass: where the interim ones (1xx) end and the final one begins. Pure.
//!
//! Separate because a server may say at once that it goes on working, and what is waited for is the answer (RFC 9110
//! section 15.2). HTTP/2 tells the same by its frames.

use crate::model::Stamp;

/// Bytes up to the status of an answer: `HTTP/1.1 200`.
const STATUS_END: usize = 12;
const CLASS: usize = 9;
const BEGINNING: &[u8] = b"HTTP/1.";

/// Where in the heads of one answer its bytes are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heads {
    place: Place,
    /// When the first byte of this head came.
    began: Option<Stamp>,
    /// Heads that were not the last.
    interim_count: u32,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the status line, of which so much has come.
    Status { line: [u8; STATUS_END], length: usize },
    /// In a head that is not the last, with so many characters of its present line.
    Interim { characters: usize },
    /// In the final head, or behind it.
    Final,
}

impl Default for Place {
    fn default() -> Self {
        Self::Status { line: [0; STATUS_END], length: 0 }
    }
}

impl Heads {
    /// Takes the next bytes, however they are cut; when the final head began, as soon as that is known.
    pub fn feed(&mut self, bytes: &[u8], now: Stamp) -> Option<Stamp> {
        for byte in bytes {
            match &mut self.place {
                Place::Final => break,
                Place::Status { line, length } => {
                    self.began.get_or_insert(now);
                    line[*length] = *byte;
                    *length += 1;
                    match class_of(&line[..*length]) {
                        None => {}
                        Some(true) => self.place = Place::Interim { characters: 1 },
                        Some(false) => self.place = Place::Final,
                    }
                }
                Place::Interim { characters } => match byte {
                    b'\n' if *characters == 0 => {
                        *self = Self { interim_count: self.interim_count + 1, ..Self::default() };
                    }
                    b'\n' => *characters = 0,
                    b'\r' => {}
                    _ => *characters += 1,
                },
            }
        }
        self.began.filter(|_| matches!(self.place, Place::Final))
    }

    /// Heads that were not the last.
    #[must_use]
    pub const fn interim_count(&self) -> u32 {
        self.interim_count
    }
}

/// Whether a status line is of an interim answer, once its beginning tells. A change of protocol (101) is a final answer, and
/// what is no HTTP is left to who reads it.
fn class_of(line: &[u8]) -> Option<bool> {
    let known = line.len().min(BEGINNING.len());
    if line[..known] != BEGINNING[..known] || line.len() > CLASS && line[CLASS] != b'1' {
        return Some(false);
    }
    (line.len() == STATUS_END).then(|| &line[CLASS..] != b"101")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the final head began, its bytes coming one a nanosecond, and how many others there were.
    fn one_by_one(text: &str) -> (Option<u64>, u32) {
        let mut heads = Heads::default();
        let began = text.bytes().enumerate().map(|(at, byte)| heads.feed(&[byte], Stamp::from_nanos(at as u64)));
        let began = began.flatten().next();
        (began.map(|stamp| stamp.nanos_since(Stamp::from_nanos(0))), heads.interim_count())
    }

    #[test]
    fn the_wait_ends_where_the_final_head_begins() {
        assert_eq!(one_by_one("HTTP/1.1 200 OK\r\n\r\nbody"), (Some(0), 0));
        let early = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
        let length = early.len() as u64;
        assert_eq!(one_by_one(&format!("{early}HTTP/1.1 200 OK\r\n\r\n")), (Some(length), 1));
        assert_eq!(one_by_one(&format!("{early}{early}HTTP/1.0 404 \n\n")), (Some(2 * length), 2));
        assert_eq!(one_by_one(early), (None, 1));
        assert_eq!(one_by_one("HTTP/1.1 100 Continue\n\nHTTP/1.1 204 \n\n"), (Some(23), 1));
    }

    #[test]
    fn what_is_no_interim_answer_is_the_final_one() {
        for text in ["HTTP/1.1 101 Switching\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/2 200", "HTTP/1.1 500 x"] {
            assert_eq!(one_by_one(text), (Some(0), 0), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn where_bytes_are_cut_changes_nothing(bytes in proptest::collection::vec(proptest::sample::select(b"HTP/1.1 023\r\nx".to_vec()), 0..60), cut in 0usize..60) {
            let bytes = [&b"HTTP/1.1 103 x\r\n\r\n"[..], &bytes].concat();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let (mut whole, mut parts, at) = (Heads::default(), Heads::default(), Stamp::from_nanos(1));
            let found = whole.feed(&bytes, at);
            let found_in_parts = parts.feed(first, at).or_else(|| parts.feed(second, at));
            proptest::prop_assert_eq!((found, whole.interim_count()), (found_in_parts, parts.interim_count()));
        }
    }

    #[test]
    fn heads_that_come_together_begin_together() {
        let mut heads = Heads::default();
        let at = Stamp::from_nanos(7);
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 in the body\r\n\r\n";
        assert_eq!((heads.feed(text, at), heads.interim_count()), (Some(at), 1));
    }
}
