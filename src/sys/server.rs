//! A server of our own: a child process with its output in a log, ready when it answers, and gone when we are.
//!
//! Separate from helpers that are run to their end because a server that is left behind holds a port and a folder. A
//! child gets a process group of its own, so that Ctrl-C reaches only us and we end it in our order; and the kernel ends
//! it if we are killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::clock;
use super::exec::{die_with_parent, ending_text, find_program};
use super::owner::{FOLDER, Owner};

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Pause between two looks at a child that is ending, or is not ready yet.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Lines of a log that an error quotes, and bytes of it that are read for them.
const LOG_LINES: usize = 3;
const LOG_BYTES: u64 = 64 << 10;

/// What programs exit with when their arguments are wrong.
const USAGE: Option<i32> = Some(2);

/// A server that is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No such program.
    #[error("there is no program `{}`", .0.display())]
    Program(PathBuf),
    /// A folder that cannot be used.
    #[error("cannot make a folder in `{}`", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system does not let it start.
    #[error("{name} cannot be started")]
    Start {
        /// What.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended while it was needed.
    #[error("{name} does not run: {ending}; its log:\n{log}")]
    Ended {
        /// What.
        name: String,
        /// How it ended.
        ending: String,
        /// The lines of its log that say why.
        log: String,
    },
    /// It neither ended nor serves.
    #[error("{name} does not serve after {} s; its log:\n{log}", limit.as_secs())]
    Silent {
        /// What.
        name: String,
        /// How long it had.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },
}

/// A running child; dropping it ends it and waits for it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

/// A new temporary folder for what a server needs and leaves, removed when it is dropped: in `place`, or where this host
/// keeps such folders.
///
/// # Errors
/// When it cannot be made.
pub fn folder(kind: &str, place: Option<&Path>) -> Result<TempDir, ServerError> {
    let place = place.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix(&format!("{FOLDER}{kind}-")).tempdir_in(&place);
    // Marked, so that whoever comes after us finds it if we are killed.
    let marked = made.and_then(|folder| Owner::ours().mark(folder.path()).map(|()| folder));
    marked.map_err(|source| ServerError::Folder { folder: place, source })
}

impl Server {
    /// Starts a program, by its path or its name, with its output in a new file `log`; errors call it `name`. The calling
    /// thread must live as long as the child: the kernel ends the child with it.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: &[A],
        log: PathBuf,
    ) -> Result<Self, ServerError> {
        let program = find_program(program).ok_or_else(|| ServerError::Program(program.to_owned()))?;
        let start = || {
            let file = File::create(&log)?;
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
            die_with_us(&mut command);
            command.spawn()
        };
        let child = start().map_err(|source| ServerError::Start { name: name.to_owned(), source })?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    /// Starts this very program once more, likewise.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_own<A: AsRef<OsStr>>(name: &str, arguments: &[A], log: PathBuf) -> Result<Self, ServerError> {
        let program = std::env::current_exe();
        let program = program.map_err(|source| ServerError::Start { name: name.to_owned(), source })?;
        Self::start(name, &program, arguments, log)
    }

    /// Asks again and again until `answer` has one.
    ///
    /// # Errors
    /// When the server ends instead, or there is no answer within the limit.
    pub async fn ready<T>(
        &mut self,
        limit: Duration,
        mut answer: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, ServerError> {
        let began = clock::now();
        loop {
            if let Some(answer) = answer().await {
                return Ok(answer);
            }
            self.check()?;
            if clock::now().since(began) > limit {
                return Err(ServerError::Silent { name: self.name.clone(), limit, log: self.last_words() });
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Waits until the first line of its log is whole, and `read` finds in it what was waited for.
    ///
    /// # Errors
    /// When the server ends instead, or does not say so within the limit.
    pub async fn said<T>(&mut self, limit: Duration, read: impl Fn(&str) -> Option<T>) -> Result<T, ServerError> {
        let log = self.log.clone();
        self.ready(limit, async || fs::read_to_string(&log).ok()?.split_once('\n').and_then(|(line, _)| read(line)))
            .await
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it has ended; the error says how and quotes its log.
    pub fn check(&mut self) -> Result<(), ServerError> {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                let (name, ending) = (self.name.clone(), ending_text(status));
                Err(ServerError::Ended { name, ending, log: why(&self.log, status) })
            }
            _ => Ok(()),
        }
    }

    /// The last lines of its log, or what keeps us from reading them.
    #[must_use]
    pub fn last_words(&self) -> String {
        quote(&self.log, Part::Last)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, without a chance to say goodbye.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Stops it as it is, until [`Server::thaw`]: its connections stay open, and nothing in it runs.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends it the signal whose meaning is the program's own.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn nudge(&self) -> io::Result<()> {
        self.signal(Signal::SIGUSR1)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that was waited for has no id any more: another process may have it.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::SIGTERM);
        }
        let asked = clock::now();
        while matches!(self.child.try_wait(), Ok(None)) && clock::now().since(asked) < GRACE {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(unsafe_code, reason = "only the child itself can ask to die with its parent")]
fn die_with_us(command: &mut Command) {
    let ours = std::process::id().cast_signed();
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || die_with_parent(ours, libc::SIGKILL));
    }
}

/// Which lines of a log say why.
enum Part {
    First,
    Last,
}

/// What a server that ended says about it. A usage error is followed by pages of help: what is wrong stands above it.
fn why(log: &Path, status: ExitStatus) -> String {
    quote(log, if status.code() == USAGE { Part::First } else { Part::Last })
}

fn quote(log: &Path, part: Part) -> String {
    let read = || {
        let mut file = File::open(log)?;
        if matches!(part, Part::Last) {
            file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(LOG_BYTES)))?;
        }
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) => return format!("(it cannot be read: {error})"),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = match part {
        Part::First => &lines[..lines.len().min(LOG_LINES)],
        Part::Last => &lines[lines.len().saturating_sub(LOG_LINES)..],
    };
    if shown.is_empty() { "(it is empty)".to_owned() } else { shown.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A shell that runs this script, and the folder of its log.
    fn shell(script: &str) -> (Server, TempDir) {
        let folder = folder("test", None).unwrap();
        let log = folder.path().join("log");
        (Server::start("the shell", Path::new("sh"), &["-c", script], log).unwrap(), folder)
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let (mut server, _folder) = shell("exec sleep 600");
        server.check().unwrap();
        let id = Pid::from_raw(server.id().cast_signed());
        drop(server);
        assert_eq!(kill(id, None), Err(nix::Error::ESRCH));
    }

    #[test]
    fn a_frozen_child_can_be_killed_and_is_gone_at_once() {
        let (mut server, _folder) = shell("exec sleep 600");
        server.freeze().unwrap();
        let asked = clock::now();
        server.kill().unwrap();
        drop(server);
        assert!(clock::now().since(asked) < GRACE);
    }

    #[tokio::test]
    async fn a_server_is_ready_when_it_says_so_in_a_whole_line() {
        let (mut server, _folder) = shell("printf 'port '; echo 77; exec sleep 600");
        let port = server.said(LONG, |line| line.strip_prefix("port ")?.parse::<u16>().ok()).await;
        assert_eq!(port.unwrap(), 77);
        let mut looks = 0;
        let answer = async || {
            looks += 1;
            (looks == 3).then_some("served")
        };
        assert_eq!(server.ready(LONG, answer).await.unwrap(), "served");
    }

    #[tokio::test]
    async fn a_server_that_ends_instead_is_quoted() {
        let lines = "for n in 1 2 3 4; do echo line $n; done";
        for (code, quoted) in [(7, "line 2\nline 3\nline 4"), (2, "line 1\nline 2\nline 3")] {
            let (mut server, _folder) = shell(&format!("{lines}; exit {code}"));
            let error = server.ready(LONG, async || None::<()>).await.unwrap_err();
            let expected = format!("the shell does not run: it ended with exit code {code}; its log:\n{quoted}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_server_that_stays_silent_is_given_up() {
        let (mut server, _folder) = shell("exec sleep 600");
        let error = server.said(Duration::ZERO, |_| Some(())).await.unwrap_err();
        assert_eq!(error.to_string(), "the shell does not serve after 0 s; its log:\n(it is empty)");
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let folder = folder("test", None).unwrap();
        let start = |program: &str, log: &str| {
            Server::start("it", Path::new(program), &["600"], folder.path().join(log)).unwrap_err().to_string()
        };
        assert_eq!(start("no-such-program-anywhere", "log"), "there is no program `no-such-program-anywhere`");
        assert_eq!(start("sleep", "no/such/folder"), "it cannot be started");
    }

    #[test]
    fn a_folder_goes_with_what_is_in_it() {
        let outer = folder("test", None).unwrap();
        let inner = folder("inner", Some(outer.path())).unwrap();
        fs::write(inner.path().join("file"), "").unwrap();
        drop(inner);
        assert_eq!(outer.path().read_dir().unwrap().count(), 1, "but the mark of its owner");
        assert!(matches!(folder("test", Some(Path::new("/no/such"))), Err(ServerError::Folder { .. })));
    }
}
