//! What measuring costs: memory and time that stay bounded, however fast the plan and however slow the far end.

use std::time::Duration;

use crate::far_end::{FarEnd, Manner};
use crate::measure::{probe, series};
use crate::support::program::Scene;

/// Peak memory that a run of one target stays under, whatever its rate.
const MEMORY_LIMIT: u64 = 64 << 20;

/// Longer than a run's plan and its timeout, a run does not work: a generous share for a debug build.
const SLACK: Duration = Duration::from_secs(4);

/// The run is started by a process that is bigger than the limit: what that one uses is not the run's cost.
#[test]
fn a_fast_run_stays_small_and_counts_its_own_memory_only() {
    let ballast = vec![1_u8; 2 * MEMORY_LIMIT as usize];
    let scene = Scene::new();
    let (_echo, address) = scene.echo();
    let run = probe(&format!("far={address} --channel echo --rate 2000/s --duration 5s"));
    assert!(ballast.iter().all(|byte| *byte == 1));
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.attempt_count + counts.skipped_count, 10_000);
    let peak = run.self_cost.memory_peak_bytes.unwrap();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
}

#[test]
fn starts_that_are_skipped_behind_a_silent_peer_cost_no_memory() {
    let far = FarEnd::start(Manner::Deaf);
    let load = "--rate 500000/s --duration 2s --timeout 5s --max-in-flight 4";
    let run = probe(&format!("far={} --channel echo {load}", far.address()));
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.attempt_count + counts.skipped_count, 1_000_000);
    let peak = run.self_cost.memory_peak_bytes.unwrap();
    assert!(peak < MEMORY_LIMIT, "{peak} bytes");
}

#[test]
fn answers_are_read_however_fast_the_plan() {
    let far = FarEnd::start(Manner::Delay(Duration::ZERO));
    let load = "--rate 10000000/s --duration 300ms --max-in-flight 4";
    let run = probe(&format!("far={} --channel echo {load}", far.address()));
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.attempt_count + counts.skipped_count, 3_000_000);
    assert_eq!(counts.lost_count, 0, "the far end answers at once: {counts:?}");
    assert!(counts.ok_count > 4, "{counts:?}");
    // By its processor time: how long a busy machine takes for it is no property of the run.
    let cost = &run.self_cost;
    let took = Duration::from_nanos(cost.cpu_user_ns.unwrap() + cost.cpu_system_ns.unwrap());
    assert!(took < Duration::from_millis(1300) + SLACK, "it took {took:?} of a processor, and {} ns", run.elapsed_ns);
    assert!(!run.validity.valid, "most starts were skipped");
}
