//! Tests of the program against real servers, real networks and a full disk, all started here and stopped by their id.
//!
//! Separate from the other rings because they need Debian packages and, for namespaces and mounts, the privileges of an
//! administrator. A test that lacks the privileges says so by name; a missing package is a failure.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it cannot go on")]

#[expect(dead_code, reason = "the servers of this ring bring their own TLS")]
#[path = "../support/certificate.rs"]
mod certificate;
mod disk;
mod etcd;
mod host;
mod namespace;
mod network;
mod privilege;
mod program;
mod restart;
mod server;
mod target;
mod web;
