//! A descriptor that the event loop watches for being readable.
//!
//! Separate because the runtime asks for a promise that only the type system's word on ownership can give.
#![expect(unsafe_code, reason = "the runtime's registration of a foreign descriptor is unsafe")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An owner of a descriptor, such as a timer or a socket.
#[derive(Debug)]
pub struct Descriptor<T>(pub T);

impl<T: AsFd> AsRawFd for Descriptor<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Registers a descriptor with the current runtime; it must be non-blocking.
///
/// # Errors
/// When the event loop does not take it.
pub fn watch<T: AsFd>(owner: T) -> io::Result<AsyncFd<Descriptor<T>>> {
    // SAFETY: `AsFd` gives the descriptor that `owner` owns (or borrows for its own lifetime), always the same one; it
    // stays open while the AsyncFd holds `owner`, which nothing here takes out or replaces.
    let registered = unsafe { AsyncFd::register_with_interest(Descriptor(owner), Interest::READABLE) };
    registered.map_err(io::Error::from)
}
