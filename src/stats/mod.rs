//! Pure statistics: intervals, gates, merging.
//!
//! Separate because a verdict must be the same whoever asks: a command, a stored run or a test. No I/O and no clock.

mod interval;

pub use interval::{RankInterval, mean_interval, rank_interval, ratio_interval};
