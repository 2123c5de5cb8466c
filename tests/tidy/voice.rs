//! Words that belong to one place or to none: `unsafe`, printing, exiting, and work left undone.

use crate::code::{line_of, mentions, words};
use crate::tree::{Finding, Tree};

/// Every folder that holds Rust code.
const CODE: [&str; 3] = ["src", "tests", "benches"];

/// Where unsafe code may stand.
const DOORS: [&str; 2] = ["src/sys/", "src/source/ebpf"];

/// The only module that writes to standard output and standard error.
const CONSOLE: &str = "src/console";

/// Ways to write to a standard stream.
const SPOKEN: [&str; 6] = ["println!", "print!", "eprintln!", "eprint!", "stdout()", "stderr()"];

/// Marks of work left undone; in two halves, so that this file does not hold what it looks for.
const LEFTOVERS: [&str; 4] =
    [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("#[ig", "nore")];

/// Finds unsafe code outside the doors to the operating system.
pub fn check_unsafe(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, code) in tree.code(&CODE).filter(|(path, ..)| !DOORS.iter().any(|door| path.starts_with(door))) {
        let hits = words(code).filter(|(_, word)| *word == "unsafe");
        findings.extend(hits.map(|(at, _)| {
            Finding::at_line(path, line_of(code, at), "unsafe code", "move it behind a safe function in src/sys")
        }));
    }
    findings
}

/// Finds code in `src` that prints outside the console, and code anywhere that ends the process.
pub fn check_output(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, code) in tree.code(&CODE) {
        let exits = mentions(code, "process").into_iter().filter(|m| m.path.first().is_some_and(|word| word == "exit"));
        findings.extend(exits.map(|mention| {
            let remedy = "return the exit code to main, so that files are closed and servers stopped";
            Finding::at_line(path, mention.line, "it ends the process", remedy)
        }));
        if path.starts_with("src/") && !path.starts_with(CONSOLE) {
            findings.extend(spoken(code).into_iter().map(|(line, needle)| {
                let remedy = format!("hand the text to {CONSOLE}");
                Finding::at_line(path, line, format!("`{needle}` writes to a standard stream"), remedy)
            }));
        }
    }
    findings
}

/// Lines that write to a standard stream, and how.
fn spoken(code: &str) -> Vec<(usize, &'static str)> {
    let alone = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let hits = |needle: &'static str| {
        code.match_indices(needle).filter(move |(at, _)| alone(*at)).map(move |(at, _)| (line_of(code, at), needle))
    };
    SPOKEN.into_iter().flat_map(hits).collect()
}

/// Finds marks of unfinished work, in comments and strings too.
pub fn check_leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.below(&CODE) {
        for needle in LEFTOVERS {
            let remedy = "finish it, or open an issue and delete the mark";
            let hits = text.match_indices(needle);
            findings.extend(
                hits.map(|(at, _)| Finding::at_line(path, line_of(text, at), format!("`{needle}` is left"), remedy)),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::places;

    #[test]
    fn unsafe_code_is_found() {
        let text = "#![expect(unsafe_code)]\n// unsafe\nfn f() { unsafe { g() } }";
        let paths = ["src/load/a.rs", "src/source/ebpf/a.rs", "src/sys/a.rs", "tests/cli/main.rs"];
        let tree = Tree::of(&paths.map(|path| (path, text)));
        assert_eq!(places(&check_unsafe(&tree)), ["src/load/a.rs:3", "tests/cli/main.rs:3"]);
    }

    #[test]
    fn a_second_voice_is_found() {
        let faulty = [
            "println!(\"a\")",
            "std::eprint!(\"a\")",
            "let a = io::stdout().lock();",
            "use std::io; let a = io::stderr();",
            "std::process::exit(1)",
            "use std::process::{Command, exit};",
        ];
        for text in faulty {
            assert_eq!(check_output(&Tree::of(&[("src/load/a.rs", text)])).len(), 1, "{text}");
        }
    }

    #[test]
    fn the_console_and_the_tests_may_speak() {
        let tree = Tree::of(&[
            ("src/console.rs", "println!(\"a\"); io::stdout()"),
            ("tests/external/main.rs", "println!(\"skipped\")"),
            ("src/sys/exec.rs", "Command::new(a).stdout(Stdio::piped()); // println!\n my_println!()"),
        ]);
        assert_eq!(check_output(&tree), []);
    }

    #[test]
    fn leftovers_are_found_even_in_comments() {
        for needle in LEFTOVERS {
            let text = format!("\n// {needle} later");
            assert_eq!(places(&check_leftovers(&Tree::of(&[("benches/a.rs", &text)]))), ["benches/a.rs:2"]);
        }
        assert_eq!(check_leftovers(&Tree::of(&[("src/a.rs", "// nothing to do")])), []);
    }
}
