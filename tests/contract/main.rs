//! Contracts: what others may rely on, held against every implementation and every document.

mod sample;
mod schema;
