//! How long a disk takes to make a small write durable, asked as a log of writes asks it.
//!
//! Separate because the answer depends on the file system and the device behind one folder and on nothing else of ours.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::fdatasync;

use super::clock;
use super::interrupted::again;

/// Bytes of one write, and of all together: what the official test of a disk for etcd writes
/// (`fio --rw=write --ioengine=sync --fdatasync=1 --size=22m --bs=2300`).
const WRITE_BYTES: usize = 2_300;
const TOTAL_BYTES: usize = 22 << 20;

/// How long the test may take: a spinning disk needs a minute and a half for all of it, and a part is enough.
const LONGEST: Duration = Duration::from_secs(20);

/// Makes a file in `folder` and times in nanoseconds each `fdatasync` after a write to it; the writes themselves are outside of the
/// time. The file is removed from the folder as soon as it is open, so nothing stays there. `is_over` ends it early.
///
/// # Errors
/// When the folder cannot be written, or its disk is full.
pub fn fdatasync_times(folder: &Path, is_over: impl Fn() -> bool) -> io::Result<Vec<u64>> {
    let mut file = tempfile::tempfile_in(folder)?;
    reserve(&file);
    let block = [0x5a; WRITE_BYTES];
    let mut times = Vec::with_capacity(TOTAL_BYTES / WRITE_BYTES);
    let began = clock::now();
    for _ in 0..TOTAL_BYTES / WRITE_BYTES {
        file.write_all(&block)?;
        let written = clock::now();
        fdatasync(&file)?;
        let synced = clock::now();
        times.push(synced.nanos_since(written));
        if is_over() || synced.since(began) > LONGEST {
            break;
        }
    }
    Ok(times)
}

/// Reserves the space beforehand, as etcd and fio do: a file that grows pays for its own length with every write.
fn reserve(file: &File) {
    // A file system that cannot is measured as it is.
    let _ = again(|| fallocate(file, FallocateFlags::empty(), 0, TOTAL_BYTES as i64));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn every_write_is_timed_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let left = Cell::new(50);
        let times = fdatasync_times(folder.path(), || {
            left.set(left.get() - 1);
            left.get() == 0
        });
        assert_eq!(times.unwrap().len(), 50);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(fdatasync_times(Path::new("/no/such/folder"), || false).is_err());
    }
}
