//! Truth: what is measured against servers of known behaviour, and what the echo does with peers of every behaviour.
//!
//! A measured value is never below what was programmed, and above it by no more than the slack that each test states.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test reports")]

mod advice;
mod agent;
mod agent_goaway;
mod agent_ways;
mod api;
mod api_fault;
mod bench_protocol;
mod cache;
#[path = "../support/certificate.rs"]
mod certificate;
mod client;
mod cluster;
mod cost;
mod count;
mod curve;
mod delay;
mod diagnose;
mod emulated;
mod far_end;
mod gateway;
mod gateway_fault;
mod gateway_grpc;
mod gateway_limit;
mod gateway_rules;
mod lateness;
mod live;
mod measure;
mod odd;
mod pause;
mod plan;
mod protocol;
mod proxy;
#[cfg(feature = "raft")]
mod raft;
mod refused;
mod server;
mod stall;
mod stamps;
mod strange;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trace;
mod web;
