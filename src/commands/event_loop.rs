//! The event loop of a command: one thread, and one failure where there is none.
//!
//! Separate because whatever serves or measures needs it, also in a build for nodes.

use tokio::runtime::{Builder, Runtime};

use crate::error::{Exit, Failure};

/// An event loop on this thread.
///
/// # Errors
/// When the system has no descriptors left for it.
pub fn event_loop() -> Result<Runtime, Failure> {
    let made = Builder::new_current_thread().enable_all().build();
    made.map_err(|error| Failure::plain(Exit::Unable, format!("the event loop cannot be started: {error}")))
}
