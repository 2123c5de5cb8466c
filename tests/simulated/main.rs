//! The simulated world at the size of a run: against the closed formulas, with many seeds, on a virtual clock.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test reports")]

mod detection;
mod seeds;
mod several;
mod system;
