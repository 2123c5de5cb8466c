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
use crate::model::{Finding, Labels, Measured, Severity, Warning};
use crate::sys::owner;
use crate::wire::Url;

/// Rounds below which agreement of all says nothing.
const LEAST_ROUNDS: usize = 6;

/// One cluster that is ready to be measured.
struct Side<'a> {
    target: Target<'a>,
    setting: Setting,
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
    let Some(clusters) = session.prepare(start(spawn)).await else { return Ok(all) };
    let clusters = clusters?;
    let mut sides = Vec::new();
    for cluster in &clusters {
        let endpoints: Vec<Url> = cluster.endpoints().cloned().collect();
        let (target, setting) = (Target::open(spec, &endpoints).await?, cluster.setting.clone());
        sides.push(Side { target, labels: Labels::new().with("setting", &setting.to_string()), setting });
    }
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
    for (Side { target, setting, labels }, measurements) in sides.iter().zip(&done) {
        let mut one = summary::assemble(target, labels, measurements);
        tell_stops(&mut one, measurements);
        for finding in &mut one.findings {
            finding.text = format!("with {setting}: {}", finding.text);
            // The cluster that the command names is gone when it is read.
            finding.advice.iter_mut().for_each(|advice| advice.verify = None);
        }
        all = all.and(one);
    }
    all.findings.extend(findings);
    Ok(all)
}

/// Removes the folders of clusters whose run was killed.
fn sweep(spawn: &SpawnSpec) -> Vec<Warning> {
    let places = spawn.settings.iter().filter_map(Setting::folder).map(PathBuf::from).chain([std::env::temp_dir()]);
    owner::sweep_all(places).into_iter().map(|text| Warning::new("leftover", text)).collect()
}

async fn start(spawn: &SpawnSpec) -> Result<Vec<Cluster>, EtcdError> {
    let mut clusters = Vec::new();
    for setting in &spawn.settings {
        clusters.push(Cluster::start(&spawn.program, setting.clone(), spawn.members).await?);
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
            session.stage(&format!("round {} of {rounds}, {}: {}", round + 1, sides[at].setting, cell.labels_text()));
            let earlier = progress[at].measurement.take();
            let before = earlier.as_ref().map_or((0.0, 0.0), so_far);
            let part = Round { cell, labels: &sides[at].labels, rounds, earlier };
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

/// Each setting against the first.
fn differences(cell: Cell, sides: &[Side<'_>], progress: &[Progress]) -> Vec<Finding> {
    let (Some((base, others)), Some((first, rest))) = (progress.split_first(), sides.split_first()) else {
        return Vec::new();
    };
    let pairs = others.iter().zip(rest);
    pairs.filter_map(|(other, side)| difference(cell, &first.setting, &side.setting, (base, other))).collect()
}

fn difference(cell: Cell, base: &Setting, other: &Setting, progress: (&Progress, &Progress)) -> Option<Finding> {
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
    let evidence = vec![format!(
        "requests a second {median:.2} times as many (median of {} rounds, {least:.2} to {most:.2})",
        ratios.len()
    )];
    Some(Finding::new("etcd_setting", Severity::Info, text).with_evidence(evidence))
}
