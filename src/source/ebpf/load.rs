//! Our program put into the kernel, attached, and its records read.
//!
//! The only file that knows the library which loads it. Separate because it is part of a feature.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfError as LoadError, EbpfLoader};

use super::EbpfError;
use super::record::{Group, parse};
use super::track::Tracker;
use crate::model::with_causes;
use crate::source::watch::{Teller, Told};
use crate::sys::{clock, descriptor, group_tree};

/// Each program and the tracepoint that it belongs to.
const TRACEPOINTS: [(&str, &str); 6] = [
    ("on_mkdir", "cgroup_mkdir"),
    ("on_rmdir", "cgroup_rmdir"),
    ("on_attach", "cgroup_attach_task"),
    ("on_exec", "sched_process_exec"),
    ("on_exit", "sched_process_exit"),
    ("on_victim", "mark_victim"),
];

/// The object file, at an address that its structures may be read from.
static PROGRAM: &Aligned<[u8]> = &Aligned(*include_bytes!("program.o"));

/// Records that are taken from the ring before what they mean is told on.
const BATCH: usize = 4096;

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

/// Programs in the kernel, and the ring that they write to.
pub struct Kernel {
    ring: RingBuf<MapData>,
    /// The ring once more, to be waited for.
    bell: OwnedFd,
    lost: PerCpuArray<MapData, u64>,
    /// What is attached as long as this is held.
    _programs: Ebpf,
}

impl Kernel {
    /// Loads and attaches all of them.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn attach() -> Result<Self, EbpfError> {
        let types = Btf::from_sys_fs().map_err(|_| EbpfError::Types)?;
        let mut programs = EbpfLoader::new().btf(Some(&types)).load(&PROGRAM.0).map_err(refused_object)?;
        for (program, tracepoint) in TRACEPOINTS {
            let unknown = || EbpfError::Refused { what: format!("the program {program}"), source: None };
            let program: &mut RawTracePoint =
                programs.program_mut(program).ok_or_else(unknown)?.try_into().map_err(|_| unknown())?;
            program.load().map_err(|error| refused(tracepoint, error))?;
            program.attach(tracepoint).map_err(|error| missing(tracepoint, error))?;
        }
        let unusable = |source| EbpfError::Refused { what: "a ring buffer".to_owned(), source };
        let Some(Map::RingBuf(records)) = programs.take_map("RECORDS") else { return Err(unusable(None)) };
        let bell = records.fd().as_fd().try_clone_to_owned().map_err(|error| unusable(Some(error)))?;
        let ring = RingBuf::try_from(Map::RingBuf(records))
            .map_err(|error| unusable(Some(io::Error::other(with_causes(&error)))))?;
        let lost = programs.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
        Ok(Self { ring, bell, lost: lost.ok_or_else(|| unusable(None))?, _programs: programs })
    }

    /// Tells what happens until nobody listens any more.
    pub async fn watch(self, teller: Teller) {
        let Self { mut ring, bell, lost, _programs } = self;
        let bell = match descriptor::watch(bell) {
            Ok(bell) => bell,
            Err(error) => {
                let text = format!("the ring buffer of the kernel cannot be waited for: {}", with_causes(&error));
                let _ = teller.send(Told::Trouble(text)).await;
                return;
            }
        };
        let mut tracker = Tracker::default();
        // What came since the attaching lies in the ring and is read after what was there already.
        for found in group_tree::groups() {
            let group = Group { hierarchy: found.hierarchy, id: found.id };
            tracker.is_there(group, &found.path, &found.processes);
        }
        if teller.send(Told::Watching).await.is_err() {
            return;
        }
        let mut lost_count = 0;
        loop {
            let Ok(mut guard) = bell.readable().await else { return };
            let (told, is_empty) = take_batch(&mut ring, &mut tracker);
            if is_empty {
                guard.clear_ready();
            }
            let lost_now = sum(&lost);
            let lost_news = (lost_now > lost_count).then(|| Told::Lost(lost_now - lost_count));
            lost_count = lost_now;
            for told in told.into_iter().chain(lost_news) {
                if teller.send(told).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What the records in the ring mean, each stamped as it is met; and whether none is left.
fn take_batch(ring: &mut RingBuf<MapData>, tracker: &mut Tracker) -> (Vec<Told>, bool) {
    let mut told = Vec::new();
    for _ in 0..BATCH {
        let Some(item) = ring.next() else { return (told, true) };
        let seen = clock::now();
        match parse(&item) {
            Some(record) => told.extend(tracker.take(record, seen)),
            None => told.push(Told::Odd("the program in the kernel wrote a record that is none".to_owned())),
        }
    }
    (told, false)
}

/// How many records the ring had no room for, on all processors.
fn sum(lost: &PerCpuArray<MapData, u64>) -> u64 {
    lost.get(&0, 0).map_or(0, |counts| counts.iter().sum())
}

fn refused_object(error: LoadError) -> EbpfError {
    let what = format!("our maps and programs: {}", with_causes(&error));
    EbpfError::Refused { what, source: None }
}

fn refused(tracepoint: &str, error: ProgramError) -> EbpfError {
    let what = format!("the program for `{tracepoint}`");
    match error {
        ProgramError::LoadError { io_error, .. } => EbpfError::Refused { what, source: Some(io_error) },
        other => EbpfError::Refused { what, source: Some(io::Error::other(with_causes(&other))) },
    }
}

fn missing(name: &'static str, error: ProgramError) -> EbpfError {
    let source = match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(with_causes(&other)),
    };
    EbpfError::Tracepoint { name, source }
}
