//! A matrix as people and scripts read it: the headline table, a heat map, the cell to take.
//!
//! Separate from measuring, so that it is the same for cells that were kept.

use serde_json::{Value, json};

use super::file::{Across, Matrix};
use crate::error::Exit;
use crate::model::figure::{duration, ratio, significant};
use crate::model::layout::{Answer, Block, Cell as Shape, Column, HeatMap, Note, Table};
use crate::model::{Layout, Run, Series};

/// One cell: its run, or why there is none.
pub struct Cell {
    /// The topology.
    pub topology: String,
    /// Interval or rate.
    pub column: String,
    /// The round trips below heartbeats.
    pub trips: Option<Run>,
    /// The run of the cell.
    pub run: Result<Run, String>,
}

/// The figures of a cell; what was not measured is absent.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    rtt_p50_ns: Option<u64>,
    rtt_p95_ns: Option<u64>,
    loss_ratio: Option<f64>,
    detection_ns: Option<u64>,
    worst_ns: Option<u64>,
    bytes_per_h: Option<f64>,
    published_ns: Option<f64>,
    published_bytes_per_h: Option<f64>,
}

/// The whole.
pub struct Shown {
    /// For scripts.
    pub data: Value,
    /// For people.
    pub layout: Layout<'static>,
    is_bad: bool,
}

impl Cell {
    fn figures(&self) -> Figures {
        let trips = self.trips.as_ref().or(self.run.as_ref().ok());
        let echo = trips.and_then(|run| run.responses().find(|series| series.name == "rtt.echo"));
        let run = self.run.as_ref().ok();
        let detection: Option<&Series> =
            run.and_then(|run| run.responses().find(|one| one.name == "heartbeat.detection"));
        let scalar = |name: &str| run.and_then(|run| run.scalars.iter().find(|scalar| scalar.name == name)?.value);
        Figures {
            rtt_p50_ns: echo.and_then(|series| series.summary.p50_ns),
            rtt_p95_ns: echo.and_then(|series| series.summary.p95_ns),
            loss_ratio: echo.and_then(|series| series.counts.loss_ratio()),
            detection_ns: detection.and_then(|series| series.summary.mean_ns),
            worst_ns: detection.and_then(|series| series.summary.max_ns),
            bytes_per_h: scalar("heartbeat.network_bytes_per_h"),
            published_ns: scalar("heartbeat.reference_mean"),
            published_bytes_per_h: scalar("heartbeat.reference_bytes_per_h"),
        }
    }
}

impl Shown {
    /// Of what there is.
    pub fn of(matrix: &Matrix, cells: &[Cell]) -> Self {
        let figures: Vec<(&Cell, Figures)> = cells.iter().map(|cell| (cell, cell.figures())).collect();
        let best = best(matrix, &figures);
        let is_bad = cells.iter().any(|cell| cell.run.is_err()) || (matrix.goal.is_some() && best.is_none());
        let layout = Layout {
            banner: None,
            subject: vec![
                "topology run".to_owned(),
                format!("{} topologies by {}", matrix.topologies.len(), spoken(matrix)),
            ],
            answer: Answer::new(answer(matrix, &figures, best)),
            blocks: vec![Block::Table(table(matrix, &figures)), Block::HeatMap(heat_map(matrix, &figures, best))],
            detail: Vec::new(),
            notes: notes(matrix, &figures),
        };
        Self { data: data(matrix, &figures, best), layout, is_bad }
    }

    /// 1 where a topology did not answer or nothing meets the goal.
    pub const fn exit(&self) -> Exit {
        if self.is_bad { Exit::Bad } else { Exit::Fine }
    }
}

fn spoken(matrix: &Matrix) -> String {
    match matrix.across {
        Across::Intervals => format!("{} heartbeat intervals, {}", matrix.columns.len(), matrix.detector),
        Across::Rates => format!("{} rates", matrix.columns.len()),
    }
}

/// The cell to take: of those that meet the goal the cheapest, then the fastest; with rates the highest.
fn best(matrix: &Matrix, figures: &[(&Cell, Figures)]) -> Option<usize> {
    let goal = matrix.goal.map_or(u64::MAX, |goal| u64::try_from(goal.as_nanos()).unwrap_or(u64::MAX));
    let fits = |at: &usize| {
        let (cell, figures) = &figures[*at];
        let figure = if matrix.across == Across::Intervals { figures.detection_ns } else { figures.rtt_p95_ns };
        cell.run.is_ok() && figure.is_some_and(|figure| figure <= goal)
    };
    let column = |at: usize| matrix.columns.iter().position(|column| *column == figures[at].0.column);
    let rank = |at: &usize| match matrix.across {
        Across::Intervals => (figures[*at].1.bytes_per_h.unwrap_or(f64::INFINITY), figures[*at].1.detection_ns),
        // Rates are typed from the least to the most that is wanted.
        Across::Rates => (-(column(*at).unwrap_or(0) as f64), figures[*at].1.rtt_p95_ns),
    };
    (0..figures.len()).filter(fits).min_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal))
}

fn answer(matrix: &Matrix, figures: &[(&Cell, Figures)], best: Option<usize>) -> String {
    let silent = figures.iter().find_map(|(cell, _)| Some((&cell.topology, cell.run.as_ref().err()?)));
    let silent = silent.map_or_else(String::new, |(name, why)| format!(" {name} did not answer: {why}."));
    let goal = matrix.goal.map(|goal| duration(u64::try_from(goal.as_nanos()).unwrap_or(u64::MAX)));
    let Some((cell, found)) = best.map(|at| &figures[at]) else {
        let what = goal
            .map_or_else(|| "No cell has a figure.".to_owned(), |goal| format!("No cell meets the goal of {goal}."));
        return what + &silent;
    };
    let place = format!("{} at {}", cell.topology, cell.column);
    let told = match matrix.across {
        Across::Intervals => format!(
            "notices a crash in {} for {} an hour and node",
            found.detection_ns.map_or_else(String::new, duration),
            found.bytes_per_h.map_or_else(|| "an unknown cost".to_owned(), kilobytes)
        ),
        Across::Rates => format!("answers in {} (p95)", found.rtt_p95_ns.map_or_else(String::new, duration)),
    };
    let which = match (&goal, matrix.across) {
        (Some(goal), Across::Intervals) => format!("Cheapest within {goal}: "),
        (Some(goal), Across::Rates) => format!("Highest rate within {goal}: "),
        (None, Across::Intervals) => "Cheapest: ".to_owned(),
        (None, Across::Rates) => "Highest rate: ".to_owned(),
    };
    format!("{which}{place} {told}.{silent}")
}

/// Of 1,000 bytes, as the published figures have them.
fn kilobytes(bytes: f64) -> String {
    format!("{} KB", significant(bytes / 1_000.0))
}

/// Topologies down, intervals or rates across, as the field publishes it.
fn table(matrix: &Matrix, figures: &[(&Cell, Figures)]) -> Table {
    let heads = matrix.columns.iter().map(|column| Column::figure(column.clone()));
    let round_trip = (matrix.across == Across::Intervals).then(|| Column::figure("RTT p50 / p95"));
    let mut table =
        Table::new(std::iter::once(Column::name("topology")).chain(round_trip.clone()).chain(heads).collect());
    let of = |name: &str, column: &str| figures.iter().find(|(cell, _)| cell.topology == name && cell.column == column);
    let span = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), duration);
    for name in matrix.topologies.keys() {
        let mut row = vec![Shape::text(name.clone())];
        if round_trip.is_some() {
            let found = figures.iter().find(|(cell, _)| cell.topology == *name).map(|(_, found)| found);
            row.push(found.map_or(Shape::Absent, |found| {
                Shape::text(format!("{} / {}", span(found.rtt_p50_ns), span(found.rtt_p95_ns)))
            }));
        }
        for column in &matrix.columns {
            row.push(match of(name, column) {
                None => Shape::Absent,
                Some((cell, _)) if cell.run.is_err() => Shape::text("no answer"),
                Some((_, found)) => Shape::text(match matrix.across {
                    Across::Intervals => {
                        let cost = found.bytes_per_h.map_or_else(|| "–".to_owned(), kilobytes);
                        format!("{}, {cost}/h", span(found.detection_ns))
                    }
                    Across::Rates => format!("{} / {}", span(found.rtt_p50_ns), span(found.rtt_p95_ns)),
                }),
            });
        }
        table.push(row);
    }
    let published =
        |column: &String| figures.iter().find(|(cell, found)| cell.column == *column && found.published_ns.is_some());
    if matrix.columns.iter().any(|column| published(column).is_some()) {
        let cell = |column: &String| match published(column) {
            Some((_, found)) => {
                let cost = found.published_bytes_per_h.map_or_else(String::new, |b| format!(", {}/h", kilobytes(b)));
                Shape::text(format!("{}{cost}", span(found.published_ns.map(|ns| ns.round() as u64))))
            }
            None => Shape::Blank,
        };
        let row = [Shape::text("published, not measured"), Shape::Blank];
        table.push(row.into_iter().chain(matrix.columns.iter().map(cell)).collect());
    }
    table
}

fn heat_map(matrix: &Matrix, figures: &[(&Cell, Figures)], best: Option<usize>) -> HeatMap {
    let names: Vec<&String> = matrix.topologies.keys().collect();
    let figure = |name: &str, column: &str| {
        let (cell, found) = figures.iter().find(|(cell, _)| cell.topology == name && cell.column == column)?;
        let ns = if matrix.across == Across::Intervals { found.detection_ns } else { found.rtt_p95_ns };
        cell.run.is_ok().then_some(ns).flatten().map(|ns| ns as f64)
    };
    let row = |name: &&String| ((*name).clone(), matrix.columns.iter().map(|column| figure(name, column)).collect());
    let marked = best.and_then(|at| {
        let cell = figures[at].0;
        let row = names.iter().position(|name| **name == cell.topology)?;
        Some((row, matrix.columns.iter().position(|column| *column == cell.column)?))
    });
    let title = match matrix.across {
        Across::Intervals => "mean time until a crash is noticed; * is the one to take",
        Across::Rates => "p95 of a round trip; * is the one to take",
    };
    HeatMap {
        title: title.to_owned(),
        unit: "ns".to_owned(),
        columns: matrix.columns.clone(),
        rows: names.iter().map(row).collect(),
        marked,
    }
}

fn notes(matrix: &Matrix, figures: &[(&Cell, Figures)]) -> Vec<Note> {
    let mut notes = Vec::new();
    if matrix.across == Across::Intervals {
        notes.push(Note::new(
            "measured",
            "round trips; heartbeats are simulated on a virtual clock, on these or on the emulated profile",
        ));
        notes.push(Note::new(
            "cells",
            format!("mean time until a crash is noticed by {}, and what it costs a node", matrix.detector),
        ));
    } else {
        notes.push(Note::new("cells", "p50 / p95 of a round trip"));
    }
    for (name, topology) in &matrix.topologies {
        let found = figures.iter().find(|(cell, _)| cell.topology == *name);
        let lost = found.and_then(|(_, found)| found.loss_ratio).filter(|loss| *loss > 0.0);
        let lost = lost.map_or_else(String::new, |loss| format!(", {} lost", ratio(loss)));
        let what = match (&topology.emulate, &topology.via, &topology.address) {
            (Some(profile), ..) => format!("emulated, {profile}"),
            (_, Some(via), Some(address)) => format!("{address} through {via}, and a hop of this process"),
            (.., address) => address.clone().unwrap_or_default(),
        };
        notes.push(Note::new(name.clone(), format!("{what}{lost}")));
    }
    for (cell, _) in figures {
        let of = format!("{}: ", cell.topology);
        if let Err(why) = &cell.run
            && !notes.iter().any(|note| note.label == "problem" && note.text.starts_with(&of))
        {
            notes.insert(0, Note::new("problem", of + why));
        }
    }
    notes
}

fn data(matrix: &Matrix, figures: &[(&Cell, Figures)], best: Option<usize>) -> Value {
    let goal = matrix.goal.map(|goal| u64::try_from(goal.as_nanos()).unwrap_or(u64::MAX));
    let cell = |(at, (cell, found)): (usize, &(&Cell, Figures))| {
        json!({
            "topology": cell.topology, "column": cell.column,
            "run_id": cell.run.as_ref().ok().map(|run| &run.id), "error": cell.run.as_ref().err(),
            "rtt_p50_ns": found.rtt_p50_ns, "rtt_p95_ns": found.rtt_p95_ns, "loss_ratio": found.loss_ratio,
            "detection_mean_ns": found.detection_ns, "detection_max_ns": found.worst_ns, "bytes_per_h": found.bytes_per_h,
            "heartbeats": (matrix.across == Across::Intervals).then_some("simulated"),
            "published_detection_ns": found.published_ns, "published_bytes_per_h": found.published_bytes_per_h,
            "is_best": best == Some(at)
        })
    };
    json!({
        "across": if matrix.across == Across::Intervals { "intervals" } else { "rates" },
        "detector": (matrix.across == Across::Intervals).then_some(&matrix.detector),
        "goal_ns": goal,
        "topologies": matrix.topologies.keys().collect::<Vec<_>>(),
        "columns": matrix.columns,
        "cells": figures.iter().enumerate().map(cell).collect::<Vec<_>>()
    })
}
