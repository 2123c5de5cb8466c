//! Why no cache can be measured, and what to do next.

use std::borrow::Cow;
use std::io;

use super::machine::Fault;
use super::object::{ObjectError, refusal};
use crate::wire::FetchError;

/// What an informer met.
#[derive(Debug, thiserror::Error)]
pub enum InformerError {
    /// No answer.
    #[error("the {verb} of the informer was not answered")]
    Ask {
        /// `list` or `watch`.
        verb: &'static str,
        /// Why.
        source: FetchError,
    },
    /// Not for this user.
    #[error("this login may not `{verb}` it: {message}")]
    Forbidden {
        /// `list` or `watch`, as RBAC names it.
        verb: &'static str,
        /// The server's sentence.
        message: String,
    },
    /// Another status.
    #[error("the {verb} of the informer was answered with {status}: {message}")]
    Refused {
        /// `list` or `watch`.
        verb: &'static str,
        /// The status.
        status: u16,
        /// The server's sentence.
        message: String,
    },
    /// The server does not know the version any more.
    #[error("the server has forgotten the version: {0}")]
    Gone(String),
    /// The path leads to no list.
    #[error("no list comes of the path")]
    NoList(#[from] ObjectError),
    /// The watch is none.
    #[error("it cannot be watched: what comes is no stream of events")]
    NoWatch(#[source] ObjectError),
    /// One line without end.
    #[error("an event is longer than {0} bytes")]
    TooLong(usize),
    /// No thread.
    #[error("there is no thread for the informer")]
    Thread(#[source] io::Error),
    /// The thread is gone, which is a bug.
    #[error("the informer has ended")]
    Ended,
}

impl InformerError {
    /// What an answer other than 200 means.
    #[must_use]
    pub fn of_status(verb: &'static str, status: u16, body: &[u8]) -> Self {
        let message = refusal(body).unwrap_or_else(|| "it says nothing more".to_owned());
        match status {
            403 => Self::Forbidden { verb, message },
            410 => Self::Gone(message),
            _ => Self::Refused { verb, status, message },
        }
    }

    /// What it means for the plan.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Gone(_) => Fault::Gone,
            Self::Refused { status: 429, .. } | Self::Ask { source: FetchError::Connect(_), .. } => Fault::Busy,
            _ => Fault::Other,
        }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Forbidden { verb, .. } => format!(
                "an informer needs the verbs `list` and `watch`: `kubectl auth can-i {verb} RESOURCE` shows whether a login has them"
            )
            .into(),
            Self::Refused { status: 401, .. } => "log in with --kubeconfig, --token-file or --client-cert".into(),
            Self::Refused { verb: "watch", .. } | Self::NoWatch(_) => {
                "not every resource can be watched: `kubectl api-resources -o wide` lists the verbs of each".into()
            }
            Self::NoList(_) | Self::Refused { status: 404, .. } => {
                "give the path of a list, such as --path /api/v1/nodes".into()
            }
            Self::TooLong(_) => "raise --max-body".into(),
            _ => "does `offloadctl probe api` without --cache reach it?".into(),
        }
    }
}
