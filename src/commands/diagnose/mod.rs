//! `offloadctl diagnose`: looks what is here, has it measured, and says what to change first.

mod steps;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use self::steps::DiagnoseFile;
use self::steps::{Include, Of, Plan};
use super::config::Config;
use super::measured::Asked;
use super::measuring::Conduct;
use super::output_args::{OutputArgs, ShowArgs};
use super::value::one_of;
use crate::console;
use crate::context::read_run;
use crate::diagnose::facts::{ApiServer, Facts, Heard, Host, Link, Way};
use crate::diagnose::look::{self, look};
use crate::diagnose::{MEASUREMENT, assemble, rank, reads, verify};
use crate::error::{Exit, Failure};
use crate::load::Session;
use crate::model::{Finding, Measured, Role, Run, Warning};
use crate::sys::clock;
use crate::sys::host::environment;
use crate::sys::wall::WallWatch;

const EXAMPLES: &str = "Examples:
  Where does the time go here, and what should change first?
    offloadctl diagnose
  Of your own system: offload.toml names targets, gateway and agent (docs/guide/diagnose.md):
    offloadctl diagnose offload.toml
  Measure before a change, change what it says, and see whether that helped:
    offloadctl diagnose --output before.json
    offloadctl diagnose --verify before.json
  Ask the server of your kubeconfig too, and members of etcd on other hosts:
    offloadctl diagnose --include kube,etcd
  Fail a CI job when something should change, or when state comes late:
    offloadctl diagnose --fail-on problem --fail-if 'trace.total.p95 > 50ms'

Without a file it measures an agent, a gateway and a subscriber of its own, looks for Docker,
containerd, etcd, a gateway and a kubeconfig at their usual places, and says what it leaves alone. It
changes nothing, starts no container unasked, and asks nobody more than five times a second.";

/// How long etcd is watched at least: between two scrapes.
const WINDOW: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiagnoseArgs {
    /// The configuration to go by [default: ./offload.toml, where there is one]
    #[arg(value_name = "offload.toml")]
    file: Option<PathBuf>,
    /// Hold the predictions of this earlier diagnosis against what is measured now
    #[arg(long, value_name = "RUN.json")]
    verify: Option<PathBuf>,
    /// Ask what lies beyond this host too: kube (the server of the kubeconfig), etcd (members elsewhere)
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', value_parser = one_of::<Include>(Include::NAMES))]
    include: Vec<Include>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Diagnoses, and ends with the verdict.
///
/// # Errors
/// When the file cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(mut args: DiagnoseArgs) -> Result<Exit, Failure> {
    if let Some(file) = args.file.take() {
        args.output.show.use_config(file)?;
    }
    let before = args.verify.as_deref().map(read_run).transpose()?;
    if let Some(before) = before.as_ref().filter(|before| before.command != MEASUREMENT.command) {
        let what = format!("--verify needs an earlier diagnosis, and this is a run of `{}`", before.command);
        return Err(Failure::plain(Exit::Usage, what).hint("keep one with `offloadctl diagnose --output before.json`"));
    }
    let plan = args.plan(&args.output.show)?;
    if !args.output.quiet {
        plan.steps()
            .iter()
            .for_each(|step| console::say(format_args!("measuring: offloadctl {}", step.words.join(" "))));
        plan.left().for_each(|text| console::say(format_args!("left alone: {text}")));
    }
    let conduct = Conduct::steps(&MEASUREMENT, &plan, &args.output);
    conduct.run(async |session| measure(&plan, before.as_ref(), session).await)
}

impl DiagnoseArgs {
    fn plan(&self, show: &ShowArgs) -> Result<Plan, Failure> {
        let config: Config = show.config()?;
        let mut found = super::event_loop::event_loop()?.block_on(look());
        found.kernel = crate::source::ebpf::open().is_ok();
        Plan::make(&config, &found, &self.include)
    }
}

/// Runs every step, one after another, and judges what they found.
async fn measure(plan: &Plan, before: Option<&Run>, session: &mut Session<'_>) -> Result<Measured, Failure> {
    let asked = plan.steps().iter().map(|step| {
        let asked = Asked::of_words(&step.words.join(" "), step.words.clone())?;
        Ok((step.of.clone(), asked))
    });
    let asked: Vec<(Of, Asked)> = asked.collect::<Result<_, Failure>>()?;
    let steps = session.steps(asked.len() as u64);
    let mut wall = WallWatch::new(clock::reading());
    let (began, scrapes) = (clock::now(), scrape(plan).await);
    let (mut runs, mut warnings): (Vec<(Of, Run)>, Vec<Warning>) = (Vec::new(), Vec::new());
    for (of, asked) in &asked {
        if session.is_over() {
            break;
        }
        match asked.measure(session.shutdown()).await {
            Ok(run) => runs.push((of.clone(), run)),
            // One that cannot be measured hides no other.
            Err(failure) => warnings.push(Warning::new("not_measured", failure.to_string())),
        }
        steps.advance(1);
    }
    let (reads, unread) = reads::measure(&plan.etcd, session).await;
    if !plan.etcd.is_empty() && !session.is_over() {
        tokio::time::sleep(WINDOW.saturating_sub(clock::now().since(began))).await;
    }
    let after = scrape(plan).await;
    wall.observe(clock::reading());
    let members = plan.etcd.iter().zip(scrapes).zip(after);
    let members = members.filter_map(|((name, before), after)| Some(before?.until(&after?, name))).collect();
    let host = host(&runs, wall.step_count());
    let facts = facts(plan, &runs, members, host);
    let mut measured = kept(runs);
    measured.interrupted = session.is_over();
    measured.warnings.extend(warnings.into_iter().chain(unread));
    measured.series.extend(reads);
    measured.scalars.extend(assemble::scalars(&facts));
    measured.findings = findings(&facts, before, &measured);
    Ok(measured)
}

/// What each member of etcd tells of its disks.
async fn scrape(plan: &Plan) -> Vec<Option<look::Disks>> {
    futures_util::future::join_all(plan.etcd.iter().map(|endpoint| look::scrape(endpoint))).await
}

fn findings(facts: &Facts, before: Option<&Run>, measured: &Measured) -> Vec<Finding> {
    let verdicts = before.into_iter().flat_map(|before| verify::findings(before, &measured.scalars));
    rank::findings(facts).into_iter().chain(verdicts).collect()
}

fn facts(plan: &Plan, runs: &[(Of, Run)], members: Vec<crate::diagnose::facts::Member>, host: Host) -> Facts {
    let way = runs.iter().find(|(of, _)| *of == Of::Way).and_then(|(_, run)| Way::of(run));
    let links = runs.iter().filter(|(of, _)| *of == Of::Links).flat_map(|(_, run)| Link::all(run)).collect();
    let servers = runs.iter().filter_map(|(of, run)| match of {
        Of::Server(name) => ApiServer::of(run, name),
        Of::Way | Of::Links | Of::Events => None,
    });
    let events = runs.iter().filter(|(of, _)| *of == Of::Events).flat_map(|(_, run)| Heard::all(run)).collect();
    Facts { way, links, events, servers: servers.collect(), members, detection: plan.detection(), host }
}

fn host(runs: &[(Of, Run)], clock_steps: u64) -> Host {
    let slips = runs.iter().flat_map(|(_, run)| &run.series).filter(|series| series.role == Role::Slip);
    let environment = environment();
    let load = environment.load_average.zip(environment.cpu_count).map(|(load, count)| load / count.max(1) as f64);
    Host {
        clock_steps,
        slip_p95_ns: slips.filter_map(|series| series.summary.p95_ns.or(series.summary.max_ns)).max(),
        load,
    }
}

/// The series and scalars of the runs that the catalogue knows, and what they warned of.
fn kept(runs: Vec<(Of, Run)>) -> Measured {
    let mut measured = Measured::default();
    for (of, run) in runs {
        let is_known = |name: &str| MEASUREMENT.find(name).is_some();
        measured.series.extend(run.series.into_iter().filter(|series| is_known(&series.name)));
        measured.scalars.extend(run.scalars.into_iter().filter(|scalar| is_known(&scalar.name)));
        let name = match of {
            Of::Way => "trace".to_owned(),
            Of::Links => "links".to_owned(),
            Of::Events => "events".to_owned(),
            Of::Server(name) => name,
        };
        let reasons = run.validity.reasons.into_iter().map(|text| Warning::new("invalid", text));
        let of_debug = |warning: &Warning| warning.id != "debug_build";
        let all = run.warnings.into_iter().filter(of_debug).chain(reasons);
        measured.warnings.extend(all.map(|warning| Warning::new(&warning.id, format!("{name}: {}", warning.text))));
    }
    measured
}
