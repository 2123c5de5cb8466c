//! Whether the generator did what was asked: a run that it spoilt itself is not judged.

use super::{Arrival, LoadSpec, Rate};
use crate::model::span::nanos;
use crate::model::{NORMAL_975, Role, Run, Series, Validity, Warning};

/// Share of the planned attempts that must have started (architecture contract).
const STARTED_RATIO: f64 = 0.99;

/// Slip that is always allowed.
const SLIP_ALLOWED_NS: u64 = 1_000_000;

/// What is said about a run's trustworthiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the figures may be judged.
    pub validity: Validity,
    /// What the reader should know even so.
    pub warnings: Vec<Warning>,
}

/// What is wrong with one series.
struct Fault {
    /// How bad it is, to compare it with others of its kind.
    badness: f64,
    text: String,
}

/// Judges an open loop by its starts and its slip. A closed loop has no plan to keep and is always valid.
#[must_use]
pub fn judge(run: &Run, spec: &LoadSpec) -> Verdict {
    let mut verdict = Verdict::default();
    let Arrival::Open { rate, slack, .. } = spec.arrival else { return verdict };
    let allowed_ns = nanos(slack).saturating_add(slip_allowed(rate));
    let (mut few, mut late) = (Vec::new(), Vec::new());
    let mut shares: Vec<(f64, &Series)> = Vec::new();
    few.extend(run.responses().filter_map(too_few_started));
    for (response, slip) in run.beside(Role::Slip) {
        let Some(slip) = slip_ns(slip) else { continue };
        late.extend(too_much_slip(response, slip, allowed_ns));
        shares.extend(slip_against_median(response, slip));
    }
    let all = run.responses().count();
    verdict.validity.reasons.extend([few, late].into_iter().filter_map(|faults| worst_of(faults, all)));
    verdict.warnings.extend(slip_warning(&shares));
    verdict.validity.valid = verdict.validity.reasons.is_empty();
    verdict
}

/// How much slip is allowed that nobody asked for.
fn slip_allowed(rate: Rate) -> u64 {
    let gap_ns = nanos(rate.gap());
    SLIP_ALLOWED_NS.max(gap_ns / 10)
}

/// The slip's 95th percentile; of few starts the value at the upper 95 % bound of its rank, so that one late start among a
/// hundred and fifty does not make a run worthless.
fn slip_ns(slip: &Series) -> Option<u64> {
    let n = slip.histogram.len();
    let bound = 0.95 * n as f64 + NORMAL_975 * (n as f64 * 0.95 * 0.05).sqrt();
    let rank = (bound.ceil() as u64).clamp(1, n.max(1));
    let few = || slip.histogram.value_at_rank(rank).map(|ns| slip.summary.max_ns.map_or(ns, |max| ns.min(max)));
    slip.summary.p95_ns.or_else(few).or(slip.summary.max_ns)
}

/// One reason for all faults of a kind, told of the worst: a thousand targets of one busy machine have one reason.
fn worst_of(faults: Vec<Fault>, all: usize) -> Option<String> {
    let count = faults.len();
    let worst = faults.into_iter().max_by(|a, b| a.badness.total_cmp(&b.badness))?;
    Some(if count == 1 { worst.text } else { format!("on {count} of {all} series, worst on {}", worst.text) })
}

fn too_few_started(response: &Series) -> Option<Fault> {
    let started = response.counts.attempt_count;
    let planned = started + response.counts.skipped_count;
    let ratio = started as f64 / planned as f64;
    (planned > 0 && ratio < STARTED_RATIO).then(|| Fault {
        badness: 1.0 - ratio,
        text: format!(
            "{}: only {started} of {planned} planned attempts started ({:.1} %, at least 99 % are needed); lower --rate, or raise --max-in-flight if the target is slow",
            response.full_name(),
            ratio * 100.0
        ),
    })
}

fn too_much_slip(response: &Series, slip_ns: u64, allowed_ns: u64) -> Option<Fault> {
    (slip_ns > allowed_ns).then(|| Fault {
        badness: slip_ns as f64,
        text: format!(
            "{}: starts slipped by {:.2} ms (p95), {:.2} ms are allowed; this machine is too busy or --rate too high",
            response.full_name(),
            slip_ns as f64 / 1e6,
            allowed_ns as f64 / 1e6
        ),
    })
}

/// Slip as a share of the median, where it is more than a tenth.
fn slip_against_median(response: &Series, slip_ns: u64) -> Option<(f64, &Series)> {
    let p50 = response.summary.p50_ns?;
    (slip_ns > p50 / 10).then(|| (slip_ns as f64 / p50 as f64, response))
}

fn slip_warning(shares: &[(f64, &Series)]) -> Option<Warning> {
    let (share, worst) = shares.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let text = format!(
        "starts were late by {:.0} % of the median of {} (p95), and by over 10 % on {} series; `.service` leaves that out",
        share * 100.0,
        worst.full_name(),
        shares.len()
    );
    Some(Warning::new("slip_above_p50", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counts, Labels};

    /// A series of which so many of a hundred planned attempts started.
    fn started(target: &str, started: u64) -> Series {
        let counts = Counts { attempt_count: started, skipped_count: 100 - started, ..Counts::default() };
        Series {
            name: "rtt.echo".to_owned(),
            labels: Labels::new().with("target", target),
            counts,
            ..Series::default()
        }
    }

    #[test]
    fn one_late_start_among_many_is_not_the_percentile() {
        let slip = |late: usize, n: usize| {
            let mut histogram = crate::model::Histogram::new();
            let mut moments = crate::model::Moments::default();
            for at in 0..n {
                let ns = if at < late { 22_000_000 } else { 80_000 };
                histogram.record(ns);
                moments.push(ns);
            }
            slip_ns(&Series::of_spans("x.slip", Labels::new(), histogram, &moments)).unwrap()
        };
        assert!(slip(1, 150) < 1_000_000 && slip(1, 120) < 1_000_000);
        assert!(slip(5, 60) > 1_000_000 && slip(1, 3) > 1_000_000);
    }

    #[test]
    fn many_series_have_one_reason_that_names_the_worst() {
        let lanes = [started("a", 100), started("b", 90), started("c", 40), started("d", 98)];
        let reason = |lanes: &[Series]| worst_of(lanes.iter().filter_map(too_few_started).collect(), lanes.len());
        let text = reason(&lanes).unwrap();
        assert!(text.starts_with("on 3 of 4 series, worst on rtt.echo{target=c}: only 40 of 100"), "{text}");
        let alone = reason(&lanes[..2]).unwrap();
        assert!(alone.starts_with("rtt.echo{target=b}: only 90 of 100"), "{alone}");
        assert_eq!(reason(&lanes[..1]), None);
    }

    #[test]
    fn the_latest_start_is_the_worst() {
        let lane = started("a", 100);
        let faults = [1_500_000, 9_000_000, 500_000].iter().filter_map(|slip| too_much_slip(&lane, *slip, 1_000_000));
        let text = worst_of(faults.collect(), 3).unwrap();
        assert!(text.starts_with("on 2 of 3 series, worst on rtt.echo{target=a}: starts slipped by 9.00 ms"), "{text}");
    }
}
