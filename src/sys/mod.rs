//! Every door to the operating system: clock, timer, sockets, host facts.
//!
//! The only folder that may hold `unsafe`, and the only one that asks what time it is.

pub mod clock;
pub mod datagram;
mod descriptor;
pub mod host;
pub mod icmp;
pub mod resolve;
pub mod shutdown;
pub mod socket;
pub mod thread;
pub mod timer;
