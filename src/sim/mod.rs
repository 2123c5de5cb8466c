//! A small world on a virtual clock: nodes that send heartbeats, links that delay and lose them, a monitor that suspects.
//!
//! Pure and without real time: every send, delivery and deadline is an event, and the next event is the next moment.
//! Nothing here is computed from the formulas that the results are compared with. One seed gives one outcome, because
//! events of one moment have a fixed order: arrivals before deadlines, and otherwise as they were planned.

mod link;
mod wheel;
mod world;

pub use link::{Burst, Delay, LinkSpec, LinkState, Loss};
pub use world::{Fault, NodeSpec, Notice, Retry, What, World, WorldSpec};
