//! The program as a user meets it: help, errors, exit codes, formats, signals and closed pipes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test reports")]

mod compare;
mod config;
mod doctor;
mod document;
mod heartbeat;
mod help;
mod interrupt;
mod pipe;
mod pipeline;
mod snapshot;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod transcript;
mod unable;
mod usage;
mod verdict;
