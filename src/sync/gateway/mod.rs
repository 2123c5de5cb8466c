//! The gateway: takes reports and heartbeats, keeps the view of all nodes, wakes subscribers.
//!
//! [`machine`] decides, and is pure. [`service`] puts it between the store, the clock and the connections; [`listen`] carries
//! them, `http`, `socket`, `grpc`, `stream` and `watch` are what is said on them, through one `door`. [`access`] knows who is calling and [`tls`] who we are.

pub mod access;
mod body;
mod counters;
pub mod desk;
mod door;
pub mod due;
mod entries;
mod grpc;
mod http;
mod idle;
pub mod keeper;
pub mod listen;
pub mod machine;
mod position;
mod rate;
pub mod refusal;
mod remainder;
pub mod service;
mod socket;
mod stream;
pub mod tls;
pub mod traces;
mod upgrade;
mod watch;

/// The description of every request and answer.
pub const OPENAPI: &str = include_str!("openapi.json");
