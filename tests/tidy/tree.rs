//! The files of the repository as a map from path to text, and what a check finds in them.
//!
//! Separate from the checks so that none of them touches the disk.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use crate::code::mask;

/// Folders at the root that hold no source of ours.
const SKIPPED: [&str; 2] = [".git", "target"];

/// Paths relative to the root of the repository, with `/`, and each file.
#[derive(Default)]
pub struct Tree(BTreeMap<String, File>);

/// A text, and its code as soon as a check asks for it.
#[derive(Default)]
struct File {
    text: String,
    code: OnceLock<String>,
}

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    place: String,
    what: String,
    remedy: String,
}

impl Tree {
    /// All files of this repository, whether or not they are committed; read once for all checks.
    pub fn of_repository() -> &'static Self {
        static REPOSITORY: LazyLock<Tree> = LazyLock::new(|| {
            let mut tree = Tree::default();
            tree.read_folder(Path::new(env!("CARGO_MANIFEST_DIR")), "");
            tree
        });
        &REPOSITORY
    }

    /// A tree written down in a test.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |text: &str| File { text: text.to_owned(), ..File::default() };
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect())
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(|file| file.text.as_str())
    }

    /// The Rust files below any of these folders, each with its text and its code without comments and literals.
    pub fn code<'a>(&'a self, folders: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        self.rust(folders).map(|(path, text)| (path, text, self.0[path].code.get_or_init(|| mask(text)).as_str()))
    }

    /// Whether a file or a folder of this path exists.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.0.contains_key(path) || self.0.keys().any(|file| file.starts_with(&folder))
    }

    /// The files below any of these folders, in the order of their paths.
    pub fn below(&self, folders: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let inside = |path: &str| folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
        self.0.iter().filter(move |(path, _)| inside(path)).map(|(path, file)| (path.as_str(), file.text.as_str()))
    }

    /// The Rust files below any of these folders.
    pub fn rust(&self, folders: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        self.below(folders).filter(|(path, _)| has_suffix(path, "rs"))
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if entry.path().is_dir() {
                if !SKIPPED.contains(&path.as_str()) {
                    self.read_folder(&entry.path(), &format!("{path}/"));
                }
            } else if let Ok(bytes) = fs::read(entry.path()) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.0.insert(path, File { text, ..File::default() });
            }
        }
    }
}

impl Finding {
    /// A finding about a whole file.
    pub fn in_file(path: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: path.to_owned(), what: what.into(), remedy: remedy.into() }
    }

    /// A finding about one line, counted from 1.
    pub fn at_line(path: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::in_file(&format!("{path}:{line}"), what, remedy)
    }

    /// Where it is.
    #[cfg(test)]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// Whether a path ends in `.suffix`.
pub fn has_suffix(path: &str, suffix: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == suffix)
}

/// The places of some findings, for the tests of the checks.
#[cfg(test)]
pub fn places(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(Finding::place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_holds_this_file() {
        assert!(Tree::of_repository().exists("tests/tidy/tree.rs"));
    }

    #[test]
    fn a_folder_exists_through_its_files() {
        let tree = Tree::of(&[("docs/guide/a.md", "")]);
        assert!(tree.exists("docs/guide") && tree.exists("docs/guide/a.md"));
        assert!(!tree.exists("docs/gui") && !tree.exists("guide"));
    }

    #[test]
    fn a_finding_names_place_fault_and_remedy() {
        let finding = Finding::at_line("src/a.rs", 3, "it is long", "split it");
        assert_eq!(finding.to_string(), "src/a.rs:3: it is long; split it");
    }
}
