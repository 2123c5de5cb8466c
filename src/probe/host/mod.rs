//! What this host can measure, and how finely: its clock, its timers, its loopback, and what the kernel permits.
//!
//! ## Question
//! Which of the program's measurements work here, to which resolution, and what would make more of them work?
//!
//! ## Timed
//! A read of the clock, over a hundred thousand in a row; the wake-up from a sleep until an absolute time, a millisecond
//! apart, with the timer that plans every start (`timer.wakeup`); exchanges with an echo on this process's own loopback,
//! one after another, by TCP alone and then by UDP alone (`rtt.floor.*`). What is only read from the kernel is not
//! timed.
//!
//! ## Needs
//! Nothing. What a privilege is missing for is told, not done.
//!
//! ## Blind spots
//! Two seconds show a host as it is just now: a neighbour that becomes busy later is in no figure. Wake-ups are those of a
//! host that is otherwise as idle as it was. An interface may promise stamps that its driver takes late.

mod evaluate;
mod fact;
mod layout;
mod metrics;
mod wakeup;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

pub use evaluate::{ABLE, Check, Verdict};
pub use fact::{Adapter, AdapterStamps, Adapters, ClockFigures, Facts, Floor, Ways};
pub use metrics::MEASUREMENT;

use crate::load::{Arrival, Length, LoadSpec, Session};
use crate::model::{Measured, Severity, with_causes};
use crate::probe::rtt::{Channel, RttError, measure_floor};
use crate::sys::ability::{self, ClockCost, StealMeter};
use crate::sys::interface::{Interface, Interfaces, interfaces};
use crate::sys::privilege::{self, Capability};
use crate::sys::shutdown::Shutdown;
use crate::sys::{cgroup, host};
use crate::topo::netem_works;
use evaluate::{evaluate, findings, scalars};

/// Steps of an examination.
const STEPS: u64 = 4;

/// How much is measured: enough for a 99th percentile, and over in three seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HostSpec {
    /// Sleeps that are timed.
    pub wakeups: u64,
    /// Exchanges over the loopback, by TCP and by UDP.
    pub exchanges: u64,
}

impl Default for HostSpec {
    fn default() -> Self {
        Self { wakeups: 1_000, exchanges: 1_000 }
    }
}

/// Examines this host; `runs` is where runs are kept, or why they cannot be. What cannot be tried, for this process has no
/// timer or socket left, is a fact as good as others.
pub async fn examine(spec: HostSpec, runs: Result<&Path, String>, session: &mut Session<'_>) -> Measured {
    let (shutdown, steps) = (session.shutdown(), session.steps(STEPS));
    let stolen = StealMeter::start();
    let mut facts = settings(runs);
    steps.advance(1);
    let wakeup = wakeup::measure(spec.wakeups, shutdown).await.map_err(|error| with_causes(&error));
    facts.wakeup = wakeup.as_ref().map(|series| series.summary.clone()).map_err(Clone::clone);
    steps.advance(1);
    let floor = floor(spec.exchanges, shutdown).await.map_err(|error| with_causes(&error));
    facts.floor = floor.as_ref().map(|measured| Floor::of(&measured.series)).map_err(Clone::clone);
    let mut noticed = floor.iter().flat_map(|measured| &measured.findings);
    facts.unstamped = noticed.find(|finding| finding.id.contains("stamp")).map(|f| f.text.clone());
    steps.advance(1);
    // After the measurements: it starts a program.
    facts.netem = netem_works().map_err(|error| with_causes(&error));
    facts.steal_ratio = stolen.and_then(|meter| meter.ratio());
    steps.advance(1);
    let series = wakeup.into_iter().chain(floor.into_iter().flat_map(|measured| measured.series)).collect();
    if shutdown.was_requested().await {
        // What was not measured because somebody did not wait is nothing that does not work.
        return Measured { series, interrupted: true, ..Measured::default() };
    }
    let checks = evaluate(&facts);
    let findings = findings(&checks);
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem);
    let bad = problems.map(|finding| finding.text.clone()).collect();
    Measured { series, bad, scalars: scalars(&facts, &checks), findings, ..Measured::default() }
}

fn settings(runs: Result<&Path, String>) -> Facts {
    let environment = host::environment();
    Facts {
        clock_source: environment.clocksource,
        clock_sources: ability::clock_sources(),
        clock_resolution_ns: environment.clock_resolution_ns,
        clock_cost: Some(clock_figures()),
        timer_slack_ns: ability::timer_slack_ns(),
        adapters: adapters(),
        icmp_datagram: privilege::icmp_datagram().map_err(|error| error.to_string()),
        icmp_raw: privilege::icmp_raw().map_err(|error| error.to_string()),
        ping_group_range: ability::ping_group_range(),
        capabilities: privilege::capabilities().map(|all| all.into_iter().map(Capability::name).collect()),
        cpu_count: environment.cpu_count,
        cpu_governor: environment.cpu_governor,
        cpu_quota: cgroup::processor_quota(),
        is_virtual: environment.virtualised,
        file_limit: ability::file_limit(),
        runs: runs.map(|path| path.display().to_string()),
        ..Facts::default()
    }
}

fn clock_figures() -> ClockFigures {
    let ClockCost { read_ns, step_ns } = ability::clock_cost();
    ClockFigures { read_ns, step_ns }
}

/// The interfaces that lead out of this host, and what they stamp.
fn adapters() -> Result<Adapters, String> {
    let Interfaces { looked_at, further_count, down_count } = interfaces().map_err(|error| error.to_string())?;
    let adapter = |interface: Interface| {
        let stamps = interface.stamps.map(|stamps| {
            let software = Ways { send: stamps.software_sent, receive: stamps.software_received };
            let hardware = Ways { send: stamps.hardware_sent, receive: stamps.hardware_received };
            AdapterStamps { software, hardware, card: stamps.card() }
        });
        Adapter { name: interface.name, stamps: stamps.map_err(|error| error.to_string()) }
    };
    Ok(Adapters { looked_at: looked_at.into_iter().map(adapter).collect(), further_count, down_count })
}

/// The loopback as `probe rtt` measures its noise floor before a closed loop: each channel alone, back to back.
async fn floor(exchanges: u64, shutdown: &Shutdown) -> Result<Measured, RttError> {
    let load = LoadSpec {
        arrival: Arrival::Closed { concurrency: 1 },
        length: Length::Count(exchanges),
        warmup: Duration::ZERO,
        timeout: Duration::from_millis(500),
        max_in_flight: 1,
        seed: 0,
    };
    measure_floor(&BTreeSet::from([Channel::Echo, Channel::Udp]), &load, shutdown).await
}
