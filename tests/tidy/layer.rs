//! Who may use whom: the table of CONTRIBUTING.md as data, and its comparison with every path in `src`.
//!
//! Separate because this is the one place to change when a folder is born or a dependency is allowed.

use crate::code::{Mention, mentions};
use crate::tree::{Finding, Tree};

/// What a folder may use of ours.
enum Use {
    Everything,
    Only(&'static [&'static str]),
}

/// Each folder of `src` and what it may use.
const TABLE: [(&str, Use); 17] = [
    ("model", Use::Only(&[])),
    ("stats", Use::Only(&["model"])),
    ("report", Use::Only(&["model"])),
    ("sys", Use::Only(&["model"])),
    ("detect", Use::Only(&["model"])),
    ("source", Use::Only(&["model", "sys"])),
    ("echo", Use::Only(&["model", "sys", "wire"])),
    ("load", Use::Only(&["model", "sys"])),
    ("topo", Use::Only(&["model", "sys"])),
    ("wire", Use::Only(&["model", "sys"])),
    ("sync", Use::Only(&["model", "sys", "detect", "source", "wire"])),
    ("sim", Use::Only(&["model", "detect"])),
    ("probe", Use::Only(&["model", "sys", "load", "source", "echo", "topo", "wire"])),
    ("bench", Use::Only(&["model", "sys", "load", "detect", "sim", "sync", "source", "topo", "echo", "wire"])),
    ("trace", Use::Only(&["model", "sys", "load", "source", "sync", "wire"])),
    ("diagnose", Use::Only(&["model", "sys", "load", "detect", "wire", "probe", "trace"])),
    ("commands", Use::Everything),
];

/// Files directly in `src`: they may use everything, and are themselves used by `commands` and each other only.
const ROOT_FILES: [&str; 4] = ["main", "error", "console", "context"];

/// The list of modules; it names everything and is no part of the table.
const LIBRARY: &str = "lib";

/// Compares every mention of our own modules in `src` with the table.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.code(&["src"]).flat_map(|(path, _, code)| check_file(path, code)).collect()
}

fn check_file(path: &str, code: &str) -> Vec<Finding> {
    let user = top_of(path);
    if user == LIBRARY {
        return Vec::new();
    }
    if !is_known(user) {
        return vec![Finding::in_file(
            path,
            format!("`{user}` is not in the table of folders"),
            "move it into a folder that is, or add a row in tests/tidy/layer.rs and in CONTRIBUTING.md",
        )];
    }
    own_mentions(path, code).iter().filter_map(|mention| judge(path, user, mention)).collect()
}

fn judge(path: &str, user: &str, mention: &Mention) -> Option<Finding> {
    // A path without segments is `crate::*`.
    let used = mention.path.first().map_or("*", String::as_str);
    if !is_known(used) {
        let what = format!("`crate::{used}` is neither a folder nor a file of the table");
        return Some(Finding::at_line(path, mention.line, what, "import it from the folder it lives in"));
    }
    if used == user || is_allowed(user, &mention.path) {
        return None;
    }
    let what = format!("`{user}` uses `{}`", mention.path.join("::"));
    Some(Finding::at_line(path, mention.line, what, format!("{}, so move or pass in what is shared", may(user))))
}

fn is_allowed(user: &str, used: &[String]) -> bool {
    let folder = used[0].as_str();
    if ROOT_FILES.contains(&user) {
        return folder != "commands" || user == "main";
    }
    match row(user) {
        Some(Use::Everything) => true,
        Some(Use::Only(allowed)) => allowed.contains(&folder),
        None => false,
    }
}

fn may(user: &str) -> String {
    match row(user) {
        Some(Use::Only([])) => format!("`{user}` may use nothing of ours"),
        Some(Use::Only(allowed)) => format!("`{user}` may use {}", allowed.join(", ")),
        _ => "only `main` uses the commands".to_owned(),
    }
}

fn row(folder: &str) -> Option<&'static Use> {
    TABLE.iter().find(|(name, _)| *name == folder).map(|(_, uses)| uses)
}

fn is_known(name: &str) -> bool {
    ROOT_FILES.contains(&name) || row(name).is_some()
}

/// The folder directly in `src`, or the name of a file that lies there.
fn top_of(path: &str) -> &str {
    let inner = path.trim_start_matches("src/");
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// Paths from the root of the crate, written as `crate::` or reached through enough `super::`.
pub fn own_mentions(path: &str, code: &str) -> Vec<Mention> {
    let mut all = mentions(code, "crate");
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    all.extend(climbing(code, depth).into_iter().filter(|mention| mention.path.first().is_some_and(|f| is_known(f))));
    all
}

/// What `super::` reaches when it is repeated at least `depth` times.
fn climbing(code: &str, depth: usize) -> Vec<Mention> {
    let begins = |mention: &Mention| !code[..mention.offset].ends_with("super::");
    let mut all: Vec<Mention> = mentions(code, "super").into_iter().filter(begins).collect();
    all.retain_mut(|mention| {
        let climbs = 1 + mention.path.iter().take_while(|segment| *segment == "super").count();
        mention.path.drain(..climbs - 1);
        climbs >= depth
    });
    all
}

/// Compares the table that CONTRIBUTING.md shows with the one that is checked.
pub fn check_page(tree: &Tree) -> Vec<Finding> {
    const PAGE: &str = "CONTRIBUTING.md";
    let rows: Vec<Vec<&str>> = tree.text(PAGE).unwrap_or_default().lines().map(cells).collect();
    let shown = |folder: &str| {
        let row = rows.iter().find(|row| row.first().is_some_and(|cell| cell.trim_matches('`') == folder))?;
        row.last().copied()
    };
    let compare = |(folder, uses): &(&str, Use)| {
        let expected = match uses {
            Use::Everything => "everything".to_owned(),
            Use::Only([]) => "nothing of ours".to_owned(),
            Use::Only(allowed) => allowed.join(", "),
        };
        let what = match shown(folder) {
            Some(found) if found == expected => return None,
            Some(found) => format!("the row of `{folder}` ends in `{found}`"),
            None => format!("no row of a table begins with `{folder}`"),
        };
        Some(Finding::in_file(PAGE, what, format!("write `{expected}`, or change tests/tidy/layer.rs")))
    };
    TABLE.iter().filter_map(compare).collect()
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inner.map(|line| line.split('|').map(str::trim).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::places;

    fn faults(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_use_outside_the_table_is_found() {
        let cases = [
            ("src/model/a.rs", "use crate::sys::clock;"),
            ("src/report/a.rs", "use crate::{model::Run, probe::rtt};"),
            ("src/probe/a.rs", "fn f() { crate::bench::etcd::g() }"),
            ("src/load/a.rs", "use crate::error::Error;"),
            ("src/load/a.rs", "use super::super::report::table;"),
            ("src/load/mod.rs", "use super::report::table;"),
            ("src/sim/a.rs", "use crate::sync::agent::machine::State;"),
            ("src/context.rs", "use crate::commands::Cli;"),
            ("src/probe/a.rs", "use crate::Stamp;"),
            ("src/probe/a.rs", "use crate::*;"),
            ("src/misc/a.rs", ""),
        ];
        for (path, text) in cases {
            assert_eq!(faults(path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_use_inside_the_table_is_fine() {
        let cases = [
            ("src/load/a.rs", "use crate::{model::Stamp, sys::clock};\nuse crate::load::Pace;"),
            ("src/load/a.rs", "use super::Pace; mod tests { use super::super::recorder; }"),
            ("src/sim/a.rs", "use crate::detect::DetectorSpec;"),
            ("src/commands/probe/rtt.rs", "use crate::console; use crate::report::table;"),
            ("src/main.rs", "use crate::commands;"),
            ("src/model/a.rs", "// crate::sys\nconst A: &str = \"crate::sys\";"),
            ("src/lib.rs", "pub mod model;"),
        ];
        for (path, text) in cases {
            assert_eq!(check(&Tree::of(&[(path, text)])), [], "{path}: {text}");
        }
    }

    #[test]
    fn the_place_is_the_line() {
        let found = check(&Tree::of(&[("src/stats/a.rs", "\n\nuse crate::{\n    model::Run,\n    sys::clock,\n};")]));
        assert_eq!(places(&found), ["src/stats/a.rs:3"]);
    }

    #[test]
    fn a_page_without_the_table_is_found() {
        let page = "| `model` | data | nothing of ours |\n| `stats` | statistics | model, sys |\n";
        assert_eq!(check_page(&Tree::of(&[("CONTRIBUTING.md", page)])).len(), TABLE.len() - 1);
    }
}
