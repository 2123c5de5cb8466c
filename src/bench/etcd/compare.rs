//! One setting of etcd against another: a cluster each, every measurement in rounds over all of them.
//!
//! In rounds, because a machine changes while it is measured: what one minute gives to one setting it must give to the
//! others too. Each round goes through the settings in the opposite order of the one before (A B B A). A difference is
//! called one when every round shows it: among six rounds that happens by chance in 2 of 64 cases, 3 %.

use std::path::PathBuf;

use super::plan::{Cell, cells};
use super::spawn::{Cluster, Setting, SpawnSpec};
use super::spec::EtcdSpec;
use super::stop::Stopped;
use super::target::{Measurement, Round, Target};
use super::{EtcdError, summary, tell_stops};
use crate::load::Session;
use crate::model::figure::duration;
use crate::model::{Finding, Labels, Measured, Severity, Warning};
use crate::sys::owner;
use crate::wire::Url;

/// Rounds below which agreement of all says nothing.
const LEAST_ROUNDS: usize = 6;

/// One cluster that is ready to be measured.
struct Side<'a> {
    target: &'a Target<'a>,
    /// Further clusters that the keys are spread over.
    others: Vec<&'a Target<'a>>,
    /// What it is called: a setting, or how many clusters there are.
    name: String,
    labels: Labels,
}

/// One cell on one cluster, round by round.
#[derive(Default)]
struct Progress {
    measurement: Option<Measurement>,
    /// Requests a second in each round.
    rates: Vec<f64>,
}

/// Starts the clusters, measures, and stops them.
///
/// # Errors
/// When a cluster does not serve, or a measurement cannot be made.
pub async fn measure(spec: &EtcdSpec, spawn: &SpawnSpec, session: &mut Session<'_>) -> Result<Measured, EtcdError> {
    let mut all = Measured { warnings: sweep(spawn), ..Measured::default() };
    let Some(clusters) = session.prepare(start(spawn, spec.shards)).await else { return Ok(all) };
    let clusters = clusters?;
    let mut targets = Vec::new();
    for cluster in &clusters {
        let endpoints: Vec<Url> = cluster.endpoints().cloned().collect();
        targets.push(Target::open(spec, &endpoints).await?);
    }
    let sides = if spec.shards > 1 { one_and_all(&targets) } else { each(&clusters, &targets) };
    let mut done: Vec<Vec<Measurement>> = sides.iter().map(|_| Vec::new()).collect();
    let mut findings = Vec::new();
    for cell in cells(spec) {
        if session.is_over() {
            break;
        }
        let progress = in_rounds(spawn.rounds, &sides, cell, session).await?;
        findings.extend(differences(cell, &sides, &progress));
        for (done, one) in done.iter_mut().zip(progress) {
            done.extend(one.measurement);
        }
        if done.iter().filter_map(|done| done.last()?.stopped).any(Stopped::is_final) {
            break;
        }
    }
    all.interrupted = session.is_over();
    for (Side { target, name, labels, .. }, measurements) in sides.iter().zip(&done) {
        let mut one = summary::assemble(target, labels, measurements);
        tell_stops(&mut one, measurements);
        for finding in &mut one.findings {
            finding.text = format!("with {name}: {}", finding.text);
            // The cluster that the command names is gone when it is read.
            finding.advice.iter_mut().for_each(|advice| advice.verify = None);
        }
        all = all.and(one);
    }
    all.findings.extend(findings);
    all.findings.extend((spec.shards > 1).then(|| apart(spec.shards)));
    Ok(all)
}

/// A side for each cluster, by its setting.
fn each<'a>(clusters: &[Cluster], targets: &'a [Target<'a>]) -> Vec<Side<'a>> {
    let side = |(cluster, target): (&Cluster, &'a Target<'a>)| {
        let name = cluster.setting.to_string();
        Side { target, others: Vec::new(), labels: Labels::new().with("setting", &name), name }
    };
    clusters.iter().zip(targets).map(side).collect()
}

/// The first cluster alone, and all of them with a part of the keys each.
fn one_and_all<'a>(targets: &'a [Target<'a>]) -> Vec<Side<'a>> {
    let Some((target, others)) = targets.split_first() else { return Vec::new() };
    let side = |others: Vec<&'a Target<'a>>| {
        let shards = (others.len() + 1).to_string();
        Side { target, labels: Labels::new().with("shards", &shards), name: format!("shards={shards}"), others }
    };
    vec![side(Vec::new()), side(others.iter().collect())]
}

/// What keys in several clusters can no longer do.
fn apart(shards: usize) -> Finding {
    let text = format!(
        "a transaction, a lease and the order of a watch are of one cluster: of {shards} shards two keys that are picked at random share one in 1 of {shards} cases, and the others cannot be changed together"
    );
    Finding::new("etcd_shards_apart", Severity::Info, text)
}

/// Removes the folders of clusters whose run was killed.
fn sweep(spawn: &SpawnSpec) -> Vec<Warning> {
    let places = spawn.settings.iter().filter_map(Setting::folder).map(PathBuf::from).chain([std::env::temp_dir()]);
    owner::sweep_all(places).into_iter().map(|text| Warning::new("leftover", text)).collect()
}

async fn start(spawn: &SpawnSpec, shards: usize) -> Result<Vec<Cluster>, EtcdError> {
    let mut clusters = Vec::new();
    for setting in &spawn.settings {
        for _ in 0..shards {
            clusters.push(Cluster::start(&spawn.program, setting.clone(), spawn.members).await?);
        }
    }
    Ok(clusters)
}

async fn in_rounds(
    rounds: u32,
    sides: &[Side<'_>],
    cell: Cell,
    session: &mut Session<'_>,
) -> Result<Vec<Progress>, EtcdError> {
    let mut progress: Vec<Progress> = sides.iter().map(|_| Progress::default()).collect();
    for round in 0..rounds {
        for step in 0..sides.len() {
            if session.is_over() {
                return Ok(progress);
            }
            let at = if round % 2 == 0 { step } else { sides.len() - 1 - step };
            session.stage(&format!("round {} of {rounds}, {}: {}", round + 1, sides[at].name, cell.labels_text()));
            let earlier = progress[at].measurement.take();
            let before = earlier.as_ref().map_or((0.0, 0.0), so_far);
            let others = &sides[at].others;
            let part = Round { cell, labels: &sides[at].labels, rounds, earlier, others };
            let Some(measurement) = sides[at].target.measure(part, session).await? else { return Ok(progress) };
            let now = so_far(&measurement);
            progress[at].rates.push((now.0 - before.0) / (now.1 - before.1));
            let is_stopped = measurement.stopped.is_some();
            progress[at].measurement = Some(measurement);
            if is_stopped {
                return Ok(progress);
            }
        }
    }
    session.keep(progress.iter().flat_map(|one| &one.measurement).flat_map(|one| &one.lanes));
    Ok(progress)
}

/// Answered requests and the seconds they took.
fn so_far(measurement: &Measurement) -> (f64, f64) {
    let answered: u64 = measurement.lanes.iter().map(|lane| lane.counts().ok_count).sum();
    (answered as f64, measurement.recorded.as_secs_f64())
}

/// The 99th percentile of all rounds of the first lane.
fn p99_of(progress: &Progress) -> Option<u64> {
    let lane = progress.measurement.as_ref()?.lanes.first()?.clone();
    lane.into_series().first()?.summary.p99_ns
}

/// Each setting against the first.
fn differences(cell: Cell, sides: &[Side<'_>], progress: &[Progress]) -> Vec<Finding> {
    let (Some((base, others)), Some((first, rest))) = (progress.split_first(), sides.split_first()) else {
        return Vec::new();
    };
    let pairs = others.iter().zip(rest);
    pairs.filter_map(|(other, side)| difference(cell, &first.name, &side.name, (base, other))).collect()
}

fn difference(cell: Cell, base: &str, other: &str, progress: (&Progress, &Progress)) -> Option<Finding> {
    let mut ratios: Vec<f64> = progress.1.rates.iter().zip(&progress.0.rates).map(|(b, a)| b / a).collect();
    ratios.retain(|ratio| ratio.is_finite());
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (*ratios.first()?, *ratios.last()?);
    let middle = (ratios.len() - 1) / 2;
    let median = f64::midpoint(ratios[middle], ratios[ratios.len() / 2]);
    let verdict = match ratios.len() {
        n if n < LEAST_ROUNDS => "too few rounds to tell",
        _ if least > 1.0 => "faster in every round",
        _ if most < 1.0 => "slower in every round",
        _ => "no clear difference",
    };
    let what = cell.labels_text();
    let text = format!("{other} against {base}, {what}: {verdict}");
    let mut evidence = vec![format!(
        "requests a second {median:.2} times as many (median of {} rounds, {least:.2} to {most:.2})",
        ratios.len()
    )];
    evidence.extend(
        p99_of(progress.0).zip(p99_of(progress.1)).map(|(before, now)| {
            format!("p99 {} instead of {}, of all rounds together", duration(now), duration(before))
        }),
    );
    Some(Finding::new("etcd_setting", Severity::Info, text).with_evidence(evidence))
}
