//! Pure files: no async, no door to the operating system, no hidden randomness.
//!
//! Separate because the list of pure places is a promise that the simulator and the tests rely on.

use crate::code::{line_of, words};
use crate::layer::own_mentions;
use crate::tree::{Finding, Tree};

/// Folders of `src` in which every file is pure.
const PURE_FOLDERS: [&str; 4] = ["src/model", "src/stats", "src/detect", "src/sim"];

/// Names of files and folders that are pure wherever they lie.
pub const PURE_NAMES: [&str; 6] = ["machine", "plan", "pace", "phases", "correlate", "evaluate"];

/// Code that has no place in a pure file, and what it is.
const IMPURE: [(&str, &str); 4] = [
    ("tokio::", "the event loop"),
    ("rand::rng(", "a global random source"),
    ("thread_rng", "a global random source"),
    (".await", "waiting"),
];

/// Finds impure code in pure files.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.code(&["src"]).filter(|(path, ..)| is_pure(path)).flat_map(|(path, _, code)| check_file(path, code)).collect()
}

fn check_file(path: &str, code: &str) -> Vec<Finding> {
    let find = |line, what: String| {
        let remedy = "a pure file takes time, chance and input as arguments; move this into the shell around it";
        Finding::at_line(path, line, what, remedy)
    };
    let mut findings = Vec::new();
    for (needle, what) in IMPURE {
        let hits = code.match_indices(needle);
        findings.extend(hits.map(|(at, _)| find(line_of(code, at), format!("`{needle}` is {what}"))));
    }
    let hits = words(code).filter(|(_, word)| *word == "async");
    findings.extend(hits.map(|(at, _)| find(line_of(code, at), "`async` code".to_owned())));
    let hits = own_mentions(path, code).into_iter().filter(|mention| mention.path.first().is_some_and(|f| f == "sys"));
    findings.extend(hits.map(|mention| find(mention.line, "`crate::sys` is the operating system".to_owned())));
    findings
}

fn is_pure(path: &str) -> bool {
    let named = |segment: &str| PURE_NAMES.contains(&segment.trim_end_matches(".rs"));
    PURE_FOLDERS.iter().any(|folder| path.starts_with(&format!("{folder}/"))) || path.split('/').any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_code_is_found() {
        let cases = [
            ("src/model/a.rs", "async fn f() {}"),
            ("src/sim/a.rs", "fn f() { tokio::spawn(x) }"),
            ("src/detect/a.rs", "use crate::{model::Stamp, sys::clock};"),
            ("src/load/pace.rs", "let a = rand::rng().next();"),
            ("src/sync/agent/machine.rs", "let a = rand::thread_rng();"),
            ("src/topo/plan/mod.rs", "use super::super::sys::exec;"),
            ("src/source/correlate.rs", "let a = b.await;"),
        ];
        for (path, text) in cases {
            assert_eq!(check(&Tree::of(&[(path, text)])).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn shells_and_comments_are_left_alone() {
        let cases =
            [("src/sync/agent/shell.rs", "async fn f() { tokio::x() }"), ("src/sim/a.rs", "// async fn, tokio::x")];
        for (path, text) in cases {
            assert_eq!(check(&Tree::of(&[(path, text)])), [], "{path}: {text}");
        }
    }
}
