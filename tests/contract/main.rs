//! Contracts: what others may rely on, held against every implementation and every document.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it where it cannot go on")]

mod backup;
mod damage;
mod embedded;
mod parser;
mod sample;
mod schema;
mod store;
