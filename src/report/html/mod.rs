//! One page to send to a colleague: everything in one file, nothing from the network, readable without a script.
//!
//! Separate from markdown because here pictures are pictures: the same blocks, and of each response its percentiles and its
//! course in time.

mod chart;
mod picture;

use super::sheet::Sheet;
use super::text::clean;
use super::{Page, Report, Reporter, comparison, trend, unit, verdict};
use crate::model::layout::{Block, Cell, Note, Table};
use crate::model::{Comparison, Comparisons, Series};

/// A page of its own.
pub struct Html;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Responses whose course in time is drawn; the others are in the table.
const MOST_TIMELINES: usize = 6;

/// Compared series whose two sides are drawn over each other.
const MOST_COMPARED: usize = 4;

/// Runs that are shown in full; more are counted.
const MOST_RUNS: usize = 20;

impl Reporter for Html {
    fn render(&self, report: &Report) -> String {
        let compared = report.comparisons.map(|comparisons| {
            let pictures = sides(comparisons, report.pages);
            sheet(&comparison::sheet(comparisons, report.detail), &pictures)
        });
        let gate = report.gate.map(|gate| {
            let rows = verdict::results(gate)
                .into_iter()
                .map(|(word, text)| format!("<dt class=\"{word}\">{word}</dt><dd>{}</dd>", escape(&text)));
            format!("<h2>{}</h2>\n<dl>{}</dl>\n", escape(&verdict::headline(gate)), rows.collect::<String>())
        });
        let front = report.front.map(|front| sheet(&Sheet::from(front.layout), ""));
        let trend = report.trend.map(|trend| sheet(&trend::sheet(trend), ""));
        let folds = report.comparisons.is_some() || report.front.is_some();
        let pages = report.pages.iter().take(MOST_RUNS).map(|page| match folds {
            true => format!("<details><summary>{}</summary>\n{}</details>\n", escape(&page.run.id), run(page, report)),
            false => run(page, report),
        });
        let more = report.pages.len().saturating_sub(MOST_RUNS);
        let more = (more > 0).then(|| format!("<p>{more} more runs are not shown.</p>\n"));
        let body: String =
            front.into_iter().chain(trend).chain(compared).chain(gate).chain(pages).chain(more).collect();
        let title = report.pages.first().map_or("offloadctl", |page| page.run.command.as_str());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            escape(title)
        )
    }
}

/// The percentiles of both sides of what was compared, each side's runs together.
fn sides(comparisons: &Comparisons, pages: &[Page]) -> String {
    let mut names: Vec<String> = comparisons.all.iter().map(Comparison::full_name).collect();
    names.dedup();
    let together = |name: &str, ids: &[String]| {
        let runs = pages.iter().filter(|page| ids.contains(&page.run.id)).map(|page| page.run);
        let mut all = runs.flat_map(|run| run.series.iter().filter(|series| series.full_name() == name));
        let mut whole = all.next()?.clone();
        all.for_each(|series| whole.absorb(series));
        Some(whole)
    };
    let picture = |name: &String| {
        let both = [("baseline", &comparisons.baseline_runs), ("now", &comparisons.current_runs)];
        let both: Vec<_> = both.iter().filter_map(|(side, ids)| Some((*side, together(name, ids)?))).collect();
        let named: Vec<(String, &Series)> =
            both.iter().map(|(side, whole)| (format!("{name}, {side}"), whole)).collect();
        picture::percentiles(&named)
    };
    names.iter().take(MOST_COMPARED).map(picture).collect()
}

fn run(page: &Page, report: &Report) -> String {
    let responses: Vec<&Series> = page.run.responses().filter(|series| !series.histogram.is_empty()).collect();
    let names = crate::model::layout::Names::of(&responses);
    let named: Vec<(String, &Series)> =
        responses.iter().map(|series| (picture::name_of(&names, series, &responses), *series)).collect();
    let mut pictures = picture::percentiles(&named);
    for (name, series) in named.iter().filter(|(_, series)| series.timeline.len() > 1).take(MOST_TIMELINES) {
        pictures.push_str(&picture::course(name, series));
    }
    sheet(&Sheet::of(page, report.detail), &pictures) + &asked(page)
}

/// What was asked and on which host, folded.
fn asked(page: &Page) -> String {
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let environment = serde_json::to_value(&page.run.environment).unwrap_or_default();
    format!(
        "<details><summary>What was asked, and on which host</summary>\n<p>Begun at {}, version {}.</p>\n\
         <pre>{}</pre>\n<pre>{}</pre>\n</details>\n",
        escape(&page.run.started_at.to_string()),
        escape(&page.run.version),
        escape(&pretty(&page.run.spec)),
        escape(&pretty(&environment))
    )
}

fn sheet(sheet: &Sheet, pictures: &str) -> String {
    let alarms = sheet.alarms.iter().map(|alarm| format!("<p class=\"alarm\" role=\"note\">{}</p>\n", escape(alarm)));
    let answer = match sheet.answer.as_str() {
        "" => String::new(),
        answer => format!("<p class=\"answer\">{}</p>\n", escape(answer)),
    };
    let check = sheet.check.as_ref().map_or_else(String::new, |check| format!("<pre>{}</pre>\n", escape(check)));
    let blocks: String = sheet.blocks.iter().map(block).collect();
    let drawn: String = sheet.blocks.iter().map(drawing).chain([pictures.to_owned()]).collect();
    let pictures = if drawn.is_empty() { drawn } else { format!("<div class=\"pictures\">\n{drawn}</div>\n") };
    let (title, alarms) = (escape(&sheet.title), alarms.collect::<String>());
    format!("<h1>{title}</h1>\n{alarms}{answer}{check}{blocks}{pictures}{}", list(&sheet.notes))
}

fn block(block: &Block) -> String {
    match block {
        Block::Table(one) => table(one),
        Block::HeatMap(_) | Block::Histogram(_) | Block::Intervals(_) | Block::Scatter(_) | Block::Waterfall(_) => {
            String::new()
        }
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
    }
}

fn drawing(block: &Block) -> String {
    match block {
        Block::Histogram(histogram) => picture::histogram(histogram),
        Block::HeatMap(map) => picture::heat_map(map),
        Block::Intervals(intervals) => picture::intervals(intervals),
        Block::Scatter(scatter) => picture::scatter(scatter),
        Block::Waterfall(waterfall) => picture::waterfall(waterfall),
        Block::Table(_) | Block::Text(_) => String::new(),
    }
}

fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let class = |at: usize| if table.columns[at].is_name { " class=\"name\"" } else { "" };
    let caption = match table.caption.as_str() {
        "" => String::new(),
        caption => format!("<caption>{}</caption>", escape(caption)),
    };
    let heads = table.columns.iter().enumerate();
    let heads: String =
        heads.map(|(at, column)| format!("<th scope=\"col\"{}>{}</th>", class(at), escape(&column.head))).collect();
    // A row whose name is that of the one above keeps it when the table is sorted.
    let mut above: Vec<String> = vec![String::new(); table.columns.len()];
    let mut body = String::new();
    for row in &table.rows {
        body.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let mut text = cell_text(cell);
            if table.columns[at].is_name && text.is_empty() && at == 0 {
                text.clone_from(&above[at]);
            }
            above[at].clone_from(&text);
            let sorted = sort_value(cell).map_or_else(String::new, |value| format!(" data-v=\"{value}\""));
            let class =
                verdict_class(cell).map_or_else(|| class(at).to_owned(), |word| format!(" class=\"name {word}\""));
            body.push_str(&format!("<td{class}{sorted}>{text}</td>"));
        }
        body.push_str("</tr>\n");
    }
    format!(
        "<div class=\"scroll\"><table>{caption}<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Share(share) => {
            let width = (share.clamp(0.0, 1.0) * 100.0).round();
            format!("{:.0} %<span class=\"bar\"><i style=\"width:{width}%\"></i></span>", share * 100.0)
        }
        cell => escape(unit::cell(cell).trim()),
    }
}

/// What a column is sorted by: the figure and not its text.
fn sort_value(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Span(ns) => Some(*ns as f64),
        Cell::Count(n) => Some(*n as f64),
        Cell::Ratio(value) | Cell::Share(value) | Cell::Quantity(value, _) => Some(*value),
        Cell::Beyond(_) => Some(1e300),
        Cell::Absent => Some(-1.0),
        Cell::Blank | Cell::Text(_) => None,
    }
}

fn verdict_class(cell: &Cell) -> Option<&'static str> {
    let Cell::Text(text) = cell else { return None };
    ["REGRESSION", "improvement"].into_iter().find(|word| text == word)
}

fn list(notes: &[Note]) -> String {
    let items = notes.iter().map(|note| format!("<dt>{}</dt><dd>{}</dd>\n", escape(&note.label), escape(&note.text)));
    format!("<dl>\n{}</dl>\n", items.collect::<String>())
}

/// Text that means nothing to a browser.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
