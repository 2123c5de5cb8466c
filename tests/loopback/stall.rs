//! Coordinated omission made visible: one second without answers, or without starts, as each loop sees it.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::Run;

use crate::far_end::{FarEnd, Manner};
use crate::measure::{probe, read, series};
use crate::support::program::{Scene, poll};

const MS: u64 = 1_000_000;

const SECOND: Duration = Duration::from_secs(1);

/// A far end that says nothing for a second, once, from its hundredth frame on.
fn stalling() -> FarEnd {
    FarEnd::start(Manner::Stall { frame: 100, length: SECOND })
}

fn p95(run: &Run, name: &str) -> u64 {
    series(&run.series, name).summary.p95_ns.unwrap()
}

/// A closed loop waits with the far end: of 2,000 attempts one is slow, and a quarter of the time is nowhere to be seen.
#[test]
fn a_closed_loop_hides_a_stall() {
    let far = stalling();
    let run = probe(&format!("far={} --channel echo --concurrency 1 --count 2000 --timeout 5s", far.address()));
    let echo = &series(&run.series, "rtt.echo").summary;
    assert!(echo.max_ns >= Some(1000 * MS), "{:?}", echo.max_ns);
    assert!(echo.p99_ns < Some(100 * MS), "{:?}", echo.p99_ns);
    // So the second is in the run's length, and in the maximum, and in no quantile.
    assert!(run.elapsed_ns >= 1000 * MS, "{}", run.elapsed_ns);
}

/// An open loop goes on asking: a quarter of its 200 attempts fall into the second, and wait for its end.
///
/// They were sent when they were planned, so the service time shows the stall as well; the slip does not.
#[test]
fn an_open_loop_shows_a_stall_of_the_far_end() {
    let far = stalling();
    let run = probe(&format!("far={} --channel echo --rate 50/s --count 200 --timeout 5s", far.address()));
    let echo = series(&run.series, "rtt.echo");
    assert_eq!((echo.counts.ok_count, echo.counts.skipped_count), (200, 0));
    assert!(echo.summary.max_ns >= Some(1000 * MS), "{:?}", echo.summary.max_ns);
    // The waits are spread evenly over the second: with 50 of 200 in it, the 190th is the 40th of them, 800 ms.
    assert!(p95(&run, "rtt.echo") >= 700 * MS, "{}", p95(&run, "rtt.echo"));
    assert!(p95(&run, "rtt.echo.service") >= 700 * MS, "{}", p95(&run, "rtt.echo.service"));
    assert!(p95(&run, "rtt.echo.slip") < 300 * MS, "{}", p95(&run, "rtt.echo.slip"));
    assert!(echo.summary.p50_ns < Some(100 * MS), "{:?}", echo.summary.p50_ns);
}

/// A client that cannot start for a second: the starts are made up for, each with its slip, and the response has it.
///
/// The service time, from the real start, shows nothing; it is what a tool reports that stamps at the send.
#[test]
fn an_open_loop_shows_a_stall_of_its_own_and_calls_the_run_invalid() {
    let far = FarEnd::start(Manner::Delay(Duration::ZERO));
    let scene = Scene::new();
    let line = format!("probe rtt far={} --channel echo --rate 50/s --count 200 --timeout 5s", far.address());
    let started = scene.start(&format!("{line} --json --no-save"));
    let frames = |least: u64| (far.frames() >= least).then_some(());
    poll("the first answers", Duration::from_secs(30), || frames(60));
    started.signal(Signal::SIGSTOP);
    std::thread::sleep(SECOND);
    started.signal(Signal::SIGCONT);
    let run = read(&started.end());
    assert_eq!(series(&run.series, "rtt.echo").counts.ok_count, 200);
    assert!(p95(&run, "rtt.echo.slip") >= 700 * MS, "{}", p95(&run, "rtt.echo.slip"));
    assert!(p95(&run, "rtt.echo") >= 700 * MS, "{}", p95(&run, "rtt.echo"));
    assert!(p95(&run, "rtt.echo.service") < 300 * MS, "{}", p95(&run, "rtt.echo.service"));
    assert!(!run.validity.valid && run.validity.reasons[0].contains("starts slipped"), "{:?}", run.validity);
}

/// Starts that are later than the timeout are skipped and counted, not made up for.
#[test]
fn what_could_not_start_in_time_is_skipped_and_counted() {
    let far = FarEnd::start(Manner::Delay(Duration::ZERO));
    let scene = Scene::new();
    let line = format!("probe rtt far={} --channel echo --rate 50/s --count 200 --timeout 300ms", far.address());
    let started = scene.start(&format!("{line} --json --no-save"));
    let frames = |least: u64| (far.frames() >= least).then_some(());
    poll("the first answers", Duration::from_secs(30), || frames(60));
    started.signal(Signal::SIGSTOP);
    std::thread::sleep(SECOND);
    started.signal(Signal::SIGCONT);
    let run = read(&started.end());
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.attempt_count + counts.skipped_count, 200);
    // 700 ms of the second are beyond the timeout: 35 starts.
    assert!((30..150).contains(&counts.skipped_count), "{counts:?}");
    assert!(!run.validity.valid, "{:?}", run.validity);
}
