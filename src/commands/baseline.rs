//! What runs are compared with: files, a folder, or the newest stored runs with a label.
//!
//! Separate because measuring commands, `report` and `offload.toml` name a baseline the same way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::catalogue;
use super::measuring::exit_of_gate;
use super::output_args::parse_label;
use super::value::{parse_share, parse_whole};
use crate::console;
use crate::context::{Store, read_run};
use crate::error::{Exit, Failure};
use crate::model::{Comparisons, GateReport, Run, Verdict};
use crate::stats::{self, Gate, Policy};

/// Shifts up to which nobody cares, where nobody says otherwise.
const TOLERANCE: f64 = 0.05;

/// Stored runs that are taken where nobody says how many.
const NEWEST: u32 = 10;

/// Seed of the bootstrap: the same runs give the same verdict.
const SEED: u64 = 1;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Baseline")]
pub struct BaselineArgs {
    /// Compare with this run, or with all runs of this folder; may repeat
    #[arg(long, value_name = "FILE|DIR")]
    baseline: Vec<PathBuf>,
    /// Compare with the newest stored runs that have this label; may repeat
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    baseline_label: Vec<(String, String)>,
    /// Compare with the newest N stored runs of the same command [default: 10 with --baseline-label]
    #[arg(long, value_name = "N", value_parser = parse_whole::<u32>)]
    baseline_last: Option<u32>,
    /// Changes up to this do not matter; for loss and errors a tenth of it, in percentage points [default: 5%]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub tolerance: Option<f64>,
}

/// The same in `offload.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineFile {
    files: Vec<PathBuf>,
    labels: BTreeMap<String, String>,
    last: Option<u32>,
    tolerance: Option<String>,
}

impl BaselineFile {
    /// As if it had been typed.
    ///
    /// # Errors
    /// A sentence for the usage error.
    pub fn args(self) -> Result<BaselineArgs, String> {
        let tolerance = self.tolerance.as_deref().map(parse_share).transpose();
        let tolerance = tolerance.map_err(|error| format!("`tolerance`: {error}"))?;
        let last = self.last.filter(|last| *last > 0);
        Ok(BaselineArgs {
            baseline: self.files,
            baseline_label: self.labels.into_iter().collect(),
            baseline_last: last,
            tolerance,
        })
    }
}

/// The runs to compare with, read before anything is measured.
#[derive(Debug)]
pub struct Baseline {
    /// Of the files named; empty where stored runs are taken.
    named: Vec<Run>,
    args: BaselineArgs,
}

impl BaselineArgs {
    /// What was typed, and what the file says where nothing was.
    pub fn or(&self, file: &Self) -> Self {
        let tolerance = self.tolerance.or(file.tolerance);
        let chosen = if self.is_named() { self } else { file };
        Self { tolerance, ..chosen.clone() }
    }

    /// Whether anything was named to compare with.
    pub fn is_named(&self) -> bool {
        !self.baseline.is_empty() || !self.baseline_label.is_empty() || self.baseline_last.is_some()
    }

    /// Reads what was named; `None` where no baseline was asked for.
    ///
    /// # Errors
    /// When a file cannot be read or is no run; of a folder such files are told and left out.
    pub fn read(&self) -> Result<Option<Baseline>, Failure> {
        if !self.is_named() {
            return Ok(None);
        }
        let mut named: Vec<Run> = Vec::new();
        for path in &self.baseline {
            for run in runs_at(path)? {
                add_once(&mut named, run);
            }
        }
        Ok(Some(Baseline { named, args: self.clone() }))
    }
}

/// A run that is given twice would be two that do not differ.
fn add_once(runs: &mut Vec<Run>, run: Run) {
    if runs.iter().any(|known| known.id == run.id) {
        console::say(format_args!("run {} was given twice and counts once", run.id));
    } else {
        runs.push(run);
    }
}

/// The run of a file, or every run of a folder.
fn runs_at(path: &Path) -> Result<Vec<Run>, Failure> {
    if !path.is_dir() {
        return Ok(vec![read_run(path)?]);
    }
    let unreadable = |error| Failure::file("cannot read the runs in", path, &error);
    let entries = fs::read_dir(path).map_err(unreadable)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "json")).collect();
    files.sort();
    let mut runs = Vec::new();
    for file in files {
        match read_run(&file) {
            Ok(run) => runs.push(run),
            Err(failure) => console::say(format_args!("left out: {}", failure.what())),
        }
    }
    match runs.is_empty() {
        true => Err(Failure::plain(Exit::Unable, format!("there is no run in `{}`", path.display()))),
        false => Ok(runs),
    }
}

impl Baseline {
    /// The runs to compare these with: those named, else the newest stored ones of the same command that are not among them.
    ///
    /// # Errors
    /// When there are none, or when a run would be compared with itself (usage).
    fn runs(&self, current: &[Run], store: Option<&Store>) -> Result<Vec<Run>, Failure> {
        if let Some(run) = self.named.iter().find(|run| current.iter().any(|other| other.id == run.id)) {
            let what = format!("run {} is on both sides: a run is not compared with itself", run.id);
            return Err(Failure::plain(Exit::Usage, what));
        }
        let mut runs = self.named.clone();
        let Some(store) = store.filter(|_| !self.args.baseline_label.is_empty() || self.args.baseline_last.is_some())
        else {
            return Ok(runs);
        };
        let (most, before) = (self.args.baseline_last.unwrap_or(NEWEST) as usize, runs.len());
        for path in store.files()? {
            if runs.len() - before == most {
                break;
            }
            let Ok(run) = read_run(&path) else { continue };
            let is_labelled = self.args.baseline_label.iter().all(|(key, value)| run.labels.get(key) == Some(value));
            let is_other = !current.iter().chain(&runs).any(|other| other.id == run.id);
            if is_labelled && is_other && run.complete && current.iter().any(|other| other.command == run.command) {
                runs.push(run);
            }
        }
        match runs.is_empty() {
            true => Err(Failure::plain(Exit::Unable, "no stored run fits the baseline that was asked for")
                .hint("see `offloadctl report --list`, or name files with --baseline")),
            false => Ok(runs),
        }
    }

    /// Compares these runs with the baseline, and judges the gates whose limit it is.
    ///
    /// # Errors
    /// When there is no baseline, or a gate names what the two sides do not have in common.
    pub fn compare(&self, current: &[Run], gates: &[Gate], store: Option<&Store>) -> Result<Compared, Failure> {
        let baseline = self.runs(current, store)?;
        compare(baseline, current, gates, self.args.tolerance)
    }
}

/// Two sides, and what came of them.
#[derive(Debug)]
pub struct Compared {
    /// The runs of the baseline.
    pub baseline: Vec<Run>,
    /// Each comparison.
    pub comparisons: Comparisons,
    /// The gates whose limit is the baseline.
    pub gate: GateReport,
}

/// Compares two sides, and judges the gates whose limit is the baseline.
///
/// # Errors
/// When a gate names what the two sides do not have in common (usage).
pub fn compare(
    baseline: Vec<Run>,
    current: &[Run],
    gates: &[Gate],
    tolerance: Option<f64>,
) -> Result<Compared, Failure> {
    let policy = Policy { tolerance: tolerance.unwrap_or(TOLERANCE), gates, seed: SEED };
    let comparisons = stats::compare(&baseline, current, &policy, catalogue::find);
    let judged = stats::judge_relative(gates, [&baseline, current], SEED, catalogue::find).map_err(Failure::usage)?;
    Ok(Compared { baseline, comparisons, gate: GateReport::of(judged) })
}

/// What gates and baseline say of some runs.
#[derive(Debug, Default)]
pub struct Judged {
    /// The gates, where there are any.
    pub gate: Option<GateReport>,
    /// The comparison, where there is a baseline.
    pub compared: Option<Compared>,
}

impl Judged {
    /// Judges runs by their gates and against their baseline.
    ///
    /// # Errors
    /// When a gate names what there is not (usage), or the baseline has no runs.
    pub fn of(
        runs: &[Run],
        gates: &[Gate],
        baseline: Option<&Baseline>,
        store: Option<&Store>,
    ) -> Result<Self, Failure> {
        let Some(baseline) = baseline else { return Self::with(runs, gates, None) };
        let mut once: Vec<Run> = Vec::new();
        for run in runs {
            add_once(&mut once, run.clone());
        }
        let compared = Some(baseline.compare(&once, gates, store)?);
        Self::with(runs, gates, compared)
    }

    /// The same where the comparison is there already.
    ///
    /// # Errors
    /// When a gate names what there is not (usage).
    pub fn with(runs: &[Run], gates: &[Gate], compared: Option<Compared>) -> Result<Self, Failure> {
        if gates.is_empty() {
            return Ok(Self { gate: None, compared });
        }
        let mut results = stats::judge(gates, runs, catalogue::find).map_err(Failure::usage)?.results;
        results.extend(compared.iter().flat_map(|compared| compared.gate.results.clone()));
        Ok(Self { gate: Some(GateReport::of(results)), compared })
    }

    /// The comparison, for a report.
    pub fn comparisons(&self) -> Option<&Comparisons> {
        self.compared.as_ref().map(|compared| &compared.comparisons)
    }

    /// The exit code that all of it asks for: bad outweighs inconclusive.
    pub fn exit(&self) -> Exit {
        let gate = self.gate.as_ref().map(exit_of_gate);
        let all = [gate, self.comparisons().map(exit_of)];
        let asked = |exit: Exit| all.into_iter().flatten().any(|one| one == exit);
        match () {
            () if asked(Exit::Bad) => Exit::Bad,
            () if asked(Exit::Inconclusive) => Exit::Inconclusive,
            () => Exit::Fine,
        }
    }
}

/// The exit code that a comparison asks for.
fn exit_of(comparisons: &Comparisons) -> Exit {
    match comparisons.verdict() {
        Verdict::Regression => Exit::Bad,
        Verdict::NotEnoughData => Exit::Inconclusive,
        Verdict::NoRegression | Verdict::Improvement => Exit::Fine,
    }
}

/// A gate against a baseline that nobody named.
///
/// # Errors
/// A usage error.
pub fn check(gates: &[Gate], baseline: Option<&Baseline>) -> Result<(), Failure> {
    match gates.iter().find(|gate| gate.is_relative()) {
        Some(gate) if baseline.is_none() => {
            Err(Failure::plain(Exit::Usage, format!("`{gate}`: there is no baseline to judge it by"))
                .hint("give --baseline FILE, or --baseline-label KEY=VALUE for stored runs"))
        }
        _ => Ok(()),
    }
}
