//! A helper program that is run to its end for what it prints, within a limit of time and of length.
//!
//! Separate from `exec` because such a program answers a question and is gone, and because one that hangs must take its own
//! children along: they would hold its output open for ever.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest output that is read, of either stream.
const LONGEST_OUTPUT: u64 = 1 << 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// A program that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It is not there, or may not be run.
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    /// Its output broke off.
    #[error("its output cannot be read")]
    Read(#[source] io::Error),
    /// It did not end.
    #[error("it did not end within {} s and was stopped", limit.as_secs_f64())]
    Timeout {
        /// How long it had.
        limit: Duration,
    },
    /// It ended badly.
    #[error("{}{}", super::exec::ending_text(*status), said(text))]
    Failed {
        /// How.
        status: ExitStatus,
        /// What it wrote to standard error.
        text: String,
    },
    /// It printed too much.
    #[error("it printed more than {LONGEST_OUTPUT} bytes")]
    TooLong,
}

/// Ends the whole group of a child when dropped: whether it ended by itself, hung, or nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // A group without members cannot be signalled, and needs no signal.
        let _ = self.0.map(|id| killpg(id, Signal::SIGKILL));
    }
}

impl Plugin {
    /// Runs it without input, and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started, fails, does not end in time, or prints too much.
    pub async fn run(&self, limit: Duration) -> Result<Vec<u8>, PluginError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(PluginError::Start)?;
        let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        match timeout(limit, answer(&mut child)).await {
            Ok(answer) => answer,
            Err(_) => Err(PluginError::Timeout { limit }),
        }
    }
}

async fn answer(child: &mut Child) -> Result<Vec<u8>, PluginError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, said) = tokio::try_join!(read(stdout), read(stderr)).map_err(PluginError::Read)?;
    if printed.len() as u64 > LONGEST_OUTPUT || said.len() as u64 > LONGEST_OUTPUT {
        return Err(PluginError::TooLong);
    }
    let status = child.wait().await.map_err(PluginError::Read)?;
    match status.success() {
        true => Ok(printed),
        false => Err(PluginError::Failed { status, text: String::from_utf8_lossy(&said).trim().to_owned() }),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(stream) = stream {
        stream.take(LONGEST_OUTPUT + 1).read_to_end(&mut text).await?;
    }
    Ok(text)
}

/// The last line that a program said, as the end of a sentence.
fn said(text: &str) -> String {
    text.lines().next_back().map_or_else(String::new, |line| format!(" and said: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    fn shell(script: &str) -> Plugin {
        let environment = vec![("GREETING".into(), "hello".into())];
        Plugin { program: "sh".into(), arguments: vec!["-c".into(), script.into()], environment }
    }

    #[tokio::test]
    async fn what_a_program_prints_is_its_answer() {
        let answer = shell("echo $GREETING").run(Duration::from_secs(20)).await;
        assert_eq!(answer.unwrap(), b"hello\n");
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let error =
            shell("echo first >&2; echo no such user >&2; exit 3").run(Duration::from_secs(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "it ended with exit code 3 and said: no such user");
        let missing = Plugin { program: "no-such-program".into(), ..shell("") };
        assert!(matches!(missing.run(Duration::from_secs(20)).await, Err(PluginError::Start(_))));
        let endless = shell("yes").run(Duration::from_secs(20)).await;
        assert!(matches!(endless, Err(PluginError::TooLong)), "{endless:?}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped_with_its_children() {
        let began = clock::now();
        let error = shell("sleep 600 & sleep 600").run(Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(error.to_string(), "it did not end within 0.2 s and was stopped");
        assert!(clock::now().since(began) < Duration::from_secs(10));
    }
}
