//! tour
#![allow(missing_docs)]
pub mod load;
pub mod model;
pub mod sys;
