//! The plan: warm-up on top and left out, and spacing that its seed repeats.

use std::time::Duration;

use crate::far_end::{FarEnd, Manner};
use crate::measure::{probe, series};

fn prompt() -> FarEnd {
    FarEnd::start(Manner::Delay(Duration::ZERO))
}

#[test]
fn warm_up_is_made_and_not_recorded() {
    let far = prompt();
    let run = probe(&format!("far={} --channel echo --rate 100/s --duration 1s --warmup 500ms", far.address()));
    assert_eq!(series(&run.series, "rtt.echo").counts.attempt_count, 100);
    assert_eq!(far.frames(), 151, "the greeting and the warm-up's fifty were sent too");
    // The last start is planned for 10 ms before the end of a second and a half.
    assert!(run.elapsed_ns >= 1_490_000_000, "{}", run.elapsed_ns);
}

#[test]
fn warm_up_comes_on_top_of_a_count_too() {
    let far = prompt();
    let run = probe(&format!("far={} --channel echo --rate 100/s --count 50 --warmup 500ms", far.address()));
    assert_eq!(
        (series(&run.series, "rtt.echo").counts.attempt_count, far.frames()),
        (50, 101),
        "the greeting is nobody's attempt"
    );
}

#[test]
fn random_spacing_repeats_with_its_seed() {
    let far = prompt();
    let planned = |seed: u32| {
        let load = format!("--spacing poisson --rate 200/s --duration 2s --seed {seed}");
        let run = probe(&format!("far={} --channel echo,udp {load}", far.address()));
        ["rtt.echo", "rtt.echo_udp"].map(|name| {
            let counts = series(&run.series, name).counts;
            counts.attempt_count + counts.skipped_count
        })
    };
    let first = planned(7);
    assert_eq!(planned(7), first);
    assert_ne!(planned(8), first);
    assert_ne!(first[0], first[1], "each lane has a plan of its own");
    // 400 are expected with a standard deviation of 20; five of them either way.
    assert!(first.iter().all(|planned| (300..=500).contains(planned)), "{first:?}");
}

#[test]
fn starts_that_may_wait_are_made_together_and_the_wait_is_slip() {
    let far = prompt();
    let run = probe(&format!("far={} --channel echo --rate 200/s --count 200 --timer-slack 50ms", far.address()));
    let slip = &series(&run.series, "rtt.echo.slip");
    assert_eq!(slip.counts.attempt_count, 200);
    // A busy machine may make them later than they may be: then it is told.
    let is_late = slip.summary.p95_ns.unwrap() > 51_000_000;
    assert!(run.validity.valid || is_late, "{:?}: {:?}", run.validity, slip.summary);
    // Eleven starts are planned within 50 ms. A start alone would wait for nobody, and of eleven together one waits least.
    let prompt: u64 = slip.histogram.buckets().filter(|(low, ..)| *low < 4_000_000).map(|(.., count)| count).sum();
    assert!(prompt <= 40, "{prompt} of 200 starts waited less than 4 ms");
    assert!(slip.summary.max_ns.unwrap() >= 49_000_000, "{:?}", slip.summary);
}
