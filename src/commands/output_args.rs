//! The arguments of everything that shows or measures: what to do with a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::baseline::BaselineArgs;
use super::config::Config;
use super::value::one_of;
use crate::console;
use crate::context::{OutputFile, Store};
use crate::error::{Exit, Failure};
use crate::model::{Finding, Run, Severity, words};
use crate::report::{Format, Report};
use crate::stats::Gate;

/// What every command that shows runs takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ShowArgs {
    /// Print JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = one_of::<Format>(Format::NAMES))]
    format: Format,
    /// Show everything: every series and scalar, every histogram, the evidence of each finding
    #[arg(long)]
    detail: bool,
    /// Write to a file too, in the format of its suffix (.html, .json, .md, .csv, .txt, .xml, .prom); may repeat
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Fail (exit 1) if this is true of a series, such as 'rtt.echo{target=dc}.p95 > 10ms'; may repeat
    #[arg(long, value_name = "EXPR")]
    pub fail_if: Vec<Gate>,
    /// Fail (exit 1) on a finding of at least this severity
    #[arg(long, value_name = "SEVERITY", value_parser = one_of::<FailOn>(FailOn::NAMES))]
    fail_on: Option<FailOn>,
    /// Targets and gates of a project [default: offload.toml, where there is one]
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Where runs are kept [default: the XDG state folder]
    #[arg(long, value_name = "DIR", env = "OFFLOADCTL_RUNS_DIR")]
    runs_dir: Option<PathBuf>,
    #[command(flatten)]
    pub baseline: BaselineArgs,
}

/// From which severity on a finding fails a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailOn {
    Notice,
    Problem,
}

words!(FailOn { Notice = "notice", Problem = "problem" });

/// What every command that measures takes besides.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    #[command(flatten)]
    pub show: ShowArgs,
    /// A label of your own for the run; may repeat
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Keep no run file
    #[arg(long)]
    no_save: bool,
    /// No progress line and no notes on stderr; errors are still said
    #[arg(short, long)]
    pub quiet: bool,
}

impl ShowArgs {
    /// The format for stdout.
    #[must_use]
    pub const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// How to show it; the runs are the caller's.
    #[must_use]
    pub fn report(&self) -> Report<'static> {
        Report { width: console::width(), detail: self.detail, ..Report::default() }
    }

    /// Takes the configuration that stands where other commands have their targets.
    ///
    /// # Errors
    /// A usage error where another one is named by `--config`.
    pub fn use_config(&mut self, file: PathBuf) -> Result<(), Failure> {
        match self.config.replace(file) {
            Some(_) => Err(Failure::plain(Exit::Usage, "two configurations are named: leave --config out")),
            None => Ok(()),
        }
    }

    /// What `offload.toml` says, or the file that was named.
    ///
    /// # Errors
    /// Where it cannot be read or holds a mistake.
    pub fn config(&self) -> Result<Config, Failure> {
        Config::read(self.config.as_deref())
    }

    /// The findings that fail these runs, where findings were asked to.
    #[must_use]
    pub fn failing(&self, runs: &[Run]) -> Vec<String> {
        let is_failing = |finding: &&Finding| match self.fail_on {
            None => false,
            Some(FailOn::Notice) => finding.severity != Severity::Info,
            Some(FailOn::Problem) => finding.severity == Severity::Problem,
        };
        let findings = runs.iter().flat_map(|run| &run.findings).filter(is_failing);
        findings.map(|finding| format!("{}: {}", finding.id, finding.text)).collect()
    }

    /// Opens every output before anything is done.
    ///
    /// # Errors
    /// When a suffix is unknown (usage) or a place cannot be written.
    pub fn open(&self) -> Result<Vec<(Format, OutputFile)>, Failure> {
        self.output.iter().map(|path| Ok((format_of(path)?, OutputFile::open(path)?))).collect()
    }

    /// Writes a report to the outputs and prints it.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn print(&self, outputs: Vec<(Format, OutputFile)>, report: Report) -> Result<(), Failure> {
        for (format, file) in outputs {
            file.write(&format.reporter().render(&report))?;
        }
        let report = Report { colour: console::has_colour(), ..report };
        console::data(&self.format().reporter().render(&report))
    }

    /// The folder of runs.
    ///
    /// # Errors
    /// When nothing says where it is.
    pub fn store(&self) -> Result<Store, Failure> {
        Store::locate(self.runs_dir.clone())
    }
}

impl OutputArgs {
    /// Of a command whose run is shown and not kept.
    #[must_use]
    pub const fn unkept(show: ShowArgs, quiet: bool) -> Self {
        Self { show, labels: Vec::new(), no_save: true, quiet }
    }

    /// The folder of runs, shown to be writable; `None` with `--no-save`.
    ///
    /// # Errors
    /// When runs cannot be kept there.
    pub fn store(&self) -> Result<Option<Store>, Failure> {
        if self.no_save {
            return Ok(None);
        }
        let store = self.show.store()?;
        store.prepare()?;
        Ok(Some(store))
    }

    /// The user's labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

/// The format of a file by its suffix; a usage error lists the suffixes.
fn format_of(path: &Path) -> Result<Format, Failure> {
    let named: Option<Format> = path.to_str().and_then(|text| text.parse().ok());
    let hint = named.map(|_| format!("did you mean --format {}?", path.display()));
    Format::from_suffix(path).map_err(|error| Failure::usage(error).hinted(hint))
}

pub fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not `KEY=VALUE`".to_owned()),
    }
}
