//! The wish to stop: Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) as a value that everything long-running can wait for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A signal that has come is heard within this, once the event loop turns.
const HEARD_WITHIN: Duration = Duration::from_millis(20);

/// Whether SIGINT, SIGTERM or SIGHUP came. Looking is a load of a flag; only a task of its own listens to the signals.
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
    /// Begins to listen; from here on the signals no longer end the process by themselves. A hangup that this process was told to
    /// ignore, as `nohup` does, stays ignored.
    ///
    /// # Errors
    /// When the runtime cannot register the handlers.
    pub fn listen() -> io::Result<Self> {
        let mut hang_up = if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) };
        let mut shutdown = Self::listen_apart_from_hangups()?;
        let heard = Arc::clone(&shutdown.wish);
        shutdown.listeners.spawn(async move {
            match &mut hang_up {
                Some(hang_up) => drop(hang_up.recv().await),
                None => std::future::pending().await,
            }
            heard.make();
        });
        Ok(shutdown)
    }

    /// The same of what serves: there a hangup asks for its configuration to be read again, and is not listened to here.
    ///
    /// # Errors
    /// When the runtime cannot register the handlers.
    pub fn listen_apart_from_hangups() -> io::Result<Self> {
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

/// Whether hangups are ignored: bit 0 of the mask that the kernel tells.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
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
