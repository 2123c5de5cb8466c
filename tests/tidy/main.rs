//! Tidy: the rules of CONTRIBUTING.md that a program can check.
//!
//! Separate from clippy because these rules concern folders, manifests and documents. Each check is a function from a
//! [`tree::Tree`] of files to a list of findings, so that it can be tried on a small tree with a planted fault.

mod code;
mod document;
mod header;
mod layer;
mod license;
mod manifest;
mod metadata;
mod purity;
mod size;
mod tree;
mod voice;

use tree::{Finding, Tree};

/// Fails with one line per finding.
#[track_caller]
fn expect_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} found:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn folders_use_only_what_the_table_allows() {
    expect_none(&layer::check(Tree::of_repository()));
}

#[test]
fn contributing_shows_the_table_that_is_checked() {
    expect_none(&layer::check_page(Tree::of_repository()));
}

#[test]
fn files_and_functions_stay_small() {
    expect_none(&size::check(Tree::of_repository()));
}

#[test]
fn files_say_what_they_are() {
    expect_none(&header::check(Tree::of_repository()));
}

#[test]
fn probes_and_benches_answer_the_four_questions() {
    expect_none(&header::check_questions(Tree::of_repository()));
}

#[test]
fn pure_files_are_pure() {
    expect_none(&purity::check(Tree::of_repository()));
}

#[test]
fn unsafe_code_stays_behind_the_doors() {
    expect_none(&voice::check_unsafe(Tree::of_repository()));
}

#[test]
fn only_the_console_speaks_and_nothing_exits() {
    expect_none(&voice::check_output(Tree::of_repository()));
}

#[test]
fn nothing_is_left_undone() {
    expect_none(&voice::check_leftovers(Tree::of_repository()));
}

#[test]
fn dependencies_have_their_reason() {
    expect_none(&manifest::check(Tree::of_repository()));
}

#[test]
fn licenses_and_sources_are_allowed() {
    expect_none(&license::check(Tree::of_repository(), &metadata::packages()));
}

#[test]
fn standing_documents_exist() {
    expect_none(&document::check_presence(Tree::of_repository()));
}

#[test]
fn decision_notes_have_their_form() {
    expect_none(&document::check_notes(Tree::of_repository()));
}

#[test]
fn comments_cite_pages_that_are_here() {
    expect_none(&document::check_citations(Tree::of_repository()));
}

#[test]
fn relative_links_lead_somewhere() {
    expect_none(&document::check_links(Tree::of_repository()));
}
