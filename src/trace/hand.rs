//! Whoever makes the changes: writes a line, or starts a container.
//!
//! Separate from the following. What must be there before a change, such as a container to start, is made before the call that counts,
//! and removed after it has arrived.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::spec::{NODE, Setting, Source, TraceSpec};
use super::system::System;
use crate::model::Warning;
use crate::source::docker::owned::{Marks, RUN, sweep};
use crate::source::docker::{EngineError, Hand as Engine, Labelled};
use crate::source::image::{Archive, ImageError, PROGRAM};
use crate::source::{TRACE_GROUP, TRACE_LABEL};
use crate::sys::clock;
use crate::sys::own_group::{GroupError, OwnGroup, OwnGroups};

/// How long a container lives by itself where nobody removes it, in seconds.
const LONGEST_LIFE: &str = "600";

/// Makes changes; copies share what they hold.
#[derive(Clone)]
pub enum Hand {
    /// Writes lines of a pipe.
    Pipe(Arc<File>),
    /// Starts containers.
    Docker(Arc<Containers>),
    /// Starts plain processes in control groups of ours.
    Groups(Arc<Groups>),
}

/// Containers of one run at an engine.
pub struct Containers {
    engine: Engine,
    image: String,
    is_own_image: bool,
    marks: Marks,
}

/// Control groups of one run; those that are held go before the folder that they are in.
pub struct Groups {
    held: Mutex<HashMap<String, OwnGroup>>,
    folder: OwnGroups,
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
            let (containers, warnings) = Containers::open(socket, spec.image.as_deref()).await?;
            return Ok((Self::Docker(Arc::new(containers)), warnings));
        }
        match (setting.source, &system.pipe) {
            // For reading too: who only writes would wait for a reader.
            (Source::Script, Some(path)) => {
                let pipe = OpenOptions::new().read(true).write(true).open(path)?;
                Ok((Self::Pipe(Arc::new(pipe)), Vec::new()))
            }
            (Source::Ebpf, _) => {
                let (folder, removed) = OwnGroups::make()?;
                let warnings = removed.into_iter().map(|text| Warning::new("leftover", text)).collect();
                Ok((Self::Groups(Arc::new(Groups { held: Mutex::default(), folder })), warnings))
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
            Self::Docker(containers) => Ok(Task { id: containers.create(&trace).await?, trace }),
            Self::Groups(groups) => Ok(Task { id: groups.create(&trace)?, trace }),
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
            Self::Groups(groups) => groups.start(&task.id),
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
            Self::Groups(groups) => groups.remove(&task.id),
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
                groups.held().clear();
                Ok(())
            }
        }
    }
}

impl Containers {
    async fn open(socket: &Path, image: Option<&str>) -> Result<(Self, Vec<Warning>), HandError> {
        let failed = |source| HandError::Reach { socket: socket.to_owned(), source };
        let engine = Engine::open(socket).await.map_err(failed)?;
        let warnings = sweep(&engine).await;
        let run = format!("{:016x}", clock::entropy());
        let containers = Self {
            image: image.map_or_else(|| format!("offloadctl-trace:{run}"), str::to_owned),
            is_own_image: image.is_none(),
            marks: Marks::of(&run),
            engine,
        };
        if containers.is_own_image {
            let archive = Archive::of_this_host()?.whole();
            containers.engine.import(&containers.image, archive, &containers.marks.pairs()).await?;
        }
        Ok((containers, warnings))
    }

    async fn create(&self, trace: &str) -> Result<String, EngineError> {
        let own = format!("/{PROGRAM}");
        let command: &[&str] =
            if self.is_own_image { &[&own, "sleep", LONGEST_LIFE] } else { &["sleep", LONGEST_LIFE] };
        let [owner, run] = self.marks.pairs();
        self.engine.create(&self.image, command, &[owner, run, (TRACE_LABEL, trace)]).await
    }

    async fn clear(&self) -> Result<(), EngineError> {
        let is_ours = |one: &Labelled| one.label(RUN) == Some(self.marks.run.as_str());
        let all = self.engine.containers(&format!("{RUN}={}", self.marks.run)).await?;
        for container in all.into_iter().filter(is_ours) {
            self.engine.remove(&container.id).await?;
        }
        if self.is_own_image {
            self.engine.remove_image(&self.image).await?;
        }
        Ok(())
    }
}

impl Groups {
    /// One with the name that an agent of the kernel's tracepoints takes for a trace.
    fn create(&self, trace: &str) -> Result<String, HandError> {
        let id = format!("{TRACE_GROUP}{trace}");
        let group = self.folder.create(&id)?;
        self.held().insert(id.clone(), group);
        Ok(id)
    }

    /// The process ends with the thread that calls this.
    fn start(&self, id: &str) -> Result<(), HandError> {
        self.held().get_mut(id).map_or(Err(HandError::None), |group| Ok(group.start()?))
    }

    fn remove(&self, id: &str) -> Result<(), HandError> {
        let group = self.held().remove(id);
        group.map_or(Ok(()), |group| Ok(group.remove()?))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, OwnGroup>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line, at once: what is shorter than a page is not torn apart.
fn write(mut pipe: &File, line: &str) -> Result<(), HandError> {
    Ok(pipe.write_all(format!("{line}\n").as_bytes())?)
}
