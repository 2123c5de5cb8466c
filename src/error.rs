//! How a command ends: its exit code, and for a failure whose fault it is and what to do next.
//!
//! The modules have error types of their own; here they become one message for a person.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::model::with_causes;

/// The exit codes, a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Measured and fine.
    Fine,
    /// Measured and bad: a gate failed or a target was lost.
    Bad,
    /// The arguments cannot be meant.
    Usage,
    /// Could not measure, read or write.
    Unable,
    /// Not enough valid data to say.
    Inconclusive,
    /// Stopped by the user; the partial run is written.
    Interrupted,
    /// The code of another program that was run in the user's name.
    Passed(u8),
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Bad => 1,
            Self::Usage => 2,
            Self::Unable => 3,
            Self::Inconclusive => 4,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    hint: Option<String>,
}

impl Failure {
    /// The arguments cannot be meant.
    pub fn usage(error: impl StdError) -> Self {
        Self { exit: Exit::Usage, what: with_causes(&error), hint: None }
    }

    /// Something outside is not as it must be.
    pub fn unable(error: impl StdError) -> Self {
        Self { exit: Exit::Unable, what: with_causes(&error), hint: None }
    }

    /// One of the two.
    pub fn of(error: impl StdError, is_usage: bool) -> Self {
        if is_usage { Self::usage(error) } else { Self::unable(error) }
    }

    /// A file or folder that cannot be used: what was tried, where, and the system's word.
    #[must_use]
    pub fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self { exit: Exit::Unable, what: format!("{what} `{}`: {error}", path.display()), hint: None }
    }

    /// An address that cannot be listened on.
    #[must_use]
    pub fn listen(what: &str, address: SocketAddr, error: &io::Error) -> Self {
        Self::plain(Exit::Unable, format!("{what} {address}: {error}"))
            .hint("is another program on this port? `--listen 127.0.0.1:0` takes a free one")
    }

    /// A failure said in one sentence.
    #[must_use]
    pub fn plain(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None }
    }

    /// The same failure with the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with the next step, where its error knows one.
    #[must_use]
    pub fn hinted(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// What failed, in one sentence.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n hint: {hint}"))
    }
}
