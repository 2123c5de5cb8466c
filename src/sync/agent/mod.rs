//! The agent of a node: tells a gateway what happens to the node's tasks, and that the node is alive.
//!
//! [`machine`] holds every rule and is pure; [`shell`] gives it time, sources and a connection.

pub mod config;
pub mod link;
pub mod machine;
pub mod requests;
pub mod shell;
#[cfg(feature = "runtimes")]
pub mod stream;
mod traces;
