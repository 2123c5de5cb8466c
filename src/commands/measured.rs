//! Another measurement, made by a process of this program and read back: how commands that compare or vary measure.
//!
//! Separate because each such run is the one that the user would get by hand, with its own clock, memory and warnings.

use std::process::{Command, Output};

use clap::Parser as _;

use super::Cli;
use super::catalogue;
use crate::error::{Exit, Failure};
use crate::model::{Measurement, Run};
use crate::sys::child::output_of;
use crate::sys::shutdown::Shutdown;

/// A command that measures, in words.
pub struct Asked {
    spoken: String,
    words: Vec<String>,
    /// What it measures.
    pub measurement: &'static Measurement,
}

impl Asked {
    /// Splits a command as a shell would; no shell runs it.
    ///
    /// # Errors
    /// A usage error where it measures nothing, or its arguments cannot be meant.
    pub fn parse(command: &str) -> Result<Self, Failure> {
        let wrong = || Failure::plain(Exit::Usage, format!("`{command}`: a quote in it does not end"));
        Self::of_words(command, shlex::split(command).ok_or_else(wrong)?)
    }

    /// Of these words.
    ///
    /// # Errors
    /// A usage error where they measure nothing, or cannot be meant.
    pub fn of_words(spoken: &str, words: Vec<String>) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::plain(Exit::Usage, format!("`{spoken}`: {why}"));
        let is_of = |measurement: &&Measurement| {
            let name = measurement.command.split(' ');
            name.clone().eq(words.iter().take(name.count()))
        };
        let Some(measurement) = catalogue::ALL.into_iter().find(is_of) else {
            let known: Vec<&str> = catalogue::ALL.iter().map(|measurement| measurement.command).collect();
            let hint = format!("write what follows `offloadctl`: {}", known.join(", "));
            return Err(refused("it measures nothing").hint(hint));
        };
        let with = |more: &[&str]| words.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect();
        // What is not kept anyway has no option that says so.
        let candidates: [Vec<String>; 2] = [with(&["--json", "--quiet", "--no-save"]), with(&["--json", "--quiet"])];
        let parse = |words: &[String]| {
            Cli::try_parse_from(std::iter::once("offloadctl").chain(words.iter().map(String::as_str)))
        };
        if let Some(words) = candidates.into_iter().find(|words| parse(words).is_ok()) {
            return Ok(Self { spoken: spoken.to_owned(), words, measurement });
        }
        match parse(&words) {
            Err(error) if error.use_stderr() => {
                Err(refused(error.to_string().trim_start_matches("error: ").trim_end()))
            }
            _ => Err(refused("it prints in a format of its own; leave --json, --format and --help out")),
        }
    }

    /// Measures once. On the user's wish to stop, the run is what there is until then.
    ///
    /// # Errors
    /// When it cannot measure, with what it said.
    pub async fn measure(&self, stop: &Shutdown) -> Result<Run, Failure> {
        let spoken = &self.spoken;
        let unable = |what: String| Failure::plain(Exit::Unable, format!("`{spoken}`: {what}"));
        let program = std::env::current_exe();
        let program = program.map_err(|error| unable(format!("this program is not to be found: {error}")))?;
        let mut command = Command::new(program);
        command.args(&self.words);
        let ended = output_of(command, stop).await;
        let Output { status, stdout, stderr } =
            ended.map_err(|error| unable(format!("it could not be run: {error}")))?;
        let said = String::from_utf8_lossy(&stderr);
        let said = said.trim().trim_start_matches("error: ");
        let code = status.code().unwrap_or(-1);
        match Run::parse(&String::from_utf8_lossy(&stdout)) {
            Ok(run) => Ok(run),
            Err(_) if code == i32::from(Exit::Usage.code()) => {
                Err(Failure::plain(Exit::Usage, format!("`{spoken}`: {said}")))
            }
            Err(_) if !said.is_empty() => Err(unable(said.to_owned())),
            Err(error) => Err(unable(format!("exit code {code}: {error}"))),
        }
    }
}
