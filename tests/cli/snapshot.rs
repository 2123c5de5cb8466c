//! Snapshots of whole invocations: exit code, stdout and stderr together.

use insta::Settings;

use crate::support::program::Ended;

/// What differs from run to run or from machine to machine, and what stands for it.
const FILTERS: [(&str, &str); 8] = [
    (r"\d{8}T\d{6}\.\d{3}Z-([a-z-]+)-[0-9a-f]{4}", "[time]-$1-[id]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
    (r"seed \d+", "seed [seed]"),
    (r"/\S+/offloadctl/runs", "[runs]"),
    (r"\.offloadctl-\w{6}\.tmp", "[temporary]"),
    // What the resolver says about an unknown name is its own affair.
    (r"(does not resolve): .*", "$1: [reason]"),
    (concat!(env!("CARGO_PKG_NAME"), r" \d+\.\d+\.\d+"), "offloadctl [version]"),
];

/// As above, for the figures of a measurement; help texts keep theirs.
const FIGURES: [(&str, &str); 7] = [
    // A release build does not warn about itself.
    (r"\nwarning +this is a debug build[^\n]*", ""),
    // Lines that were wrapped where the figures before happened to end.
    (r"\n {6,}(\S)", " $1"),
    (r"\d[\d.]* % of one core", "[share] of one core"),
    (r"[\d,]+ context switches", "[count] context switches"),
    (r"\d[\d,.]* (ns|µs|ms|s|MiB)\b", "[figure]"),
    (r"─+\n", ""),
    (r" {2,}(\S)", "  $1"),
];

/// Compares an invocation whose output is the same each time.
#[track_caller]
pub fn exact(name: &str, line: &str, ended: &Ended) {
    compare(name, line, ended, &FILTERS);
}

/// Compares an invocation that measured: its figures, and the white space they need, are left out.
#[track_caller]
pub fn measured(name: &str, line: &str, ended: &Ended) {
    let all: Vec<_> = FIGURES.into_iter().chain(FILTERS).collect();
    compare(name, line, ended, &all);
}

#[track_caller]
fn compare(name: &str, line: &str, ended: &Ended, filters: &[(&str, &str)]) {
    let mut settings = Settings::new();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in filters {
        settings.add_filter(pattern, *replacement);
    }
    let code = ended.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    let text = format!("$ offloadctl {line}\nexit {code}\n-- stdout\n{}-- stderr\n{}", ended.stdout, ended.stderr);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
