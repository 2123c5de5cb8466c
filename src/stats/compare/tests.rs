//! Two sides of a known difference, or of none: what is said, and how often it is wrong.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::sample;
use super::*;
use crate::model::{Counts, Histogram, Interval, Role, Series};

/// A generator of runs: attempts that depend on those before them, around a level that differs from run to run.
struct World {
    random: ChaCha8Rng,
    /// How much of an attempt's deviation is that of the one before.
    memory: f64,
    /// Relative spread of the runs' levels.
    between: f64,
}

impl World {
    fn new(seed: u64, memory: f64, between: f64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), memory, between }
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0
    }

    /// A run of so many attempts around a millisecond times `factor`; a share of `slow` takes ten times as long.
    fn run(&mut self, n: usize, factor: f64, slow: f64) -> Run {
        let level = 1e6 * factor * (1.0 + self.between * self.normal());
        let (mut deviation, fresh) = (0.0, (1.0 - self.memory * self.memory).sqrt());
        let values = (0..n).map(|_| {
            deviation = self.memory * deviation + fresh * self.normal();
            let times = if self.random.random::<f64>() < slow { 10.0 } else { 1.0 };
            (level * (1.0 + 0.1 * deviation).max(0.1) * times) as u64
        });
        run(&values.collect::<Vec<_>>(), 0)
    }

    fn side(&mut self, runs: usize, n: usize, factor: f64, slow: f64) -> Vec<Run> {
        (0..runs).map(|_| self.run(n, factor, slow)).collect()
    }
}

/// A run of these answers in their order, a block each fifty.
fn run(values: &[u64], lost: u64) -> Run {
    let block = |(at, values): (usize, &[u64])| {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        let n = values.len() as u64;
        let counts = Counts { attempt_count: n, ok_count: n, ..Counts::default() };
        Interval { start_ns: at as u64 * 1_000_000_000, width_ns: 1_000_000_000, counts, histogram }
    };
    let timeline = values.chunks(50).enumerate().map(block).collect();
    sample::run("a", vec![Series { timeline, role: Role::Response, ..sample::series("rtt.echo", "dc", values, lost) }])
}

fn compared(baseline: &[Run], current: &[Run], gate: &str, tolerance: f64) -> Comparisons {
    let gates: Vec<Gate> =
        Some(gate).filter(|gate| !gate.is_empty()).map(|gate| gate.parse().unwrap()).into_iter().collect();
    compare(baseline, current, &Policy { tolerance, gates: &gates, seed: 1 }, |_| None)
}

/// The share of pairs of which the first comparison says this.
fn share_of(verdict: Verdict, pairs: u64, mut pair: impl FnMut(u64) -> Comparisons) -> f64 {
    (0..pairs).filter(|seed| pair(*seed).all[0].verdict == verdict).count() as f64 / pairs as f64
}

#[test]
fn identical_systems_seldom_alarm_however_much_attempts_depend_on_each_other() {
    for (memory, between) in [(0.0, 0.02), (0.95, 0.02), (0.95, 0.1)] {
        let alarms = share_of(Verdict::Regression, 200, |seed| {
            let mut world = World::new(seed, memory, between);
            compared(&world.side(10, 100, 1.0, 0.0), &world.side(10, 100, 1.0, 0.0), "", 0.05)
        });
        assert!(alarms <= 0.05, "{alarms} with {memory} and {between}");
    }
}

#[test]
fn a_tenth_more_is_found_and_a_twentieth_with_a_narrow_tolerance() {
    for (factor, tolerance) in [(1.1, 0.05), (1.05, 0.02)] {
        let found = share_of(Verdict::Regression, 100, |seed| {
            let mut world = World::new(seed, 0.0, 0.02);
            compared(&world.side(10, 400, 1.0, 0.0), &world.side(10, 400, factor, 0.0), "", tolerance)
        });
        assert!(found >= 0.9, "{found} of {factor} within {tolerance}");
    }
}

#[test]
fn a_rare_slowdown_is_found_where_its_quantile_is_asked_for_and_only_there() {
    let mut world = World::new(5, 0.5, 0.02);
    let (baseline, current) = (world.side(10, 200, 1.0, 0.0), world.side(10, 200, 1.0, 0.02));
    assert_eq!(compared(&baseline, &current, "rtt.echo.p99 > 1s", 0.05).all[0].verdict, Verdict::Regression);
    assert_eq!(compared(&baseline, &current, "rtt.echo.p50 > 1s", 0.05).all[0].verdict, Verdict::NoRegression);
}

#[test]
fn each_verdict_has_its_case() {
    let mut world = World::new(3, 0.0, 0.005);
    let baseline = world.side(10, 400, 1.0, 0.0);
    for (factor, verdict) in [
        (0.8, Verdict::Improvement),
        (1.0, Verdict::NoRegression),
        (1.02, Verdict::NoRegression),
        (1.057, Verdict::NotEnoughData),
        (1.2, Verdict::Regression),
    ] {
        let found = compared(&baseline, &world.side(10, 400, factor, 0.0), "", 0.05);
        assert_eq!(found.all[0].verdict, verdict, "{factor}: {found:?}");
        let shift = found.all[0].shift_ratio.unwrap();
        assert!((shift - (factor - 1.0)).abs() < 0.02, "{factor}: {shift}");
    }
}

#[test]
fn too_few_runs_say_how_many_more_it_takes() {
    let mut world = World::new(9, 0.9, 0.02);
    let one = |world: &mut World, factor| vec![world.run(600, factor, 0.0)];
    let single = compared(&one(&mut world, 1.0), &one(&mut world, 1.05), "", 0.05);
    assert_eq!((single.all[0].verdict, single.all[0].runs_needed.is_some()), (Verdict::NotEnoughData, true));
    assert!(single.remarks.iter().any(|remark| remark.starts_with("one run on a side")), "{:?}", single.remarks);
    let doubled = compared(&one(&mut world, 1.0), &one(&mut world, 2.0), "", 0.05);
    assert_eq!(doubled.all[0].verdict, Verdict::Regression);
    let rare = compared(&one(&mut world, 1.0), &one(&mut world, 1.0), "rtt.echo.p999 > 1s", 0.05);
    assert!(rare.all[0].reason.contains("too few") && rare.all[0].runs_needed.is_some(), "{rare:?}");
}

#[test]
fn loss_is_compared_as_a_difference() {
    let side = |lost: u64| (0..10).map(|at| run(&[1_000_000; 300], lost + at % 2)).collect::<Vec<_>>();
    let verdict = |baseline: &[Run], current: &[Run]| {
        compared(baseline, current, "rtt.echo.loss_ratio > 1%", 0.05).all[0].verdict
    };
    assert_eq!(verdict(&side(0), &side(0)), Verdict::NoRegression);
    assert_eq!(verdict(&side(0), &side(9)), Verdict::Regression);
    assert_eq!(verdict(&side(9), &side(0)), Verdict::Improvement);
}

#[test]
fn sides_match_without_the_address_and_what_only_one_has_is_told() {
    let with = |name: &str, address: &str| {
        let series = sample::series(name, "dc", &[1_000_000; 50], 0);
        sample::run("a", vec![Series { labels: series.labels.clone().with("address", address), ..series }])
    };
    let baseline = [with("rtt.echo", "10.0.0.1"), with("rtt.icmp", "10.0.0.1")];
    let current = [with("rtt.echo", "10.0.0.2"), with("rtt.udp", "10.0.0.2")];
    let found = compared(&baseline, &current, "", 0.05);
    assert_eq!(found.all[0].full_name(), "rtt.echo{target=dc}");
    assert_eq!(
        found.unmatched,
        ["rtt.icmp{target=dc} is in the baseline only", "rtt.udp{target=dc} is not in the baseline"]
    );
}

#[test]
fn a_gate_against_the_baseline_is_judged_by_the_interval_of_the_change() {
    use crate::model::GateDecision::{Fail, Inconclusive, Pass};
    let mut world = World::new(3, 0.0, 0.005);
    let (baseline, current) = (world.side(10, 400, 1.0, 0.0), world.side(10, 400, 1.1, 0.0));
    for (gate, decision) in [
        ("rtt.echo.p50 > baseline", Fail),
        ("rtt.echo.p50 > baseline + 5%", Fail),
        ("rtt.echo.p50 > baseline + 10%", Inconclusive),
        ("rtt.echo.p50 > baseline+15%", Pass),
        ("rtt.echo.p90 > baseline + 5%", Fail),
        ("rtt.echo.p50 < baseline - 5%", Pass),
        ("rtt.echo.loss_ratio > baseline + 1%", Pass),
    ] {
        let judged = judge_relative(&[gate.parse().unwrap()], [&baseline, &current], 1, |_| None).unwrap();
        assert_eq!(judged[0].decision, decision, "{gate}: {judged:?}");
    }
    assert!(judge_relative(&["rtt.ecko.p50 > baseline".parse().unwrap()], [&baseline, &current], 1, |_| None).is_err());
    for wrong in ["rtt.echo.p50 > baseline * 2", "rtt.echo.p50 > baseline + 5ms", "rtt.echo.p50 > baseline - 100%"] {
        assert!(wrong.parse::<Gate>().unwrap_err().to_string().contains("no change against the baseline"), "{wrong}");
    }
}
