//! Whether the generator did what was asked: a run that it spoilt itself is not judged.

use super::{Arrival, LoadSpec};
use crate::model::{Role, Run, Series, Validity, Warning};

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

/// Judges an open loop by its starts and its slip. A closed loop has no plan to keep and is always valid.
#[must_use]
pub fn judge(run: &Run, spec: &LoadSpec) -> Verdict {
    let mut verdict = Verdict::default();
    let Arrival::Open { rate, .. } = spec.arrival else { return verdict };
    let gap_ns = u64::try_from(rate.gap().as_nanos()).unwrap_or(u64::MAX);
    let mut shares: Vec<(f64, &Series)> = Vec::new();
    for response in run.responses() {
        let slip = run.beside(response, "slip").and_then(slip_ns);
        let reasons = [too_few_started(response), slip.and_then(|slip| too_much_slip(response, slip, gap_ns))];
        verdict.validity.reasons.extend(reasons.into_iter().flatten());
        shares.extend(slip.and_then(|slip| slip_against_median(response, slip)));
    }
    verdict.warnings.extend(slip_warning(&shares));
    verdict.validity.valid = verdict.validity.reasons.is_empty();
    verdict
}

/// The slip's 95th percentile, or its maximum where the sample is too small for one.
fn slip_ns(slip: &Series) -> Option<u64> {
    debug_assert_eq!(slip.role(), Role::Slip);
    slip.summary.p95_ns.or(slip.summary.max_ns)
}

fn too_few_started(response: &Series) -> Option<String> {
    let started = response.counts.attempt_count;
    let planned = started + response.counts.skipped_count;
    let ratio = started as f64 / planned as f64;
    (planned > 0 && ratio < STARTED_RATIO).then(|| {
        format!(
            "{}: only {started} of {planned} planned attempts started ({:.1} %, at least 99 % are needed); lower --rate, or raise --max-in-flight if the target is slow",
            response.full_name(),
            ratio * 100.0
        )
    })
}

fn too_much_slip(response: &Series, slip_ns: u64, gap_ns: u64) -> Option<String> {
    let allowed = SLIP_ALLOWED_NS.max(gap_ns / 10);
    (slip_ns > allowed).then(|| {
        format!(
            "{}: starts slipped by {:.2} ms (p95, or the maximum below 200 starts), {:.2} ms are allowed; this machine is too busy or --rate too high",
            response.full_name(),
            slip_ns as f64 / 1e6,
            allowed as f64 / 1e6
        )
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
        "the generator's own slip (p95, or the maximum below 200 starts) is above 10 % of the p50 on {} series, worst on {} with {:.0} %; the .service series leave it out",
        shares.len(),
        worst.full_name(),
        share * 100.0
    );
    Some(Warning::new("slip_above_p50", text))
}
