//! What is drawn of a run: percentiles, the course in time, how values are spread, one quantity against another.
//!
//! Separate from the drawing itself, so that here stands which figures go where.

use super::chart::{Axis, Chart, figure};
use super::escape;
use crate::model::figure::{duration, ratio, significant};
use crate::model::layout::{HeatMap, Histogram, Intervals, Names, Scatter, Waterfall};
use crate::model::{Quantile, Series, rank_of};
use crate::report::bars;
use crate::report::unit::{ABSENT, quantity};

/// Points of a percentile curve: more than a screen shows.
const CURVE_POINTS: f64 = 240.0;

/// Rows in one picture.
const MOST_ROWS: usize = 100;

/// Lines in one picture.
const MOST_LINES: usize = 6;

/// Where the axis of percentiles is marked, and the quantiles whose intervals are drawn.
const MARKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];

/// What a response is called among its siblings: its name too where it is not the same of all.
pub fn name_of(names: &Names, series: &Series, all: &[&Series]) -> String {
    let told = names.tell(series);
    let is_alone = all.iter().all(|other| other.name == series.name);
    match (told.is_empty(), is_alone) {
        (true, _) => series.name.clone(),
        (_, true) => told,
        (_, false) => format!("{told} {}", series.name),
    }
}

/// The values of several responses by percentile, on the axis of log(1-p) that shows the tail.
pub fn percentiles(named: &[(String, &Series)]) -> String {
    let drawn: Vec<&(String, &Series)> = named.iter().take(MOST_LINES).collect();
    let Some(most) = drawn.iter().map(|(_, series)| series.histogram.len()).max() else { return String::new() };
    let values = drawn.iter().flat_map(|(_, series)| series.histogram.buckets().flat_map(|(low, high, _)| [low, high]));
    let x = Axis::linear(0.0, (most.max(10) as f64).log10());
    let mut chart = Chart::new(x, Axis::log(values.map(|ns| ns as f64)), 280.0);
    levels(&mut chart);
    for (p, label) in MARKS.into_iter().filter(|(p, _)| *p == 0.0 || most as f64 * (1.0 - p) >= 1.0) {
        chart.mark(place(p), label);
    }
    for (at, (_, series)) in drawn.iter().enumerate() {
        chart.line(&curve(series), at);
        for p in [0.5, 0.95, 0.99] {
            if let Some(interval) = interval(series, p) {
                chart.interval(place(p), interval, at);
            }
        }
    }
    let told = |(name, series): &&(String, &Series)| {
        let of = |word| match series.summary.quantile(word) {
            Quantile::Value(ns) => format!("{word} {}", duration(ns)),
            Quantile::BeyondTimeout => format!("{word} beyond the timeout"),
            Quantile::TooFew => String::new(),
        };
        let figures: Vec<String> = ["p50", "p95", "p99"].map(of).into_iter().filter(|text| !text.is_empty()).collect();
        format!("{name}: {}", figures.join(", "))
    };
    let rest = named.len() - drawn.len();
    let rest = if rest > 0 { format!("; {rest} more are not drawn") } else { String::new() };
    let told = drawn.iter().map(told).collect::<Vec<_>>().join("; ") + &rest;
    let keys: Vec<String> = drawn.iter().map(|(name, _)| name.clone()).collect();
    chart.figure("Latency by percentile, with 95 % intervals", &told, &keys)
}

fn place(p: f64) -> f64 {
    -(1.0 - p).log10()
}

fn levels(chart: &mut Chart) {
    for tick in chart.ticks() {
        chart.level(tick, &duration(tick.round() as u64));
    }
}

/// Percentile and value, no closer than a screen can show. What was lost lies to the right of its end.
fn curve(series: &Series) -> Vec<(f64, f64)> {
    let n = (series.histogram.len() + series.counts.beyond_count()).max(1) as f64;
    let gap = n.log10().max(1.0) / CURVE_POINTS;
    let (mut points, mut seen): (Vec<(f64, f64)>, u64) = (Vec::new(), 0);
    for (low, high, count) in series.histogram.buckets() {
        let before = place((seen as f64 / n).min(1.0 - 1.0 / n));
        seen += count;
        let x = place((seen as f64 / n).min(1.0 - 1.0 / n));
        if points.is_empty() {
            points.push((before, low as f64));
        }
        if points.last().is_some_and(|last| x - last.0 >= gap) || seen == series.histogram.len() {
            points.push((x, high as f64));
        }
    }
    points
}

/// The 95 % interval of a quantile by its normal ranks (measured runs have hundreds); none where a rank lies outside.
fn interval(series: &Series, p: f64) -> Option<(f64, f64)> {
    let n = series.histogram.len() + series.counts.beyond_count();
    let half = crate::model::NORMAL_975 * (n as f64 * p * (1.0 - p)).sqrt();
    let rank = rank_of(p, n) as f64;
    let at =
        |rank: f64| (rank >= 1.0 && rank <= n as f64).then(|| series.histogram.value_at_rank(rank as u64)).flatten();
    Some((at((rank - half).floor())? as f64, at((rank + half).ceil())? as f64))
}

/// p50 and p99 over time, the share that was not served below, outages shaded.
pub fn course(name: &str, series: &Series) -> String {
    let quantile = |p: f64| {
        let of = move |histogram: &crate::model::Histogram| histogram.value_at_rank(rank_of(p, histogram.len()));
        let filled = series.timeline.iter().filter(|interval| !interval.histogram.is_empty());
        let point = move |interval: &crate::model::Interval| {
            Some((interval.start_ns as f64 + interval.width_ns as f64 / 2.0, of(&interval.histogram)? as f64))
        };
        filled.filter_map(point).collect::<Vec<_>>()
    };
    let (middle, tail) = (quantile(0.5), quantile(0.99));
    let end = series.timeline.iter().map(|interval| interval.start_ns + interval.width_ns).max().unwrap_or(1) as f64;
    let y = Axis::log(middle.iter().chain(&tail).map(|point| point.1));
    let mut chart = Chart::new(Axis::linear(0.0, end), y, 220.0);
    for outage in &series.outages {
        let from = outage.start_ns as f64;
        chart.area((from, from + outage.length_ns as f64), 1.0, "outage");
    }
    for interval in &series.timeline {
        let attempts = interval.counts.attempt_count.max(1) as f64;
        let unserved = (interval.counts.unanswered_count() + interval.counts.error_count) as f64 / attempts;
        if unserved > 0.0 {
            let from = interval.start_ns as f64;
            chart.area((from, from + interval.width_ns as f64), unserved, "lost");
        }
    }
    levels(&mut chart);
    for part in [0.0, 0.5, 1.0] {
        chart.mark(end * part, if part > 0.0 { duration((end * part) as u64) } else { "0".to_owned() }.as_str());
    }
    chart.line(&middle, 0);
    chart.line(&tail, 1);
    let lost = series.counts.loss_ratio().unwrap_or(0.0);
    let largest = series.outages.iter().map(|outage| outage.length_ns).max();
    let outages = largest.map_or_else(
        || "no outage".to_owned(),
        |ns| format!("{} outages, the longest {}, shaded", series.outage_count, duration(ns)),
    );
    let told = format!("{} lost; {outages}; red bars from below are the share that was not served", ratio(lost));
    chart.figure(&format!("{name}: over time"), &told, &["p50".to_owned(), "p99".to_owned()])
}

/// How values are spread: a row a bucket, a bar a series.
pub fn histogram(histogram: &Histogram) -> String {
    const ROW: f64 = 13.0;
    const LEFT: f64 = 66.0;
    let (series, rows) = bars::rows(histogram, 24);
    let drawn: Vec<&(String, u64)> = series.iter().take(MOST_LINES).collect();
    if rows.is_empty() {
        return String::new();
    }
    let share =
        |row: &bars::Row, at: usize| row.counts.get(at).copied().unwrap_or(0) as f64 / series[at].1.max(1) as f64;
    let shares = rows.iter().flat_map(|row| (0..drawn.len()).map(move |at| (row, at)));
    let largest = shares.map(|(row, at)| share(row, at)).fold(f64::MIN_POSITIVE, f64::max);
    let (mut body, mut down) = (String::new(), 4.0);
    for row in &rows {
        let middle = down + ROW * drawn.len() as f64 / 2.0 + 4.0;
        body.push_str(&format!(
            "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            escape(&row.label)
        ));
        for at in 0..drawn.len() {
            let share = share(row, at);
            if share > 0.0 {
                let width = (share / largest * 330.0).max(1.0);
                body.push_str(&format!(
                    "<rect class=\"f{at}\" x=\"{LEFT}\" y=\"{down:.0}\" width=\"{width:.1}\" height=\"{:.0}\"/>\
                     <text x=\"{:.1}\" y=\"{:.0}\">{}</text>\n",
                    ROW - 2.0,
                    LEFT + width + 5.0,
                    down + ROW - 3.0,
                    ratio(share)
                ));
            }
            down += ROW;
        }
        down += 4.0;
    }
    let keys: Vec<String> = drawn.iter().map(|(name, _)| name.clone()).collect();
    let fullest = |at: usize| {
        let row = rows.iter().max_by(|a, b| share(a, at).total_cmp(&share(b, at)));
        row.map(|row| format!("{} of {} from {}", ratio(share(row, at)), keys[at], row.label))
    };
    let told = (0..drawn.len()).filter_map(fullest).collect::<Vec<_>>().join("; ");
    let title = format!("{}: share of attempts by latency", histogram.title);
    figure(&title, &format!("Most: {told}"), &format!("0 0 480 {down:.0}"), &body, &keys)
}

/// Figures of two settings: the darker, the more.
pub fn heat_map(map: &HeatMap) -> String {
    const ROW: f64 = 34.0;
    const LEFT: f64 = 110.0;
    if map.columns.is_empty() || map.rows.is_empty() {
        return String::new();
    }
    let width = (470.0 - LEFT) / map.columns.len() as f64;
    let mut body = String::new();
    for (at, column) in map.columns.iter().enumerate() {
        let across = LEFT + width * (at as f64 + 0.5);
        body.push_str(&format!("<text x=\"{across:.0}\" y=\"14\" text-anchor=\"middle\">{}</text>\n", escape(column)));
    }
    for (at, (name, cells)) in map.rows.iter().enumerate() {
        let down = 22.0 + ROW * at as f64;
        body.push_str(&format!("<text x=\"0\" y=\"{:.0}\">{}</text>\n", down + 20.0, escape(name)));
        for (column, cell) in cells.iter().enumerate() {
            let (across, shade) =
                (LEFT + width * column as f64, cell.map_or(0.0, |value| 0.15 + 0.55 * map.part(value)));
            let star = if map.marked == Some((at, column)) { "★ " } else { "" };
            let figure = cell.map_or_else(|| ABSENT.to_owned(), |value| quantity(value, &map.unit));
            body.push_str(&format!(
                "<rect class=\"cell\" style=\"opacity:{shade:.2}\" x=\"{across:.1}\" y=\"{down:.0}\" width=\"{:.1}\" height=\"{:.0}\"/>\
                 <text class=\"cell-text\" x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{star}{}</text>\n",
                width - 3.0,
                ROW - 3.0,
                across + width / 2.0,
                down + 20.0,
                escape(&figure)
            ));
        }
    }
    let marked = map.marked.map_or_else(String::new, |(row, column)| {
        format!("; ★ is the one to take: {} at {}", map.rows[row].0, map.columns[column])
    });
    let told = format!("{} by {} cells, darker is more{marked}", map.rows.len(), map.columns.len());
    let height = 24.0 + ROW * map.rows.len() as f64;
    figure(&map.title, &told, &format!("0 0 480 {height:.0}"), &body, &[])
}

/// Parts of a whole: a row each, beginning where those above it end.
pub fn waterfall(waterfall: &Waterfall) -> String {
    const ROW: f64 = 18.0;
    const LEFT: f64 = 150.0;
    if waterfall.total() <= 0.0 {
        return String::new();
    }
    let mut body = String::new();
    for (at, (bar, from, to)) in waterfall.spans().enumerate() {
        let down = at as f64 * ROW;
        let place = |share: f64| LEFT + share * (470.0 - LEFT);
        let (left, width) = (place(from), (place(to) - place(from)).max(1.0));
        body.push_str(&format!(
            "<text x=\"0\" y=\"{:.0}\">{} {}</text>\n<rect class=\"f0\" x=\"{left:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"{:.0}\"/>\n",
            down + 13.0,
            escape(&bar.name),
            duration(bar.ns.max(0.0).round() as u64),
            down + 2.0,
            ROW - 4.0
        ));
    }
    let height = waterfall.bars.len() as f64 * ROW + 4.0;
    let largest = waterfall.bars.iter().max_by(|a, b| a.ns.total_cmp(&b.ns));
    let largest = largest.map(|bar| format!(", the largest part is {}", bar.name)).unwrap_or_default();
    let told = format!("{} in {} parts{largest}", duration(waterfall.total().round() as u64), waterfall.bars.len());
    figure(&waterfall.title, &told, &format!("0 0 480 {height:.0}"), &body, &[])
}

/// Figures with their intervals below each other.
pub fn intervals(intervals: &Intervals) -> String {
    const ROW: f64 = 16.0;
    const LEFT: f64 = 190.0;
    let Some((low, high)) = intervals.ends() else { return String::new() };
    let place = |value: f64| LEFT + ((value - low) / (high - low)).clamp(0.0, 1.0) * (470.0 - LEFT);
    let rows = &intervals.rows[intervals.rows.len().saturating_sub(MOST_ROWS)..];
    let height = rows.len() as f64 * ROW + 24.0;
    let mut body = String::new();
    if let Some((from, to)) = intervals.band {
        let (from, to) = (place(from), place(to));
        body.push_str(&format!(
            "<rect class=\"outage\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.0}\"/>\n",
            to - from,
            height - 22.0
        ));
    }
    for (at, (label, [value, from, to])) in rows.iter().enumerate() {
        let down = at as f64 * ROW + 9.0;
        let figure = value.map_or_else(|| ABSENT.to_owned(), |value| quantity(value, &intervals.unit));
        body.push_str(&format!("<text x=\"0\" y=\"{:.0}\">{} {}</text>\n", down + 4.0, escape(label), escape(&figure)));
        if let Some(value) = value {
            let (from, to) = (place(from.unwrap_or(*value)), place(to.unwrap_or(*value)));
            body.push_str(&format!(
                "<line class=\"s c0\" x1=\"{from:.1}\" y1=\"{down:.0}\" x2=\"{to:.1}\" y2=\"{down:.0}\"/>\
                 <circle class=\"f0\" cx=\"{:.1}\" cy=\"{down:.0}\" r=\"3.5\"/>\n",
                place(*value)
            ));
        }
    }
    let foot = height - 6.0;
    let ends = [(LEFT, "start", low), (470.0, "end", high)];
    for (across, anchor, value) in ends {
        let figure = escape(&quantity(value, &intervals.unit));
        body.push_str(&format!("<text x=\"{across}\" y=\"{foot:.0}\" text-anchor=\"{anchor}\">{figure}</text>\n"));
    }
    let left_out = intervals.rows.len() - rows.len();
    let left_out = if left_out > 0 { format!("; {left_out} earlier ones are not drawn") } else { String::new() };
    let told = format!(
        "{} rows from {} to {}{left_out}",
        rows.len(),
        quantity(low, &intervals.unit),
        quantity(high, &intervals.unit)
    );
    figure(&intervals.title, &told, &format!("0 0 480 {height:.0}"), &body, &[])
}

/// One quantity against another.
pub fn scatter(scatter: &Scatter) -> String {
    let Scatter { points, up: (factor, up_unit), .. } = scatter;
    if points.len() < 2 {
        return String::new();
    }
    let (x, y) = (Axis::log(points.iter().map(|point| point.0)), Axis::log(points.iter().map(|point| point.1)));
    let mut chart = Chart::new(x, y, 280.0);
    for tick in chart.ticks() {
        chart.level(tick, &format!("{} {up_unit}", significant(tick * factor)));
    }
    for tick in x.ticks() {
        chart.mark(tick, &quantity(tick, scatter.unit));
    }
    for (across, up, mark) in points {
        chart.point(*across, *up, &mark.to_string());
    }
    let told = format!("{} points; the letters are those of the table", points.len());
    chart.figure(&scatter.title, &told, &[])
}
