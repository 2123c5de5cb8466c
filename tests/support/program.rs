//! The program in a temporary folder of its own: arguments in, exit code and both streams out, always within a deadline.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offloadctl::sys::clock;
use tempfile::TempDir;

/// No test runs the program for so long; a program that hangs is killed then, and the test fails.
const DEADLINE: Duration = Duration::from_secs(90);

/// Pause between two looks at something that is waited for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A folder that is the program's working directory, home and store of runs.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
}

/// A program that runs.
#[derive(Debug)]
pub struct Started {
    child: Child,
    stdout: File,
    stderr: File,
    line: String,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to stdout.
    pub stdout: String,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Scene {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the temporary folder can be written");
    }

    /// The program with these arguments, separated by spaces; nothing of this process's environment reaches it.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offloadctl"));
        command.args(line.split_whitespace()).current_dir(self.folder.path()).env_clear();
        command.env("HOME", self.folder.path()).env("XDG_STATE_HOME", self.path("state")).stdin(Stdio::null());
        command
    }

    /// Starts the program with these arguments.
    pub fn start(&self, line: &str) -> Started {
        self.start_with(line, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(&self, line: &str, environment: &[(&str, &str)]) -> Started {
        let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
        let share = |file: &File| file.try_clone().expect("a second handle of a temporary file");
        let mut command = self.command(line);
        command.envs(environment.iter().copied());
        let child = command.stdout(share(&stdout)).stderr(share(&stderr)).spawn().expect("the program starts");
        Started { child, stdout, stderr, line: line.to_owned() }
    }

    /// Starts the program's echo on a free port, and returns it with its address when it listens.
    pub fn echo(&self) -> (Started, String) {
        let echo = self.start("echo --listen 127.0.0.1:0");
        let address = poll("the address of the echo", DEADLINE, || {
            let said = echo.said();
            Some(said.strip_suffix(" (TCP and UDP)\n")?.rsplit_once(' ')?.1.to_owned())
        });
        (echo, address)
    }

    /// Runs the program with these arguments to its end.
    pub fn run(&self, line: &str) -> Ended {
        self.start(line).end()
    }
}

impl Started {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("the program is there to be signalled");
    }

    /// What it has written to stderr so far.
    pub fn said(&self) -> String {
        text_of(&self.stderr)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let status = poll(&format!("the end of `offloadctl {}`", self.line), DEADLINE, || {
            self.child.try_wait().expect("the program can be waited for")
        });
        Ended { code: status.code(), stdout: text_of(&self.stdout), stderr: text_of(&self.stderr) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail where the program has ended, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole text of a file that another process writes through the same handle.
fn text_of(file: &File) -> String {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata().expect("a temporary file").len() as usize;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).expect("a temporary file can be read");
    String::from_utf8(bytes).expect("the program writes UTF-8")
}

/// Looks until there is something to see.
///
/// # Panics
/// When there is nothing until `limit`.
#[track_caller]
pub fn poll<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now() + limit;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(clock::now() < deadline, "{what} did not come within {limit:?}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
