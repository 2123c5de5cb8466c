//! One setting of etcd against another: a cluster each, every measurement in turns on all of them.
//!
//! In turns, because a machine changes while it is measured: what one minute gives to one setting it must give to the
//! others too. Each turn goes through the settings in the opposite order of the one before (A B B A). A difference is
//! called one when every turn shows it: among six turns that happens by chance in 2 of 64 cases, 3 %.

use std::path::PathBuf;

use super::bed::{Bed, Measurement, Turn};
use super::plan::{Cell, cells};
use super::spawn::{Cluster, Setting, SpawnSpec};
use super::spec::EtcdSpec;
use super::stop::Stopped;
use super::{EtcdError, summary, tell_stops};
use crate::load::Session;
use crate::model::{Finding, Labels, Measured, Severity, Warning};
use crate::sys::owner;
use crate::wire::Url;

/// Turns below which agreement of all says nothing.
const LEAST_TURNS: usize = 6;

/// One cluster that is ready to be measured.
struct Side<'a> {
    bed: Bed<'a>,
    setting: Setting,
    labels: Labels,
}

/// One cell on one cluster, turn by turn.
#[derive(Default)]
struct Course {
    measurement: Option<Measurement>,
    /// Requests a second in each turn.
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
        let (bed, setting) = (Bed::open(spec, &endpoints).await?, cluster.setting.clone());
        sides.push(Side { bed, labels: Labels::new().with("setting", &setting.to_string()), setting });
    }
    let mut done: Vec<Vec<Measurement>> = sides.iter().map(|_| Vec::new()).collect();
    let mut findings = Vec::new();
    for cell in cells(spec) {
        if session.is_over() {
            break;
        }
        let courses = in_turns(spawn.rounds, &sides, cell, session).await?;
        findings.extend(differences(cell, &sides, &courses));
        for (done, course) in done.iter_mut().zip(courses) {
            done.extend(course.measurement);
        }
        if done.iter().filter_map(|done| done.last()?.stopped).any(Stopped::is_final) {
            break;
        }
    }
    all.interrupted = session.is_over();
    for (Side { bed, setting, labels }, measurements) in sides.iter().zip(&done) {
        let mut one = summary::assemble(bed, labels, measurements);
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

async fn in_turns(
    rounds: u32,
    sides: &[Side<'_>],
    cell: Cell,
    session: &mut Session<'_>,
) -> Result<Vec<Course>, EtcdError> {
    let mut courses: Vec<Course> = sides.iter().map(|_| Course::default()).collect();
    for round in 0..rounds {
        for step in 0..sides.len() {
            if session.is_over() {
                return Ok(courses);
            }
            let at = if round % 2 == 0 { step } else { sides.len() - 1 - step };
            session.stage(&format!("turn {} of {rounds}, {}: {}", round + 1, sides[at].setting, cell.labels_text()));
            let earlier = courses[at].measurement.take();
            let before = earlier.as_ref().map_or((0.0, 0.0), so_far);
            let turn = Turn { cell, labels: &sides[at].labels, rounds, earlier };
            let Some(measurement) = sides[at].bed.measure(turn, session).await? else { return Ok(courses) };
            let now = so_far(&measurement);
            courses[at].rates.push((now.0 - before.0) / (now.1 - before.1));
            let is_stopped = measurement.stopped.is_some();
            courses[at].measurement = Some(measurement);
            if is_stopped {
                return Ok(courses);
            }
        }
    }
    session.keep(courses.iter().flat_map(|course| &course.measurement).flat_map(|one| &one.lanes));
    Ok(courses)
}

/// Answered requests and the seconds they took.
fn so_far(measurement: &Measurement) -> (f64, f64) {
    let answered: u64 = measurement.lanes.iter().map(|lane| lane.counts().ok_count).sum();
    (answered as f64, measurement.recorded.as_secs_f64())
}

/// Each setting against the first.
fn differences(cell: Cell, sides: &[Side<'_>], courses: &[Course]) -> Vec<Finding> {
    let (Some((base, others)), Some((first, rest))) = (courses.split_first(), sides.split_first()) else {
        return Vec::new();
    };
    let pairs = others.iter().zip(rest);
    pairs.filter_map(|(other, side)| difference(cell, &first.setting, &side.setting, (base, other))).collect()
}

fn difference(cell: Cell, base: &Setting, other: &Setting, courses: (&Course, &Course)) -> Option<Finding> {
    let mut ratios: Vec<f64> = courses.1.rates.iter().zip(&courses.0.rates).map(|(b, a)| b / a).collect();
    ratios.retain(|ratio| ratio.is_finite());
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (*ratios.first()?, *ratios.last()?);
    let middle = (ratios.len() - 1) / 2;
    let median = f64::midpoint(ratios[middle], ratios[ratios.len() / 2]);
    let verdict = match ratios.len() {
        n if n < LEAST_TURNS => "too few turns to tell",
        _ if least > 1.0 => "faster in every turn",
        _ if most < 1.0 => "slower in every turn",
        _ => "no clear difference",
    };
    let what = cell.labels_text();
    let text = format!("{other} against {base}, {what}: {verdict}");
    let evidence = vec![format!(
        "requests a second {median:.2} times as many (median of {} turns, {least:.2} to {most:.2})",
        ratios.len()
    )];
    Some(Finding::new("etcd_setting", Severity::Info, text).with_evidence(evidence))
}
