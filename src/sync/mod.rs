//! The state-synchronisation system: what agents report, a gateway keeps, and schedulers subscribe to.
//!
//! [`message`] is what agents and gateway say to each other, [`record`] what is known, [`payload`] the opaque part of a report
//! and [`checksum`] what both sides compare. [`agent`] tells what happens on a node; [`gateway`] decides and serves; [`store`]
//! keeps its records durable. [`client`] asks a gateway and subscribes to it; [`trace`] is what a traced change collects on its way. `typed` is
//! between the words of [`message`] and those of gRPC.

pub mod agent;
pub mod checksum;
#[cfg(feature = "toolkit")]
pub mod client;
#[cfg(feature = "toolkit")]
pub mod gateway;
pub mod message;
pub mod moment;
pub mod payload;
pub mod record;
#[cfg(feature = "toolkit")]
pub mod store;
pub mod trace;
#[cfg(feature = "runtimes")]
pub mod typed;
