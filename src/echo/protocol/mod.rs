//! The far end of `bench protocol`: one TLS port that answers the same two questions over each protocol.
//!
//! Separate from the PINGs beside it because this end has an event loop. Nothing is kept: every heartbeat and every report is
//! receipted at once, so that what is measured is the protocol. All carry the same protobuf messages, those of `node.proto`.

mod answer;
mod body;
mod kind;
mod quiet;
mod server;
mod socket;

pub use answer::Offer;
pub use kind::{Protocol, UnknownProtocol};
pub use server::{ProtocolLimits, ProtocolServer};

/// Bytes of the longest message that is taken.
pub const LONGEST_MESSAGE: usize = 1 << 20;
