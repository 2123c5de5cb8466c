//! Whoever makes the changes: writes a line, or starts a container.
//!
//! Separate from the following. What must be there before a change, such as a container to start, is made before the call that counts,
//! and removed after it has arrived.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::Arc;

use serde_json::json;

use super::spec::{NODE, Setting, Source, TraceSpec};
use super::system::System;

/// Makes changes; copies share what they hold.
#[derive(Clone)]
pub enum Hand {
    /// Writes lines of a pipe.
    Pipe(Arc<File>),
}

/// Something that is about to change.
#[derive(Clone, Debug)]
pub struct Task {
    /// As the gateway knows it.
    pub id: String,
    /// The id of its trace.
    pub trace: String,
}

/// A change that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// The pipe takes nothing.
    #[error("the pipe to the agent takes nothing")]
    Pipe(#[from] io::Error),
    /// Nobody.
    #[error("an agent that runs already reads no pipe of ours")]
    None,
}

impl Hand {
    /// Whoever makes the changes of this setting.
    ///
    /// # Errors
    /// When they cannot be made here.
    pub async fn open(_spec: &TraceSpec, setting: &Setting, system: &System) -> Result<Self, HandError> {
        match (setting.source, &system.pipe) {
            // For reading too: who only writes would wait for a reader.
            (Source::Script, Some(path)) => {
                Ok(Self::Pipe(Arc::new(OpenOptions::new().read(true).write(true).open(path)?)))
            }
            _ => Err(HandError::None),
        }
    }

    /// Makes ready what is to change.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self, trace: String) -> Result<Task, HandError> {
        match self {
            Self::Pipe(_) => Ok(Task { id: format!("{NODE}-{trace}"), trace }),
        }
    }

    /// Lets it begin to run: the call that counts.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(&self, task: &Task) -> Result<(), HandError> {
        match self {
            Self::Pipe(pipe) => {
                write(pipe, &json!({ "task_id": task.id, "status": "running", "trace": task.trace }).to_string())
            }
        }
    }

    /// Ends and removes it.
    ///
    /// # Errors
    /// When it stays.
    pub async fn remove(&self, task: &Task) -> Result<(), HandError> {
        match self {
            Self::Pipe(pipe) => write(pipe, &json!({ "task_id": task.id, "status": "completed" }).to_string()),
        }
    }
}

/// One line, at once: what is shorter than a page is not torn apart.
fn write(mut pipe: &File, line: &str) -> Result<(), HandError> {
    Ok(pipe.write_all(format!("{line}\n").as_bytes())?)
}
