//! What every test here asks of the host: programs, privileges, a turn of its own, and patience with a limit.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offloadctl::sys::clock;

/// Bits of the capability sets (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;

/// Where programs are looked for beside the path: servers and plugins lie outside of the path of ordinary users.
const SERVER_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin:/usr/lib/cni";

/// Longest wait for a condition: what takes a second on an idle machine takes long on a busy one with a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn: they measure, so they run one at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether namespaces and mounts may be made; where not, says past the test harness's capture which test did not run.
pub fn may_administer(test: &str) -> bool {
    let may = has_capability(CAP_NET_ADMIN) && has_capability(CAP_SYS_ADMIN) && has_capability(CAP_NET_RAW);
    if !may {
        let line = format!("cannot run here: {test}: it needs an administrator's privileges; run tests/run as root\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    may
}

/// Whether the program may use ICMP here, one way or the other.
pub fn may_ping() -> bool {
    has_capability(CAP_NET_RAW)
}

fn has_capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> bit & 1 == 1
}

/// The path of a program; fails with what to install where it is missing.
#[track_caller]
pub fn path_of(program: &str, package: &str) -> PathBuf {
    let folders = std::env::var("PATH").unwrap_or_default() + ":" + SERVER_FOLDERS;
    let found = folders.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("`{program}` is missing; as root: apt-get install -y --no-install-recommends {package}")
    })
}

/// Looks again and again until the condition holds; fails when it does not for long.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock::now() + PATIENCE;
    while !holds() {
        assert!(clock::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        let_pass(LOOK_PAUSE);
    }
}

/// Lets time pass that is itself part of the scenario, such as the length of an outage.
pub fn let_pass(span: Duration) {
    std::thread::sleep(span);
}
