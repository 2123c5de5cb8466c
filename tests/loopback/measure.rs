//! One measurement as the tests ask for it, through the program or the library; every run is held to the rules that all
//! runs obey.

use std::time::Duration;

use offloadctl::load::{Arrival, Length, LoadSpec, Session, Spacing};
use offloadctl::model::{Counts, Measured, Run, Series};
use offloadctl::probe::rtt::{Channel, RttSpec, measure};
use offloadctl::sys::shutdown::Shutdown;
use offloadctl::wire::Reach;

use crate::support::code_of;
use crate::support::program::{Ended, Scene};
use crate::support::schema::{RUN, valid};

/// Runs `offloadctl probe rtt` with these arguments in an empty folder, and reads its document.
#[track_caller]
pub fn probe(arguments: &str) -> Run {
    read(&probe_in(&Scene::new(), arguments))
}

/// The same in a folder that holds something.
pub fn probe_in(scene: &Scene, arguments: &str) -> Ended {
    scene.run(&format!("probe rtt {arguments} --json --no-save"))
}

/// Reads the document that the program printed; it may have exited with whatever its figures deserve, and a machine that is
/// busy with other tests may have spoilt them, which is no matter here.
#[track_caller]
pub fn read(ended: &Ended) -> Run {
    assert!(matches!(ended.code, Some(0 | 1 | 4)), "exit {:?}: {}", ended.code, ended.stderr);
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap();
    assert!(
        ended.code == Some(1) || ended.code == code_of(run.validity.valid),
        "exit {:?}: {:?}",
        ended.code,
        run.validity
    );
    assert!(run.complete);
    obeys(&run.series);
    run
}

/// Measures with the library alone: open loop, evenly, `rate` a second, `count` attempts.
pub fn library(target: &str, channels: &[Channel], rate: u32, count: u64) -> Measured {
    let spec = RttSpec {
        targets: vec![target.parse().unwrap()],
        channels: Some(channels.iter().copied().collect()),
        reach: Reach::default(),
        clock_bound: None,
        load: LoadSpec {
            arrival: Arrival::Open {
                rate: format!("{rate}/s").parse().unwrap(),
                spacing: Spacing::Constant,
                slack: Duration::ZERO,
            },
            length: Length::Count(count),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(5),
            max_in_flight: 1024,
            seed: 7,
        },
        max_loss_ratio: 1.0,
    };
    let spec = spec.checked().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measured = runtime.block_on(async {
        let (shutdown, mut nobody) = (Shutdown::listen().unwrap(), ());
        let mut session = Session::new(&mut nobody, &shutdown);
        let measured = measure(&spec, &mut session).await.unwrap();
        session.finish(measured)
    });
    obeys(&measured.series);
    measured
}

/// What is true of every series of every run.
#[track_caller]
fn obeys(all: &[Series]) {
    for series in all {
        let name = series.full_name();
        let Counts { attempt_count, ok_count, lost_count, refused_count, failed_count, .. } = series.counts;
        let error_count = series.counts.error_count;
        assert_eq!(attempt_count, ok_count + error_count + lost_count + refused_count + failed_count, "{name}");
        assert_eq!(series.failure_kinds.values().sum::<u64>(), failed_count + error_count, "{name}");
        assert!(series.is_consistent(), "{name}");
        if !series.timeline.is_empty() {
            let mut sum = Counts::default();
            series.timeline.iter().for_each(|interval| sum.merge(&interval.counts));
            assert_eq!(sum, series.counts, "the timeline of {name}");
            let answers: u64 = series.timeline.iter().map(|interval| interval.histogram.len()).sum();
            assert_eq!(answers, ok_count, "the timeline of {name}");
        }
    }
}

/// The series of this name that is not the floor's; there must be exactly one.
#[track_caller]
pub fn series<'a>(all: &'a [Series], name: &str) -> &'a Series {
    let mut found = all.iter().filter(|series| series.name == name);
    let first = found.next().unwrap_or_else(|| panic!("there is no {name}"));
    assert!(found.next().is_none(), "there are two {name}");
    first
}
