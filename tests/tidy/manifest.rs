//! Cargo.toml: every dependency has its reason beside it.
//!
//! Reads lines and not TOML, because comments are what it is about.

use crate::tree::{Finding, Tree};

const MANIFEST: &str = "Cargo.toml";

/// Words below which a comment is no reason.
const FEWEST_WORDS: usize = 3;

/// A line of the manifest, its comment split off.
struct Line<'a> {
    code: &'a str,
    comment: Option<&'a str>,
}

/// Finds dependencies without a comment of at least three words on their own lines or the line above.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let lines: Vec<Line> = tree.text(MANIFEST).unwrap_or_default().lines().map(split).collect();
    let mut findings = Vec::new();
    let (mut is_listing, mut at) = (false, 0);
    while at < lines.len() {
        let end = end_of_entry(&lines, at);
        let header = lines[at].code.strip_prefix('[').and_then(|code| code.strip_suffix(']'));
        let name = match header {
            Some(header) => {
                is_listing = header.ends_with("dependencies");
                own_table(header)
            }
            None if is_listing => lines[at].code.split_once('=').map(|(name, _)| name.trim()),
            None => None,
        };
        if let Some(name) = name
            && !has_reason(&lines, at, end)
        {
            let what = format!("dependency `{name}` has no reason");
            findings.push(Finding::at_line(MANIFEST, at + 1, what, "say in a comment beside it what it is needed for"));
        }
        at = end;
    }
    findings
}

/// The dependency of a header such as `[dependencies.name]`.
fn own_table(header: &str) -> Option<&str> {
    let (parent, name) = header.rsplit_once('.')?;
    (parent.ends_with("dependencies") && name != "dependencies").then_some(name)
}

/// The line after the entry that begins at `at`: an array may span several.
fn end_of_entry(lines: &[Line], at: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, line) in lines[at..].iter().enumerate() {
        depth += line.code.matches(['[', '{']).count() as i32 - line.code.matches([']', '}']).count() as i32;
        if depth <= 0 {
            return at + offset + 1;
        }
    }
    lines.len()
}

fn has_reason(lines: &[Line], at: usize, end: usize) -> bool {
    let above = at.checked_sub(1).map(|above| &lines[above]).filter(|line| line.code.is_empty());
    let beside = above.into_iter().chain(&lines[at..end]).filter_map(|line| line.comment);
    beside.into_iter().any(|comment| comment.split_whitespace().count() >= FEWEST_WORDS)
}

fn split(line: &str) -> Line<'_> {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return Line { code: line[..at].trim(), comment: Some(line[at + 1..].trim()) },
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    Line { code: line.trim(), comment: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::places;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\na = \"1\" # it does this\nb = \"1\"\n# it does that\nc = \"1\"\n\
            d = \"1\" # too short\ne = { version = \"1\", features = [\n  \"#f\", # two words here\n] }\n\
            [target.'cfg(unix)'.dev-dependencies]\nf = \"1\"\n[build-dependencies.g]\nversion = \"1\"\n[lints]\nh = \"a\"\n";
        let found = check(&Tree::of(&[(MANIFEST, manifest)]));
        assert_eq!(places(&found), ["Cargo.toml:5", "Cargo.toml:8", "Cargo.toml:13", "Cargo.toml:14"]);
    }
}
