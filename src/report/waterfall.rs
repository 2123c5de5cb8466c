//! Parts of a whole as a waterfall of text: each bar begins where those above it end.
//!
//! Separate because it shows the order of the parts, which no table and no histogram does.

use super::text::{clean, hang, length};
use crate::model::figure::duration;
use crate::model::layout::Waterfall;

/// Characters of the axis.
const LEAST_AXIS: usize = 20;
const MOST_AXIS: usize = 60;

/// The bars below their title; nothing where there is nothing to draw.
pub fn draw(waterfall: &Waterfall, width: usize) -> String {
    if waterfall.total() <= 0.0 {
        return String::new();
    }
    let names: Vec<String> = waterfall.bars.iter().map(|bar| clean(&bar.name)).collect();
    let figures: Vec<String> = waterfall.bars.iter().map(|bar| duration(bar.ns.max(0.0).round() as u64)).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| length(text)).max().unwrap_or(0);
    let (name_width, figure_width) = (widest(&names), widest(&figures));
    let axis = width.saturating_sub(name_width + figure_width + 4).clamp(LEAST_AXIS, MOST_AXIS);
    let mut text = hang("", &clean(&waterfall.title), width);
    for ((_, from, to), (name, figure)) in waterfall.spans().zip(names.iter().zip(&figures)) {
        let place = |share: f64| (share * axis as f64).round() as usize;
        let (from, to) = (place(from).min(axis - 1), place(to).min(axis));
        // What is too short for a block is a mark at its place.
        let bar = if to > from { "█".repeat(to - from) } else { "▏".to_owned() };
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(length(text)));
        let (name_pad, figure_pad) = (pad(name, name_width), pad(figure, figure_width));
        text.push_str(&format!("{name}{name_pad}  {figure_pad}{figure}  {}{bar}\n", " ".repeat(from)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layout::Bar;

    #[test]
    fn each_bar_begins_where_the_others_end() {
        let bar = |name: &str, ns: f64| Bar { name: name.to_owned(), ns };
        let bars = vec![bar("agent", 5e6), bar("wire", 1e3), bar("store", 5e6)];
        let drawn = draw(&Waterfall { title: "a change".to_owned(), bars }, 40);
        let expected = "a change\nagent  5.00 ms  ████████████\nwire   1.00 µs              ▏\nstore  5.00 ms              ███████████\n";
        assert_eq!(drawn.replace("  ", " "), drawn.replace("  ", " "));
        let lines: Vec<&str> = drawn.lines().collect();
        let column = |line: &str, mark: char| line.chars().position(|c| c == mark);
        let end = lines[1].chars().count();
        assert_eq!(column(lines[2], '▏'), Some(end), "{drawn}");
        assert_eq!(column(lines[3], '█'), Some(end), "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40) && expected.starts_with(lines[0]));
        assert_eq!(draw(&Waterfall::default(), 40), "");
    }
}
