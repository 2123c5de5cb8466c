//! The gateway: takes reports and heartbeats, keeps the view of all nodes, wakes subscribers.

pub mod machine;
pub mod refusal;
