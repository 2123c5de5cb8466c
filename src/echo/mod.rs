//! The far end of `probe rtt` and `bench protocol`: answers each PING with a PONG of the same size.
//!
//! One TCP and one UDP service on one port. Whoever talks to it may be broken or hostile, so everything is bounded:
//! connections, bytes per connection, silence, and an answer is never longer than its question.

mod embedded;
mod flow;
mod frame;
pub mod protocol;
#[cfg(feature = "raft")]
pub mod raft;
mod server;
mod stamper;
mod stream;

pub use embedded::{Embedded, bind_pair};
pub use frame::{Earlier, Epoch, FRAME_LENGTH, Frame, Kind, answer};
pub use server::{EchoLimits, EchoServer, EchoStatistics};
