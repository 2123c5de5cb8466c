//! How long files and functions may be, with a memory of old offenders that may shrink and may not grow.
//!
//! Clippy counts statements of functions; this check counts lines as a reader scrolls past them, tests included.

use std::collections::BTreeMap;

use crate::code::{functions, test_regions};
use crate::tree::{Finding, Tree};

const FILE_LIMIT: usize = 500;
const MAIN: &str = "src/main.rs";
const MAIN_LIMIT: usize = 30;
const FUNCTION_LIMIT: usize = 70;
const TEST_FUNCTION_LIMIT: usize = 100;

/// Where old offenders are listed with their size.
const REMEMBERED: &str = "tests/tidy/remembered.toml";

/// One thing that has a length: a file, or the function `path::name`.
struct Sized {
    name: String,
    place: String,
    length: usize,
    limit: usize,
}

/// Finds files and functions above their limit, and entries of the memory that are no longer needed.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let memory = match remembered(tree.text(REMEMBERED).unwrap_or_default()) {
        Ok(memory) => memory,
        Err(why) => return vec![Finding::in_file(REMEMBERED, why, "write lines of the form \"src/a.rs\" = 612")],
    };
    let all: Vec<Sized> =
        tree.code(&["src", "tests", "benches"]).flat_map(|(path, text, code)| measure(path, text, code)).collect();
    let mut findings: Vec<Finding> = all.iter().filter_map(|sized| judge(sized, &memory)).collect();
    let is_needed = |name: &str| all.iter().any(|sized| sized.name == name && sized.length > sized.limit);
    let forgotten = memory.keys().filter(|name| !is_needed(name));
    findings.extend(
        forgotten.map(|name| {
            Finding::in_file(REMEMBERED, format!("`{name}` is within its limit or gone"), "remove its line")
        }),
    );
    findings
}

fn judge(sized: &Sized, memory: &BTreeMap<String, usize>) -> Option<Finding> {
    let Sized { name, place, length, limit } = sized;
    let (most, what) = match memory.get(name) {
        Some(known) => (*known, format!("`{name}` grew from {known} to {length} lines")),
        None => (*limit, format!("`{name}` has {length} lines, the limit is {limit}")),
    };
    (*length > most).then(|| Finding::in_file(place, what, "split it along what it does"))
}

fn measure(path: &str, text: &str, code: &str) -> Vec<Sized> {
    let regions = test_regions(code);
    let limit = if path == MAIN { MAIN_LIMIT } else { FILE_LIMIT };
    let mut all = vec![Sized { name: path.to_owned(), place: path.to_owned(), length: text.lines().count(), limit }];
    all.extend(functions(code).into_iter().map(|function| {
        let inside = |(first, last): &(usize, usize)| (*first..=*last).contains(&function.line);
        let is_test = path.starts_with("tests/") || regions.iter().any(inside);
        Sized {
            name: format!("{path}::{}", function.name),
            place: format!("{path}:{}", function.line),
            length: function.length,
            limit: if is_test { TEST_FUNCTION_LIMIT } else { FUNCTION_LIMIT },
        }
    }));
    all
}

fn remembered(text: &str) -> Result<BTreeMap<String, usize>, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("it is not TOML: {error}"))?;
    let entry = |(name, value): (String, toml::Value)| {
        let length = value.as_integer().and_then(|length| usize::try_from(length).ok());
        length.map(|length| (name.clone(), length)).ok_or_else(|| format!("`{name}` has no length"))
    };
    table.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "x;\n".repeat(lines - 2))
    }

    fn found(path: &str, text: &str, memory: &str) -> Vec<String> {
        let findings = check(&Tree::of(&[(path, text), (REMEMBERED, memory)]));
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_too_long_is_found() {
        let in_tests = |lines| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(lines));
        let cases = [
            ("src/load/a.rs", "x;\n".repeat(501), 1),
            ("src/load/a.rs", "x;\n".repeat(500), 0),
            ("src/main.rs", "x;\n".repeat(31), 1),
            ("src/load/a.rs", function(71), 1),
            ("src/load/a.rs", function(70), 0),
            ("src/load/a.rs", in_tests(101), 1),
            ("src/load/a.rs", in_tests(100), 0),
            ("tests/cli/main.rs", function(100), 0),
        ];
        for (path, text, expected) in cases {
            assert_eq!(found(path, &text, "").len(), expected, "{path} of {} lines", text.lines().count());
        }
    }

    #[test]
    fn an_old_offender_may_shrink_and_may_not_grow() {
        let memory = "\"src/load/a.rs::f\" = 80";
        assert_eq!(found("src/load/a.rs", &function(79), memory), [""; 0]);
        assert!(found("src/load/a.rs", &function(81), memory)[0].contains("grew from 80 to 81"));
        assert!(found("src/load/a.rs", &function(70), memory)[0].contains("remove its line"));
        assert!(found("src/load/a.rs", "", "\"src/b.rs\" = \"long\"")[0].contains("has no length"));
    }
}
