//! One figure of stored runs over time, and the run with which it changed.
//!
//! Separate from comparisons because nobody says where one side ends: each run is held against those before it.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::estimate::{Estimate, estimate};
use super::gate::{Gate, Subject};
use crate::model::{Departure, Labels, Run, Trend, TrendPoint};

/// Runs from which on there is a band, and how many of them make it.
const FEWEST: usize = 5;
const BAND_RUNS: usize = 20;

/// Probability that a run like those before it lies outside of the band.
const OUTSIDE: f64 = 0.01;

/// Least half width of the band as a part of its middle, so that figures that never varied make no band of nothing.
const LEAST: f64 = 0.02;

/// What the runs say of one statistic of one series, or of one scalar. Runs without it and invalid runs are left out.
///
/// # Errors
/// With the names of all that fit, where more than one does.
pub fn trend(subject: &Gate, text: &str, runs: &[Run]) -> Result<Trend, Vec<String>> {
    let mut found: Vec<(TrendPoint, String, String)> = Vec::new();
    for run in runs.iter().filter(|run| run.validity.valid) {
        found.extend(figures(subject, run));
    }
    let mut names: Vec<String> = found.iter().map(|(_, name, _)| name.clone()).collect();
    names.sort();
    names.dedup();
    if names.len() > 1 {
        return Err(names);
    }
    found.sort_by_key(|(point, ..)| point.started_at);
    let unit = found.first().map(|(.., unit)| unit.clone()).unwrap_or_default();
    let points: Vec<TrendPoint> = found.into_iter().map(|(point, ..)| point).collect();
    Ok(Trend { subject: text.to_owned(), unit, left: departure(&points), points })
}

fn figures(subject: &Gate, run: &Run) -> Vec<(TrendPoint, String, String)> {
    let point = |estimate: Option<Estimate>| {
        let finite = |part: fn(Estimate) -> f64| estimate.map(part).filter(|value| value.is_finite());
        TrendPoint {
            run_id: run.id.clone(),
            started_at: run.started_at,
            value: finite(|e| e.value),
            low: finite(|e| e.low),
            high: finite(|e| e.high),
        }
    };
    // The address may change and the target be the same.
    let named = |name: &str, labels: &Labels| {
        let kept = labels.iter().filter(|(label, _)| *label != "address");
        format!("{name}{}", kept.fold(Labels::new(), |all, (label, value)| all.with(label, value)))
    };
    match &subject.subject {
        Subject::Series(name, statistic) => {
            let fits = run.series.iter().filter(|one| one.name == *name && subject.is_of(&one.labels) && !one.floor);
            let unit = if statistic.is_ratio() { "ratio" } else { "ns" };
            fits.map(|one| (point(estimate(*statistic, one, true).ok()), named(name, &one.labels), unit.to_owned()))
                .collect()
        }
        Subject::Scalar(name) => {
            let fits = run.scalars.iter().filter(|one| one.name == *name && subject.is_of(&one.labels));
            fits.map(|one| (point(one.value.map(Estimate::exactly)), named(name, &one.labels), one.unit.clone()))
                .collect()
        }
    }
}

/// The first run that left the band of those before it: the interval in which the next
/// one would lie in 99 of 100 cases.
fn departure(points: &[TrendPoint]) -> Option<Departure> {
    (FEWEST..points.len()).find_map(|at| {
        let before = points[at.saturating_sub(BAND_RUNS)..at].iter().filter_map(|point| point.value);
        let (middle, half) = prediction(&before.collect::<Vec<_>>())?;
        let half = half.max(LEAST * middle.abs());
        let (band_low, band_high) = (middle - half, middle + half);
        let point = &points[at];
        // What lies among the lost has no value and is above every band.
        let is_above = point.value.is_none() || point.low.is_some_and(|low| low > band_high);
        let is_below = point.high.is_some_and(|high| high < band_low);
        (is_above || is_below).then(|| Departure { run_id: point.run_id.clone(), band_low, band_high })
    })
}

/// Student's prediction interval for one more value: the mean, and half of its width (Hahn and Meeker, Statistical Intervals,
/// section 4.7).
fn prediction(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    if values.len() < FEWEST {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    Some((mean, student.inverse_cdf(1.0 - OUTSIDE / 2.0) * (variance * (1.0 + 1.0 / n)).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::WallTime;

    fn run(at: i128, ms: u64) -> Run {
        let values: Vec<u64> = (0..200).map(|n| ms * 1_000_000 + n * 1_000).collect();
        let started_at = WallTime::from_unix_nanos(1_790_000_000_000_000_000 + at * 1_000_000_000);
        Run { started_at, ..sample::run(&format!("run-{at}"), vec![sample::series("rtt.echo", "dc", &values, 0)]) }
    }

    fn found(subject: &str, runs: &[Run]) -> Result<Trend, Vec<String>> {
        trend(&format!("{subject} > baseline").parse().unwrap(), subject, runs)
    }

    #[test]
    fn the_run_with_which_it_changed_is_named() {
        let levels = [10, 11, 10, 9, 10, 11, 10, 20, 21, 20];
        // The newest first, as a store gives them.
        let runs: Vec<Run> = levels.iter().enumerate().rev().map(|(at, ms)| run(at as i128, *ms)).collect();
        let trend = found("rtt.echo.p50", &runs).unwrap();
        assert_eq!((trend.points.len(), trend.unit.as_str()), (10, "ns"));
        assert_eq!(trend.points[0].run_id, "run-0");
        let left = trend.left.unwrap();
        assert_eq!(left.run_id, "run-7");
        assert!((5e6..9e6).contains(&left.band_low) && (12e6..16e6).contains(&left.band_high), "{left:?}");
        assert!(found("rtt.echo.p50", &runs[3..]).unwrap().left.is_none(), "before it nothing changed");
    }

    #[test]
    fn several_series_are_told_apart_and_none_is_none() {
        let mut two = run(0, 10);
        two.series.push(sample::series("rtt.echo", "edge", &[1; 30], 0));
        let names = found("rtt.echo.p50", &[two.clone()]).unwrap_err();
        assert_eq!(names, ["rtt.echo{target=dc}", "rtt.echo{target=edge}"]);
        assert_eq!(found("rtt.echo{target=edge}.p50", &[two]).unwrap().points.len(), 1);
        assert_eq!(found("rtt.ecko.p50", &[run(0, 10)]).unwrap().points.len(), 0);
    }
}
