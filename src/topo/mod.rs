//! Topologies: what a link is like, and links made in user space that behave so.
//!
//! [`profile`] names them, [`file`] reads a user's own, [`delay`] draws correlated round trips, [`link`] is the pure
//! machine that says when a message is let go, [`emulate`] the thread that does it.

mod applied;
mod delay;
mod emulate;
mod file;
mod link;
mod profile;

pub use applied::Applied;
pub use delay::{FitError, RoundTrips};
pub use emulate::{EmulatedTarget, Emulation, EmulationError, Responder};
pub use file::{TopologyError, TopologyFile, TopologyTarget};
pub use link::Link;
pub use profile::{BUILT_IN, BuiltIn, built_in, reference};
