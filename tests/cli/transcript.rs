//! The transcripts in README and guides are what the program prints: each command is run again, figures aside.

use std::fs;

use crate::support::program::{Scene, Started};

/// Stands for lines that the page leaves out.
const LEFT_OUT: &str = "…";

/// A command that a page shows, and what the page says comes.
struct Transcript {
    page: String,
    command: String,
    lines: Vec<String>,
}

#[test]
fn what_the_pages_show_is_what_comes() {
    let transcripts = transcripts();
    assert!(transcripts.len() >= 2, "the README and a guide have one at least");
    let scene = Scene::new();
    let started: Vec<Started> = transcripts.iter().map(|one| scene.start(&one.command)).collect();
    for (shown, started) in transcripts.iter().zip(started) {
        let ended = started.end();
        let came: Vec<String> = ended.stdout.lines().map(compared).collect();
        let mut rest = came.as_slice();
        for line in shown.lines.iter().filter(|line| *line != LEFT_OUT) {
            let Some(at) = rest.iter().position(|other| other == line) else {
                let Transcript { page, command, .. } = shown;
                panic!("{page}: `{command}` does not print `{line}` in its place:\n{}{}", ended.stdout, ended.stderr);
            };
            rest = &rest[at + 1..];
        }
    }
}

fn transcripts() -> Vec<Transcript> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let guides = fs::read_dir(format!("{root}docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    let pages = guides.chain(["README.md".into()]);
    let mut found = Vec::new();
    for page in pages {
        let text = fs::read_to_string(std::path::Path::new(root).join(&page)).unwrap();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(typed) = line.strip_prefix("    $ ") else { continue };
            let command = typed.trim_start_matches("cargo run --release -- ").trim_start_matches("offloadctl ");
            let is_shown = |line: &&str| line.is_empty() || line.starts_with("    ");
            let shown: Vec<&str> = std::iter::from_fn(|| lines.next_if(is_shown)).collect();
            let lines = shown.iter().filter_map(|line| line.strip_prefix("    ")).map(compared);
            let lines = lines.filter(|line| !line.is_empty()).collect();
            found.push(Transcript { page: page.display().to_string(), command: command.to_owned(), lines });
        }
    }
    found
}

/// What is the same in every run: the head of a table and a sentence with their figures masked, the first cell of a row; nothing
/// of the bars of a histogram and of lines that go on with the one before.
fn compared(line: &str) -> String {
    let is_bar = |c: char| ('\u{2581}'..='\u{258f}').contains(&c);
    if line.starts_with(' ') || line.contains(is_bar) {
        return String::new();
    }
    // What a host can do differs from host to host, as figures do.
    let is_ability = ["  yes ", "  no ", "  limited "].iter().any(|word| line.contains(word));
    let has_figures = is_ability || line.contains(|c: char| c.is_ascii_digit());
    let cell = line.split("  ").next().unwrap_or_default();
    let told = if has_figures && cell.len() < line.len() { cell } else { line };
    let words =
        told.split_whitespace().map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.filter(|word| !word.starts_with('─')).collect::<Vec<_>>().join(" ")
}
