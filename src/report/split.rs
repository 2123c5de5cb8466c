//! Where a round trip goes: what this program saw, what the kernel saw of it, what is left for the network, and the clocks.
//!
//! Separate from the main table because its rows are parts of the rows there, side by side, and only some runs have them.

use super::row::{channel, shown, target};
use super::unit::{self, ABSENT, count, maybe};
use crate::model::{Labels, Run, Scalar, Series};

/// Targets and channels that are listed; CSV and JSON have every one.
const LISTED: usize = 40;

/// Above the table, and how to read it.
pub const CAPTION: &str = "where the round trip goes (p50)";
const LEGEND: [(&str, &str); 3] = [
    (
        "user, kernel",
        "from sending to reading by this program, which of ICMP is no figure of its own; between the kernel's stamps of the two",
    ),
    ("wake-up", "what this program added to the kernel's part: being woken, and its own work"),
    (
        "network",
        "the kernel's part without the time that the far end had it; there and back: its directions, known only of one clock",
    ),
];

/// Where a card stamped too.
const CARD_LEGEND: (&str, &str) = (
    "card",
    "between the network card's own stamps of the two, on its clock: the kernel's part without driver and queues here",
);

/// The scalars that stand in this table.
const CLOCKS: &str = "rtt.clock_";

/// Columns that name a row.
const NAMES: usize = 2;

/// Parts of round trips, a row a target and channel.
#[derive(Debug)]
pub struct Split {
    /// The columns that anything stands in, those of the spans first.
    columns: Vec<(&'static str, Vec<String>)>,
    /// Rows that are not listed.
    left_out: usize,
}

/// The parts of this run; `None` where the kernel gave no stamps.
pub fn split(run: &Run) -> Option<Split> {
    let all: Vec<&Series> = shown(run).into_iter().filter(|series| part(run, series, Part::Kernel).is_some()).collect();
    let listed = &all[..all.len().min(LISTED)];
    let of = |wanted: Part| listed.iter().map(|series| p50(part(run, series, wanted))).collect::<Vec<_>>();
    let of_clock = |cell: fn(&Run, &Series) -> String| listed.iter().map(|series| cell(run, series)).collect();
    let columns = vec![
        ("target", listed.iter().map(|series| target(series)).collect()),
        ("channel", listed.iter().map(|series| channel(series)).collect()),
        ("user", of(Part::User)),
        ("wake-up", of(Part::Wakeup)),
        ("kernel", of(Part::Kernel)),
        (CARD_LEGEND.0, of(Part::Card)),
        ("network", of(Part::Network)),
        ("there", of(Part::Forward)),
        ("back", of(Part::Backward)),
        ("far clock ahead by", of_clock(offset)),
        ("drift", of_clock(drift)),
    ];
    let is_known = |cells: &Vec<String>| cells.iter().any(|cell| cell != ABSENT);
    let columns = columns.into_iter().filter(|(_, cells)| is_known(cells)).collect();
    (!listed.is_empty()).then_some(Split { columns, left_out: all.len() - listed.len() })
}

impl Split {
    /// Heads and rows in one table if it is at most so wide by this measure, else in two: the spans, and the clocks.
    pub fn tables(&self, fits: impl Fn(&[&str], &[Vec<String>]) -> bool) -> Vec<(Vec<&'static str>, Vec<Vec<String>>)> {
        let whole = self.table(|_| true);
        if fits(&whole.0, &whole.1) {
            return vec![whole];
        }
        let is_clock = |head: &str| matches!(head, "far clock ahead by" | "drift");
        let parts = [self.table(|head| !is_clock(head)), self.table(is_clock)];
        parts.into_iter().filter(|(heads, _)| heads.len() > NAMES).collect()
    }

    /// How to read it.
    pub fn legend(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let has_card = self.columns.iter().any(|(head, _)| *head == CARD_LEGEND.0);
        LEGEND.into_iter().chain(has_card.then_some(CARD_LEGEND))
    }

    /// What is said of the rows that are not listed.
    pub fn rest(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("… {} more; CSV and JSON have every one", count(self.left_out as u64)))
    }

    fn table(&self, takes: impl Fn(&str) -> bool) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let named = self.columns.iter().take(NAMES);
        let columns: Vec<_> = named.chain(self.columns.iter().skip(NAMES).filter(|(head, _)| takes(head))).collect();
        let count = self.columns.first().map_or(0, |(_, cells)| cells.len());
        let row = |at: usize| columns.iter().map(|(_, cells)| cells[at].clone()).collect();
        (columns.iter().map(|(head, _)| *head).collect(), (0..count).map(row).collect())
    }
}

/// Whether a scalar stands in this table.
pub fn is_clock(scalar: &Scalar) -> bool {
    scalar.name.starts_with(CLOCKS)
}

/// A part of an exchange.
#[derive(Clone, Copy)]
enum Part {
    User,
    Wakeup,
    Kernel,
    Card,
    Network,
    Forward,
    Backward,
}

/// The series of a part beside a response.
fn part<'a>(run: &'a Run, response: &Series, part: Part) -> Option<&'a Series> {
    let (family, way) = response.name.rsplit_once('.')?;
    let by_channel = response.labels.clone().with("channel", way);
    let (name, labels) = match part {
        // It ends with the kernel's stamp, as that of `ping` does.
        Part::User if way == "icmp" => return None,
        Part::User => (format!("{}.service", response.name), &response.labels),
        // A handshake has an estimate of the kernel's own and no stamps.
        Part::Kernel => (format!("{}.kernel", response.name), &response.labels.clone().with("stamps", "software")),
        Part::Card => (format!("{}.kernel", response.name), &response.labels.clone().with("stamps", "hardware")),
        Part::Wakeup => (format!("{family}.wakeup"), &by_channel),
        Part::Network => (format!("{family}.network"), &by_channel),
        Part::Forward => (format!("{family}.oneway.forward"), &by_channel),
        Part::Backward => (format!("{family}.oneway.backward"), &by_channel),
    };
    run.series.iter().find(|series| series.name == name && is_within(labels, &series.labels))
}

/// Whether all of these labels are there, with these values.
fn is_within(wanted: &Labels, all: &Labels) -> bool {
    wanted.iter().all(|(name, value)| all.value(name) == Some(value))
}

fn p50(series: Option<&Series>) -> String {
    series.map_or_else(|| ABSENT.to_owned(), |series| unit::quantile(&series.summary, "p50", series.timeout_ns))
}

fn scalar(run: &Run, response: &Series, name: &str) -> Option<f64> {
    let labels = response.labels.clone().with("channel", response.name.rsplit_once('.')?.1);
    run.scalars.iter().find(|scalar| scalar.name == name && scalar.labels == labels)?.value
}

/// `+12.3 µs ± 7.90 µs`.
fn offset(run: &Run, response: &Series) -> String {
    let known = scalar(run, response, "rtt.clock_offset").zip(scalar(run, response, "rtt.clock_offset_bound"));
    known.map_or_else(
        || ABSENT.to_owned(),
        |(offset, bound)| {
            let sign = if offset < 0.0 { '−' } else { '+' };
            format!("{sign}{} ± {}", span(offset.abs()), span(bound))
        },
    )
}

fn span(ns: f64) -> String {
    maybe(Some(ns.round() as u64))
}

/// `0.03 ± 0.01 ppm`.
fn drift(run: &Run, response: &Series) -> String {
    let of = |name| scalar(run, response, name);
    let known = of("rtt.clock_drift").zip(of("rtt.clock_drift_low")).zip(of("rtt.clock_drift_high"));
    known.map_or_else(
        || ABSENT.to_owned(),
        |((ppm, low), high)| format!("{} ± {} ppm", unit::significant(ppm), unit::significant((high - low) / 2.0)),
    )
}
