//! Running the program under test, and reading what it said.

use std::process::{Child, Command, Stdio};

use offloadctl::model::{Run, Series};

use crate::support::code_of;
use crate::support::schema::declared;

/// The program under test.
pub const OFFLOADCTL: &str = env!("CARGO_BIN_EXE_offloadctl");

/// Longest that one call may take, in seconds; no test here measures for more than a few on an idle machine.
const LIMIT: &str = "150";

/// A call that is under way.
pub struct Call(Child);

/// A call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 124 means that it was stopped because it took too long.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// `offloadctl probe rtt` with these arguments and the run document on standard output.
pub fn probe(arguments: &[&str]) -> Vec<String> {
    let fixed = [OFFLOADCTL, "probe", "rtt", "--json"];
    fixed.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

/// `offloadctl probe api` likewise.
pub fn probe_api(arguments: &[&str]) -> Vec<String> {
    let fixed = [OFFLOADCTL, "probe", "api", "--json", "--no-save"];
    fixed.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

impl Call {
    /// Starts the words as a command with a time limit.
    #[track_caller]
    pub fn start(words: &[String]) -> Self {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(self) -> Ended {
        let output = self.0.wait_with_output().unwrap();
        let ended = Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ended.stderr.contains("panicked"), "the program panicked:\n{}", ended.stderr);
        ended
    }
}

/// Runs the words as a command to its end.
#[track_caller]
pub fn call(words: &[String]) -> Ended {
    Call::start(words).end()
}

impl Ended {
    /// The run document, after checking the exit code; in the place of 0 it is 4 of a run that a busy machine has spoilt.
    #[track_caller]
    pub fn run(&self, code: i32) -> Run {
        let run = Run::parse(&self.stdout).unwrap_or_else(|error| panic!("{error}\nstderr:\n{}", self.stderr));
        let expected = if code == 0 { code_of(run.validity.valid) } else { Some(code) };
        assert_eq!(self.code, expected, "stderr:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        declared(&run);
        run
    }
}

/// The series of this name and target.
#[track_caller]
pub fn series<'a>(run: &'a Run, name: &str, target: &str) -> &'a Series {
    let found = run.series.iter().find(|series| series.name == name && series.target() == target);
    found.unwrap_or_else(|| {
        panic!("no series {name} of {target} in {:?}", run.series.iter().map(Series::full_name).collect::<Vec<_>>())
    })
}

/// Whether any target's series begins with this name.
pub fn has_series(run: &Run, name: &str) -> bool {
    run.series.iter().any(|series| series.name.starts_with(name))
}

/// The sentences of all findings of this kind.
pub fn findings<'a>(run: &'a Run, id: &str) -> Vec<&'a str> {
    run.findings.iter().filter(|finding| finding.id == id).map(|finding| finding.text.as_str()).collect()
}

/// Fails unless every attempt of the series was answered, and there were this many.
#[track_caller]
pub fn expect_all_answered(series: &Series, attempt_count: u64) {
    let counts = &series.counts;
    assert_eq!(
        (counts.attempt_count, counts.ok_count, counts.skipped_count),
        (attempt_count, attempt_count, 0),
        "{}: {counts:?} {:?}",
        series.full_name(),
        series.failure_kinds
    );
}
