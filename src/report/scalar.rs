//! Single numbers as a table: a name, what tells it from its siblings, its value.
//!
//! Separate because a run of a few scalars reads better with them among its notes, and one of many does not.

use super::split::{is_clock, split};
use super::text::clean;
use super::unit;
use crate::model::{Run, Scalar};

/// So many scalars still stand among the notes.
const AMONG_NOTES: usize = 3;

/// Heads of the columns.
pub const HEADS: [&str; 3] = ["scalar", "of", "value"];

/// The scalars that stand among the notes.
pub fn noted(run: &Run) -> Vec<&Scalar> {
    Some(of_their_own(run)).filter(|scalars| scalars.len() <= AMONG_NOTES).unwrap_or_default()
}

/// The scalars that no table of something else has.
fn of_their_own(run: &Run) -> Vec<&Scalar> {
    let has_split = split(run).is_some();
    run.scalars.iter().filter(|scalar| !(has_split && is_clock(scalar))).collect()
}

/// Rows of name, labels and value, siblings together and their name said once.
pub fn rows(run: &Run) -> Vec<[String; 3]> {
    let scalars = of_their_own(run);
    if scalars.len() <= AMONG_NOTES {
        return Vec::new();
    }
    let mut names: Vec<&str> = Vec::new();
    for scalar in &scalars {
        if !names.contains(&scalar.name.as_str()) {
            names.push(&scalar.name);
        }
    }
    let siblings = |name: &&str| scalars.iter().copied().filter(|scalar| scalar.name == *name).collect::<Vec<_>>();
    let numbered = names.iter().flat_map(|name| siblings(name).into_iter().enumerate());
    numbered.map(|(at, scalar)| row(scalar, at == 0)).collect()
}

fn row(scalar: &Scalar, is_first: bool) -> [String; 3] {
    let labels: Vec<String> = scalar.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let name = if is_first { clean(&scalar.name) } else { String::new() };
    [name, clean(&labels.join(" ")), value(scalar)]
}

/// The value with its unit.
pub fn value(scalar: &Scalar) -> String {
    scalar.value.map_or_else(|| unit::ABSENT.to_owned(), |value| unit::quantity(value, &scalar.unit))
}
