//! What every file says at its top: a sentence on what it is, and for probes and benches four questions answered.

use crate::purity::PURE_NAMES;
use crate::tree::{Finding, Tree};

/// The headings in the header of every probe and bench.
const QUESTIONS: [&str; 4] = ["Question", "Timed", "Needs", "Blind spots"];

/// Words below which a header says nothing.
const FEWEST_WORDS: usize = 3;

/// Finds Rust files that do not begin with a sentence.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let judge = |(path, text): (&str, &str)| {
        let what = match header(text).split("\n\n").next().unwrap_or_default() {
            "" => "it does not begin with a `//!` line",
            first if !is_sentence(first) => "its first `//!` paragraph is not a sentence",
            _ => return None,
        };
        Some(Finding::at_line(path, 1, what, "say in one sentence what the file is, with a capital and a full stop"))
    };
    tree.rust(&["src", "tests", "benches"]).filter_map(judge).collect()
}

/// Finds probes and benches whose header lacks one of the four headings, or leaves one empty.
pub fn check_questions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust(&["src/probe", "src/bench"]).filter(|(path, _)| is_top(path)) {
        let header = header(text);
        for question in QUESTIONS.iter().filter(|question| !is_answered(&header, question)) {
            let what = format!("its header has no answer under `{question}`");
            findings.push(Finding::at_line(path, 1, what, format!("add `//! ## {question}` and the answer")));
        }
    }
    findings
}

/// The `//!` lines at the top, without their marks.
fn header(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

fn is_sentence(paragraph: &str) -> bool {
    let begins = paragraph.starts_with(|c: char| c.is_uppercase() || c.is_numeric() || c == '`');
    begins && paragraph.ends_with(['.', '?', '!', ':']) && paragraph.split_whitespace().count() >= FEWEST_WORDS
}

/// Whether a file is the top of a probe or bench: `probe/name.rs` or `probe/name/mod.rs`, and no pure helper.
fn is_top(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_end_matches(".rs").split('/').skip(2).collect();
    match segments.as_slice() {
        ["mod"] => false,
        [name] => !PURE_NAMES.contains(name),
        [_, "mod"] => true,
        _ => false,
    }
}

fn is_answered(header: &str, question: &str) -> bool {
    let mut lines = header.lines().skip_while(|line| heading(line) != Some(question));
    let same_line = lines.next().is_some_and(|line| line.trim_start_matches(['#', ' ']).len() > question.len());
    same_line || lines.find(|line| !line.is_empty()).is_some_and(|line| heading(line).is_none())
}

fn heading(line: &str) -> Option<&'static str> {
    let text = line.trim_start_matches(['#', ' ']);
    let begins = |question: &&str| {
        text.strip_prefix(*question).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    QUESTIONS.into_iter().find(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_sentence_is_found() {
        let faulty =
            ["", "use a;\n//! A late header is no header.", "//! tour\n", "//! The clock of it\n", "//! One.\n"];
        for text in faulty {
            assert_eq!(check(&Tree::of(&[("src/sys/a.rs", text)])).len(), 1, "{text:?}");
        }
        let text = "//! The clock, which\n//! nobody else reads.\n//!\n//! more\n";
        assert_eq!(check(&Tree::of(&[("tests/cli/main.rs", text)])), []);
    }

    #[test]
    fn a_probe_without_an_answer_is_found() {
        let whole =
            "//! It asks.\n//! ## Question\n//! Why?\n//! Timed: all\n//! # Needs\n//!\n//! a\n//! Blind spots none\n";
        let empty = whole.replace("//! a\n", "");
        let missing = whole.replace("Timed", "Timing");
        let count = |path: &str, text: &str| check_questions(&Tree::of(&[(path, text)])).len();
        assert_eq!([count("src/probe/rtt.rs", whole), count("src/bench/etcd/mod.rs", whole)], [0, 0]);
        assert_eq!([count("src/probe/rtt.rs", &empty), count("src/bench/etcd/mod.rs", &missing)], [1, 1]);
        assert_eq!(count("src/probe/rtt.rs", ""), 4);
        let exempt = ["src/probe/mod.rs", "src/probe/rtt/wire.rs", "src/bench/plan.rs", "src/load/driver.rs"];
        assert_eq!(exempt.map(|path| count(path, "")), [0; 4]);
    }
}
