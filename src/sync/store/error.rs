//! What goes wrong with a store: where, whose fault it is, and what to do next.
//!
//! Separate because every store and the committer speak it, and none of it names a library.

use std::io;
use std::path::PathBuf;

/// A store that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another change was due: a mistake of the caller, and nothing was written.
    #[error("revision {found} was offered where {expected} is due")]
    Conflict {
        /// The revision that continues the store.
        expected: u64,
        /// The one that was offered.
        found: u64,
    },
    /// A change has no text, such as a time in a year that RFC 3339 cannot write; nothing was written.
    #[error("change {revision} cannot be written as JSON")]
    Encode {
        /// Which change.
        revision: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no store.
    #[error("there is no store in `{}`", folder.display())]
    Absent {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is one already.
    #[error("there is already a store in `{}`", folder.display())]
    Present {
        /// Where.
        folder: PathBuf,
    },
    /// Somebody else has it open.
    #[error("the store `{}` is in use by another process", path.display())]
    Locked {
        /// Its file.
        path: PathBuf,
    },
    /// A file of another kind.
    #[error("`{}` is not a store of offloadctl", path.display())]
    Foreign {
        /// Its file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("the store `{}` has format {found}, this version reads {known}", path.display())]
    Format {
        /// Its file.
        path: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        known: u32,
    },
    /// Its bytes are not those that were written.
    #[error("the store `{}` is damaged: {what}", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It ends before what it had acknowledged: its newest state is lost, or an older copy lies in its place.
    #[error("the store `{}` ends at revision {found}, and {acknowledged} was acknowledged", path.display())]
    Behind {
        /// Its file.
        path: PathBuf,
        /// Its last revision.
        found: u64,
        /// The last one that was durable.
        acknowledged: u64,
    },
    /// The disk, or the share of it that is ours, is full.
    #[error("no space is left for the store `{}`", path.display())]
    Full {
        /// Its file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {action} the store `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Its file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// An earlier error left it unusable until it is opened again.
    #[error("the store `{}` has failed and takes nothing until it is opened again", path.display())]
    Reopen {
        /// Its file.
        path: PathBuf,
    },
}

impl StoreError {
    /// The next step, where there is one.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Conflict { .. } | Self::Encode { .. } => return None,
            Self::Absent { .. } => "give the folder that the gateway has as its --data-dir",
            Self::Present { .. } => "give a folder without a store, or move that file away",
            Self::Locked { .. } => "stop the gateway that uses it, or give this one another folder",
            Self::Foreign { .. } => "give another --data-dir, or move that file away",
            Self::Format { .. } => "use the version that wrote it or a later one",
            Self::Damaged { .. } => {
                "it is left as it is; restore a backup into another folder, or start anew in an empty one"
            }
            Self::Behind { .. } => {
                "it is left as it is; restore a backup into another folder, or remove `state.mark` beside it to go on with less"
            }
            Self::Full { .. } => "make room on that disk and start again; what was acknowledged is kept",
            Self::Io { .. } => "look at the folder, its permissions and its disk",
            Self::Reopen { .. } => "start again; the first error says why it failed",
        })
    }
}
