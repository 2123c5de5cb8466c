//! The nouns of offloadctl: plain data and its serialisation.
//!
//! Separate from everything else so that a run can be read, merged and shown by code that never measured
//! anything. No I/O, no async, no clap; nothing in here uses another folder of ours.

mod cause;
#[cfg(feature = "toolkit")]
mod comparison;
mod environment;
pub mod figure;
mod finding;
mod gate;
mod histogram;
mod label;
pub mod layout;
mod link;
mod measured;
mod metric;
mod outcome;
mod run;
mod series;
pub mod shell;
pub mod span;
mod stamp;
mod summary;
mod timeline;
#[cfg(feature = "toolkit")]
mod trend;
mod variation;
#[cfg(feature = "runtimes")]
mod word;

pub use cause::with_causes;
#[cfg(feature = "toolkit")]
pub use comparison::{Comparison, Comparisons, Verdict};
pub use environment::{Environment, SelfCost};
pub use finding::{Advice, Finding, Prediction, Severity, Warning};
pub use gate::{GateDecision, GateReport, GateResult};
pub use histogram::{Histogram, HistogramError};
pub use label::Labels;
pub use layout::Layout;
pub use link::{LinkProfile, Reference};
pub use measured::Measured;
pub use metric::{Measurement, Metric, Role};
pub use outcome::{Counts, Outcome};
pub use run::{RUN_SCHEMA, Run, RunError, Scalar, Validity};
pub use series::{Clock, Series, Unit};
pub use stamp::{CardStamp, CardState, Stamp, WallStamp, WallTime};
pub use summary::{Moments, NORMAL_975, Quantile, Summary, rank_of};
pub use timeline::{Interval, Outage, Timeline};
#[cfg(feature = "toolkit")]
pub use trend::{Departure, Trend, TrendPoint};
pub use variation::Variation;
#[cfg(feature = "runtimes")]
pub use word::UnknownWord;
#[cfg(feature = "runtimes")]
pub(crate) use word::words;
