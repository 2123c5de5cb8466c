//! The commands that measure: what each can measure, how its runs look, and whether a gate names something of it.
//!
//! Separate because the reference page, help, gates and `report` all ask the same list.

#[cfg(test)]
mod formats;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod sample_cache;
#[cfg(test)]
mod sample_protocol;
#[cfg(test)]
mod sample_way;
#[cfg(test)]
mod tests;

use crate::error::{Exit, Failure};
use crate::model::layout::{Answer, Block, Cell, Column, Names, Table, load_text, notes_on};
use crate::model::{Layout, Measurement, Role, Run, Series};
use crate::report::Page;
use crate::stats::Gate;
use crate::{bench, diagnose, probe, trace};

/// Every command that measures.
pub const ALL: [&Measurement; 10] = [
    &bench::cri::MEASUREMENT,
    &bench::etcd::MEASUREMENT,
    &bench::heartbeat::MEASUREMENT,
    &bench::protocol::MEASUREMENT,
    &probe::host::MEASUREMENT,
    &probe::api::MEASUREMENT,
    &probe::events::MEASUREMENT,
    &probe::rtt::MEASUREMENT,
    &diagnose::MEASUREMENT,
    &trace::MEASUREMENT,
];

/// The command of this name.
#[must_use]
pub fn find(command: &str) -> Option<&'static Measurement> {
    ALL.into_iter().find(|measurement| measurement.command == command)
}

/// The runs as their commands lay them out; one of a command that is not known has a table of its series.
#[must_use]
pub fn pages(runs: &[Run]) -> Vec<Page<'_>> {
    runs.iter().map(|run| Page { run, layout: layout(run) }).collect()
}

/// A run as its command lays it out.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    match find(&run.command) {
        Some(measurement) => (measurement.layout)(run),
        None => plain(run),
    }
}

/// What a run says in a sentence or two, where it says anything.
#[must_use]
pub fn answer(run: &Run) -> Option<String> {
    Some(layout(run).answer.text).filter(|text| !text.is_empty())
}

/// A run of which nothing is known but its figures.
fn plain(run: &Run) -> Layout<'_> {
    let all: Vec<&Series> = run.responses().collect();
    let names = Names::of(&all);
    let mut table = Table::new(vec![
        Column::name("series"),
        Column::name("of"),
        Column::figure("n"),
        Column::figure("lost"),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("max", 1),
    ]);
    for series in &all {
        table.push(vec![
            Cell::text(&series.name),
            Cell::text(names.tell(series)),
            Cell::Count(series.counts.attempt_count),
            Cell::lost(series),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p95"),
            Cell::span(series.summary.max_ns),
        ]);
    }
    Layout {
        subject: load_text(&run.spec).into_iter().collect(),
        answer: Answer::new(run.answer.clone().unwrap_or_default()),
        blocks: vec![Block::Table(table.without_empty_columns())],
        notes: notes_on(&all),
        ..Layout::default()
    }
}

/// What a gate can name of a command, as its help ends.
#[must_use]
pub fn gateable(measurement: &Measurement) -> String {
    let of = |is: fn(Role) -> bool| {
        let names = measurement.metrics().filter(|metric| is(metric.role)).map(|metric| metric.name);
        wrapped(&names.collect::<Vec<_>>())
    };
    let (series, scalars) = (of(|role| role != Role::Scalar), of(|role| role == Role::Scalar));
    let scalars = match scalars.as_str() {
        "" => String::new(),
        scalars => format!("\nScalars, for --fail-if 'SCALAR OP NUMBER':\n {scalars}"),
    };
    format!("Series, for --fail-if 'SERIES{{label=value}}.p95 OP LIMIT':\n {series}{scalars}")
}

/// Names on lines of a page: clap wraps none that it did not write itself.
fn wrapped(names: &[&str]) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for (at, name) in names.iter().enumerate() {
        if column + name.len() > 80 {
            text.push_str("\n ");
            column = 0;
        }
        let comma = if at + 1 < names.len() { "," } else { "" };
        text.push_str(&format!(" {name}{comma}"));
        column += name.len() + 2;
    }
    text
}

/// The values that a label of a run will have, where they are known before it is measured.
#[derive(Debug, Default)]
pub struct Known(Option<(&'static str, Vec<String>)>);

impl Known {
    /// Of this label.
    pub fn new<T: Into<String>>(label: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        Self(Some((label, values.into_iter().map(Into::into).collect())))
    }

    /// A gate on a value that the run will not have is told before it is measured.
    ///
    /// # Errors
    /// A usage error that names the values that it will have.
    pub fn check(&self, gate: &Gate) -> Result<(), Failure> {
        let Some((label, values)) = &self.0 else { return Ok(()) };
        match gate.label(label) {
            Some(value) if !values.iter().any(|known| known == value) => {
                let what = format!("`{gate}`: there is no {label} `{value}` in this run");
                Err(Failure::plain(Exit::Usage, what).hint(format!("there is {}", values.join(", "))))
            }
            _ => Ok(()),
        }
    }
}

/// A gate on something that no run of a command has is told before the measurement and not after it.
///
/// # Errors
/// A usage error that names what there is.
pub fn check_gate(measurement: &Measurement, gate: &Gate) -> Result<(), Failure> {
    let (command, name) = (measurement.command, gate.subject_name());
    let refused = |what: String, hint: String| Err(Failure::plain(Exit::Usage, what).hint(hint));
    match measurement.find(name) {
        Some((_, Role::Scalar)) if gate.is_of_series() => {
            let what = format!("`{gate}`: `{name}` is a single number of `{command}`, without a statistic");
            refused(what, format!("write `{name} OP LIMIT`"))
        }
        Some((_, role)) if role != Role::Scalar && !gate.is_of_series() => {
            let what = format!("`{gate}`: `{name}` is a distribution of `{command}`, so it needs a statistic");
            refused(what, format!("write, for example, `{name}.p95 > 10ms`"))
        }
        Some((metric, _)) => match gate.label_names().find(|label| !metric.labels.contains(label)) {
            Some(label) => {
                let what = format!("`{gate}`: `{name}` has no label `{label}`");
                let labels = metric.labels.join(", ");
                refused(
                    what,
                    if labels.is_empty() { "it has none".to_owned() } else { format!("its labels are {labels}") },
                )
            }
            None => Ok(()),
        },
        None => {
            let what = format!("`{gate}`: `{command}` has no series and no scalar `{name}`");
            let of = |is: fn(Role) -> bool| {
                let names = measurement.metrics().filter(|metric| is(metric.role)).map(|metric| metric.name);
                names.collect::<Vec<_>>().join(", ")
            };
            let (series, scalars) = (of(|role| role == Role::Response), of(|role| role == Role::Scalar));
            let beside =
                if scalars.is_empty() { scalars } else { format!(", or SCALAR OP LIMIT; the scalars are {scalars}") };
            refused(what, format!("write SERIES.STATISTIC OP LIMIT; the series are {series}{beside}"))
        }
    }
}
