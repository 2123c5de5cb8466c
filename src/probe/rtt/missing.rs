//! Why a stamped series is not there, or not of all exchanges: words for the report.
//!
//! Separate because the cause differs: a stream joins what waits together, a datagram is stamped for itself, and what the far
//! end tells travels in a later answer. Whoever names the wrong one sends the reader after a fault that is not there.

use std::collections::BTreeMap;

use super::operation::RttOperation;
use super::stamps::Absence;
use crate::load::{Lane, Track};
use crate::model::{Finding, Severity};

/// From this share of the answered exchanges on it is said that stamps are missing. Fewer than so many are the first ones,
/// sent before the kernel had begun to stamp.
const MISSING_SHARE: f64 = 0.01;
const FEWEST_MISSING: u64 = 10;

/// Lanes that are named; a finding about a thousand must stay readable.
const NAMED: usize = 8;

/// Who stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Kernel,
    Card,
}

/// What one finding is about: who did not stamp, the name of the channel's series, and the kind of failure that most share.
type Group = (By, &'static str, &'static str);

/// Why series are missing, or are a selection.
pub fn findings(lanes: &[Lane<RttOperation>]) -> Vec<Finding> {
    let mut groups: BTreeMap<Group, Vec<(String, f64)>> = BTreeMap::new();
    let mut unstamped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for lane in lanes {
        lane.operation.with_tracks(|tracks| {
            let by = [(By::Kernel, Some(tracks.complete())), (By::Card, tracks.by_card())];
            for (by, (kind, share)) in by.into_iter().filter_map(|(by, track)| Some((by, share(track?)?))) {
                groups.entry((by, lane.name, kind)).or_default().push((place(lane), share));
            }
            let silent = tracks.by_card().filter(|track| track.counts().ok_count == 0);
            if let Some(kind) = silent.and_then(Track::main_failure) {
                unstamped.entry(kind).or_default().push(place(lane));
            }
        });
    }
    let by_card = unstamped.into_iter().map(|(kind, lanes)| {
        let text = format!(
            "no .kernel of stamps=hardware: the card was told to stamp everything and stamped no exchange whole ({kind}): {}",
            listed(&lanes)
        );
        Finding::new("no_hardware_stamps", Severity::Info, text)
    });
    absent(lanes).chain(by_card).chain(groups.into_iter().map(|(group, lanes)| selection(group, lanes))).collect()
}

/// What a lane is called.
pub fn place(lane: &Lane<RttOperation>) -> String {
    format!("{} {}", lane.labels.value("target").unwrap_or_default(), lane.name)
}

/// Which kind of failure most exchanges without a stamp share, and how many of all they are, if they are many and not all.
fn share(track: &Track) -> Option<(&'static str, f64)> {
    let (answered, missing) = (track.counts().attempt_count, track.counts().failed_count);
    let is_many = missing >= FEWEST_MISSING && missing as f64 > answered as f64 * MISSING_SHARE;
    Some((track.main_failure().filter(|_| is_many && missing < answered)?, missing as f64 / answered as f64))
}

/// The stamps are not of all exchanges, for this reason most of all.
fn selection((by, name, kind): Group, mut lanes: Vec<(String, f64)>) -> Finding {
    lanes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (worst, share) = lanes.first().cloned().unwrap_or_default();
    let more = match lanes.len() {
        1 => String::new(),
        count => format!(", and of more than {:.0} % on {} others", MISSING_SHARE * 100.0, count - 1),
    };
    let (what, series) = match by {
        By::Kernel => ("stamps", ".kernel, rtt.wakeup and rtt.network are"),
        By::Card => ("stamps of the card", ".kernel of stamps=hardware is"),
    };
    let text = format!(
        "{what} are missing of {:.1} % of the answered exchanges of {worst}{more}: {series} a selection{}",
        share * 100.0,
        cause(by, name, kind),
    );
    Finding::new("stamped_selection", Severity::Notice, text)
}

/// How the ones that are missing came to be missing, and what has them all.
fn cause(by: By, name: &str, kind: &str) -> String {
    let is_stream = name.ends_with(".echo");
    let cause = match (by, kind) {
        (_, "clock_step") => ", for the wall clock, which the kernel stamps with, was stepped meanwhile",
        (_, "no_far_stamps") if is_stream => {
            ", and of the quicker ones, for requests that wait together at the far end have one stamp; a lower rate or `--channel udp` has them all"
        }
        (_, "no_far_stamps") => {
            ": the far end tells its stamps in a later answer, which was lost, or it has more peers than it keeps stamps of"
        }
        (_, "no_send_stamp" | "no_receive_stamp") if is_stream => {
            ", and of the quicker ones, for what waits together in a stream has one stamp; a lower rate or `--channel udp` has them all"
        }
        (By::Kernel, "no_send_stamp") => ": the kernel had no room for their stamps; a lower rate has them all",
        (By::Card, "no_send_stamp") => {
            ": a card that has a stamp under way sends others without; a lower rate has them all"
        }
        (_, "no_receive_stamp") => {
            ": it begins to stamp a moment after it was asked, which a `--warmup` leaves out, and a card drops what it has no room for"
        }
        (By::Card, "implausible") => {
            ", for they contradict those of the kernel: the card's clock was set meanwhile, or the answers came in by another card"
        }
        (_, "implausible") => ", for they contradict each other or this process's own clock",
        (_, other) => return format!(" ({other})"),
    };
    cause.to_owned()
}

/// One finding for each reason why a series of the kernel's stamps is not there.
fn absent(lanes: &[Lane<RttOperation>]) -> impl Iterator<Item = Finding> {
    let mut reasons: BTreeMap<Absence, Vec<String>> = BTreeMap::new();
    for lane in lanes {
        // Of emulated ones, which have no address, it is said already that there is no far kernel.
        let is_emulated = lane.labels.value("address").is_none();
        if let Some(absence) = lane.operation.absence().filter(|absence| !(is_emulated && *absence == Absence::Untold))
        {
            reasons.entry(absence).or_default().push(place(lane));
        }
    }
    reasons.into_iter().map(|(absence, lanes)| {
        let lanes = listed(&lanes);
        let (id, text) = match absence {
            Absence::Refused(reason) => (
                "no_kernel_stamps",
                format!("no .kernel, no rtt.wakeup: the kernel gives no stamps ({reason}): {lanes}"),
            ),
            Absence::Unstamped => {
                ("no_kernel_stamps", format!("no .kernel, no rtt.wakeup: the kernel stamped no exchange: {lanes}"))
            }
            Absence::Untold => {
                ("no_network_time", format!("no rtt.network: the far end tells no stamps of its own kernel: {lanes}"))
            }
        };
        Finding::new(id, Severity::Info, text)
    })
}

fn listed(lanes: &[String]) -> String {
    let named = lanes[..lanes.len().min(NAMED)].join(", ");
    match lanes.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    #[test]
    fn the_cause_is_that_of_the_channel() {
        let of = |by, name, kind| selection((by, name, kind), vec![(format!("far {name}"), 0.25)]).text;
        let stream = of(By::Kernel, "rtt.echo", "no_receive_stamp");
        assert!(
            stream.starts_with("stamps are missing of 25.0 % of the answered exchanges of far rtt.echo: "),
            "{stream}"
        );
        assert!(stream.contains("in a stream") && stream.contains("`--channel udp`"), "{stream}");
        for kind in ["no_far_stamps", "no_send_stamp", "no_receive_stamp", "clock_step", "implausible", "negative"] {
            for name in ["rtt.echo_udp", "rtt.icmp"] {
                let datagram = of(By::Kernel, name, kind);
                assert!(!datagram.contains("stream") && !datagram.contains("quicker"), "{datagram}");
                assert!(!datagram.contains("--channel udp"), "that is what it is: {datagram}");
            }
            let card = of(By::Card, "rtt.icmp", kind);
            assert!(card.starts_with("stamps of the card are missing") && !card.contains("rtt.network"), "{card}");
        }
        assert!(of(By::Kernel, "rtt.echo_udp", "no_far_stamps").contains("in a later answer, which was lost"));
        assert!(of(By::Kernel, "rtt.echo", "clock_step").contains("was stepped"));
    }

    #[test]
    fn the_worst_lane_is_named_and_the_others_are_counted() {
        let lanes = [("a rtt.icmp", 0.02), ("b rtt.icmp", 0.5), ("c rtt.icmp", 0.1)];
        let lanes = lanes.map(|(place, share)| (place.to_owned(), share)).to_vec();
        let text = selection((By::Kernel, "rtt.icmp", "clock_step"), lanes).text;
        assert!(text.contains("50.0 % of the answered exchanges of b rtt.icmp, and of more than 1 % on 2 others: "));
        let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(listed(&many), "0, 1, 2, 3, 4, 5, 6, 7, and 992 more");
    }

    #[test]
    fn a_few_missing_ones_are_not_worth_a_word_and_the_kind_of_most_counts() {
        let mut track = Track::default();
        for number in 0..100 {
            track.record(number, Outcome::Ok, 1);
        }
        let mut fail = |kind, count| {
            (0..count).for_each(|number| track.record(number, Outcome::Failed(kind), 0));
            share(&track)
        };
        assert_eq!(fail("no_send_stamp", 4), None);
        assert_eq!(fail("no_far_stamps", 5), None, "nine");
        assert_eq!(fail("clock_step", 6), Some(("clock_step", 15.0 / 115.0)));
    }
}
