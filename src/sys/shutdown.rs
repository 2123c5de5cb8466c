//! The wish to stop: Ctrl-C and SIGTERM as a value that everything long-running can wait for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A signal that has come is heard within this, once the event loop turns.
const HEARD_WITHIN: Duration = Duration::from_millis(20);

/// Whether SIGINT or SIGTERM came. Looking is a load of a flag; only a task of its own listens to the signals.
#[derive(Debug)]
pub struct Shutdown {
    wish: Arc<Wish>,
    listeners: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Wish {
    requested: AtomicBool,
    changed: Notify,
}

impl Shutdown {
    /// Begins to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the runtime cannot register the handlers.
    pub fn listen() -> io::Result<Self> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let wish = Arc::new(Wish::default());
        let heard = Arc::clone(&wish);
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            heard.make();
        });
        Ok(Self { wish, listeners: listener })
    }

    /// A wish of its own that this one brings about too: to end a part of the work without ending all of it.
    #[must_use]
    pub fn child(&self) -> Self {
        let (wish, parent) = (Arc::new(Wish::default()), Arc::clone(&self.wish));
        let heard = Arc::clone(&wish);
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            parent.made().await;
            heard.make();
        });
        Self { wish, listeners: listener }
    }

    /// A wish of its own that this one brings about too, and the end of the terminal (SIGHUP): for what would leave something
    /// behind if that ended the process.
    ///
    /// # Errors
    /// When the runtime cannot register the handler.
    pub fn or_hang_up(&self) -> io::Result<Self> {
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut child = self.child();
        let heard = Arc::clone(&child.wish);
        child.listeners.spawn(async move {
            hang_up.recv().await;
            heard.make();
        });
        Ok(child)
    }

    /// Makes the wish from within.
    pub fn request(&self) {
        self.wish.make();
    }

    /// Returns when one of the signals came, at once if one came before.
    pub async fn requested(&self) {
        self.wish.made().await;
    }

    /// Whether it has been asked for, also while this thread was busy with something that does not turn the event loop.
    pub async fn was_requested(&self) -> bool {
        tokio::time::timeout(HEARD_WITHIN, self.requested()).await.is_ok()
    }

    /// Whether one of the signals came.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.wish.is_made()
    }
}

impl Wish {
    fn make(&self) {
        self.requested.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn is_made(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    async fn made(&self) {
        let changed = self.changed.notified();
        if !self.is_made() {
            changed.await;
        }
    }
}
