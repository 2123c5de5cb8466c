//! A client of etcd: connections to its members with TLS and a login, single calls, watches, and typed faults.
//!
//! Separate from who uses it: what is written, read and timed is theirs. The only folder that knows etcd's messages,
//! gRPC and HTTP/2.

mod access;
mod care;
mod client;
mod fault;
mod guarded;
mod interface;
mod lease;
mod line;
mod links;
mod transport;
mod unary;
mod watch;

pub use access::{Access, Login};
pub use client::{Link, MemberStatus, Read};
pub use fault::{
    CONNECTION_LOST, Fault, NO_SPACE, NOT_CONNECTED, PERMISSION_DENIED, TOO_LARGE, TOO_MANY_OPERATIONS, UNTOUCHED,
};
pub use guarded::{Lease, Page, Pair, Write, Written};
pub use lease::{Kept, LeaseAnswers, LeaseAsker};
pub use links::Links;
pub use transport::{DialError, Endpoint};
pub use watch::{KeyEvent, Told, WatchEvent, WatchStream};
