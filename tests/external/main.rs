//! Tests of the program against real servers, real networks and a full disk, all started here and stopped by their id.
//!
//! Separate from the other rings because they need Debian packages and, for namespaces and mounts, the privileges of an
//! administrator. A test that lacks the privileges says so by name; a missing package is a failure.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "the helpers of a test fail it where it cannot go on")]

mod cache;
#[expect(dead_code, reason = "the servers of this ring bring their own TLS")]
#[path = "../support/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with the ring of the loopback")]
#[path = "../loopback/cluster.rs"]
mod cluster;
mod cri;
mod disk;
mod docker;
mod ebpf;
mod etcd;
mod events;
mod flood;
#[path = "../loopback/gateway.rs"]
mod gateway;
mod grpcio;
mod host;
mod kernel_link;
mod namespace;
mod network;
mod page;
mod podman;
mod privilege;
mod program;
mod refusal;
mod restart;
mod runtime;
mod server;
mod sources;
mod stamps;
#[expect(dead_code, reason = "shared with the other rings")]
#[path = "../support/mod.rs"]
mod support;
mod target;
mod trace;
mod web;
mod wrong_clock;
