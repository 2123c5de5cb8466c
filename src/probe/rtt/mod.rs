//! Round-trip time to named targets, by handshake, ICMP, and a timestamped echo over TCP and UDP, side by side.
//!
//! ## Question
//! How long does a message to each of these places take and back, how much does that vary, and how much is lost?
//!
//! ## Timed
//! From the planned start of each attempt (`rtt.X`) and from the real one (`rtt.X.service`) to the moment this process
//! has read the answer; for ICMP, to the kernel's stamp of its reception. From the kernel's stamp of the sending to that of
//! the reception (`rtt.X.kernel`), and without the time between the far kernel's two stamps (`rtt.network`). Opening a
//! socket, building a message, recording and taking stamps are outside. Name lookup, the choice of an address and the first
//! connection of the echo are before the run.
//!
//! ## Needs
//! Nothing for `connect`. `icmp`: a group within net.ipv4.ping_group_range, or CAP_NET_RAW. `echo` and `udp`: an
//! `offloadctl echo` at the far end.
//!
//! ## Blind spots
//! The wake-up of this process, and for the echo that of the far end, is inside of the bare series: on a loopback or LAN it
//! is over half of the figure, which is why the noise floor stands beside it, and `rtt.wakeup` and `rtt.network`. What lies
//! below the kernel's stamps, driver and card, is in none of them. A handshake is answered by the far kernel, an echo by a
//! process. The kernel's own estimate (`rtt.tcp_connect.kernel`) is microsecond grained. ICMP may be treated by the network
//! unlike other traffic. Jitter is that of round trips.

mod book;
mod card;
mod connect;
mod echo;
mod exchange;
mod far;
mod floor;
mod icmp;
mod layout;
mod ledger;
mod metrics;
mod missing;
mod one_way;
mod operation;
mod pending;
mod prepare;
mod spec;
mod stamps;
mod udp;

use std::time::Duration;

pub use floor::measure_floor;
pub use metrics::{FLOOR, MEASUREMENT};
pub use prepare::PrepareError;
pub use spec::{Channel, Place, RttSpec, SpecError, Target, split_port};

use crate::load::{Arrival, DriverError, LaneRecord, Length, LoadSpec, Session};
use crate::model::{Measured, Warning};
use prepare::Prepared;

/// Longest floor measurement before a closed loop.
const FLOOR_SPAN: Duration = Duration::from_secs(1);

/// Longest wait for the far end's stamps of the last exchanges.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);

/// Attempts of the floor measurement before a closed loop of a given count.
const FLOOR_COUNT: u64 = 1000;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RttError {
    /// Something was missing before the first attempt.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl RttError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let prepare = match self {
            Self::Prepare(error) => error.hint(),
            Self::Driver(_) => None,
        };
        prepare.unwrap_or("see `offloadctl probe rtt --help`")
    }
}

/// Measures until the end of the spec, or until the user stops it.
///
/// # Errors
/// When a target cannot be found, a named channel cannot be had, or the machine has no timer or sockets left.
pub async fn measure(spec: &RttSpec, session: &mut Session<'_>) -> Result<Measured, RttError> {
    let Some(prepared) = session.prepare(prepare::prepare(spec)).await else { return Ok(Measured::default()) };
    let prepared = prepared?;
    let (targets, floor) = prepared.lanes.split_at(prepared.target_count);
    let mut series = Vec::new();
    let load = match spec.load.arrival {
        // The floor is probed on the same schedule, among the targets.
        Arrival::Open { .. } => session.drive(&prepared.lanes, &spec.load).await?,
        Arrival::Closed { .. } => {
            series.extend(floor::in_turns(floor, &floor_spec(&spec.load, floor.len()), session.shutdown()).await?);
            session.drive(targets, &spec.load).await?
        }
    };
    // Before the flush, which reads what attempts left behind that were not counted.
    let warnings = warnings(&prepared);
    prepared.flush(spec.load.timeout.min(LONGEST_FLUSH)).await;
    let (scalars, findings) = (prepared.scalars(), prepared.findings());
    series.extend(load.lanes.into_iter().flat_map(LaneRecord::into_series));
    series.extend(prepared.programmed());
    series.extend(prepared.take_stamped());
    Ok(Measured { series, scalars, findings, warnings, ..Measured::default() })
}

/// A short closed loop against the loopback, by one of so many channels: before the targets and not beside them, for two
/// closed loops at a time would measure each other.
fn floor_spec(load: &LoadSpec, channels: usize) -> LoadSpec {
    let channels = u32::try_from(channels.max(1)).unwrap_or(u32::MAX);
    let length = match load.length {
        Length::Duration(span) => Length::Duration((span / 10).min(FLOOR_SPAN) / channels),
        Length::Count(count) => Length::Count(count.min(FLOOR_COUNT)),
    };
    LoadSpec { length, warmup: Duration::ZERO, ..load.clone() }
}

fn warnings(prepared: &Prepared) -> Vec<Warning> {
    let mut warnings = prepared.warnings.clone();
    let late = prepared.late_count();
    if late > 0 {
        let text = format!(
            "{late} answers were not waited for: they came twice, or after the timeout, when their attempts had been counted as lost"
        );
        warnings.push(Warning::new("late_answers", text));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::echo::EchoChannel;
    use super::operation::{RttOperation, Way};
    use super::*;
    use crate::echo::Embedded;
    use crate::load::{Lane, Operation as _};
    use crate::model::Labels;
    use crate::sys::clock;
    use crate::sys::stamping::Stampers;

    #[tokio::test]
    async fn a_checkpoint_has_the_stamped_series_and_the_far_clock_of_what_was_measured_so_far() {
        let far = Embedded::start().unwrap();
        let channel = EchoChannel::open(far.address(), None, Duration::from_secs(5), Stampers::Kernel);
        channel.settled().await;
        let (operation, labels) = (RttOperation::from(Way::Echo(channel)), Labels::new().with("target", "far"));
        let lane = Lane { operation, name: "rtt.echo", labels, floor: false, reference: None };
        lane.operation.record_from(clock::now());
        // The kernel begins to stamp a moment after it was asked.
        while lane
            .operation
            .with_tracks(|tracks| tracks.clone())
            .is_none_or(|tracks| tracks.into_series("rtt.echo", &Labels::new(), false).len() < 5)
        {
            assert_eq!(lane.operation.attempt().await.outcome, crate::model::Outcome::Ok);
        }
        let kept = lane.operation.beside(lane.named())();
        let names: Vec<&str> = kept.series.iter().map(|series| series.name.as_str()).collect();
        for name in ["rtt.echo.kernel", "rtt.wakeup", "rtt.network", "rtt.oneway.forward", "rtt.oneway.backward"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let known: Vec<&str> = kept.scalars.iter().map(|scalar| scalar.name.as_str()).collect();
        assert_eq!(known, super::far::SCALARS, "and of the far clock as much as at the end");
        assert_eq!(kept.scalars[0].labels.value("channel"), Some("echo"));
        assert!(lane.operation.far_clock().is_none(), "a copy was closed, and the measurement goes on");
    }
}
