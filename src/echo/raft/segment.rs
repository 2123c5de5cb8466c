//! The log on disk: records that are appended to a file, and synced in groups by a thread of their own.
//!
//! Separate from what the log means. A record that was torn by a crash ends the reading: nobody was told that it is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::sys::file;

/// Bytes of a file that are read, at most.
const LONGEST: u64 = 4 << 30;

/// Bytes before a record: its length and its checksum.
const HEAD: usize = 4 + 8;

/// Called from the thread once what was appended is on disk, or cannot be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Job {
    Append(Vec<u8>, Done),
    /// Goes on in a new file that begins with these bytes, and removes files up to this number.
    Rotate(Vec<u8>, u64),
}

/// The files of one member.
#[derive(Debug)]
pub struct Segments {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Of the file that is appended to.
    pub number: u64,
}

impl Segments {
    /// Opens the log in a folder, which is made where it is missing, and reads all its records.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Vec<u8>>)> {
        fs::create_dir_all(folder)?;
        let mut numbers: Vec<u64> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut records = Vec::new();
        for number in &numbers {
            records.extend(read(&file::read(&path(folder, *number), LONGEST)?));
        }
        // What was torn stays where it is: the next records go to a new file.
        let number = numbers.last().map_or(1, |last| last + 1);
        let mut writer = Writer::open(folder, number)?;
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || writer.run(&queue))?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread), number }, records))
    }

    /// Appends records, and calls `done` from another thread.
    pub fn append(&self, records: Vec<u8>, done: Done) {
        let job = Job::Append(records, done);
        if let Some(Err(mpsc::SendError(Job::Append(_, done)))) = self.jobs.as_ref().map(|jobs| jobs.send(job)) {
            done(Err(io::Error::other("the log cannot be written any more")));
        }
    }

    /// Goes on in a new file that begins with these records, and removes the files up to `last`.
    pub fn rotate(&mut self, records: Vec<u8>, last: u64) {
        self.number += 1;
        if let Some(jobs) = &self.jobs {
            // A thread that has ended has said so to an append.
            let _ = jobs.send(Job::Rotate(records, last));
        }
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Writer {
    folder: PathBuf,
    number: u64,
    file: File,
}

impl Writer {
    fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path(folder, number))?;
        File::open(folder)?.sync_all()?;
        Ok(Self { folder: folder.to_owned(), number, file })
    }

    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (mut bytes, mut waiting, mut rotate) = (Vec::new(), Vec::new(), None);
            let mut next = Some(first);
            // What has gathered meanwhile goes to disk together.
            while let Some(job) = next {
                match job {
                    Job::Append(more, done) => {
                        bytes.extend_from_slice(&more);
                        waiting.push(done);
                    }
                    Job::Rotate(begin, last) => {
                        rotate = Some((begin, last));
                        break;
                    }
                }
                next = queue.try_recv().ok();
            }
            let written = self.write(&bytes);
            let kind = written.as_ref().err().map(io::Error::kind);
            for done in waiting {
                done(kind.map_or(Ok(()), |kind| Err(kind.into())));
            }
            if written.is_err() || rotate.is_some_and(|(begin, last)| self.rotate(&begin, last).is_err()) {
                return;
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    fn rotate(&mut self, begin: &[u8], last: u64) -> io::Result<()> {
        *self = Self::open(&self.folder, self.number + 1)?;
        self.write(begin)?;
        for number in (1..=last).rev() {
            match fs::remove_file(path(&self.folder, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

/// A record as it stands in a file.
#[must_use]
pub fn record(body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&checksum(body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The records of a file, up to the first that is torn.
fn read(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let Some((sum, rest)) = rest.split_first_chunk::<8>() else { break };
        let Some((body, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        if checksum(body) != u64::from_le_bytes(*sum) {
            break;
        }
        records.push(body.to_vec());
        bytes = rest;
    }
    records
}

/// FNV-1a: it tells a torn record, and nobody tampers with a log of our own.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(segments: &Segments, body: &[u8]) {
        let (told, done) = mpsc::channel();
        segments.append(record(body), Box::new(move |written| told.send(written).unwrap()));
        done.recv().unwrap().unwrap();
    }

    #[test]
    fn what_was_told_is_read_back_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (segments, records) = Segments::open(folder.path()).unwrap();
        assert!(records.is_empty());
        append(&segments, b"one");
        append(&segments, b"two");
        drop(segments);
        let first = path(folder.path(), 1);
        let whole = fs::read(&first).unwrap();
        fs::write(&first, &whole[..whole.len() - 1]).unwrap();
        let (segments, records) = Segments::open(folder.path()).unwrap();
        assert_eq!(records, [b"one".to_vec()]);
        append(&segments, b"three");
        drop(segments);
        assert_eq!(Segments::open(folder.path()).unwrap().1, [b"one".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn files_that_are_not_needed_any_more_go() {
        let folder = tempfile::tempdir().unwrap();
        let (mut segments, _) = Segments::open(folder.path()).unwrap();
        append(&segments, b"old");
        let last = segments.number;
        segments.rotate(record(b"kept"), last);
        append(&segments, b"new");
        drop(segments);
        assert_eq!(Segments::open(folder.path()).unwrap().1, [b"kept".to_vec(), b"new".to_vec()]);
    }
}
