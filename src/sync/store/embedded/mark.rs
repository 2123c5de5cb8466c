//! The witness of what was acknowledged: a second file that says up to which revision the store has been durable.
//!
//! A store whose newest state is unreadable looks like one whose last commit was cut short, and redb goes back to the state
//! before. The witness tells them apart: it is written after each commit, so a store that ends before it has lost something.
//! It is not flushed, which would cost as much as the commit: after a kill it is there, after a power cut it may be half a
//! minute old, and then it says less and never more than is true.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// More than a mark takes.
const LONGEST: u64 = 256;

/// The open witness of one store.
#[derive(Debug)]
pub struct Mark {
    file: File,
    lineage: String,
}

impl Mark {
    /// Opens the witness of a store of that lineage, and makes it if it is not there.
    pub fn open(path: &Path, lineage: String) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self { file, lineage })
    }

    /// Says that the store is durable up to `revision`.
    pub fn write(&self, revision: u64) {
        let text = sealed(&format!("{} {revision:020}", self.lineage));
        // The commit is durable whether or not this succeeds, and a witness that is older than it could be accuses nobody.
        let _ = self.file.write_all_at(text.as_bytes(), 0);
    }
}

/// Up to which revision the witness at `path` has seen a store of that lineage durable. One that is not there, of another
/// store or damaged itself has seen nothing.
pub fn seen(path: &Path, lineage: &str) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let (said, _) = text.rsplit_once(' ').unwrap_or_default();
    let of_ours = said.strip_prefix(lineage).filter(|_| text.starts_with(&sealed(said)));
    Ok(of_ours.and_then(|revision| revision.trim().parse().ok()))
}

/// A text with its own checksum behind it.
fn sealed(said: &str) -> String {
    let sum: String = Sha256::digest(said)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{said} {sum}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_by_its_own_lineage_and_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        assert_eq!(seen(&path, "a1").unwrap(), None);
        let mark = Mark::open(&path, "a1".to_owned()).unwrap();
        assert_eq!(seen(&path, "a1").unwrap(), None);
        for revision in [1, u64::MAX, 7] {
            mark.write(revision);
            assert_eq!(seen(&path, "a1").unwrap(), Some(revision));
            assert_eq!(seen(&path, "a2").unwrap(), None);
            assert_eq!(seen(&path, "a").unwrap(), None);
        }
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(seen(&path, "a1").unwrap(), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(seen(&path, "a1").unwrap(), None, "{at} bytes");
        }
        assert!(seen(folder.path(), "a1").is_err());
    }
}
