//! A source that reads a named pipe: each line happens when it is written.
//!
//! Separate from a script, which is a file and has a pace of its own; the lines are the same, without `after` and `repeat`. It lets
//! any program tell what its tasks do, and `offloadctl trace` act where there is no container runtime.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::{Event, EventSource, Next, scripted};

/// Longest line.
const LONGEST_LINE: u64 = 1 << 20;

/// A named pipe whose lines are events.
#[derive(Debug)]
pub struct Piped {
    path: PathBuf,
    reader: Option<BufReader<Receiver>>,
    /// What was read of a line so far.
    line: Vec<u8>,
    has_begun: bool,
    has_failed: bool,
}

/// Whether there is a named pipe at this path.
#[must_use]
pub fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

impl Piped {
    /// The pipe at this path. Nothing is opened yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), reader: None, line: Vec::new(), has_begun: false, has_failed: false }
    }

    async fn step(&mut self) -> Option<Event> {
        if self.has_failed {
            return None;
        }
        if self.reader.is_none() {
            // Opened for writing too, so that it does not end when a writer leaves.
            match OpenOptions::new().read_write(true).open_receiver(&self.path) {
                Ok(pipe) => self.reader = Some(BufReader::new(pipe)),
                Err(error) => return Some(self.fail(&error)),
            }
        }
        if !self.has_begun {
            self.has_begun = true;
            return Some(Event::Known(Vec::new()));
        }
        match self.read_line().await {
            Ok(line) => Some(scripted::told(&line).unwrap_or_else(|what| self.odd(&what))),
            Err(error) => Some(self.fail(&error)),
        }
    }

    /// The next line that is not empty. What was read of it stays where the wait for the rest is given up.
    async fn read_line(&mut self) -> io::Result<String> {
        let Some(reader) = &mut self.reader else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            let room = LONGEST_LINE.saturating_sub(self.line.len() as u64);
            reader.take(room).read_until(b'\n', &mut self.line).await?;
            if self.line.len() as u64 >= LONGEST_LINE {
                self.line.clear();
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line has no end"));
            }
            if self.line.last() == Some(&b'\n') {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
                if !line.is_empty() {
                    return Ok(line);
                }
            }
        }
    }

    fn odd(&self, what: &str) -> Event {
        Event::Odd(format!("a line of the pipe `{}` is left out: {what}", self.path.display()))
    }

    fn fail(&mut self, error: &io::Error) -> Event {
        self.has_failed = true;
        Event::Trouble(format!("the pipe `{}` cannot be read any more: {error}", self.path.display()))
    }
}

impl EventSource for Piped {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.step())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;
    use crate::source::TaskState;

    #[tokio::test]
    async fn lines_happen_as_they_are_written_and_a_bad_one_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(is_pipe(&path) && !is_pipe(folder.path()));
        let mut source = Piped::new(&path);
        assert_eq!(source.next().await, Some(Event::Known(Vec::new())));
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"{\"task_id\":\"t\",\"status\":\"running\",\"trace\":\"a\"}\n\n{}\n{\"task_id\":").unwrap();
        let Some(Event::Changed(seen)) = source.next().await else { panic!("no change") };
        assert_eq!((seen[0].state, seen[0].mark.as_ref().unwrap().id.as_str()), (TaskState::Running, "a"));
        assert!(matches!(source.next().await, Some(Event::Odd(_))));
        // Half a line waits for its end, also when nobody waits for it meanwhile.
        let wait = tokio::time::timeout(std::time::Duration::from_millis(20), source.next()).await;
        assert!(wait.is_err());
        writer.write_all(b"\"t\",\"status\":\"vanished\"}\n").unwrap();
        drop(writer);
        assert_eq!(source.next().await, Some(Event::Vanished("t".to_owned())));
    }
}
