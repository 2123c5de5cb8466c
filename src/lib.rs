//! tour
#![allow(missing_docs)]
pub mod echo;
pub mod load;
pub mod model;
pub mod probe;
pub mod sys;
pub mod topo;
