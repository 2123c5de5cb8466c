//! A thread with an event loop of its own, stopped and joined when its handle is dropped.
//!
//! The far end of a loopback measurement must not share the event loop of the near end: each would wait for the other.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// Asks the kernel to let this thread run before all ordinary ones whenever it has something to do; whether it does. Processes that
/// it starts are ordinary.
#[expect(unsafe_code, reason = "no safe wrapper asks for a policy of the scheduler")]
pub fn go_first() -> bool {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads the structure, which outlives it; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const lowest) == 0 }
}

/// A running thread; dropping it stops the thread and waits for it.
#[derive(Debug)]
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs `main` on a new thread, in a current-thread runtime, until it returns or the handle is dropped.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn spawn<F, Fut>(name: &str, main: F) -> io::Result<Self>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = main() => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the panic hook; there is nothing to add in a destructor.
            let _ = thread.join();
        }
    }
}
