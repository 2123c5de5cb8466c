//! Questions about a live target: one folder or file a question.

pub mod api;
pub mod events;
pub mod host;
pub mod rtt;
