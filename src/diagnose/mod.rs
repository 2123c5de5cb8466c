//! Why is state late here, and what should change first?
//!
//! [`look`] says what is on this host, and the command measures it by runs of the other commands. [`facts`] is what is known then,
//! [`rules`] are one question each, and [`rank`] puts what they find in the order of what it costs. [`verify`] holds an earlier
//! diagnosis against a later one. All but the look and the [`reads`] of etcd are pure: the same runs give the same advice.

pub mod assemble;
pub mod facts;
mod layout;
pub mod look;
mod metrics;
pub mod rank;
pub mod reads;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod verify;

pub use metrics::MEASUREMENT;
