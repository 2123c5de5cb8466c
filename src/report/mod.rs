//! One file per format: a reporter is a pure function from runs to text.
//!
//! A command lays out what it found ([`Layout`]); a format draws that and knows no command.
//!
//! Separate from whatever measured, so that a stored run and a fresh one look alike and a new format is one new file.

mod bars;
mod comparison;
mod csv;
mod everything;
mod forest;
mod github;
mod grid;
mod heat;
mod html;
mod json;
mod junit;
mod markdown;
mod openmetrics;
mod plot;
mod sheet;
mod terminal;
mod text;
mod trend;
mod unit;
mod verdict;
mod waterfall;

use std::path::Path;

pub use grid::plain_table;
pub use json::{report_document, run_document};
pub use unit::{bytes as bytes_text, count as count_text, duration as duration_text, ratio as ratio_text};

use crate::model::{Comparisons, GateReport, Layout, Run, Trend, words};

/// What is shown: runs in the order given, and what a gate decided on them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report<'a> {
    /// The runs.
    pub pages: &'a [Page<'a>],
    /// The gate's decision, where one was asked for.
    pub gate: Option<&'a GateReport>,
    /// Two sides that were compared, where that was asked for; the pages are of the runs of both.
    pub comparisons: Option<&'a Comparisons>,
    /// What stands before the runs: of a command whose subject is more than one run.
    pub front: Option<Front<'a>>,
    /// A figure over time, where that was asked for.
    pub trend: Option<&'a Trend>,
    /// Columns of the terminal, for the formats that people read there.
    pub width: u16,
    /// Whether to show everything there is.
    pub detail: bool,
    /// Whether the reader's terminal has colours.
    pub colour: bool,
}

impl<'a> Report<'a> {
    /// The runs that are shown: beside a comparison only where everything is.
    fn shown_pages(&self) -> impl Iterator<Item = &'a Page<'a>> {
        let is_shown = self.detail || (self.comparisons.is_none() && self.front.is_none());
        self.pages.iter().filter(move |_| is_shown)
    }
}

/// What a command says that made several runs.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    /// Its key in the report document.
    pub key: &'static str,
    /// Its data there.
    pub data: &'a serde_json::Value,
    /// What people see.
    pub layout: &'a Layout<'a>,
}

/// A run, and what it looks like.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The run.
    pub run: &'a Run,
    /// As its command lays it out.
    pub layout: Layout<'a>,
}

/// A format.
pub trait Reporter {
    /// The report as text, with a final line break.
    fn render(&self, report: &Report) -> String;
}

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables and text histograms for a terminal.
    Table,
    /// The report document.
    Json,
    /// GitHub markdown.
    Markdown,
    /// One line a series.
    Csv,
    /// One self-contained page.
    Html,
    /// Gates and comparisons as test cases.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
    /// Histograms and gauges for a scraper.
    OpenMetrics,
}

words!(Format {
    Table = "table",
    Json = "json",
    Markdown = "markdown",
    Csv = "csv",
    Html = "html",
    Junit = "junit",
    Github = "github",
    OpenMetrics = "openmetrics",
});

/// A file name whose suffix says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the suffix of `{0}` names no format; use .txt, .json, .md, .csv, .html, .xml (JUnit) or .prom (OpenMetrics)")]
pub struct UnknownSuffix(String);

impl Format {
    /// The format that the suffix of a file name asks for.
    ///
    /// # Errors
    /// When the suffix is missing or unknown.
    pub fn from_suffix(path: &Path) -> Result<Self, UnknownSuffix> {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("txt") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some("md") => Ok(Self::Markdown),
            Some("csv") => Ok(Self::Csv),
            Some("html" | "htm") => Ok(Self::Html),
            Some("xml") => Ok(Self::Junit),
            Some("prom" | "om") => Ok(Self::OpenMetrics),
            _ => Err(UnknownSuffix(path.display().to_string())),
        }
    }

    /// The reporter of this format.
    #[must_use]
    pub fn reporter(self) -> Box<dyn Reporter> {
        match self {
            Self::Table => Box::new(terminal::Terminal),
            Self::Json => Box::new(json::Json),
            Self::Markdown => Box::new(markdown::Markdown),
            Self::Csv => Box::new(csv::Csv),
            Self::Html => Box::new(html::Html),
            Self::Junit => Box::new(junit::Junit),
            Self::Github => Box::new(github::Github),
            Self::OpenMetrics => Box::new(openmetrics::OpenMetrics),
        }
    }
}
