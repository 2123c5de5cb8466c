//! tour
#![allow(missing_docs)]
pub mod load;
pub mod model;
pub mod report;
pub mod stats;
pub mod sys;
