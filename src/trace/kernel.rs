//! The kernel's stamps of processes that begin, where this host lets us see them.
//!
//! Separate because it has a thread of its own, and because a trace goes on without it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::assemble::KernelStamps;
use crate::source::ebpf;
use crate::source::watch::{Act, Told};
use crate::sys::thread::Background;

/// Words of the watcher that wait for being written down.
const ROOM: usize = 4_096;

/// Stamps that are kept: more than any run has changes.
const MOST: usize = 100_000;

/// Watches until it is dropped.
pub struct KernelWatch {
    stamps: Arc<Mutex<KernelStamps>>,
    _thread: Background,
}

impl KernelWatch {
    /// Watches what begins from now on; `None` where the kernel tells us nothing, which `offloadctl doctor` explains.
    pub fn begin() -> Option<Self> {
        let (sender, mut words) = mpsc::channel(ROOM);
        let watching = ebpf::open().ok()?.watch(sender);
        let stamps = Arc::new(Mutex::new(KernelStamps::new()));
        let kept = Arc::clone(&stamps);
        let thread = Background::spawn("kernel", move || async move {
            let keep = async {
                while let Some(told) = words.recv().await {
                    note(told, &kept);
                }
            };
            tokio::join!(watching, keep);
        });
        Some(Self { stamps, _thread: thread.ok()? })
    }

    /// What began so far, by the ids of containers.
    pub fn stamps(&self) -> KernelStamps {
        std::mem::take(&mut *self.stamps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the stamp of a process that began, the first of its container.
fn note(told: Told, kept: &Mutex<KernelStamps>) {
    let Told::Saw(sight) = told else { return };
    let Some(stamp) = sight.stamped.filter(|_| sight.act == Act::Start) else { return };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < MOST {
        kept.entry(sight.container).or_insert(stamp);
    }
}
