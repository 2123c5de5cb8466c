//! Questions about a live target: one folder or file a question.

pub mod api;
pub mod rtt;

mod dial;
mod locate;
mod loss;

pub use locate::{BindError, BindFamily, LocateError, Reach, Rule, RuleError};
pub use loss::lost_targets;
