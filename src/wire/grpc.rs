//! Messages of gRPC as they stand in a body of HTTP/2: a byte that says whether it is compressed, the length in four, and the
//! message.
//!
//! Written here because it is on the measured path of every call, and is three lines of the protocol.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

/// Bytes before each message.
pub const PREFIX: usize = 5;

/// The type of every request and answer.
pub const CONTENT_TYPE: &str = "application/grpc";

/// A message as it is sent.
#[must_use]
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    // It can fail only for want of room, which was just set aside.
    let _ = message.encode(&mut framed);
    framed.freeze()
}

/// What is no message of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It begins with what no message begins with.
    #[error("what came is no message")]
    Prefix,
    /// It is compressed, which nobody was told to do.
    #[error("the message is compressed: send it as it is (`identity`)")]
    Compressed,
    /// It is longer than any that is taken.
    #[error("the message has {0} bytes, more than are taken")]
    TooLong(usize),
    /// It ends early, or goes on behind its end.
    #[error("the message has {got} bytes instead of {wanted}")]
    Length {
        /// As its head says.
        wanted: usize,
        /// As they came.
        got: usize,
    },
    /// It is none of the type that was asked for.
    #[error("{0}")]
    Decode(#[from] prost::DecodeError),
}

/// The one message of a body.
///
/// # Errors
/// When the body is not exactly one message of this type.
pub fn only<M: Message + Default>(body: &Bytes) -> Result<M, FrameError> {
    let wanted = match body.first_chunk::<PREFIX>() {
        Some([0, length @ ..]) => u32::from_be_bytes(*length) as usize,
        Some([1, ..]) => return Err(FrameError::Compressed),
        _ => return Err(FrameError::Prefix),
    };
    if body.len() != PREFIX + wanted {
        return Err(FrameError::Length { wanted, got: body.len() - PREFIX });
    }
    Ok(M::decode(body.slice(PREFIX..))?)
}

/// Takes the next message of a stream from what has come so far; `None` until it is whole.
///
/// # Errors
/// When what came is no message, or one longer than `longest` bytes.
pub fn next<M: Message + Default>(buffer: &mut BytesMut, longest: usize) -> Result<Option<M>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = match prefix {
        [0, length @ ..] => u32::from_be_bytes(*length) as usize,
        [1, ..] => return Err(FrameError::Compressed),
        _ => return Err(FrameError::Prefix),
    };
    if length > longest {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < PREFIX + length {
        return Ok(None);
    }
    let message = buffer.split_to(PREFIX + length).freeze().slice(PREFIX..);
    Ok(Some(M::decode(message)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_stream_come_whole_and_in_order() {
        let (first, second) = (frame(&"abc".to_owned()), frame(&String::new()));
        let mut buffer = BytesMut::new();
        let mut seen: Vec<String> = Vec::new();
        for byte in first.iter().chain(second.iter()) {
            buffer.put_u8(*byte);
            seen.extend(next::<String>(&mut buffer, 100).unwrap());
        }
        assert_eq!(seen, ["abc", ""]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let of = |bytes: &[u8]| next::<String>(&mut BytesMut::from(bytes), 100);
        assert_eq!(of(b"\x01\0\0\0\0"), Err(FrameError::Compressed));
        assert_eq!(of(b"\x02\0\0\0\0"), Err(FrameError::Prefix));
        assert_eq!(of(b"\0\0\0\0\x65"), Err(FrameError::TooLong(101)));
        assert!(matches!(of(b"\0\0\0\0\x02\xff\xff"), Err(FrameError::Decode(_))));
        assert_eq!(of(b"\0\0\0\0\x02a"), Ok(None));
        assert_eq!(
            only::<String>(&Bytes::from_static(b"\0\0\0\0\x02a")),
            Err(FrameError::Length { wanted: 2, got: 1 })
        );
    }
}
