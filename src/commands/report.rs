//! `offloadctl report`: stored runs, shown, merged and judged.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::baseline::{self, Judged};
use super::catalogue;
use super::measuring::say_gate;
use super::output_args::ShowArgs;
use super::value::{parse_positive, parse_whole};
use crate::console;
use crate::context::{OutputFile, read_run};
use crate::error::{Exit, Failure};
use crate::model::Run;
use crate::report::{Format, Report, plain_table};
use crate::stats::{self, Gate};
use crate::sys::clock;

/// Runs of a trend where nobody says how many.
const TREND_RUNS: usize = 50;

/// Targets that a line of the list names.
const NAMED: usize = 3;

const EXAMPLES: &str = "Examples:
  offloadctl report                                   the newest run
  offloadctl report --list                            all stored runs
  offloadctl report --last 5                          the five newest
  offloadctl report a.json b.json --merge --format markdown
  offloadctl report --json --fail-if 'rtt.echo{target=dc}.p95 > 10ms'
  Did it get worse, against one run, and against the ten newest of the main branch?
    offloadctl report --baseline before.json after.json
    offloadctl report --baseline-label branch=main
  With which run did it change?
    offloadctl report --trend 'rtt.echo{target=dc}.p95'

A gate names what is bad: SERIES{label=value}.STATISTIC OP LIMIT. It is judged on the 95 %
interval of the statistic: exit 1 if all of it is bad, 0 if none of it is, 4 if there is not
enough data to say.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Run files; the newest stored run where none is given
    #[arg(value_name = "FILE", conflicts_with_all = ["last", "list", "prune"])]
    files: Vec<PathBuf>,
    /// The newest N stored runs
    #[arg(long, value_name = "N", value_parser = parse_whole::<u32>, conflicts_with_all = ["list", "prune"])]
    last: Option<u32>,
    /// One figure of the stored runs over time, such as 'rtt.echo{target=dc}.p95'; with --last [default: 50] or --since
    #[arg(long, value_name = "FIGURE", value_parser = parse_figure, conflicts_with_all = ["list", "prune", "merge", "baseline"])]
    trend: Option<Figure>,
    /// With --trend: only runs that began within this span until now
    #[arg(long, value_name = "SPAN", value_parser = parse_positive, requires = "trend")]
    since: Option<Duration>,
    /// Merge valid runs of one spec into one, so that a rare quantile has the sample it needs
    #[arg(long)]
    merge: bool,
    /// List the stored runs
    #[arg(long, conflicts_with_all = ["prune", "fail_if", "output"])]
    list: bool,
    /// Delete all but the newest stored runs (see --keep)
    #[arg(long, conflicts_with_all = ["fail_if", "output"])]
    prune: bool,
    /// How many runs --prune leaves
    #[arg(long, value_name = "N", default_value_t = 100, requires = "prune")]
    keep: usize,
    #[command(flatten)]
    show: ShowArgs,
}

/// Shows, lists or prunes.
///
/// # Errors
/// When a run cannot be read, a gate cannot be judged, or an output cannot be written.
pub fn run(args: ReportArgs) -> Result<Exit, Failure> {
    if args.list {
        return list(&args);
    }
    if args.prune {
        return prune(&args);
    }
    if let Some(figure) = &args.trend {
        return trend(&args, figure);
    }
    let config = args.show.config()?;
    if let Some(told) = config.told() {
        console::say(told);
    }
    let outputs = args.show.open()?;
    let gates = |runs: &[Run]| config.gates_of(&args.show.fail_if, runs);
    let baseline = args.show.baseline.or(&config.baseline).read()?;
    let (mut runs, unreadable) = args.runs()?;
    baseline::check(&gates(&runs), baseline.as_ref())?;
    if args.merge && baseline.is_none() {
        runs = stats::merge_runs(runs);
    }
    for merged in runs.iter_mut().filter(|run| !run.merged_from.is_empty()) {
        merged.answer = catalogue::answer(merged);
    }
    let judged = Judged::of(&runs, &gates(&runs), baseline.as_ref(), args.show.store().ok().as_ref())?;
    let exit = show(&args.show, outputs, &runs, &judged)?;
    // What there is has been shown; a run that is missing among it must not pass for one that is good.
    unreadable.map_or(Ok(exit), Err)
}

/// Writes and prints runs with what gates and baseline say of them.
///
/// # Errors
/// When an output cannot be written.
pub fn show(
    args: &ShowArgs,
    outputs: Vec<(Format, OutputFile)>,
    runs: &[Run],
    judged: &Judged,
) -> Result<Exit, Failure> {
    let baseline = judged.compared.as_ref().map_or(&[][..], |compared| &compared.baseline);
    let pages = [catalogue::pages(baseline), catalogue::pages(runs)].concat();
    let report =
        Report { pages: &pages, gate: judged.gate.as_ref(), comparisons: judged.comparisons(), ..args.report() };
    summarise(args.format(), &report)?;
    args.print(outputs, report)?;
    if let Some(gate) = &judged.gate {
        say_gate(gate);
    }
    let bad = args.failing(runs);
    bad.iter().for_each(|reason| console::say(format_args!("bad: {reason}")));
    Ok(if bad.is_empty() { judged.exit() } else { Exit::Bad })
}

/// With annotations comes the summary of the job, where the runner of a workflow says where it belongs.
///
/// # Errors
/// When that file cannot be written.
pub fn summarise(format: Format, report: &Report) -> Result<(), Failure> {
    let Some(path) =
        std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| format == Format::Github && !path.is_empty())
    else {
        return Ok(());
    };
    let (path, text) = (PathBuf::from(path), Format::Markdown.reporter().render(report));
    let written = fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::file("cannot write the summary of the job", &path, &error))
}

impl ReportArgs {
    /// The runs, and why one of the newest could not be read where there are others to show.
    fn runs(&self) -> Result<(Vec<Run>, Option<Failure>), Failure> {
        if !self.files.is_empty() {
            return Ok((self.files.iter().map(|path| read_run(path)).collect::<Result<_, _>>()?, None));
        }
        let store = self.show.store()?;
        let mut files = store.files()?;
        files.truncate(self.last.unwrap_or(1) as usize);
        if files.is_empty() {
            let what = format!("no run is stored in `{}`", store.folder().display());
            return Err(Failure::plain(Exit::Unable, what)
                .hint("measure something first, such as `offloadctl probe rtt --emulate local-dc`"));
        }
        // Oldest first, as files on the command line would be given.
        let (mut runs, mut failures) = (Vec::new(), Vec::new());
        for path in files.iter().rev() {
            match read_run(path) {
                Ok(run) => runs.push(run),
                Err(failure) => failures.push(failure),
            }
        }
        let last = failures.pop();
        failures.iter().for_each(console::say);
        match last {
            Some(failure) if runs.is_empty() => Err(failure),
            last => Ok((runs, last)),
        }
    }
}

/// A statistic of a series, or a scalar, as a gate names it.
#[derive(Clone, Debug)]
struct Figure {
    text: String,
    gate: Gate,
}

fn parse_figure(text: &str) -> Result<Figure, String> {
    let gate: Gate = format!("{text} > baseline").parse().map_err(|_| {
        "it is not a figure: write SERIES{label=value}.STATISTIC, such as rtt.echo{target=dc}.p95, or SCALAR".to_owned()
    })?;
    let is_known = catalogue::ALL.into_iter().any(|one| catalogue::check_gate(one, &gate).is_ok());
    if is_known { Ok(Figure { text: text.to_owned(), gate }) } else { Err("no command measures it".to_owned()) }
}

/// One figure over time, of the files given or of the stored runs.
fn trend(args: &ReportArgs, figure: &Figure) -> Result<Exit, Failure> {
    let outputs = args.show.open()?;
    let since = args.since.map(|span| clock::wall_now().unix_nanos() - span.as_nanos().cast_signed());
    let mut runs = Vec::new();
    let most = args.last.map_or(if since.is_some() { usize::MAX } else { TREND_RUNS }, |last| last as usize);
    let files = if args.files.is_empty() { args.show.store()?.files()? } else { args.files.clone() };
    for path in files {
        if runs.len() == most {
            break;
        }
        match read_run(&path) {
            Ok(run) if since.is_some_and(|since| run.started_at.unix_nanos() < since) => {}
            Ok(run)
                if catalogue::find(&run.command).is_some_and(|one| one.find(figure.gate.subject_name()).is_some()) =>
            {
                runs.push(run);
            }
            Ok(_) => {}
            Err(failure) => console::say(format_args!("left out: {}", failure.what())),
        }
    }
    let trend = stats::trend(&figure.gate, &figure.text, &runs).map_err(|names| {
        let what = format!("`{}` is several series: {}", figure.text, names.join(", "));
        Failure::plain(Exit::Usage, what).hint("name one of them by its labels")
    })?;
    if trend.points.is_empty() {
        return Err(Failure::plain(Exit::Unable, format!("no stored run has `{}`", figure.text))
            .hint("see `offloadctl report --list`"));
    }
    args.show.print(outputs, Report { trend: Some(&trend), ..args.show.report() })?;
    Ok(Exit::Fine)
}

fn list(args: &ReportArgs) -> Result<Exit, Failure> {
    let mut entries = Vec::new();
    for path in args.show.store()?.files()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        entries.push((name, read_run(&path)));
    }
    if args.show.format() == Format::Json {
        let list: Vec<_> = entries.iter().map(|(name, run)| listed(name, run)).collect();
        console::data(&(serde_json::to_string_pretty(&list).map_err(Failure::unable)? + "\n"))?;
        return Ok(Exit::Fine);
    }
    let header = ["run", "command", "of", "labels", "state"];
    let rows = entries.iter().map(|(name, run)| match run {
        Ok(run) => vec![
            name.clone(),
            run.command.clone(),
            subjects(run),
            run.labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(" "),
            state(run).to_owned(),
        ],
        Err(failure) => {
            vec![name.clone(), String::new(), String::new(), String::new(), format!("unreadable: {}", failure.what())]
        }
    });
    console::data(&(plain_table(&header, rows) + "\n"))?;
    Ok(Exit::Fine)
}

fn listed(name: &str, run: &Result<Run, Failure>) -> serde_json::Value {
    match run {
        Ok(run) => serde_json::json!({
            "id": name, "command": run.command, "started_at": run.started_at, "complete": run.complete,
            "valid": run.validity.valid, "labels": run.labels, "error": null
        }),
        Err(failure) => serde_json::json!({
            "id": name, "command": null, "started_at": null, "complete": null,
            "valid": null, "labels": null, "error": failure.what()
        }),
    }
}

/// What was measured, the first few of it: targets, paths or endpoints.
fn subjects(run: &Run) -> String {
    let mut all: Vec<&str> = Vec::new();
    for series in run.responses() {
        let label = |name| series.labels.value(name);
        all.extend(label("target").or_else(|| label("path")).filter(|value| !all.contains(value)));
    }
    let more = if all.len() > NAMED { format!(", … {}", all.len()) } else { String::new() };
    all.truncate(NAMED);
    format!("{}{more}", all.join(", "))
}

const fn state(run: &Run) -> &'static str {
    match (run.complete, run.validity.valid) {
        (true, true) => "complete",
        (true, false) => "invalid",
        (false, _) => "incomplete",
    }
}

fn prune(args: &ReportArgs) -> Result<Exit, Failure> {
    let files = args.show.store()?.files()?;
    let mut deleted = 0;
    for path in files.iter().skip(args.keep) {
        fs::remove_file(path).map_err(|error| Failure::file("cannot delete", path, &error))?;
        deleted += 1;
    }
    console::data(&format!("deleted {deleted} runs, kept {}\n", files.len() - deleted))?;
    Ok(Exit::Fine)
}
