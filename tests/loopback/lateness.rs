//! How busy this machine is, told by the machine while something is measured on it: what a busy one adds to a figure is known
//! then, and not guessed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use offloadctl::sys::clock;

/// How long the watcher sleeps each time.
const NAP: Duration = Duration::from_millis(5);

/// Times that an exchange here waits to be woken, at both of its ends and on the way.
const WAKINGS: u32 = 6;

/// How late a sleeper was woken, of all times while something else went on, and how much longer work took.
#[derive(Clone, Copy, Debug)]
pub struct Lateness {
    /// Those that wanted a processor, for each processor: one that works is so much slower.
    pub stretch: f64,
    /// Of ten times, one was later.
    typical: Duration,
    /// None was later.
    pub worst: Duration,
}

impl Lateness {
    /// What may be above a programmed figure: so much on an idle machine, work that takes longer here, and what all wakings of
    /// an exchange add.
    pub fn above(self, idle: Duration) -> Duration {
        idle.mul_f64(self.stretch) + self.typical * WAKINGS
    }
}

/// Does something, and tells how late a sleeper was woken meanwhile.
pub fn beside<T>(work: impl FnOnce() -> T) -> (T, Lateness) {
    let stopping = Arc::new(AtomicBool::new(false));
    let watcher = watch(Arc::clone(&stopping));
    let done = work();
    stopping.store(true, Ordering::Relaxed);
    let mut seen = watcher.join().unwrap();
    let runnable = seen.iter().map(|(_, runnable)| runnable).sum::<f64>() / seen.len() as f64;
    let processors = std::thread::available_parallelism().unwrap().get();
    seen.sort_unstable_by_key(|(late, _)| *late);
    let of = |place: usize| seen[place].0;
    let (typical, worst) = (of((seen.len() - 1) * 9 / 10), of(seen.len() - 1));
    (done, Lateness { stretch: (runnable / processors as f64).max(1.0), typical, worst })
}

/// How late it woke each time, and how many wanted a processor then.
fn watch(stopping: Arc<AtomicBool>) -> JoinHandle<Vec<(Duration, f64)>> {
    std::thread::spawn(move || {
        let mut seen = vec![(Duration::ZERO, runnable())];
        while !stopping.load(Ordering::Relaxed) {
            let due = clock::now() + NAP;
            std::thread::sleep(NAP);
            seen.push((clock::now().since(due), runnable()));
        }
        seen
    })
}

/// How many have a processor or wait for one, ourselves left out.
fn runnable() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let all = text.lines().find_map(|line| line.strip_prefix("procs_running ")?.trim().parse::<f64>().ok());
    all.map_or(0.0, |all| all - 1.0)
}
