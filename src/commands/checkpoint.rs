//! Checkpoints: the run as it stands, written down each minute by a thread of its own.
//!
//! Separate from the frame around a measurement because it must cost that measurement nothing: lanes are handed over one
//! by one, the loop never waits, and no more than a few of them are in memory twice.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::measuring::document;
use crate::console;
use crate::context::{Header, Store};
use crate::error::Failure;
use crate::load::{LaneRecord, LoadSpec, MakeBeside, Part};
use crate::model::{Histogram, Measured, Scalar, Series};

/// Lanes that are copied and not yet written down.
const COPIES: usize = 4;

/// Takes what the driver hands over.
pub struct Checkpoints {
    place: Option<Place>,
    writing: Option<Writing>,
}

/// Of what run, and where it is written.
type Place = (Header, Option<LoadSpec>, Store);

struct Writing {
    copies: Sender<Copied>,
    /// The lane that comes next, and how many there are.
    next: usize,
    lane_count: usize,
    thread: JoinHandle<()>,
}

/// One lane as it stood.
struct Copied {
    record: LaneRecord,
    beside: MakeBeside,
    elapsed: Duration,
}

impl Checkpoints {
    /// Written into the store; without one there are none.
    pub fn new(header: &Header, load: Option<&LoadSpec>, store: Option<&Store>) -> Self {
        Self { place: store.map(|store| (header.clone(), load.cloned(), store.clone())), writing: None }
    }

    /// Copies this lane for the thread that writes; false if that is still busy.
    pub fn take(&mut self, part: Part<'_>) -> bool {
        let Some(place) = &self.place else { return true };
        // Loads that are driven one after another may end in the middle of a checkpoint: that one is never completed, and
        // its thread ends with it.
        let is_next = |writing: &mut Writing| writing.next == part.lane && writing.lane_count == part.lane_count;
        self.writing.take_if(|writing| writing.next < writing.lane_count && !is_next(writing));
        if part.lane == 0 && self.writing.as_ref().is_none_or(|writing| writing.next > 0) {
            if self.writing.as_ref().is_some_and(|writing| !writing.thread.is_finished()) {
                // The disk is slower than a minute; the driver waits for nobody.
                return false;
            }
            let (place, lane_count) = (place.clone(), part.lane_count);
            self.writing = Some(Writing::start(lane_count, move |copies| write_down(copies, lane_count, &place)));
        }
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.next < writing.lane_count) else {
            return true;
        };
        match writing.copies.try_reserve() {
            Ok(room) => {
                let beside = (part.beside)();
                room.send(Copied { record: part.record.clone(), beside, elapsed: part.elapsed });
                writing.next += 1;
                true
            }
            Err(TrySendError::Full(())) => false,
            // Its thread has ended early and said why.
            Err(TrySendError::Closed(())) => true,
        }
    }

    /// Writes down what was found without lanes, unless an earlier checkpoint is still being written.
    pub fn write(&mut self, measured: Measured) {
        let Some(place) = self.place.clone() else { return };
        if self.writing.as_ref().is_some_and(|writing| !writing.thread.is_finished()) {
            return;
        }
        self.writing = Some(Writing::start(0, move |_| {
            let (header, load, store) = &place;
            let run = document(header, load.as_ref(), Measured { interrupted: true, ..measured });
            store.save(&run.id, &run).map(drop)
        }));
    }

    /// Waits for a checkpoint that has all it needs; one that has not is given up, for the run itself comes now.
    pub fn finish(self) {
        let Some(Writing { copies, thread, .. }) = self.writing else { return };
        drop(copies);
        // A panic there has been printed by the panic hook; the final write follows anyway.
        let _ = thread.join();
    }
}

impl Writing {
    /// Begins to write on a thread of its own, to which so many lanes will be handed over.
    fn start(lane_count: usize, write: impl FnOnce(Receiver<Copied>) -> Result<(), Failure> + Send + 'static) -> Self {
        let (copies, receiver) = channel(COPIES);
        let thread = std::thread::spawn(move || {
            if let Err(failure) = write(receiver) {
                console::say(format_args!("the checkpoint could not be written, measuring goes on: {failure}"));
            }
        });
        Self { copies, next: 0, lane_count, thread }
    }
}

/// Takes the lanes of one checkpoint, and writes it once all are there.
fn write_down(mut copies: Receiver<Copied>, lane_count: usize, place: &Place) -> Result<(), Failure> {
    let (header, load, store) = place;
    // Whatever comes after this, the document is not that of a run that ended.
    let mut measured = Measured::stopped();
    let mut spool = Spool::new(store)?;
    for _ in 0..lane_count {
        let Some(Copied { record, beside, elapsed }) = copies.blocking_recv() else { return Ok(()) };
        let beside = beside();
        for whole in record.into_series().into_iter().chain(beside.series) {
            spool.push(&whole)?;
            // What is judged of it: its figures, or the values where they are too few for one; all of it is in the spool.
            let is_few = whole.summary.p95_ns.is_none();
            let histogram = if is_few { whole.histogram } else { Histogram::new() };
            measured.series.push(Series { histogram, timeline: Vec::new(), ..whole });
        }
        measured.scalars.extend::<Vec<Scalar>>(beside.scalars);
        measured.elapsed = elapsed;
    }
    let mut run = document(header, load.as_ref(), measured);
    run.series.clear();
    let id = run.id.clone();
    let Ok(Value::Object(mut run)) = serde_json::to_value(run) else { return Ok(()) };
    run.remove("series");
    store.save(&id, &Checkpoint { run, series: spool.written()? }).map(drop)
}

/// The run document, its series already as text.
#[derive(Serialize)]
struct Checkpoint {
    #[serde(flatten)]
    run: Map<String, Value>,
    series: Written,
}

/// Series as text, one a line, in a file without a name that goes with this process: of a thousand targets they are longer than
/// all else that a run holds.
struct Spool(BufWriter<File>);

/// The same, to be read once.
struct Written(RefCell<BufReader<File>>);

impl Spool {
    fn new(store: &Store) -> Result<Self, Failure> {
        Ok(Self(BufWriter::new(tempfile::tempfile_in(store.folder()).map_err(Failure::unable)?)))
    }

    fn push(&mut self, series: &Series) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, series).map_err(Failure::unable)?;
        self.0.write_all(b"\n").map_err(Failure::unable)
    }

    fn written(self) -> Result<Written, Failure> {
        let mut file = self.0.into_inner().map_err(|error| Failure::unable(error.into_error()))?;
        file.rewind().map_err(Failure::unable)?;
        Ok(Written(RefCell::new(BufReader::new(file))))
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(None)?;
        for line in (&mut *self.0.borrow_mut()).lines() {
            let series = RawValue::from_string(line.map_err(S::Error::custom)?).map_err(S::Error::custom)?;
            all.serialize_element(&series)?;
        }
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::context::read_run;
    use crate::load::{Answer, Beside, Lane, Settled};
    use crate::model::{Labels, Outcome, Stamp};

    fn record(name: &'static str) -> LaneRecord {
        let lane = Lane { operation: (), name, labels: Labels::new(), floor: false, reference: None };
        let mut record = LaneRecord::new(&lane, 1_000_000, Stamp::from_nanos(0), 8);
        let at = Stamp::from_nanos;
        let answer = Answer::new(Outcome::Ok);
        record.settle(0, Settled { ordinal: 0, planned: at(1), started: at(2), ended: at(50), answer });
        record
    }

    /// Hands over these of two lanes and ends.
    fn taken(lanes: &[usize]) -> Option<crate::model::Run> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::locate(Some(folder.path().to_owned())).unwrap();
        let header = Header::new("probe rtt", &Value::Null, 7, BTreeMap::new()).unwrap();
        let mut checkpoints = Checkpoints::new(&header, None, Some(&store));
        let scalar = Scalar::new("x", &Labels::new(), "ns", 1.0);
        for lane in lanes.iter().copied() {
            let record = record(["rtt.echo", "rtt.icmp"][lane]);
            let beside = || {
                let scalars = vec![scalar.clone()];
                Box::new(|| Beside { series: Vec::new(), scalars }) as MakeBeside
            };
            let elapsed = Duration::from_secs(60);
            while !checkpoints.take(Part { lane, lane_count: 2, elapsed, record: &record, beside: &beside }) {}
        }
        checkpoints.finish();
        let files = store.files().unwrap();
        files.first().map(|file| read_run(file).unwrap())
    }

    #[test]
    fn a_checkpoint_is_a_run_that_is_not_complete() {
        let run = taken(&[0, 1]).unwrap();
        let names: Vec<&str> = run.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(
            names,
            ["rtt.echo", "rtt.echo.service", "rtt.echo.slip", "rtt.icmp", "rtt.icmp.service", "rtt.icmp.slip"]
        );
        assert_eq!((run.series[1].summary.max_ns, run.scalars.len()), (Some(48), 2));
        assert_eq!((run.complete, run.elapsed_ns), (false, 60_000_000_000));
    }

    #[test]
    fn a_checkpoint_without_all_of_its_lanes_is_not_written() {
        assert!(taken(&[0]).is_none());
        assert!(taken(&[1]).is_none());
    }

    #[test]
    fn one_that_was_cut_short_does_not_hold_up_the_next() {
        let run = taken(&[0, 0, 1]).unwrap();
        assert_eq!((run.series.len(), run.scalars.len()), (6, 2));
        assert!(taken(&[0, 1, 1, 0]).is_some_and(|run| run.series.len() == 6));
    }
}
