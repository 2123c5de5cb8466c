//! What a run looks like, as data: an answer, then tables and pictures, then notes.
//!
//! Separate because a command knows what its figures mean and a format knows how to draw: a command makes a [`Layout`] of its
//! run, each format draws it, and neither knows the other.

mod names;
mod note;

use std::borrow::Cow;

pub use names::{Names, load_text};
pub use note::{Note, findings, floor, notes_on, too_few, with_advice};

use super::{Advice, Quantile, Series};

/// One run as people read it.
#[derive(Clone, Debug, Default)]
pub struct Layout<'a> {
    /// What must be known before any figure is believed, such as that nothing was sent.
    pub banner: Option<String>,
    /// What was measured and how, in the parts of a title.
    pub subject: Vec<String>,
    /// What the reader should know or do.
    pub answer: Answer,
    /// One table and one picture, rarely more.
    pub blocks: Vec<Block<'a>>,
    /// What only those want who look closer.
    pub detail: Vec<Block<'a>>,
    /// What else matters, the most important first.
    pub notes: Vec<Note>,
}

/// The first thing that a report says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// One or two sentences with the figures that decide, and the setting to change where there is one.
    pub text: String,
    /// A command that shows whether the change helped.
    pub check: Option<String>,
}

impl Answer {
    /// An answer that asks for nothing.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), check: None }
    }

    /// The same with one more sentence.
    #[must_use]
    pub fn and(self, sentence: impl AsRef<str>) -> Self {
        let sentence = sentence.as_ref();
        let text = if self.text.is_empty() { sentence.to_owned() } else { format!("{} {sentence}", self.text) };
        Self { text, ..self }
    }

    /// The same with what to change, and the command that shows whether it helped.
    #[must_use]
    pub fn advised(self, advice: Option<&Advice>) -> Self {
        match advice {
            Some(advice) => self.and(format!("{}.", capitalised(&advice.text))).checked_by(advice.verify.clone()),
            None => self,
        }
    }

    /// The same with the command that shows whether it helped.
    #[must_use]
    pub fn checked_by(self, command: impl Into<Option<String>>) -> Self {
        Self { check: command.into(), ..self }
    }
}

/// A part of a report.
#[derive(Clone, Debug)]
pub enum Block<'a> {
    /// Rows and columns.
    Table(Table),
    /// How the values of some series are spread, side by side.
    Histogram(Histogram<'a>),
    /// Figures of two settings, one across and one down.
    HeatMap(HeatMap),
    /// Figures with their intervals below each other on one axis.
    Intervals(Intervals),
    /// Points on two logarithmic axes.
    Scatter(Scatter),
    /// Parts of a whole, each beginning where those before it end.
    Waterfall(Waterfall),
    /// A paragraph.
    Text(String),
}

/// Rows and columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it is about, if the title does not say it.
    pub caption: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The cells of each row, as many as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What stands above it.
    pub head: String,
    /// Whether it names the row: such columns stand to the left and are never left out.
    pub is_name: bool,
    /// 0 for what is always shown; where the page is narrow, the highest numbers are left out first.
    pub rank: u8,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing belongs here.
    Blank,
    /// Something belongs here and is not known.
    Absent,
    /// Words.
    Text(String),
    /// Nanoseconds.
    Span(u64),
    /// Beyond the timeout, which is so many nanoseconds.
    Beyond(Option<u64>),
    /// How many.
    Count(u64),
    /// A share, in per cent.
    Ratio(f64),
    /// A share of a whole that the column adds up to, with a bar.
    Share(f64),
    /// A number and its unit, as documents name it.
    Quantity(f64, &'static str),
}

/// Distributions on one axis.
#[derive(Clone, Debug)]
pub struct Histogram<'a> {
    /// What of.
    pub title: String,
    /// What each column is called, and its series.
    pub columns: Vec<(String, Cow<'a, Series>)>,
}

/// Figures of two settings, one across and one down.
#[derive(Clone, Debug, Default)]
pub struct HeatMap {
    /// What they are of.
    pub title: String,
    /// Unit of all.
    pub unit: String,
    /// What goes across.
    pub columns: Vec<String>,
    /// What goes down, with a figure for each column where there is one.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
    /// Row and column of the one to take.
    pub marked: Option<(usize, usize)>,
}

impl HeatMap {
    /// Where a figure lies between the least and the greatest: 0 to 1 by ratios.
    #[must_use]
    pub fn part(&self, value: f64) -> f64 {
        let all = || self.rows.iter().flat_map(|(_, row)| row).flatten().copied().filter(|value| *value > 0.0);
        let (least, greatest) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        if greatest > least { ((value / least).ln() / (greatest / least).ln()).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Figures with their intervals below each other on one axis.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    /// What they are of.
    pub title: String,
    /// Unit of all.
    pub unit: String,
    /// A range that is drawn across all of them; of a row come the figure and both ends of its interval as far as they are known.
    pub band: Option<(f64, f64)>,
    /// Each with its name.
    pub rows: Vec<(String, [Option<f64>; 3])>,
}

impl Intervals {
    /// The least and the greatest figure or end; none where they are one.
    #[must_use]
    pub fn ends(&self) -> Option<(f64, f64)> {
        let figures = self.rows.iter().flat_map(|(_, figures)| *figures).flatten();
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        for figure in
            figures.chain(self.band.iter().flat_map(|(low, high)| [*low, *high])).filter(|figure| figure.is_finite())
        {
            (least, greatest) = (least.min(figure), greatest.max(figure));
        }
        (least < greatest).then_some((least, greatest))
    }
}

/// Points on two logarithmic axes.
#[derive(Clone, Debug, Default)]
pub struct Scatter {
    /// What against what, and what the marks mean.
    pub title: String,
    /// Across, down, and the mark of each point; where several fall on one place, a capital letter is seen.
    pub points: Vec<(f64, f64, char)>,
    /// Unit of what goes across, and factor and name of what goes up.
    pub unit: &'static str,
    /// The same of what goes up.
    pub up: (f64, &'static str),
}

/// Parts of a whole, each beginning where those before it end.
#[derive(Clone, Debug, Default)]
pub struct Waterfall {
    /// What of.
    pub title: String,
    /// The parts, in their order.
    pub bars: Vec<Bar>,
}

/// A part of a whole.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// How long it takes, in nanoseconds.
    pub ns: f64,
}

impl Waterfall {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.bars.iter().map(|bar| bar.ns).sum()
    }

    /// Each part with its beginning and its end as shares of the whole.
    pub fn spans(&self) -> impl Iterator<Item = (&Bar, f64, f64)> {
        let total = self.total().max(f64::MIN_POSITIVE);
        self.bars.iter().scan(0.0, move |from, bar| {
            let begin = *from;
            *from += bar.ns;
            Some((bar, begin / total, *from / total))
        })
    }
}

/// A sentence as it begins: with a capital letter.
#[must_use]
pub fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

impl Table {
    /// A table of these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// The same with what it is about.
    #[must_use]
    pub fn titled(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Leaves out the columns in which no row has anything.
    #[must_use]
    pub fn without_empty_columns(mut self) -> Self {
        let is_kept = |at: usize| {
            let is_there = |row: &Vec<Cell>| !matches!(row[at], Cell::Blank | Cell::Absent) && !row[at].is_empty_text();
            self.columns[at].is_name && self.rows.is_empty() || self.rows.iter().any(is_there)
        };
        let kept: Vec<bool> = (0..self.columns.len()).map(is_kept).collect();
        let mut keep = kept.iter();
        self.columns.retain(|_| keep.next().is_some_and(|kept| *kept));
        for row in &mut self.rows {
            let mut keep = kept.iter();
            row.retain(|_| keep.next().is_some_and(|kept| *kept));
        }
        self
    }
}

impl Column {
    /// One that names the row.
    #[must_use]
    pub fn name(head: impl Into<String>) -> Self {
        Self { head: head.into(), is_name: true, rank: 0 }
    }

    /// One with a figure, always shown.
    #[must_use]
    pub fn figure(head: impl Into<String>) -> Self {
        Self { head: head.into(), is_name: false, rank: 0 }
    }

    /// One with a figure, left out where the page is narrow.
    #[must_use]
    pub fn extra(head: impl Into<String>, rank: u8) -> Self {
        Self { head: head.into(), is_name: false, rank }
    }
}

impl Cell {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A span that may not be known.
    #[must_use]
    pub fn span(ns: Option<u64>) -> Self {
        ns.map_or(Self::Absent, Self::Span)
    }

    /// A span in fractions of nanoseconds that may not be known.
    #[must_use]
    pub fn span_of(ns: Option<f64>) -> Self {
        Self::span(ns.filter(|ns| *ns >= 0.0).map(|ns| ns.round() as u64))
    }

    /// A number in this unit that may not be known.
    #[must_use]
    pub fn quantity(value: Option<f64>, unit: &'static str) -> Self {
        value.map_or(Self::Absent, |value| Self::Quantity(value, unit))
    }

    /// A quantile of a series (`p50` … `p999`), or why there is none.
    #[must_use]
    pub fn quantile(series: &Series, name: &str) -> Self {
        match series.summary.quantile(name) {
            Quantile::Value(ns) => Self::Span(ns),
            Quantile::BeyondTimeout => Self::Beyond(series.timeout_ns),
            Quantile::TooFew => Self::Absent,
        }
    }

    /// The share of a series' attempts that were not served: lost, refused, failed, or answered with an error.
    #[must_use]
    pub fn lost(series: &Series) -> Self {
        let counts = &series.counts;
        match counts.unanswered_count().saturating_add(counts.error_count) {
            0 => Self::Count(0),
            n => Self::Ratio(n as f64 / counts.attempt_count.max(1) as f64),
        }
    }

    fn is_empty_text(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_says_nothing_is_left_out() {
        let mut table = Table::new(vec![Column::name("x"), Column::figure("a"), Column::figure("b")]);
        table.push(vec![Cell::text("one"), Cell::Absent, Cell::Count(0)]);
        let heads: Vec<String> = table.without_empty_columns().columns.into_iter().map(|column| column.head).collect();
        assert_eq!(heads, ["x", "b"]);
    }
}
