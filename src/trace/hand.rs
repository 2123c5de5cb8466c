//! Whoever makes the changes: writes a line, or starts a container.
//!
//! Separate from the following. What must be there before a change, such as a container to start, is made before the call that counts,
//! and removed after it has arrived.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::spec::{NODE, Setting, Source, TraceSpec};
use super::system::System;
use crate::model::Warning;
use crate::source::docker::EngineError;
use crate::source::docker::owned::OwnContainers;
use crate::source::image::{Archive, ImageError, PROGRAM};
use crate::source::{TRACE_GROUP, TRACE_LABEL};
use crate::sys::clock;
use crate::sys::held_groups::HeldGroups;
use crate::sys::own_group::GroupError;

/// How long a container lives by itself where nobody removes it, in seconds.
const LONGEST_LIFE: &str = "600";

/// Makes changes; copies share what they hold.
#[derive(Clone)]
pub enum Hand {
    /// Writes lines of a pipe.
    Pipe(Arc<File>),
    /// Starts containers.
    Docker(OwnContainers),
    /// Starts plain processes in control groups of ours.
    Groups(HeldGroups),
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
    #[error("there is nobody to make a change: neither a pipe nor an engine")]
    None,
    /// The engine is not there, or not for us.
    #[error("Docker at `{}` cannot be asked", socket.display())]
    Reach {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The engine says no.
    #[error("the engine does not make the change")]
    Engine(#[from] EngineError),
    /// The kernel says no.
    #[error("there are no control groups to act in")]
    Group(#[from] GroupError),
    /// There is nothing to make an image of.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl HandError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Reach { source: EngineError::Connect(error), .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "become a member of the group of its socket, often `docker`, or root"
                }
                _ => "start the engine, or name its socket with --docker-host or DOCKER_HOST",
            },
            Self::Reach { .. } => "name its socket with --docker-host or DOCKER_HOST",
            Self::Image(_) => "install busybox-static, or take an image that the engine has with --image NAME",
            Self::Engine(_) => "is there an image of that name, and has it the program `sleep`?",
            Self::Group(_) => "run it as root, or without `--source ebpf`: lines of a pipe need no right",
            Self::Pipe(_) | Self::None => "is it the named pipe that the agent's configuration names as `script`?",
        }
    }
}

impl Hand {
    /// Whoever makes the changes of this setting; with what was removed that killed runs had left.
    ///
    /// # Errors
    /// When they cannot be made here.
    pub async fn open(spec: &TraceSpec, setting: &Setting, system: &System) -> Result<(Self, Vec<Warning>), HandError> {
        if let Some(socket) = spec.docker_socket.as_ref().filter(|_| setting.is_of_docker()) {
            let run = format!("{:016x}", clock::entropy());
            let opened = OwnContainers::open(socket, spec.image.as_deref(), "offloadctl-trace", &run).await;
            let (containers, warnings) =
                opened.map_err(|source| HandError::Reach { socket: socket.to_owned(), source })?;
            return Ok((Self::Docker(containers), warnings));
        }
        match (setting.source, &system.pipe) {
            // For reading too: who only writes would wait for a reader.
            (Source::Script, Some(path)) => {
                let pipe = OpenOptions::new().read(true).write(true).open(path)?;
                Ok((Self::Pipe(Arc::new(pipe)), Vec::new()))
            }
            (Source::Ebpf, _) => {
                let (groups, removed) = HeldGroups::open()?;
                let warnings = removed.into_iter().map(|text| Warning::new("leftover", text)).collect();
                Ok((Self::Groups(groups), warnings))
            }
            _ => Err(HandError::None),
        }
    }

    /// Brings what every change needs, such as an image. Whatever comes of it, [`Hand::clear`] removes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn bring(&self) -> Result<(), HandError> {
        match self {
            Self::Docker(containers) if containers.makes_image() => {
                Ok(containers.import(Archive::of_this_host()?.whole()).await?)
            }
            _ => Ok(()),
        }
    }

    /// Makes ready what is to change.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self, trace: String) -> Result<Task, HandError> {
        match self {
            Self::Pipe(_) => Ok(Task { id: format!("{NODE}-{trace}"), trace }),
            Self::Docker(containers) => {
                let own = format!("/{PROGRAM}");
                let command: &[&str] =
                    if containers.makes_image() { &[&own, "sleep", LONGEST_LIFE] } else { &["sleep", LONGEST_LIFE] };
                Ok(Task { id: containers.create(command, &[(TRACE_LABEL, &trace)]).await?, trace })
            }
            // With the name that an agent of the kernel's tracepoints takes for a trace.
            Self::Groups(groups) => Ok(Task { id: groups.create(format!("{TRACE_GROUP}{trace}"))?, trace }),
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
            Self::Docker(containers) => Ok(containers.engine.start(&task.id).await?),
            Self::Groups(groups) => Ok(groups.start(&task.id)?),
        }
    }

    /// Ends and removes it.
    ///
    /// # Errors
    /// When it stays.
    pub async fn remove(&self, task: &Task) -> Result<(), HandError> {
        match self {
            Self::Pipe(pipe) => write(pipe, &json!({ "task_id": task.id, "status": "completed" }).to_string()),
            Self::Docker(containers) => Ok(containers.engine.remove(&task.id).await?),
            Self::Groups(groups) => Ok(groups.remove(&task.id)?),
        }
    }

    /// Removes everything that this run has made.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), HandError> {
        match self {
            Self::Pipe(_) => Ok(()),
            Self::Docker(containers) => Ok(containers.clear().await?),
            Self::Groups(groups) => {
                groups.clear();
                Ok(())
            }
        }
    }
}

/// One line, at once: what is shorter than a page is not torn apart.
fn write(mut pipe: &File, line: &str) -> Result<(), HandError> {
    Ok(pipe.write_all(format!("{line}\n").as_bytes())?)
}
