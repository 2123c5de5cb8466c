//! What a terminal gets beside the data: its width, and the live line of a measurement.
//!
//! The line is drawn by a thread of its own, which reads counters: drawing never happens between two attempts.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::{Observer, Settled};
use crate::model::{Outcome, Stamp};
use crate::report::duration_text;
use crate::sys::clock;

/// How often the line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

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

/// What the progress line shows, counted by the driver.
#[derive(Debug, Default)]
struct Counters {
    recording_from: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
    last_ns: AtomicU64,
    over: AtomicBool,
}

/// The live line of a measurement; silent where stderr is not a terminal. Dropping it removes the line.
pub struct Progress {
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to draw, unless quiet or without a terminal. `planned` is the span of the run, where it is known.
    #[must_use]
    pub fn start(command: &'static str, planned: Option<Duration>, quiet: bool) -> Self {
        let counters = Arc::new(Counters::default());
        let seen = Arc::clone(&counters);
        let visible = !quiet && io::stderr().is_terminal();
        let thread = visible.then(|| std::thread::spawn(move || draw(command, planned, &seen)));
        Self { counters, thread }
    }
}

/// The live line of work whose amount is known; silent where stderr is not a terminal. Dropping it removes the line.
pub struct Steps {
    bar: ProgressBar,
}

impl Steps {
    /// Begins to draw, unless quiet or without a terminal. `count` is all of the work, in whatever it is counted in.
    #[must_use]
    pub fn start(command: &'static str, count: u64, quiet: bool) -> Self {
        let visible = !quiet && io::stderr().is_terminal();
        let bar = if visible { ProgressBar::new(count) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {percent} %, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(command);
        bar.enable_steady_tick(DRAW_EVERY);
        Self { bar }
    }

    /// So much more is done.
    pub fn advance(&self, more: u64) {
        self.bar.inc(more);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.counters.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the drawing thread has been printed by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Observer for Progress {
    fn recording(&mut self, from: Stamp) {
        self.counters.recording_from.store(from.as_nanos(), Ordering::Relaxed);
    }

    fn settled(&mut self, _lane: usize, settled: &Settled) {
        if settled.answer.outcome == Outcome::Ok {
            self.counters.answered.fetch_add(1, Ordering::Relaxed);
            self.counters.last_ns.store(settled.ended.nanos_since(settled.started), Ordering::Relaxed);
        } else {
            self.counters.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn draw(command: &str, planned: Option<Duration>, counters: &Counters) {
    let bar = ProgressBar::new(planned.map_or(0, |span| span.as_millis() as u64));
    let template = if planned.is_some() { "{prefix} [{wide_bar}] {msg}" } else { "{prefix} {spinner} {msg}" };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(command.to_owned());
    while !counters.over.load(Ordering::Relaxed) {
        let from = counters.recording_from.load(Ordering::Relaxed);
        let elapsed = clock::now().since(Stamp::from_nanos(from));
        if from == 0 || elapsed.is_zero() {
            bar.set_message(if from == 0 { "preparing" } else { "warming up" });
        } else {
            bar.set_position(elapsed.as_millis() as u64);
            bar.set_message(line(elapsed, planned, counters));
        }
        bar.tick();
        std::thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

fn line(elapsed: Duration, planned: Option<Duration>, counters: &Counters) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let seconds = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    let of = planned.map_or_else(String::new, |span| format!(" of {}", seconds(span)));
    let last = match load(&counters.last_ns) {
        0 => String::new(),
        last => format!(", last {}", duration_text(last)),
    };
    let (answered, unanswered) = (load(&counters.answered), load(&counters.unanswered));
    format!("{}{of}: {answered} answered, {unanswered} not{last}", seconds(elapsed))
}
