//! Messages between members, and of a client to a member: a length, a number, and what serde makes of the message.
//!
//! The number pairs a reply with its request, so that many can be under way on one connection.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Types;

/// Bytes of the longest frame that is taken: as many entries as are sent at once, of the longest message each, stay below it.
const LONGEST: usize = 64 << 20;

/// Bytes before the message: its length with the number, and the number.
const HEAD: usize = 4 + 8;

/// What a member is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Entries of a leader, or none: its heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// A candidate asks for a vote.
    Vote(VoteRequest<u64>),
    /// A leader sends what it has no entries for any more.
    Snapshot(InstallSnapshotRequest<Types>),
    /// A client asks to commit these bytes. Answered once they are.
    Propose(Vec<u8>),
    /// A client asks for the term and who leads.
    Status,
    /// A client sends what a leader of this term would: an `Append` without entries.
    Heartbeat {
        /// In whose name.
        leader: u64,
        /// In which term.
        term: u64,
    },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To entries and heartbeats.
    Append(AppendEntriesResponse<u64>),
    /// To a candidate.
    Vote(VoteResponse<u64>),
    /// To a snapshot.
    Snapshot(InstallSnapshotResponse<u64>),
    /// Committed by a majority, on disk at each.
    Committed,
    /// The term, and who leads in it.
    Status {
        /// Which term.
        term: u64,
        /// Who leads.
        leader: Option<u64>,
    },
    /// It is not done.
    Refused(Refused),
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// Somebody else leads, or nobody.
    #[error("this member does not lead")]
    NotLeader,
    /// The member has stopped: its log cannot be written, most likely.
    #[error("this member has stopped")]
    Stopped,
}

/// A frame with this message.
#[must_use]
pub fn encode<T: Serialize>(number: u64, message: &T) -> Bytes {
    // Invariant: the messages are plain data, which postcard can always write.
    let body = postcard::to_allocvec(message).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u32_le(u32::try_from(body.len() + 8).unwrap_or(u32::MAX));
    frame.put_u64_le(number);
    frame.extend_from_slice(&body);
    frame.freeze()
}

/// The next whole frame in the buffer: its number and its message.
///
/// # Errors
/// When it is longer than is taken, or no message.
pub fn next<T: DeserializeOwned>(buffer: &mut BytesMut) -> io::Result<Option<(u64, T)>> {
    let Some((mut head, _)) = buffer.split_at_checked(4) else { return Ok(None) };
    let length = head.get_u32_le() as usize;
    if !(8..=LONGEST).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of a length that is not taken"));
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(length);
    let number = frame.get_u64_le();
    let message = postcard::from_bytes(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((number, message)))
}

/// Reads the next frame from a stream.
///
/// # Errors
/// When it ends or breaks before, or what comes is no frame.
pub async fn read_frame<T: DeserializeOwned, S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> io::Result<(u64, T)> {
    loop {
        if let Some(frame) = next(buffer)? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_however_they_are_cut() {
        let whole = [encode(7, &Request::Propose(vec![1; 300])), encode(8, &Request::Status)].concat();
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            let mut read = Vec::new();
            for rest in [&whole[cut..], &[]] {
                while let Some((number, request)) = next::<Request>(&mut buffer).unwrap() {
                    read.push((number, matches!(request, Request::Propose(bytes) if bytes == vec![1; 300])));
                }
                buffer.extend_from_slice(rest);
            }
            assert_eq!(read, [(7, true), (8, false)], "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_or_no_message_is_refused() {
        for bytes in [vec![0xff; 12], vec![1, 0, 0, 0, 0], [&[12, 0, 0, 0][..], &[0; 8], &[0xff; 4]].concat()] {
            assert!(next::<Request>(&mut BytesMut::from(&bytes[..])).is_err(), "{bytes:?}");
        }
    }
}
