//! The frame around every measurement: outputs first, checkpoints meanwhile, one verdict at the end.

use serde::Serialize;

use super::baseline::{self, Baseline, Judged};
use super::catalogue::{self, Known};
use super::checkpoint::Checkpoints;
use super::event_loop::event_loop;
use super::load_args::planned_span;
use super::output_args::OutputArgs;
use super::report::summarise;
use crate::console::{self, Progress};
use crate::context::{Header, OutputFile, Store};
use crate::error::{Exit, Failure};
use crate::load::{LoadSpec, Named, Observer, Part, Session, Settled, Steps, judge, lost_targets};
use crate::model::{GateDecision, GateReport, Measured, Measurement, Run, Stamp};
use crate::report::{Format, Report};
use crate::stats::Gate;
use crate::sys::host::raise_file_limit;
use crate::sys::shutdown::Shutdown;

/// A measurement as it was meant.
pub struct Conduct<'a, S> {
    /// What is measured.
    pub measurement: &'static Measurement,
    /// The whole of what was meant.
    pub spec: &'a S,
    /// Seed of everything random, where anything is.
    pub seed: Option<u64>,
    /// The load in it, where it drives one.
    pub load: Option<&'a LoadSpec>,
    /// How many times that load is driven, one after another.
    pub times: usize,
    /// The largest share of attempts that may stay unanswered before a target counts as lost.
    pub max_loss_ratio: f64,
    /// What to do with the run.
    pub output: &'a OutputArgs,
    /// The label values that are known before measuring, so that a gate on another is refused.
    pub known: Known,
}

impl<'a, S: Serialize> Conduct<'a, S> {
    /// Of a measurement without a load.
    pub fn steps(measurement: &'static Measurement, spec: &'a S, output: &'a OutputArgs) -> Self {
        Self {
            measurement,
            spec,
            seed: None,
            load: None,
            times: 1,
            max_loss_ratio: 1.0,
            output,
            known: Known::default(),
        }
    }

    /// Of a measurement that drives this load, of whose attempts so large a share may stay unanswered.
    pub fn driven(
        measurement: &'static Measurement,
        spec: &'a S,
        load: &'a LoadSpec,
        max_loss_ratio: f64,
        output: &'a OutputArgs,
    ) -> Self {
        let steps = Self::steps(measurement, spec, output);
        Self { seed: Some(load.seed), load: Some(load), max_loss_ratio, ..steps }
    }

    /// Measures, and ends with the verdict.
    ///
    /// # Errors
    /// When a place cannot be written, nothing can be measured, or the run cannot be kept.
    pub fn run(
        self,
        measure: impl AsyncFnOnce(&mut Session<'_>) -> Result<Measured, Failure>,
    ) -> Result<Exit, Failure> {
        let (measuring, measured) = self.measure(measure)?;
        measuring.conclude(measured)
    }

    /// Measures on an event loop of its own, with progress, checkpoints and a way to stop.
    ///
    /// # Errors
    /// When a place cannot be written or nothing can be measured.
    pub fn measure(
        self,
        measure: impl AsyncFnOnce(&mut Session<'_>) -> Result<Measured, Failure>,
    ) -> Result<(Measuring<'a>, Measured), Failure> {
        raise_file_limit();
        let command = self.measurement.command;
        let config = self.output.show.config()?;
        let gates = config.gates(&self.output.show.fail_if, self.measurement, &self.known)?;
        if let Some(told) = config.told().filter(|_| !self.output.quiet) {
            console::say(told);
        }
        let baseline = self.output.show.baseline.or(&config.baseline).read()?;
        baseline::check(&gates, baseline.as_ref())?;
        let header = Header::new(command, self.spec, self.seed, self.output.labels())?;
        let measuring = Measuring::open(self.output, (gates, baseline), header, self.load.cloned())?;
        let mut watcher = measuring.observer(command, u32::try_from(self.times).unwrap_or(1));
        let measured = on_event_loop(async |shutdown| {
            let mut session = Session::new(&mut watcher, shutdown);
            let measured = measure(&mut session).await?;
            Ok(session.finish(measured))
        });
        watcher.finish();
        let mut measured = measured?;
        measured.bad.extend(lost_targets(&measured.series, self.max_loss_ratio));
        Ok((measuring, measured))
    }
}

/// Everything that was opened before measuring.
pub struct Measuring<'a> {
    args: &'a OutputArgs,
    outputs: Vec<(Format, OutputFile)>,
    store: Option<Store>,
    gates: Vec<Gate>,
    baseline: Option<Baseline>,
    header: Header,
    load: Option<LoadSpec>,
}

impl<'a> Measuring<'a> {
    /// Opens outputs and store.
    fn open(
        args: &'a OutputArgs,
        (gates, baseline): (Vec<Gate>, Option<Baseline>),
        header: Header,
        load: Option<LoadSpec>,
    ) -> Result<Self, Failure> {
        Ok(Self { args, outputs: args.show.open()?, store: args.store()?, gates, baseline, header, load })
    }

    /// An observer that shows progress and writes a checkpoint each minute, of a run that drives its load `times` over, one
    /// after another.
    fn observer(&self, command: &'static str, times: u32) -> Watcher {
        let planned = self.load.as_ref().and_then(|load| Some(planned_span(load)? * times + load.warmup * (times - 1)));
        Watcher {
            progress: Progress::start(command, planned, self.args.quiet),
            checkpoints: Checkpoints::new(&self.header, self.load.as_ref(), self.store.as_ref()),
        }
    }

    /// Keeps, writes, prints and judges the run of what was measured.
    ///
    /// # Errors
    /// When it could not be kept, written or judged; it has been printed even so.
    pub fn conclude(self, mut measured: Measured) -> Result<Exit, Failure> {
        let mut bad = std::mem::take(&mut measured.bad);
        let run = document(&self.header, self.load.as_ref(), measured);
        let kept = self.store.as_ref().map(|store| store.save(&run.id, &run)).transpose();
        let runs = std::slice::from_ref(&run);
        bad.extend(self.args.show.failing(runs));
        let judged = Judged::of(runs, &self.gates, self.baseline.as_ref(), self.args.show.store().ok().as_ref());
        let shown = judged.as_ref().ok();
        let pages = catalogue::pages(runs);
        let gate = shown.and_then(|judged| judged.gate.as_ref());
        let comparisons = shown.and_then(Judged::comparisons);
        let report = Report { pages: &pages, gate, comparisons, ..self.args.show.report() };
        summarise(self.args.show.format(), &report)?;
        let written: Result<(), Failure> =
            self.outputs.into_iter().try_for_each(|(format, file)| file.write(&render(format, &report)));
        console::data(&render(self.args.show.format(), &Report { colour: console::has_colour(), ..report }))?;
        let kept = kept?;
        written?;
        if let Some(path) = kept.filter(|_| !self.args.quiet) {
            console::say(format_args!("run kept in {}", path.display()));
        }
        bad.iter().for_each(|reason| console::say(format_args!("bad: {reason}")));
        // What the gates name was looked up before measuring; the run has been printed even so.
        let judged = judged?;
        if let Some(gate) = &judged.gate {
            say_gate(gate);
        }
        Ok(exit_of(&run, &bad, &judged))
    }
}

/// The run document, with its validity judged: a checkpoint that is left alone must not pass for better than it is.
pub(super) fn document(header: &Header, load: Option<&LoadSpec>, measured: Measured) -> Run {
    let mut run = header.run(measured);
    if let Some(load) = load {
        let verdict = judge(&run, load);
        run.validity = verdict.validity;
        run.warnings.extend(verdict.warnings);
    }
    run.answer = catalogue::answer(&run);
    run
}

/// One run as text; a single run as JSON is the run document itself.
fn render(format: Format, report: &Report) -> String {
    match (format, report.pages) {
        (Format::Json, [page]) => crate::report::run_document(page.run),
        _ => format.reporter().render(report),
    }
}

/// Runs a measurement on an event loop of its own, with word of the user's wish to stop.
///
/// # Errors
/// When there is no event loop or signals cannot be caught; else as the measurement says.
pub fn on_event_loop<T>(measure: impl AsyncFnOnce(&Shutdown) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = event_loop()?;
    let measured = runtime.block_on(async {
        let shutdown = Shutdown::listen()
            .map_err(|error| Failure::plain(Exit::Unable, format!("signals cannot be caught: {error}")))?;
        measure(&shutdown).await
    });
    // A name lookup that hangs cannot be cancelled; nobody who pressed Ctrl-C waits for it.
    runtime.shutdown_background();
    measured
}

/// What a gate decided, on stderr: stdout may be JSON.
pub fn say_gate(gate: &GateReport) {
    for result in gate.results.iter().filter(|result| result.decision != GateDecision::Pass) {
        let word = if result.decision == GateDecision::Fail { "failed" } else { "inconclusive" };
        console::say(format_args!("gate {word}: {} on {}: {}", result.expression, result.series, result.reason));
    }
}

/// The exit code a gate asks for.
#[must_use]
pub const fn exit_of_gate(gate: &GateReport) -> Exit {
    match gate.decision {
        GateDecision::Pass => Exit::Fine,
        GateDecision::Fail => Exit::Bad,
        GateDecision::Inconclusive => Exit::Inconclusive,
    }
}

fn exit_of(run: &Run, bad: &[String], judged: &Judged) -> Exit {
    if !run.complete {
        return Exit::Interrupted;
    }
    match judged.exit() {
        Exit::Fine | Exit::Inconclusive if !bad.is_empty() => Exit::Bad,
        Exit::Fine if !run.validity.valid => Exit::Inconclusive,
        exit => exit,
    }
}

/// Shows progress, and has checkpoints written.
pub struct Watcher {
    progress: Progress,
    checkpoints: Checkpoints,
}

impl Watcher {
    /// Ends the progress line and waits for a checkpoint that is being written.
    fn finish(self) {
        self.checkpoints.finish();
    }
}

impl Observer for Watcher {
    fn stage(&mut self, what: &str) {
        self.progress.stage(what);
    }

    fn driving(&mut self, lanes: &[Named<'_>]) {
        self.progress.driving(lanes);
    }

    fn counting(&mut self, steps: &Steps) {
        self.progress.counting(steps);
    }

    fn so_far(&mut self, measured: Measured) {
        self.checkpoints.write(measured);
    }

    fn recording(&mut self, from: Stamp) {
        self.progress.recording(from);
    }

    fn settled(&mut self, lane: usize, settled: &Settled) {
        self.progress.settled(lane, settled);
    }

    fn checkpoint(&mut self, part: Part<'_>) -> bool {
        self.checkpoints.take(part)
    }
}
