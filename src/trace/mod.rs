//! One change of state through every hop, on one clock.
//!
//! ## Question
//! A task began to run: where does the time go until a subscriber of the gateway knows it, and which setting governs that part?
//!
//! ## Timed
//! From the call that makes the change to the moment when the subscriber has read it. Each hop lies between two stamps of the part
//! that owns it, taken with `CLOCK_MONOTONIC` of this host: the agent's and the gateway's travel with the change. Starting agent and
//! gateway, connecting, making a container ready and removing it are outside.
//!
//! ## Needs
//! Nothing where the changes are lines of a pipe; root, or the right to eBPF and to control groups, where they are processes; a Docker Engine and the right to its socket where they are containers. Agent,
//! gateway and subscriber are on this host.
//!
//! ## Blind spots
//! A stamp is taken by a process that must be running: on a busy host the wait for a processor is inside of each hop. The stamps
//! themselves cost about a microsecond. A change that a later one overtakes within the agent's 5 ms is one with it. What travels in
//! a whole state, as after a new connection, has no stamps.

mod actor;
mod assemble;
mod hand;
mod hops;
mod kernel;
mod layout;
mod metrics;
mod spec;
mod subscriber;
mod system;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use hops::Hop;
pub use layout::bars;
pub use metrics::MEASUREMENT;
pub use spec::{CompareError, GatewaySpec, NODE, Setting, Source, SourceError, Store, TraceSpec};

use self::actor::{Actor, Followed};
use self::assemble::{Changes, KernelStamps, assemble};
use self::hand::{Hand, HandError};
use self::kernel::KernelWatch;
use self::subscriber::SubscriberError;
use self::system::System;
use crate::load::{DriverError, Lane, LaneRecord, Length, LoadSpec, Operation as _, Session};
use crate::model::{Measured, Outcome, Warning};
use crate::sync::client::ClientError;
use crate::sync::client::own::OwnError;
use crate::sys::clock;
use crate::sys::owner::sweep_all;
use crate::sys::server::ServerError;
use crate::wire::{FetchError, TlsError};

/// How long the system may take until a first change comes through, beyond the wait for a list.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long one attempt at that may take.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// How often each setting is measured where several are compared: once before and once after the others.
const ROUNDS: u64 = 2;

/// A change that could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A part of the system is not there.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Our gateway does not start.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// There is no stream of changes.
    #[error("{source}")]
    Subscriber {
        /// Why.
        #[from]
        source: SubscriberError,
    },
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(TlsError),
    /// The token file cannot be read.
    #[error("cannot read the token file `{}`", path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token is not there.
    #[error("the token file `{}` has no line `{missing} TOKEN`", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// Whose.
        missing: String,
    },
    /// Nobody can act.
    #[error(transparent)]
    Hand(#[from] HandError),
    /// Changes are made, and none arrives.
    #[error("no change arrives at the subscriber within {} s{said}", READY_WITHIN.as_secs())]
    Silent {
        /// What those who should carry it say.
        said: String,
    },
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl TraceError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Subscriber { source: SubscriberError::Client(ClientError::Refused { status: 401 | 403, .. }) } => {
                "the token of the line `* TOKEN` in --token-file must be one of the gateway's".into()
            }
            Self::Subscriber { source: SubscriberError::Client(ClientError::Ask(FetchError::Tls(_))) } => {
                "give the gateway's certificate, or who signed it, with --ca-file".into()
            }
            Self::Subscriber { .. } => "is it the address that the gateway says it listens on?".into(),
            Self::Token { missing, .. } if missing == NODE => {
                format!("give our agent a token at the gateway: echo {NODE} $(openssl rand -hex 16) >> FILE, and SIGHUP to the gateway").into()
            }
            Self::Token { .. } | Self::TokenFile { .. } => "give the file that the gateway was given".into(),
            Self::Silent { .. } => "does the agent watch the runtime that makes the change, and report to this gateway?".into(),
            Self::Hand(error) => error.hint().into(),
            _ => "see `offloadctl trace --help`".into(),
        }
    }
}

/// What was measured of one setting so far.
#[derive(Default)]
struct Part {
    records: Vec<LaneRecord>,
    followed: Vec<Followed>,
    kernel: KernelStamps,
    faults: Vec<String>,
    warnings: Vec<Warning>,
}

/// Measures every setting, until the user stops it.
///
/// # Errors
/// When a part of the system is not there, or no change comes through.
pub async fn measure(spec: &TraceSpec, session: &mut Session<'_>) -> Result<Measured, TraceError> {
    let swept = sweep_all([std::env::temp_dir()]);
    let mut parts: Vec<Part> = spec.settings.iter().map(|_| Part::default()).collect();
    for (at, load) in turns(spec) {
        if session.is_over() {
            break;
        }
        let setting = &spec.settings[at];
        if let Some(label) = &setting.label {
            session.stage(label);
        }
        follow(spec, setting, &load, &mut parts[at], session).await?;
    }
    let mut measured = Measured { interrupted: session.is_over(), ..Measured::default() };
    for (setting, part) in spec.settings.iter().zip(parts) {
        measured.series.extend(part.records.into_iter().flat_map(LaneRecord::into_series));
        let changes = Changes {
            label: setting.label.as_deref(),
            followed: &part.followed,
            kernel: &part.kernel,
            has_runtime: setting.source.is_of_docker(),
        };
        assemble(&changes, &mut measured);
        measured.warnings.extend(part.warnings);
        measured.warnings.extend(part.faults.iter().map(|text| Warning::new("act_failed", text)));
    }
    measured.warnings.extend(swept.into_iter().map(|text| Warning::new("leftover", text)));
    Ok(measured)
}

/// Which setting comes when, and with which part of the load: there and back again where there are several, so that what changes
/// with time befalls all of them alike.
fn turns(spec: &TraceSpec) -> Vec<(usize, LoadSpec)> {
    let count = spec.settings.len();
    if count == 1 {
        return vec![(0, spec.load.clone())];
    }
    let part = |round: u64| {
        let of = |whole: u64| if round == 0 { whole.div_ceil(ROUNDS) } else { whole / ROUNDS };
        let length = match spec.load.length {
            Length::Count(count) => Length::Count(of(count)),
            Length::Duration(span) => Length::Duration(span / ROUNDS as u32),
        };
        LoadSpec { length, ..spec.load.clone() }
    };
    (0..count).map(|at| (at, part(0))).chain((0..count).rev().map(|at| (at, part(1)))).collect()
}

/// Sets the system up, waits for a first change to come through, and follows those that count.
async fn follow(
    spec: &TraceSpec,
    setting: &Setting,
    load: &LoadSpec,
    part: &mut Part,
    session: &mut Session<'_>,
) -> Result<(), TraceError> {
    if load.length == Length::Count(0) {
        return Ok(());
    }
    let Some(system) = session.prepare(System::start(spec, setting)).await else { return Ok(()) };
    let mut system = system?;
    let kernel = if setting.source.is_of_kernel() { KernelWatch::begin() } else { None };
    let Some(opened) = session.prepare(Hand::open(spec, setting, &system)).await else { return Ok(()) };
    let (hand, warnings) = opened?;
    part.warnings.extend(warnings);
    let System { subscriber, .. } = &system;
    let actor = Actor::new(hand, subscriber);
    let begin = async {
        actor.bring().await?;
        Ok::<bool, HandError>(first(&actor, setting).await)
    };
    let came = session.prepare(begin).await.transpose();
    let (load, actor) = match came {
        Ok(Some(true)) => {
            let labels = assemble::labels(setting.label.as_deref());
            let lanes = [Lane { operation: actor, name: "trace.total", labels, floor: false, reference: None }];
            let records = std::mem::take(&mut part.records);
            let load = session.drive_on(&lanes, records, load, session.shutdown()).await;
            let [Lane { operation: actor, .. }] = lanes;
            (Some(load), actor)
        }
        _ => (None, actor),
    };
    actor.clear().await;
    part.kernel.extend(kernel.map(|kernel| kernel.stamps()).unwrap_or_default());
    part.followed.extend(actor.followed());
    part.faults.extend(actor.faults());
    drop(actor);
    if let Some(load) = load {
        part.records = load?.lanes;
    } else if came? == Some(false) {
        system.check()?;
        let mut said = part.faults.clone();
        said.extend(system.subscriber.ended());
        said.extend(system.last_words());
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("\n")) };
        return Err(TraceError::Silent { said });
    }
    Ok(())
}

/// Whether a first change comes through in time; it is not recorded.
async fn first(actor: &Actor<'_>, setting: &Setting) -> bool {
    let longest = setting.source.longest_wait();
    let deadline = clock::now() + READY_WITHIN + longest;
    while clock::now() < deadline {
        let attempt = tokio::time::timeout(FIRST_WITHIN + longest, actor.attempt()).await;
        if attempt.is_ok_and(|answer| answer.outcome == Outcome::Ok) {
            actor.followed();
            actor.faults();
            return true;
        }
        // What fails at once is tried again a little later.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
