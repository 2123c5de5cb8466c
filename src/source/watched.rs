//! What watchers tell as an agent wants it: everything first, then every change, and everything again after a gap.
//!
//! Separate from Docker's source, which asks its engine more: containerd, CRI and the kernel say of a task where it stands and what
//! it ended with, and no more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

use super::containerd::{self, ContainerdWatcher};
use super::cri::{CriWatcher, Runtime};
use super::ebpf;
use super::line::LineError;
use super::watch::{Act, Sight, Stage, Told, Watching};
use super::{Event, EventSource, Mark, Next, Sighting, TRACE_GROUP, TaskState};
use crate::model::{WallTime, with_causes};
use crate::sys::clock;

/// Words of a watcher that may wait.
const ROOM: usize = 256;

/// Waits after a failure, the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Who is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The tasks of these namespaces of a containerd.
    Containerd {
        /// Its socket.
        socket: PathBuf,
        /// Their names.
        namespaces: Vec<String>,
    },
    /// The containers of a runtime, by CRI.
    Cri(PathBuf),
    /// The kernel, by its tracepoints.
    Ebpf,
}

impl Whom {
    /// For people.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Containerd { socket, .. } => format!("containerd at `{}`", socket.display()),
            Self::Cri(socket) => format!("the runtime at `{}` by CRI", socket.display()),
            Self::Ebpf => "the kernel by eBPF".to_owned(),
        }
    }

    /// Whether it is there and lets us watch.
    ///
    /// # Errors
    /// With why not, and the next step.
    pub async fn attempt(&self) -> Result<(), (String, Option<&'static str>)> {
        let socket = |error: LineError| {
            (with_causes(&error), error.is_absent().then_some("start it, or name its socket in `sources`"))
        };
        match self {
            Self::Containerd { .. } | Self::Cri(_) => self.list().await.map(drop).map_err(socket),
            Self::Ebpf => ebpf::open().map(drop).map_err(|error| (with_causes(&error), error.hint())),
        }
    }

    async fn open(&self, teller: super::watch::Teller) -> Result<Watching, String> {
        let told = |error: LineError| with_causes(&error);
        Ok(match self {
            Self::Containerd { socket, namespaces } => {
                Box::pin(ContainerdWatcher::open(socket, namespaces).await.map_err(told)?.watch(teller))
            }
            Self::Cri(socket) => Box::pin(CriWatcher::open(socket).await.map_err(told)?.watch(teller)),
            Self::Ebpf => ebpf::open().map_err(|error| with_causes(&error))?.watch(teller),
        })
    }

    /// How far each task has come, and what those ended with that are over, where that can be asked.
    async fn list(&self) -> Result<BTreeMap<String, (Stage, Option<i64>)>, LineError> {
        let without = |stages: BTreeMap<String, Stage>| stages.into_iter().map(|(id, stage)| (id, (stage, None)));
        Ok(match self {
            Self::Containerd { socket, namespaces } => without(containerd::list(socket, namespaces).await?).collect(),
            Self::Cri(socket) => {
                let (runtime, _) = Runtime::open(socket).await?;
                let mut all = BTreeMap::new();
                for (id, stage) in runtime.stages().await? {
                    let code = if stage == Stage::Over { runtime.exit_code(&id).await } else { None };
                    all.insert(id, (stage, code));
                }
                all
            }
            Self::Ebpf => ebpf::running().into_iter().map(|id| (id, (Stage::Running, None))).collect(),
        })
    }
}

/// Watches.
pub struct Watched {
    whom: Whom,
    words: Option<Receiver<Told>>,
    watching: JoinSet<()>,
    failures: u32,
    /// What was told of each task that is not over.
    tasks: BTreeMap<String, (TaskState, WallTime)>,
}

impl Watched {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(whom: Whom) -> Self {
        Self { whom, words: None, watching: JoinSet::new(), failures: 0, tasks: BTreeMap::new() }
    }

    async fn step(&mut self) -> Event {
        loop {
            let Some(words) = &mut self.words else {
                if let Some(trouble) = self.attach().await {
                    return trouble;
                }
                continue;
            };
            let event = match words.recv().await {
                // What was lost is made good by a list.
                Some(Told::Watching | Told::Lost(_)) => Some(self.list().await),
                Some(Told::Saw(sight)) => self.see(sight).await,
                Some(Told::Trouble(text)) => Some(Event::Trouble(format!("{}: {text}", self.whom.told()))),
                Some(Told::Odd(text)) => Some(Event::Odd(format!("{}: {text}", self.whom.told()))),
                None => Some(self.detach("it tells nothing any more".to_owned())),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// Begins to watch; trouble where that cannot be.
    async fn attach(&mut self) -> Option<Event> {
        if self.failures > 0 {
            let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
            tokio::time::sleep(wait).await;
        }
        let (teller, words) = channel(ROOM);
        match self.whom.open(teller).await {
            Ok(watching) => {
                self.watching.spawn(watching);
                self.words = Some(words);
                None
            }
            Err(why) => Some(self.detach(why)),
        }
    }

    fn detach(&mut self, why: String) -> Event {
        self.words = None;
        self.watching.abort_all();
        self.failures += 1;
        Event::Trouble(format!("{} cannot be watched: {why}; trying again", self.whom.told()))
    }

    /// Everything that there is now. Whoever is watched already cannot miss what happens meanwhile.
    async fn list(&mut self) -> Event {
        let all = match self.whom.list().await {
            Ok(all) => all,
            Err(error) => return self.detach(with_causes(&error)),
        };
        self.failures = 0;
        let mut before = std::mem::take(&mut self.tasks);
        let mut known = Vec::new();
        for (id, (stage, code)) in all {
            let state = match stage {
                Stage::Made => TaskState::Pending,
                Stage::Running => TaskState::Running,
                Stage::Over => ended(code),
                Stage::Unknown => continue,
            };
            // A state that did not change has not begun just now.
            let told = before.remove(&id).filter(|(known, _)| *known == state);
            let at = told.map_or_else(clock::wall_now, |(_, at)| at);
            self.tasks.insert(id.clone(), (state, at));
            known.push(Sighting { task_id: id, state, at, payload: payload(code), mark: None });
        }
        Event::Known(known)
    }

    async fn see(&mut self, sight: Sight) -> Option<Event> {
        let state = match sight.act {
            Act::Create => TaskState::Pending,
            Act::Start => TaskState::Running,
            Act::Exit => {
                let code = match (&self.whom, sight.exit_code) {
                    (Whom::Cri(socket), None) => match Runtime::open(socket).await {
                        Ok((runtime, _)) => runtime.exit_code(&sight.container).await,
                        Err(_) => None,
                    },
                    (_, code) => code,
                };
                return Some(self.change(sight, ended(code), code));
            }
            Act::Oom => return None,
            Act::Destroy => {
                self.tasks.remove(&sight.container);
                return Some(Event::Vanished(sight.container));
            }
        };
        Some(self.change(sight, state, None))
    }

    fn change(&mut self, sight: Sight, state: TaskState, code: Option<i64>) -> Event {
        let ago = clock::now().since(sight.stamped.unwrap_or(sight.seen));
        let at = WallTime::from_unix_nanos(clock::wall_now().unix_nanos() - ago.as_nanos() as i128);
        self.tasks.insert(sight.container.clone(), (state, at));
        // Of what has no labels here, another source may tell the id.
        let id = sight.container.strip_prefix(TRACE_GROUP).unwrap_or_default().to_owned();
        let mark = Some(Mark { id, read: sight.seen });
        Event::Changed(vec![Sighting { task_id: sight.container, state, at, payload: payload(code), mark }])
    }
}

impl EventSource for Watched {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async { Some(self.step().await) })
    }
}

/// How it ended, as far as anybody says.
fn ended(code: Option<i64>) -> TaskState {
    code.map_or(TaskState::Unknown, |code| TaskState::Ended { is_success: code == 0 })
}

fn payload(code: Option<i64>) -> Option<String> {
    code.map(|code| format!(r#"{{"exit_code":{code}}}"#))
}
