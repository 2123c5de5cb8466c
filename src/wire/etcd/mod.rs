//! A client of etcd: connections to its members with TLS and a login, single calls, watches, and typed faults.
//!
//! Separate from who uses it: what is written, read and timed is theirs. The only folder that knows its messages,
//! gRPC and HTTP/2.

mod access;
mod client;
mod fault;
mod interface;
mod links;
mod transport;
mod unary;
mod watch;

pub use access::{Access, Login};
pub use client::{Link, MemberStatus, Read};
pub use fault::{AUTH, CONNECTION_LOST, Fault, NOT_CONNECTED, PERMISSION_DENIED};
pub use links::Links;
pub use transport::{DialError, Endpoint};
pub use watch::{WatchEvent, WatchStream};
