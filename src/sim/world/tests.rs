//! The world against what was published and what can be worked out by hand.

use super::*;
use crate::detect::DetectorSpec;
use crate::sim::{Delay, Loss};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Stamp {
    Stamp::from_nanos(millis * 1_000_000)
}

fn world(detector: &str, link: LinkSpec, nodes: usize) -> World {
    let spec: DetectorSpec = detector.parse().unwrap();
    let node = |n: usize| {
        let first = Stamp::from_nanos(n as u64 * 1_000_000_000 / nodes as u64);
        NodeSpec { first, detector: Detector::new(&spec, first, SECOND, at(0)) }
    };
    World::new(WorldSpec { interval: SECOND, link, retry: None, seed: 11 }, (0..nodes).map(node).collect())
}

fn notices(world: &mut World, until: Stamp) -> Vec<(u64, What)> {
    let mut all = Vec::new();
    world.run(until, &mut |notice| all.push((notice.at.as_nanos() / 1_000_000, notice.what)));
    all.retain(|(_, what)| !matches!(what, What::Moved));
    all
}

fn suspicions(world: &mut World, until: Stamp) -> Vec<(u64, bool)> {
    let wanted = |(at, what): &(u64, What)| match what {
        What::Suspected => Some((*at, true)),
        What::Trusted => Some((*at, false)),
        _ => None,
    };
    notices(world, until).iter().filter_map(wanted).collect()
}

#[test]
fn a_crash_is_suspected_three_intervals_after_the_last_receipt() {
    let mut world = world("missed:3", LinkSpec { delay: Delay::Constant { ns: 20_000_000 }, ..LinkSpec::ideal() }, 1);
    world.plan(at(5_500), 0, Fault::Crash);
    assert_eq!(suspicions(&mut world, at(60_000)), [(8_020, true)]);
}

#[test]
fn with_no_margin_and_no_delay_the_arrival_wins_every_tie() {
    let mut world = world("missed:1", LinkSpec::ideal(), 1);
    assert_eq!(suspicions(&mut world, at(1_000_000)), []);
}

#[test]
fn a_freeze_a_partition_and_clock_steps_are_mistakes_that_end() {
    for (fault, expected) in [
        (Fault::Freeze(SECOND * 5), vec![(8_000, true), (10_500, false)]),
        (Fault::Partition(SECOND * 5), vec![(8_000, true), (11_000, false)]),
        (Fault::ClockBack(SECOND * 5), vec![(8_000, true), (11_000, false)]),
        (Fault::ClockForward(SECOND * 5), vec![]),
    ] {
        let mut world = world("missed:3", LinkSpec::ideal(), 1);
        world.plan(at(5_500), 0, fault);
        assert_eq!(suspicions(&mut world, at(30_000)), expected, "{fault:?}");
    }
}

#[test]
fn a_clock_set_forward_sends_at_once_and_no_heartbeat_twice() {
    let mut world = world("missed:3", LinkSpec::ideal(), 1);
    world.plan(at(2_500), 0, Fault::ClockForward(SECOND * 5));
    let sends = notices(&mut world, at(4_000)).into_iter().filter(|(_, what)| matches!(what, What::Sent(_)));
    let expected = [(0, 1), (1_000, 2), (2_000, 3), (2_500, 4), (3_500, 5)];
    assert!(sends.eq(expected.map(|(at, n)| (at, What::Sent(n)))));
}

#[test]
fn one_seed_gives_one_outcome() {
    let outcome = |seed| {
        let link = LinkSpec {
            delay: Delay::LogNormal { mu: 17.0, sigma: 0.6 },
            loss: Loss::Independent(0.1),
            duplicate: 0.1,
            in_order: false,
        };
        let mut world = world("phi:3/pause=0s/floor=1ms", link, 20);
        world.random = ChaCha8Rng::seed_from_u64(seed);
        notices(&mut world, at(100_000))
    };
    assert_eq!(outcome(3), outcome(3));
    assert_ne!(outcome(3), outcome(4));
}

#[test]
fn a_lost_renewal_is_tried_again_soon_and_then_less_often() {
    let mut world = world("k8s-lease", LinkSpec::ideal(), 1);
    world.interval_ns = 10_000_000_000;
    world.retry = Some(Retry { first: Duration::from_millis(200), longest: SECOND * 7 });
    world.plan(at(9_000), 0, Fault::Partition(SECOND * 2));
    let sends = notices(&mut world, at(31_000)).into_iter().filter(|(_, what)| matches!(what, What::Sent(_)));
    assert_eq!(sends.map(|(at, _)| at).collect::<Vec<_>>(), [0, 10_000, 10_200, 10_600, 11_400, 21_400]);
}

/// (1 - q^k) / ((1 - q) q^k) beats between mistakes, 8.4 thousand at q = 5 % and k = 3.
#[test]
fn mistakes_come_as_often_as_independent_losses_make_them() {
    let link = LinkSpec { loss: Loss::Independent(0.05), ..LinkSpec::ideal() };
    let mut world = world("missed:3/margin=1ms", link, 200);
    let mut mistakes = 0;
    world.run(at(10_000_000), &mut |notice| mistakes += u32::from(notice.what == What::Suspected));
    let beats = world.sent_count() as f64 / f64::from(mistakes);
    assert!((beats / 8_420.0 - 1.0).abs() < 0.12, "{beats} beats between {mistakes} mistakes");
}
