//! System calls that are tried again when something else came between.
//!
//! Separate because every call that waits needs it. A process that is stopped and goes on, or is traced, finds its waits ended
//! with EINTR, sockets with a time limit even without a handler for any signal (signal(7)); the standard library tries most of
//! its calls again, but not each read and write of a socket, and the raw calls not at all.

use std::io;

/// Makes a call until it was not interrupted.
///
/// # Errors
/// As the call.
pub fn again<T, E: Into<io::Error>>(mut call: impl FnMut() -> Result<T, E>) -> io::Result<T> {
    loop {
        match call().map_err(Into::into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_tried_again_and_anything_else_is_not() {
        let mut answers = vec![Err(nix::Error::EAGAIN), Ok(7), Err(nix::Error::EINTR), Err(nix::Error::EINTR)];
        let mut call = || answers.pop().unwrap();
        assert_eq!(again(&mut call).unwrap(), 7);
        assert_eq!(again(&mut call).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
