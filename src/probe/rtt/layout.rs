//! A run of `probe rtt` as people read it: who answers how soon, and what of it is the network.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::figure::{count, duration, ratio, significant};
use crate::model::layout::{
    Answer, Block, Cell, Column, Histogram, Note, Table, findings, floor, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Role, Run, Series};

/// Targets from which on nobody reads them one by one, and how many of the worst are then shown.
const MANY: usize = 20;
const WORST: usize = 10;

/// Channels by how much they say of a message between two processes.
const BEST_FIRST: [&str; 4] = ["rtt.echo", "rtt.echo_udp", "rtt.tcp_connect", "rtt.icmp"];

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let all = by_target(run);
    let shown = if all.len() > MANY { condensed(&all) } else { flat(&all) };
    let rows: Vec<&Series> = shown.iter().map(AsRef::as_ref).collect();
    let mut notes = notes_on(&all.iter().flat_map(|(_, series)| series.iter().copied()).collect::<Vec<_>>());
    notes.extend(findings(run, &[]));
    notes.extend(programmed(run));
    notes.extend(split_note(run, &rows));
    notes.extend(floor(run));
    notes.extend(too_few(&rows));
    Layout {
        banner: None,
        subject: subject(run, &rows),
        answer: answer(&all),
        blocks: vec![Block::Table(table(&rows)), Block::Histogram(picture(&shown))],
        detail: split(run, &rows).map(Block::Table).into_iter().collect(),
        notes,
    }
}

/// The responses, grouped by target in the order in which targets first appear.
fn by_target(run: &Run) -> Vec<(&str, Vec<&Series>)> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all: Vec<(&str, Vec<&Series>)> = Vec::new();
    for series in run.responses() {
        let at = *places.entry(series.target()).or_insert(all.len());
        if at == all.len() {
            all.push((series.target(), Vec::new()));
        }
        all[at].1.push(series);
    }
    all
}

fn flat<'a>(all: &[(&str, Vec<&'a Series>)]) -> Vec<Cow<'a, Series>> {
    all.iter().flat_map(|(_, series)| series.iter().map(|series| Cow::Borrowed(*series))).collect()
}

/// All targets as one, before the worst of them: by loss, then by the 95th percentile.
fn condensed<'a>(all: &[(&str, Vec<&'a Series>)]) -> Vec<Cow<'a, Series>> {
    let mut merged: Vec<Series> = Vec::new();
    for series in all.iter().flat_map(|(_, series)| series) {
        match merged.iter_mut().find(|known| known.name == series.name) {
            Some(known) => known.absorb(series),
            None => {
                let labels = Labels::new().with("target", &format!("all {}", count(all.len() as u64)));
                merged.push(Series { labels, reference: None, ..(*series).clone() });
            }
        }
    }
    let badness = |series: &Vec<&Series>| {
        let bad = series.iter().map(|s| (s.counts.loss_ratio().unwrap_or(0.0), s.summary.p95_ns.or(s.summary.max_ns)));
        bad.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).unwrap_or_default()
    };
    let mut targets: Vec<&(&str, Vec<&Series>)> = all.iter().collect();
    targets.sort_by(|a, b| {
        let (a, b) = (badness(&a.1), badness(&b.1));
        b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
    });
    let together = merged.into_iter().map(|series| Cow::Owned(series.without_order()));
    let worst = targets.into_iter().take(WORST).flat_map(|(_, series)| series.iter().map(|s| Cow::Borrowed(*s)));
    together.chain(worst).collect()
}

fn subject(run: &Run, shown: &[&Series]) -> Vec<String> {
    let addresses: Vec<&str> = shown.iter().filter_map(|series| series.labels.value("address")).collect();
    let address = match addresses.as_slice() {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Some((*first).to_owned()),
        _ => None,
    };
    address.into_iter().chain(load_text(&run.spec)).collect()
}

/// The way the target was asked.
fn channel(series: &Series) -> String {
    series.name.strip_prefix("rtt.").unwrap_or(&series.name).replace('_', " ")
}

/// How much its channel says, 0 the most.
fn rank(series: &Series) -> usize {
    BEST_FIRST.iter().position(|name| *name == series.name).unwrap_or(BEST_FIRST.len())
}

/// The series that says most of a target, if it was answered at all.
fn best<'a>(series: &[&'a Series]) -> Option<&'a Series> {
    series.iter().copied().filter(|series| series.counts.ok_count > 0).min_by_key(|series| rank(series))
}

fn answer(all: &[(&str, Vec<&Series>)]) -> Answer {
    let (answered, silent): (Vec<_>, Vec<_>) =
        all.iter().map(|(target, series)| (*target, best(series), series)).partition(|(_, best, _)| best.is_some());
    let mut answer = Answer::default();
    if !silent.is_empty() {
        let names: Vec<&str> = silent.iter().take(3).map(|(target, ..)| *target).collect();
        let more = if silent.len() > 3 { format!(" and {} more", silent.len() - 3) } else { String::new() };
        answer = answer.and(format!("No answer from {}{more}.", names.join(", ")));
    }
    let mut known: Vec<(&str, &Series)> =
        answered.iter().filter_map(|(target, best, _)| Some((*target, (*best)?))).collect();
    known.sort_by_key(|(_, series)| series.summary.p95_ns.or(series.summary.max_ns));
    let told = |series: &Series| match (series.summary.p95_ns, series.summary.max_ns) {
        (Some(p95), _) => format!("{} (p95)", duration(p95)),
        (None, Some(max)) => format!("{} at most", duration(max)),
        (None, None) => "an unknown time".to_owned(),
    };
    let figure = |series: &Series| series.summary.p95_ns.or(series.summary.max_ns).unwrap_or(0) as f64;
    let lost = lost(&answered.iter().flat_map(|(.., series)| series.iter().copied()).collect::<Vec<_>>());
    match known.as_slice() {
        [] if all.is_empty() => Answer::new("Nothing was measured."),
        [] => answer,
        [(target, series)] => {
            let median = series.summary.p50_ns.map_or_else(String::new, |p50| format!("{} (p50), ", duration(p50)));
            answer.and(format!("{} answers in {median}{}; {lost}.", name(target), told(series)))
        }
        [(near, fastest), .., (far, slowest)] => {
            let times = figure(slowest) / figure(fastest).max(1.0);
            let times = match times {
                x if x >= 1.5 => {
                    format!(", {} times {near}", if x < 10.0 { format!("{x:.1}") } else { format!("{x:.0}") })
                }
                _ => format!(", {near} in {}", told(fastest)),
            };
            answer.and(format!("{} answers in {}{times}; {lost}.", name(far), told(slowest)))
        }
    }
}

fn name(target: &str) -> &str {
    if target.is_empty() { "The target" } else { target }
}

/// `nothing was lost`, or what was lost most.
fn lost(series: &[&Series]) -> String {
    let share = |series: &Series| series.counts.loss_ratio().unwrap_or(0.0);
    let worst = series.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    match worst.filter(|worst| worst.counts.unanswered_count() > 0) {
        Some(worst) => format!("{} lost {} by {}", name(worst.target()), ratio(share(worst)), channel(worst)),
        None => "nothing was lost".to_owned(),
    }
}

fn table(rows: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("target"),
        Column::name("channel"),
        Column::figure("n"),
        Column::figure("lost"),
        Column::extra("min", 1),
        Column::extra("mean", 4),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("p99", 3),
        Column::figure("max"),
        Column::extra("jitter", 2),
        Column::extra("published mean/p95/jitter", 5),
    ]);
    for (at, series) in rows.iter().enumerate() {
        let is_repeated = at > 0 && rows[at - 1].target() == series.target();
        let summary = &series.summary;
        let published = series.reference.as_ref().map_or(Cell::Blank, |reference| {
            let parts = [reference.mean_ns, reference.p95_ns, reference.jitter_ns];
            Cell::text(format!("{} ms", parts.map(|ns| significant(ns as f64 / 1e6)).join(" / ")))
        });
        table.push(vec![
            if is_repeated { Cell::Blank } else { Cell::text(series.target()) },
            Cell::text(channel(series)),
            Cell::Count(series.counts.attempt_count),
            Cell::lost(series),
            Cell::span(summary.min_ns),
            Cell::span(summary.mean_ns),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p95"),
            Cell::quantile(series, "p99"),
            Cell::span(summary.max_ns),
            Cell::span(summary.ipdv_mean_ns),
            published,
        ]);
    }
    table.without_empty_columns()
}

/// The targets of one channel side by side; of one target its channels.
fn picture<'a>(shown: &[Cow<'a, Series>]) -> Histogram<'a> {
    let targets = shown.iter().map(|series| series.target()).collect::<std::collections::BTreeSet<_>>();
    if let [first, ..] = shown
        && targets.len() == 1
    {
        let columns = shown.iter().map(|series| (channel(series), series.clone())).collect();
        return Histogram { title: first.target().to_owned(), columns };
    }
    let name = shown.iter().filter(|series| series.counts.ok_count > 0).min_by_key(|series| rank(series));
    let of = |series: &&Cow<'a, Series>| name.is_some_and(|name| name.name == series.name);
    let columns = shown.iter().filter(of).map(|series| (series.target().to_owned(), series.clone())).collect();
    Histogram { title: name.map(|series| channel(series)).unwrap_or_default(), columns }
}

/// How near emulated links come to what they were told.
fn programmed(run: &Run) -> Option<Note> {
    let pairs = run.beside(Role::Programmed).into_iter();
    let extra = pairs
        .filter_map(|(response, programmed)| Some(response.summary.p50_ns?.saturating_sub(programmed.summary.p50_ns?)));
    extra.max().map(|most| {
        let text = format!("the medians are at most {} above what the emulated links were told to add", duration(most));
        Note::new("emulated", text)
    })
}

/// A part of an exchange, beside its response.
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
        Part::User => (format!("{}.service", response.name), response.labels.clone()),
        // A handshake has an estimate of the kernel's own and no stamps.
        Part::Kernel => (format!("{}.kernel", response.name), response.labels.clone().with("stamps", "software")),
        Part::Card => (format!("{}.kernel", response.name), response.labels.clone().with("stamps", "hardware")),
        Part::Wakeup => (format!("{family}.wakeup"), by_channel),
        Part::Network => (format!("{family}.network"), by_channel),
        Part::Forward => (format!("{family}.oneway.forward"), by_channel),
        Part::Backward => (format!("{family}.oneway.backward"), by_channel),
    };
    run.series.iter().find(|series| series.name == name && series.labels.matches(&labels))
}

/// `of near's 75.0 µs, 37.0 µs are wake-ups here and 3.00 µs the network (p50)`.
fn split_note(run: &Run, rows: &[&Series]) -> Option<Note> {
    rows.iter().find_map(|response| {
        let p50 = |of: Part| part(run, response, of)?.summary.p50_ns;
        let (user, wakeup, network) = (p50(Part::User)?, p50(Part::Wakeup)?, p50(Part::Network)?);
        let text = format!(
            "of the {} to {}, {} are wake-ups of this process and {} the network (p50 of {})",
            duration(user),
            name(response.target()),
            duration(wakeup),
            duration(network),
            channel(response)
        );
        Some(Note::new("split", text))
    })
}

/// Where each round trip goes, as far as the kernels' stamps tell, and what is known of the far clocks.
fn split(run: &Run, rows: &[&Series]) -> Option<Table> {
    let parts = [
        ("user", Part::User),
        ("wake-up", Part::Wakeup),
        ("kernel", Part::Kernel),
        ("card", Part::Card),
        ("network", Part::Network),
        ("there", Part::Forward),
        ("back", Part::Backward),
    ];
    let names = ["target", "channel"].map(Column::name);
    let clocks = ["far clock ahead by", "drift"].map(|head| Column::extra(head, 1));
    let figures = parts.iter().map(|(head, _)| Column::figure(*head));
    let caption = "where the round trip goes (p50): wake-up is this process, kernel lies between its stamps, network is without the far end's work";
    let mut table = Table::new(names.into_iter().chain(figures).chain(clocks).collect()).titled(caption);
    for response in rows.iter().filter(|response| part(run, response, Part::Kernel).is_some()) {
        let cells = parts
            .iter()
            .map(|(_, of)| part(run, response, *of).map_or(Cell::Absent, |series| Cell::quantile(series, "p50")));
        let names = [Cell::text(response.target()), Cell::text(channel(response))];
        table.push(names.into_iter().chain(cells).chain(far_clock(run, response)).collect());
    }
    (!table.rows.is_empty()).then(|| table.without_empty_columns())
}

/// Offset and drift of the far clock; of one host there is one clock, and nothing to compare.
fn far_clock(run: &Run, response: &Series) -> [Cell; 2] {
    let is_here =
        part(run, response, Part::Forward).is_some_and(|series| series.labels.value("clock_bound") == Some("one_host"));
    let way = response.name.rsplit_once('.').map_or("", |(_, way)| way);
    let labels = response.labels.clone().with("channel", way);
    let of = |name: &str| run.value(&format!("rtt.clock_{name}"), &labels).filter(|_| !is_here);
    let span = |ns: f64| duration(ns.abs().round() as u64);
    let offset = of("offset").zip(of("offset_bound")).map(|(offset, bound)| {
        let sign = if offset < 0.0 { '−' } else { '+' };
        format!("{sign}{} ± {}", span(offset), span(bound))
    });
    let drift = of("drift").zip(of("drift_low")).zip(of("drift_high"));
    let drift =
        drift.map(|((ppm, low), high)| format!("{} ± {} ppm", significant(ppm), significant((high - low) / 2.0)));
    [offset, drift].map(|text| text.map_or(Cell::Absent, Cell::Text))
}
