//! The one voice: data to stdout, everything else to stderr, and the live progress line. Nothing else writes to either.

#[cfg(feature = "toolkit")]
mod terminal;

use std::fmt::Display;
use std::io::{self, Write as _};

#[cfg(feature = "toolkit")]
pub use terminal::{Progress, has_colour, width};

use crate::error::{Exit, Failure};

/// Writes data to stdout. A reader that has gone away is not an error.
///
/// # Errors
/// When stdout cannot be written, as on a full disk.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::plain(Exit::Unable, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something to the person, on stderr; if nobody can hear it, nothing can be done about it.
pub fn say(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}
