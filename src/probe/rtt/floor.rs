//! The noise floor of closed loops: lanes to this process's own loopback, one after another.
//!
//! Separate because two closed loops at a time would measure each other, where the lanes of a plan share the time by it.

use std::collections::BTreeSet;

use super::operation::RttOperation;
use super::{Channel, LONGEST_FLUSH, RttError, missing, prepare};
use crate::load::{DriverError, Lane, LaneRecord, Length, Load, LoadSpec, drive};
use crate::model::{Measured, Series};
use crate::sys::shutdown::Shutdown;

/// Attempts before the others: where none of them is answered, the others would be waited for in vain.
const FIRST: u64 = 3;

/// Measures this process's own loopback and nothing else, by each of the channels alone. Where the loopback is silent, the
/// series are those of a few attempts.
///
/// # Errors
/// When the machine has no timer, socket or thread left.
pub async fn measure_floor(
    channels: &BTreeSet<Channel>,
    load: &LoadSpec,
    shutdown: &Shutdown,
) -> Result<Measured, RttError> {
    let prepared = tokio::select! {
        prepared = prepare::floor_alone(channels, load.timeout) => prepared?,
        () = shutdown.requested() => return Ok(Measured::stopped()),
    };
    let mut measured = Measured::default();
    for lane in &prepared.lanes {
        let first = LoadSpec { length: Length::Count(FIRST), ..load.clone() };
        let mut driven = drive(std::slice::from_ref(lane), &first, &mut (), shutdown).await?;
        measured.elapsed += driven.elapsed;
        let mut series = series_of(driven.lanes);
        if series.iter().any(|series| series.name == lane.name && series.counts.ok_count > 0) {
            driven = alone(lane, load, shutdown).await?;
            measured.elapsed += driven.elapsed;
            series = series_of(driven.lanes);
        }
        measured.interrupted |= driven.interrupted;
        measured.series.extend(series);
    }
    prepared.flush(load.timeout.min(LONGEST_FLUSH)).await;
    measured.findings = missing::findings(&prepared.lanes);
    measured.series.extend(prepared.take_stamped());
    Ok(measured)
}

/// Drives the lanes in turns, each from the beginning to the end of the spec, or until `shutdown`.
pub async fn in_turns(
    lanes: &[Lane<RttOperation>],
    load: &LoadSpec,
    shutdown: &Shutdown,
) -> Result<Vec<Series>, DriverError> {
    let mut all = Vec::new();
    for lane in lanes {
        all.extend(series_of(alone(lane, load, shutdown).await?.lanes));
    }
    Ok(all)
}

async fn alone(lane: &Lane<RttOperation>, load: &LoadSpec, shutdown: &Shutdown) -> Result<Load, DriverError> {
    let lane = std::slice::from_ref(lane);
    drive(lane, load, &mut (), shutdown).await
}

fn series_of(records: Vec<LaneRecord>) -> Vec<Series> {
    records.into_iter().flat_map(LaneRecord::into_series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Arrival;
    use std::time::Duration;

    #[tokio::test]
    async fn the_channels_of_the_floor_share_no_moment() {
        let load = LoadSpec {
            arrival: Arrival::Closed { concurrency: 1 },
            length: Length::Count(300),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(5),
            max_in_flight: 1,
            seed: 0,
        };
        let channels = BTreeSet::from([Channel::Echo, Channel::Udp]);
        let measured = measure_floor(&channels, &load, &Shutdown::listen().unwrap()).await.unwrap();
        assert!(measured.series.iter().all(|series| series.floor));
        let names = ["rtt.floor.echo", "rtt.floor.echo_udp"];
        let whole = measured.series.iter().filter(|series| names.contains(&series.name.as_str()));
        // Back to back, each is busy all of its time: together they would be busy for twice the time that passed.
        let busy = whole.map(|series| {
            assert_eq!((series.counts.attempt_count, series.counts.ok_count), (300, 300));
            series.summary.mean_ns.unwrap() * 300
        });
        let busy: Vec<u64> = busy.collect();
        assert_eq!(busy.len(), 2);
        assert!(
            u128::from(busy.iter().sum::<u64>()) <= measured.elapsed.as_nanos(),
            "{busy:?} in {:?}",
            measured.elapsed
        );
    }
}
