//! Figures of two settings as text: each with a shade, so that the eye finds where it is dark.
//!
//! Separate from tables because here every figure is of one kind.

use super::text::{clean, fit, hang, length};
use super::unit::{ABSENT, quantity};
use crate::model::layout::HeatMap;

/// From the least to the most.
const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];

/// The map below its title; columns that a narrow page has no room for are named.
pub fn draw(map: &HeatMap, width: usize) -> String {
    if map.rows.is_empty() || map.columns.is_empty() {
        return String::new();
    }
    let text_of = |row: usize, column: usize| {
        let star = if map.marked == Some((row, column)) { "*" } else { "" };
        match map.rows[row].1.get(column).copied().flatten() {
            Some(value) => {
                let shade = SHADES[(map.part(value) * (SHADES.len() - 1) as f64).round() as usize];
                format!("{shade} {star}{}", quantity(value, &map.unit))
            }
            None => format!("   {ABSENT}"),
        }
    };
    let names: Vec<String> = map.rows.iter().map(|(name, _)| clean(name)).collect();
    let name_width = names.iter().map(|name| length(name)).max().unwrap_or(0);
    let cells = || (0..map.rows.len()).flat_map(|row| (0..map.columns.len()).map(move |column| (row, column)));
    let widest = cells().map(|(row, column)| length(&text_of(row, column))).max().unwrap_or(0);
    let cell_width = map.columns.iter().map(|column| length(column) + 3).chain([widest]).max().unwrap_or(0) + 2;
    let shown = (width.saturating_sub(name_width + 2) / cell_width).clamp(1, map.columns.len());
    let line = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| fit(cell, cell_width)).collect();
        format!("{}  {cells}", fit(name, name_width)).trim_end().to_owned() + "\n"
    };
    let mut text = hang("", &clean(&map.title), width);
    text.push_str(&line("", map.columns.iter().take(shown).map(|column| format!("   {}", clean(column))).collect()));
    for (row, name) in names.iter().enumerate() {
        text.push_str(&line(name, (0..shown).map(|column| text_of(row, column)).collect()));
    }
    if shown < map.columns.len() {
        text.push_str(&format!("not shown: {}\n", map.columns[shown..].join(", ")));
    }
    text
}
