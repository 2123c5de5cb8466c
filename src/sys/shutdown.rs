//! The wish to stop: Ctrl-C and SIGTERM as a value that everything long-running can wait for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGINT or SIGTERM.
#[derive(Debug)]
pub struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
    requested: bool,
}

impl Shutdown {
    /// Begins to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the runtime cannot register the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            requested: false,
        })
    }

    /// Returns when one of the signals came, at once if one came before.
    pub async fn requested(&mut self) {
        if self.requested {
            return;
        }
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.requested = true;
    }

    /// Whether [`Self::requested`] has returned.
    #[must_use]
    pub const fn is_requested(&self) -> bool {
        self.requested
    }
}
