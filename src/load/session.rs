//! The one way to conduct a measurement: prepare, drive or count steps, checkpoint, finish.
//!
//! Separate from the driver, which knows one load: a session has as many as a measurement drives one after another, shows
//! them as one, and can be stopped at every point with what there is until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::driver::{CHECKPOINT, DriverError, Load, drive_on};
use super::{Beside, Lane, LaneRecord, LoadSpec, MakeBeside, Named, Observer, Operation, Part, Settled, abandoned};
use crate::model::{Measured, Stamp};
use crate::sys::clock;
use crate::sys::shutdown::Shutdown;

/// One measurement while it is made.
pub struct Session<'a> {
    observer: &'a mut dyn Observer,
    shutdown: &'a Shutdown,
    /// Lanes that were driven before: they belong to every checkpoint.
    finished: Vec<LaneRecord>,
    has_begun: bool,
    began: Stamp,
    driven: Duration,
    abandoned_count: u64,
    interrupted: bool,
    next_checkpoint: Stamp,
}

/// Work that is counted, for what has no lanes. Copies count together, from any thread.
#[derive(Clone, Debug)]
pub struct Steps(Arc<Count>);

#[derive(Debug)]
struct Count {
    total: u64,
    done: AtomicU64,
    is_over: AtomicBool,
}

impl<'a> Session<'a> {
    /// A session that tells this observer, and ends when `shutdown` is asked for.
    #[must_use]
    pub fn new(observer: &'a mut dyn Observer, shutdown: &'a Shutdown) -> Self {
        let began = clock::now();
        Self {
            observer,
            shutdown,
            finished: Vec::new(),
            has_begun: false,
            began,
            driven: Duration::ZERO,
            abandoned_count: 0,
            interrupted: false,
            next_checkpoint: began + CHECKPOINT,
        }
    }

    /// The wish to stop.
    #[must_use]
    pub const fn shutdown(&self) -> &'a Shutdown {
        self.shutdown
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// Does what must come before the first attempt; `None` where the user did not wait for it.
    pub async fn prepare<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.shutdown.requested() => {
                self.interrupted = true;
                None
            }
            done = work => {
                self.began = clock::now();
                Some(done)
            }
        }
    }

    /// Says which of several measurements comes now.
    pub fn stage(&mut self, what: &str) {
        self.observer.stage(what);
    }

    /// Drives all lanes to the end of the spec, or until the user stops it.
    ///
    /// # Errors
    /// When the timer does not work.
    pub async fn drive<O: Operation>(&mut self, lanes: &[Lane<O>], spec: &LoadSpec) -> Result<Load, DriverError> {
        self.drive_on(lanes, Vec::new(), spec, self.shutdown).await
    }

    /// The same on top of the records of an earlier time, until `end`, which the user's wish must bring about too.
    ///
    /// # Errors
    /// When the timer does not work.
    pub async fn drive_on<O: Operation>(
        &mut self,
        lanes: &[Lane<O>],
        records: Vec<LaneRecord>,
        spec: &LoadSpec,
        end: &Shutdown,
    ) -> Result<Load, DriverError> {
        let mut part = OfSession { session: self, noted: 0 };
        let load = drive_on(lanes, records, spec, &mut part, end).await?;
        self.driven += load.elapsed;
        self.abandoned_count += load.abandoned_count;
        self.interrupted |= load.interrupted && self.shutdown.is_requested();
        Ok(load)
    }

    /// These lanes are done: every later checkpoint holds them.
    pub fn keep<'l>(&mut self, lanes: impl IntoIterator<Item = &'l LaneRecord>) {
        self.finished.extend(lanes.into_iter().cloned());
    }

    /// Counts work of which there is so much.
    pub fn steps(&mut self, total: u64) -> Steps {
        let steps = Steps(Arc::new(Count { total, done: AtomicU64::new(0), is_over: AtomicBool::new(false) }));
        self.observer.counting(&steps);
        steps
    }

    /// Waits for work that looks at its steps to learn that the user wishes to stop; each minute what there is so far is
    /// written down.
    pub async fn watch<T>(&mut self, steps: &Steps, work: impl Future<Output = T>, so_far: impl Fn() -> Measured) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let patience = self.next_checkpoint.since(clock::now());
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.shutdown.requested(), if !self.interrupted => {
                    self.interrupted = true;
                    steps.end();
                }
                () = tokio::time::sleep(patience) => self.checkpoint(&so_far),
            }
        }
    }

    /// Writes down what there is so far, if a minute has passed.
    pub fn checkpoint(&mut self, so_far: impl FnOnce() -> Measured) {
        let now = clock::now();
        if now >= self.next_checkpoint {
            self.next_checkpoint = now + CHECKPOINT;
            self.observer.so_far(Measured { elapsed: now.since(self.began), ..so_far() });
        }
    }

    /// What was found, with how long it took and whether it was stopped.
    #[must_use]
    pub fn finish(self, mut measured: Measured) -> Measured {
        let took = if self.has_begun { self.driven } else { clock::now().since(self.began) };
        measured.elapsed = took;
        measured.interrupted |= self.interrupted;
        measured.warnings.extend(abandoned(self.abandoned_count));
        measured
    }
}

impl Steps {
    /// So much more is done.
    pub fn advance(&self, more: u64) {
        self.0.done.fetch_add(more, Ordering::Relaxed);
    }

    /// How much is done, and of how much.
    #[must_use]
    pub fn state(&self) -> (u64, u64) {
        (self.0.done.load(Ordering::Relaxed), self.0.total)
    }

    /// Whether the user wishes to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// One load as a part of the whole session.
struct OfSession<'s, 'a> {
    session: &'s mut Session<'a>,
    /// How many of the finished lanes the checkpoint that is being written has.
    noted: usize,
}

impl Observer for OfSession<'_, '_> {
    fn driving(&mut self, lanes: &[Named<'_>]) {
        self.session.observer.driving(lanes);
    }

    fn recording(&mut self, from: Stamp) {
        if !self.session.has_begun {
            self.session.has_begun = true;
            self.session.observer.recording(from);
        }
    }

    fn settled(&mut self, lane: usize, settled: &Settled) {
        self.session.observer.settled(lane, settled);
    }

    fn checkpoint(&mut self, part: Part<'_>) -> bool {
        let Session { observer, finished, driven, .. } = &mut *self.session;
        let (before, elapsed) = (finished.len(), *driven + part.elapsed);
        let lane_count = before + part.lane_count;
        // Those that were finished before go first, in the place of this load's first lane.
        if let Some(record) = finished.get(self.noted) {
            let nothing = || Box::new(Beside::default) as MakeBeside;
            let part = Part { lane: self.noted, lane_count, elapsed, record, beside: &nothing };
            self.noted += usize::from(observer.checkpoint(part));
            return false;
        }
        let is_taken = observer.checkpoint(Part { lane: before + part.lane, lane_count, elapsed, ..part });
        if is_taken && part.lane + 1 == part.lane_count {
            self.noted = 0;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Arrival, Length};
    use super::*;
    use crate::model::{Labels, Outcome};

    struct Instant;

    impl Operation for Instant {
        async fn attempt(&self) -> Answer {
            Answer::new(Outcome::Ok)
        }
    }

    /// Keeps what a checkpoint of the steps says.
    #[derive(Default)]
    struct Kept(Vec<Measured>);

    impl Observer for Kept {
        fn so_far(&mut self, measured: Measured) {
            self.0.push(measured);
        }
    }

    #[tokio::test]
    async fn loads_one_after_another_are_one_measurement() {
        let (shutdown, mut observer) = (Shutdown::listen().unwrap(), ());
        let mut session = Session::new(&mut observer, &shutdown);
        let lane = Lane { operation: Instant, name: "x", labels: Labels::new(), floor: false, reference: None };
        let spec = LoadSpec {
            arrival: Arrival::Closed { concurrency: 1 },
            length: Length::Count(10),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(1),
            max_in_flight: 1,
            seed: 0,
        };
        assert_eq!(session.prepare(async { 7 }).await, Some(7));
        let first = session.drive(std::slice::from_ref(&lane), &spec).await.unwrap();
        let second = session.drive(std::slice::from_ref(&lane), &spec).await.unwrap();
        let measured = session.finish(Measured::default());
        assert_eq!((measured.elapsed, measured.interrupted), (first.elapsed + second.elapsed, false));
    }

    #[tokio::test]
    async fn who_does_not_wait_gets_what_there_is() {
        let (shutdown, mut observer) = (Shutdown::listen().unwrap(), Kept::default());
        let mut session = Session::new(&mut observer, &shutdown);
        session.next_checkpoint = clock::now();
        let steps = session.steps(10);
        let work = async {
            while !steps.is_over() {
                steps.advance(1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            shutdown.request();
        };
        let work = async { tokio::join!(work, late) };
        session.watch(&steps, work, Measured::default).await;
        assert_eq!(session.prepare(std::future::pending::<()>()).await, None);
        let measured = session.finish(Measured::default());
        assert!(measured.interrupted && steps.state().0 >= 1);
        assert_eq!(observer.0.len(), 1, "a checkpoint each minute");
    }
}
