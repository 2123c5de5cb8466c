//! What happened beside what each watcher told of it, the closed formula, and what follows: pure.
//!
//! Separate from whoever acts and whoever watches, so that each case is tried by hand.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::figure::{count, duration};
use crate::model::{Finding, Labels, Measured, Severity, Stamp};
use crate::source::watch::{Act, Sight};

/// A container by the runtime's own time, on the monotonic clock; what is not known of it is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its id.
    pub id: String,
    /// When it was started.
    pub started: Option<Stamp>,
    /// When it ended.
    pub finished: Option<Stamp>,
}

/// The acts that are measured.
pub const ACTS: [Act; 2] = [Act::Start, Act::Exit];

/// How late a watcher knew of this act of each life; `None` where it never told. What it told before the runtime had stamped it,
/// it knew at once. A start that was first seen as ended counts as seen then.
#[must_use]
pub fn delays(act: Act, lives: &[Life], sights: &[Sight]) -> Vec<Option<u64>> {
    let mut seen: HashMap<&str, Stamp> = HashMap::new();
    for sight in sights.iter().filter(|sight| sight.act == act) {
        seen.entry(&sight.container).or_insert(sight.seen);
    }
    let happened = lives.iter().filter_map(|life| {
        let at = if act == Act::Start { life.started } else { life.finished };
        Some((life.id.as_str(), at?))
    });
    happened.map(|(id, at)| seen.get(id).map(|seen| seen.nanos_since(at))).collect()
}

/// Mean and worst detection of somebody who asks each `every` for lists that take so long on average and at worst (each act falls
/// anywhere between two questions).
#[must_use]
pub fn predicted(every: Duration, list: [Duration; 2]) -> [Duration; 2] {
    [every / 2 + list[0], every + list[1]]
}

/// What is far from the formula, or was missed.
#[must_use]
pub fn findings(measured: &Measured) -> Vec<Finding> {
    let of = |name: &str, labels: &Labels| {
        measured
            .scalars
            .iter()
            .find(|scalar| scalar.name == name && scalar.labels == *labels)
            .and_then(|scalar| scalar.value)
    };
    let missed = measured.scalars.iter().filter(|scalar| scalar.name == "cri.missed");
    let missed = missed.filter_map(|scalar| {
        let (n, watcher) = (scalar.value.filter(|n| *n > 0.0)?, scalar.labels.value("watcher")?);
        let text = format!("{watcher} never told of {} starts and ends", count(n as u64));
        Some(Finding::new("cri_missed", Severity::Notice, text))
    });
    let late = measured.series.iter().filter(|series| series.name == "cri.detection").filter_map(|series| {
        let labels =
            Labels::new().with("watcher", series.label("watcher")).with("containers", series.label("containers"));
        let (worst, most) = (of("cri.predicted_worst", &labels)?, series.summary.max_ns?);
        // A relist that a busy machine delays by a third of its span is told.
        (most as f64 > worst * 4.0 / 3.0).then(|| {
            let text = beyond(series.label("watcher"), series.label("event"), most, worst as u64);
            Finding::new("cri_late_relist", Severity::Notice, text)
        })
    });
    missed.chain(late).collect()
}

/// What was known later than the formula has it, and why that may be.
fn beyond(watcher: &str, event: &str, most: u64, worst: u64) -> String {
    let (article, why) = match event {
        "exit" => ("an", "relists were late, or the runtime showed the end in its lists later than it had stamped it"),
        _ => ("a", "relists were late"),
    };
    format!(
        "{watcher}: {article} {event} was known after {}, beyond the {} that the formula has at worst: {why}",
        duration(most),
        duration(worst)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(container: &str, act: Act, seen: u64) -> Sight {
        let seen = Stamp::from_nanos(seen);
        Sight {
            container: container.to_owned(),
            act,
            seen,
            stamped: None,
            kernel: false,
            implied: false,
            exit_code: None,
        }
    }

    #[test]
    fn each_act_is_paired_with_its_first_sight() {
        let life = |id: &str, started: Option<u64>, finished: Option<u64>| Life {
            id: id.to_owned(),
            started: started.map(Stamp::from_nanos),
            finished: finished.map(Stamp::from_nanos),
        };
        let lives = [life("a", Some(10), Some(50)), life("b", Some(20), None), life("c", Some(30), Some(60))];
        let sights = [
            sight("other", Act::Start, 1),
            sight("a", Act::Start, 15),
            sight("a", Act::Start, 99),
            sight("c", Act::Start, 29),
            sight("a", Act::Exit, 70),
            sight("b", Act::Exit, 71),
        ];
        assert_eq!(delays(Act::Start, &lives, &sights), [Some(5), None, Some(0)]);
        assert_eq!(delays(Act::Exit, &lives, &sights), [Some(20), None], "of b nobody knows when it ended");
    }

    #[test]
    fn what_is_beyond_the_formula_names_whose_fault_it_may_be() {
        let text = beyond("relist=100ms", "exit", 172_000_000, 110_000_000);
        assert!(text.starts_with("relist=100ms: an exit was known after 172 ms, beyond the 110 ms"), "{text}");
        assert!(text.contains("later than it had stamped it"), "{text}");
        let text = beyond("relist=1s", "start", 1_400_000_000, 1_000_000_000);
        assert!(text.contains(": a start was known after 1.40 s") && text.ends_with("relists were late"), "{text}");
    }

    #[test]
    fn the_formula_is_half_a_span_and_a_whole_one() {
        let list = [Duration::from_millis(10), Duration::from_millis(30)];
        assert_eq!(predicted(Duration::from_secs(1), list), [Duration::from_millis(510), Duration::from_millis(1_030)]);
    }
}
