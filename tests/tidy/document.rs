//! Standing documents, decision notes and the links between pages.

use crate::tree::{Finding, Tree, has_suffix};

/// Documents that a visitor or a packager expects at a fixed place.
const STANDING: [&str; 7] =
    ["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "deny.toml", NOTE_INDEX];

const NOTE_FOLDER: &str = "docs/decisions";
const NOTE_INDEX: &str = "docs/decisions/README.md";
const NOTE_HEADINGS: [&str; 3] = ["Context", "Choice", "Price"];
const NOTE_LIMIT: usize = 60;

/// Finds standing documents that are missing or empty.
pub fn check_presence(tree: &Tree) -> Vec<Finding> {
    let missing = STANDING.iter().filter(|path| tree.text(path).unwrap_or_default().trim().is_empty());
    missing.map(|path| Finding::in_file(path, "it is missing or empty", "write it")).collect()
}

/// Finds decision notes without their name, form or length, or that the index does not list.
pub fn check_notes(tree: &Tree) -> Vec<Finding> {
    let index = tree.text(NOTE_INDEX).unwrap_or_default();
    let notes = tree.below(&[NOTE_FOLDER]).filter(|(path, _)| *path != NOTE_INDEX);
    notes.flat_map(|(path, text)| check_note(path, text, index)).collect()
}

fn check_note(path: &str, text: &str, index: &str) -> Vec<Finding> {
    let name = path.trim_start_matches(NOTE_FOLDER).trim_start_matches('/');
    let mut findings = Vec::new();
    let mut find = |what: String, remedy: &str| findings.push(Finding::in_file(path, what, remedy));
    if !is_note_name(name) {
        find("its name is not a number and words".to_owned(), "call it like 0007-one-driver.md");
    }
    let lines = text.lines().count();
    if lines > NOTE_LIMIT {
        find(format!("it has {lines} lines, a note has at most {NOTE_LIMIT}"), "keep the reasons, drop the story");
    }
    let headings: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    for heading in NOTE_HEADINGS.iter().filter(|heading| !headings.contains(heading)) {
        find(format!("it has no heading `{heading}`"), "a note has Context, Choice and Price");
    }
    if !index.contains(&format!("]({name})")) {
        find("the index does not list it".to_owned(), "add a line with its link to docs/decisions/README.md");
    }
    findings
}

fn is_note_name(name: &str) -> bool {
    let words = name.strip_suffix(".md").and_then(|stem| stem.split_at_checked(4));
    words.is_some_and(|(number, rest)| {
        number.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with('-') && rest.len() > 1 && !rest.contains(' ')
    })
}

/// Finds comments that send the reader to a page which is not here.
pub fn check_citations(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust(&["src", "tests", "benches"]) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            let words = line.split(|c: char| !c.is_alphanumeric() && !"./_-".contains(c));
            for page in words.filter(|word| word.strip_suffix(".md").is_some_and(|stem| !stem.is_empty())) {
                if tree.text(page).is_none() {
                    let what = format!("its comment cites `{page}`, which is not here");
                    findings.push(Finding::at_line(path, number + 1, what, "say here what is said there"));
                }
            }
        }
    }
    findings
}

/// Finds relative links in the pages that lead to no file or folder.
pub fn check_links(tree: &Tree) -> Vec<Finding> {
    let top = ["README.md", "CONTRIBUTING.md"].into_iter().filter_map(|path| Some((path, tree.text(path)?)));
    let pages = top.chain(tree.below(&["docs"]).filter(|(path, _)| has_suffix(path, "md")));
    let mut findings = Vec::new();
    for (path, text) in pages {
        let broken = links(text).into_iter().filter(|(_, target)| !leads_somewhere(tree, path, target));
        findings.extend(broken.map(|(line, target)| {
            Finding::at_line(
                path,
                line,
                format!("the link `{target}` leads nowhere"),
                "correct the path or drop the link",
            )
        }));
    }
    findings
}

fn leads_somewhere(tree: &Tree, page: &str, target: &str) -> bool {
    let file = target.split('#').next().unwrap_or_default();
    if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
        return true;
    }
    let mut segments: Vec<&str> = page.split('/').collect();
    segments.pop();
    for segment in file.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        let is_outside = segment == ".." && segments.pop().is_none();
        if is_outside {
            return false;
        }
        segments.extend((segment != "..").then_some(segment));
    }
    !file.starts_with('/') && tree.exists(&segments.join("/"))
}

/// The targets of all links of a page, `[text](target)` and `[name]: target`, with their lines; code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    let mut is_code = false;
    for (at, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence {
            continue;
        }
        let targets = inline_targets(line).into_iter().chain(reference_target(line));
        all.extend(targets.map(|target| (at + 1, target)));
    }
    all
}

fn inline_targets(line: &str) -> Vec<&str> {
    let is_prose = |at: usize| line[..at].matches('`').count().is_multiple_of(2);
    let inside = line.match_indices("](").filter(|(at, _)| is_prose(*at)).filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        rest.split([')', ' ']).next()
    });
    inside.map(|target| target.trim_matches(['<', '>'])).collect()
}

fn reference_target(line: &str) -> Option<&str> {
    let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
    target.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::places;

    const NOTE: &str = "# 1. One driver\n\n## Context\n\na\n\n## Choice\n\nb\n\n## Price\n\nc\n";

    fn notes(name: &str, text: &str, index: &str) -> usize {
        let path = format!("docs/decisions/{name}");
        check_notes(&Tree::of(&[(&path, text), (NOTE_INDEX, index)])).len()
    }

    #[test]
    fn a_comment_that_cites_a_page_of_elsewhere_is_found() {
        let text =
            "// See docs/a.md, and notes.md section 3.\nconst A: &str = \"other.md\";\n//! Files end in `.md`.\n";
        let tree = Tree::of(&[("src/a.rs", text), ("docs/a.md", "")]);
        let found = check_citations(&tree);
        assert_eq!(places(&found), ["src/a.rs:1"]);
    }

    #[test]
    fn a_missing_or_empty_document_is_found() {
        let mut files: Vec<(&str, &str)> = STANDING.iter().map(|path| (*path, "text")).collect();
        assert_eq!(check_presence(&Tree::of(&files)), []);
        files[4].1 = " \n";
        files.remove(0);
        assert_eq!(places(&check_presence(&Tree::of(&files))), ["CHANGELOG.md", "README.md"]);
    }

    #[test]
    fn a_note_without_its_form_is_found() {
        let index = "- [One driver](0001-one-driver.md)";
        assert_eq!(notes("0001-one-driver.md", NOTE, index), 0);
        assert_eq!(notes("0001-one-driver.md", NOTE, ""), 1);
        assert_eq!(notes("0001-one-driver.md", &NOTE.replace("## Price", "Price"), index), 1);
        assert_eq!(notes("0001-one-driver.md", &format!("{NOTE}{}", "more\n".repeat(60)), index), 1);
        assert_eq!(notes("one-driver.md", NOTE, "[One driver](one-driver.md)"), 1);
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let page = "[a](b.md) [c](../d.md#e) ![f](<g.svg> \"h\")\n`[i](j)`\n```\n[k](l)\n```\n\
            [m](https://example.com/n) [o](#p) [q](../../r)\n[s]: t.md\n";
        let tree = Tree::of(&[("docs/guide/a.md", page), ("docs/guide/b.md", ""), ("docs/d.md", "")]);
        assert_eq!(links(page).len(), 7);
        assert_eq!(places(&check_links(&tree)), ["docs/guide/a.md:1", "docs/guide/a.md:6", "docs/guide/a.md:7"]);
    }

    #[test]
    fn a_link_may_lead_to_a_folder() {
        let tree = Tree::of(&[("README.md", "[docs](docs/) [up](../x) [root](/docs)"), ("docs/a.md", "")]);
        assert_eq!(check_links(&tree).len(), 2);
    }
}
