//! Pure statistics: intervals, gates, merging.
//!
//! Separate because a verdict must be the same whoever asks: a command, a stored run or a test. No I/O and no clock.

mod compare;
mod error;
mod estimate;
mod evaluate;
mod gate;
mod interval;
mod merge;
#[cfg(test)]
mod sample;
mod trend;

pub use compare::{Policy, compare, judge_relative};
pub use error::GateError;
pub use evaluate::judge;
pub use gate::Gate;
pub use interval::{RankInterval, mean_interval, rank_interval, ratio_interval};
pub use merge::merge_runs;
pub use trend::trend;
