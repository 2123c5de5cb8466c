//! One trial in full, as comma-separated values that people and programs read.
//!
//! Separate from the trials because a story is told in moments and a measurement is not. The deadlines are worked out by
//! a second detector that is told of the receipts alone: where the story were not the trial's, the two would disagree.

use std::fmt::Write as _;
use std::time::Duration;

use super::spec::{Cell, HeartbeatSpec};
use super::trial::{self, Trace};
use crate::detect::{Beat, Detector};
use crate::model::Stamp;
use crate::sim::{Fault, Notice, What};

/// A dumped trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// A head, and one line an event.
    pub text: String,
    /// From the crash to the suspicion that stays; zero if it was there already.
    pub detection: Duration,
}

/// The trial of this number, the first being 1, of the first cell of a run.
#[must_use]
pub fn dump(spec: &HeartbeatSpec, number: u64) -> Option<Dump> {
    let cell = spec.cells().into_iter().next()?;
    told(&cell, trial::trace(spec, &cell, 0, number))
}

/// The story of a trace; `None` of one without a crash.
fn told(cell: &Cell, trace: Trace) -> Option<Dump> {
    let crash = trace.notices.iter().find(|notice| notice.what == What::Faulted(Fault::Crash))?.at;
    let mut text = "at_ns,since_crash_ns,event,sequence,deadline_ns\n".to_owned();
    let (mut detector, mut suspected) = (trace.detector, None);
    for notice in &trace.notices {
        match notice.what {
            What::Suspected => suspected = Some(notice.at),
            What::Trusted => suspected = None,
            _ => {}
        }
        line(&mut text, notice, crash, cell.interval, &mut detector);
    }
    // What is still suspected from its history has no suspicion after the crash.
    let detection = suspected.unwrap_or(crash).nanos_since(crash);
    Some(Dump { text, detection: Duration::from_nanos(detection) })
}

/// One event: when, how long after the crash, what, of which heartbeat, and the deadline after it where that is new.
fn line(text: &mut String, notice: &Notice, crash: Stamp, interval: Duration, detector: &mut Detector) {
    let (event, sequence) = match notice.what {
        What::Sent(sequence) => ("sent", Some(sequence)),
        What::Lost(sequence) => ("lost", Some(sequence)),
        What::Received(sequence) => ("received", Some(sequence)),
        What::Moved => ("deadline_moved", None),
        What::Suspected => ("suspected", None),
        What::Trusted => ("trusted", None),
        What::Faulted(Fault::Crash) => ("crashed", None),
        What::Faulted(_) => ("faulted", None),
    };
    if let What::Received(sequence) = notice.what {
        detector.heartbeat(Beat { at: notice.at, sequence, promised: interval });
    }
    let has_deadline = matches!(notice.what, What::Received(_) | What::Moved | What::Suspected);
    let deadline = has_deadline.then(|| detector.deadline().as_nanos());
    let since = i128::from(notice.at.as_nanos()) - i128::from(crash.as_nanos());
    let shown = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{},{since},{event},{},{}", notice.at.as_nanos(), shown(sequence), shown(deadline));
}

#[cfg(test)]
mod tests {
    use super::super::condition::{Condition, Lost};
    use super::super::plan::Plan;
    use super::super::{Goal, Network};
    use super::*;
    use crate::bench::heartbeat::trial::{Hooks, Outcome};

    fn spec(detector: &str, trials: u64) -> HeartbeatSpec {
        let lost = Lost::new(0.2, Some(3.0)).unwrap();
        let condition = Condition { lost: Some(lost), duplicate_ratio: 0.05, is_reordered: true };
        HeartbeatSpec {
            mode: "simulated",
            intervals: vec![Duration::from_secs(2)],
            detectors: vec![detector.parse().unwrap()],
            left_out: Vec::new(),
            networks: vec![Network::ideal().under(&condition)],
            condition,
            trials,
            mistake_beats: 1,
            heartbeat_bytes: 200,
            nodes: None,
            goal: Goal::default(),
            seed: 12,
        }
    }

    fn run(spec: &HeartbeatSpec) -> Outcome {
        let cell = &spec.cells()[0];
        let hooks = Hooks { advance: &|_| {}, is_over: &|| false };
        trial::run(spec, cell, 0, &Plan::of(spec, cell), hooks)
    }

    #[test]
    fn the_dumped_trial_is_the_one_that_was_counted() {
        // The last trial is what one trial more adds to the sum: at the ends of a batch, and in the middle of another.
        let learning = ["phi:3/pause=0s/window=50", "chen:500ms"].map(|detector| (detector, vec![1234]));
        let fixed = ["missed:2/check=1s", "k8s-lease/grace=8s"].map(|detector| (detector, vec![1, 1000, 1001, 2345]));
        for (detector, numbers) in learning.into_iter().chain(fixed) {
            for number in numbers {
                let sum = |trials| match trials {
                    0 => 0.0,
                    trials => run(&spec(detector, trials)).detection.moments.mean() * trials as f64,
                };
                let counted = sum(number) - sum(number - 1);
                let dumped = dump(&spec(detector, 5000), number).unwrap();
                let difference = (dumped.detection.as_nanos() as f64 - counted).abs();
                assert!(difference < 1e4, "{detector} {number}: {counted} of {:?}", dumped.detection);
            }
        }
    }

    #[test]
    fn a_story_holds_together() {
        // One that was not suspected already when it crashed.
        let mut dumps = (1..).filter_map(|number| dump(&spec("missed:2/check=1s", 1000), number));
        let dump = dumps.find(|dump| !dump.detection.is_zero()).unwrap();
        let lines: Vec<Vec<&str>> = dump.text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let of = |event: &str| lines.iter().filter(|line| line[2] == event).collect::<Vec<_>>();
        assert!(
            lines.iter().all(|line| line.len() == 5) && lines.is_sorted_by_key(|line| line[0].parse::<u64>().unwrap())
        );
        let crashed = of("crashed");
        assert_eq!((crashed.len(), crashed[0][1]), (1, "0"));
        // Whatever was sent was lost or came, some of it twice, and nothing was sent after the crash.
        let sent = of("sent");
        assert!(sent.iter().all(|line| line[1].parse::<i64>().unwrap() < 0));
        for line in &sent {
            let has = |event| lines.iter().filter(|other| other[2] == event && other[3] == line[3]).count();
            assert!(has("lost") + has("received").min(1) == 1, "{line:?}");
        }
        // The last suspicion comes at the deadline that the receipts alone give, a look of the monitor.
        let last = of("suspected").pop().unwrap().clone();
        assert_eq!((last[0], last[1].parse::<u128>().unwrap()), (last[4], dump.detection.as_nanos()));
    }
}
