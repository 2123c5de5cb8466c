//! Topologies: what a link is like, and links made in user space that behave so.
//!
//! [`BUILT_IN`] names them, [`TopologyFile`] reads a user's own, [`RoundTrips`] draws correlated round trips, [`Link`] is the
//! pure machine that says when a message is let go, [`Emulation`] the thread that does it in
//! front of our own responder, [`carry`] the one that does it between other programs. [`KernelLink`]
//! leaves it to the kernel, packet by packet.

mod applied;
mod delay;
mod emulate;
mod file;
mod kernel;
mod link;
mod profile;
mod proxy;
mod relay;
mod tunnel;

pub use applied::Applied;
pub use delay::{FitError, RoundTrips, log_normal_of};
pub use emulate::{EmulatedTarget, Emulation, EmulationError, Responder};
pub use file::{TopologyError, TopologyFile, TopologyTarget};
pub use kernel::{FAR_V4, FAR_V6, KernelLink, KernelLinkError, independent_jitter_ns, netem_works};
pub use link::Link;
pub use profile::{BUILT_IN, BuiltIn, built_in, reference};
pub use proxy::{Crossing, Lateness, ProxyError, ProxyLimits, ProxySockets, ProxySpec, Tally, Tell, carry};
pub use relay::Relay;
pub use tunnel::{through_proxy, try_proxy};
