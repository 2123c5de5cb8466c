//! What a terminal gets beside the data: its width, and the live view of a measurement.
//!
//! It is drawn by a thread of its own, which reads counters: drawing never happens between two attempts.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::{Named, Observer, Settled, Steps};
use crate::model::{Histogram, Outcome, Stamp, rank_of};
use crate::report::{count_text, duration_text, ratio_text};
use crate::sys::clock;

/// How often the bar moves, and how often the lines below it change: what changes faster cannot be read.
const DRAW_EVERY: Duration = Duration::from_millis(200);
const LINES_EVERY: u32 = 5;

/// Lines for targets that fit on a screen beside everything else.
const MOST_LINES: usize = 12;

/// Columns where the output is not a terminal.
const DEFAULT_WIDTH: u16 = 120;

/// Columns below which a table is not squeezed further.
const NARROWEST: u16 = 60;

/// Columns to render for.
#[must_use]
pub fn width() -> u16 {
    terminal_size::terminal_size_of(io::stdout()).map_or(DEFAULT_WIDTH, |(columns, _)| columns.0).max(NARROWEST)
}

/// Whether what is printed may have colours: stdout is a terminal, and nobody asked for none (<https://no-color.org>).
#[must_use]
pub fn has_colour() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The live view of a measurement; silent where stderr is not a terminal. Dropping it removes the view.
pub struct Progress {
    state: Option<Arc<State>>,
    thread: Option<JoinHandle<()>>,
}

/// What is shown, kept by the driver's calls.
#[derive(Default)]
struct State {
    stage: Mutex<String>,
    recording_from: AtomicU64,
    lanes: Mutex<Vec<Lane>>,
    steps: Mutex<Option<Steps>>,
    is_over: AtomicBool,
}

/// One target by one channel so far.
struct Lane {
    name: String,
    is_shown: bool,
    attempt_count: u64,
    unanswered_count: u64,
    last_ns: Option<u64>,
    histogram: Histogram,
}

impl Progress {
    /// Begins to draw, unless quiet or without a terminal. `planned` is the span of the run, where it is known.
    #[must_use]
    pub fn start(command: &'static str, planned: Option<Duration>, quiet: bool) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self { state: None, thread: None };
        }
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let thread = std::thread::spawn(move || draw(command, planned, &seen));
        Self { state: Some(state), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some((state, thread)) = self.state.take().zip(self.thread.take()) else { return };
        state.is_over.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        // A panic of the drawing thread has been printed by the panic hook.
        let _ = thread.join();
    }
}

impl Observer for Progress {
    fn stage(&mut self, what: &str) {
        if let Some(state) = &self.state {
            what.clone_into(&mut hold(&state.stage));
        }
    }

    fn driving(&mut self, lanes: &[Named<'_>]) {
        let Some(state) = &self.state else { return };
        let lane = |lane: &Named<'_>| {
            let channel = lane.name.rsplit('.').next().unwrap_or(lane.name).replace('_', " ");
            let target = lane.labels.value("target").or_else(|| lane.labels.value("path")).unwrap_or_default();
            Lane {
                name: format!("{target} {channel}").trim().to_owned(),
                is_shown: !lane.floor,
                attempt_count: 0,
                unanswered_count: 0,
                last_ns: None,
                histogram: Histogram::new(),
            }
        };
        *hold(&state.lanes) = lanes.iter().map(lane).collect();
    }

    fn counting(&mut self, steps: &Steps) {
        if let Some(state) = &self.state {
            *hold(&state.steps) = Some(steps.clone());
        }
    }

    fn recording(&mut self, from: Stamp) {
        if let Some(state) = &self.state {
            state.recording_from.store(from.as_nanos(), Ordering::Relaxed);
        }
    }

    fn settled(&mut self, lane: usize, settled: &Settled) {
        let Some(state) = &self.state else { return };
        let mut lanes = hold(&state.lanes);
        let Some(lane) = lanes.get_mut(lane) else { return };
        lane.attempt_count += 1;
        if settled.answer.outcome == Outcome::Ok {
            let took = settled.ended.nanos_since(settled.planned);
            lane.last_ns = Some(took);
            lane.histogram.record(took);
        } else {
            lane.unanswered_count += 1;
        }
    }
}

/// A panic elsewhere has been printed, and what is only shown is worth showing even so.
fn hold<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn draw(command: &str, planned: Option<Duration>, state: &State) {
    let bar = ProgressBar::new(1);
    let styles = ["{prefix} [{wide_bar}] {msg}", "{prefix} {spinner} {msg}"].map(ProgressStyle::with_template);
    let [whole, open] = styles.map(|style| style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(command.to_owned());
    let mut round = 0;
    let mut lines = String::new();
    while !state.is_over.load(Ordering::Relaxed) {
        let view = View::of(planned, state);
        bar.set_style(if view.share.is_some() { whole.clone() } else { open.clone() });
        bar.set_length(1_000);
        bar.set_position((view.share.unwrap_or(0.0) * 1_000.0) as u64);
        if round % LINES_EVERY == 0 {
            lines = hold(&state.lanes).iter().filter(|lane| lane.is_shown).take(MOST_LINES).map(line).collect();
        }
        bar.set_message(format!("{}{lines}", view.text));
        bar.tick();
        round += 1;
        std::thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

/// How far it is, and in words.
struct View {
    share: Option<f64>,
    text: String,
}

impl View {
    fn of(planned: Option<Duration>, state: &State) -> Self {
        if let Some((done, total)) = hold(&state.steps).as_ref().map(Steps::state) {
            let share = (done as f64 / total.max(1) as f64).min(1.0);
            return Self { share: Some(share), text: format!("{:.0} %", share * 100.0) };
        }
        let stage = hold(&state.stage).clone();
        let from = state.recording_from.load(Ordering::Relaxed);
        let elapsed = clock::now().since(Stamp::from_nanos(from));
        if from == 0 || elapsed.is_zero() {
            let text = if from == 0 { "preparing" } else { "warming up" };
            return Self { share: planned.map(|_| 0.0), text: text.to_owned() };
        }
        let seconds = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
        let of = planned.map_or_else(String::new, |span| format!(" of {}", seconds(span)));
        let stage = if stage.is_empty() { stage } else { format!(" · {stage}") };
        let share = planned.map(|span| (elapsed.as_secs_f64() / span.as_secs_f64().max(1e-9)).min(1.0));
        Self { share, text: format!("{}{of}{stage}", seconds(elapsed)) }
    }
}

/// `  dc echo   1,250 sent   0 % lost   last 1.20 ms   p50 1.10 ms`, below the bar.
fn line(lane: &Lane) -> String {
    let Lane { name, attempt_count, unanswered_count, histogram, .. } = lane;
    let lost = ratio_text(*unanswered_count as f64 / (*attempt_count).max(1) as f64);
    let span = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), duration_text);
    let p50 = histogram.value_at_rank(rank_of(0.5, histogram.len()));
    let (last, p50) = (span(lane.last_ns), span(p50));
    format!("\n  {name:<24} {:>9} sent {lost:>8} lost   last {last:>7}   p50 {p50:>7}", count_text(*attempt_count))
}
