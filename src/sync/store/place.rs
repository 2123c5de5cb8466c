//! Files that appear whole or not at all, and are still there after a power cut.
//!
//! Separate because the store and its backup are made in the same way: beside their place, flushed, then named.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Makes a folder that only its owner may enter, unless it is there.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    flush_folder(&parent_of(folder))
}

/// A file without a name of its own yet, in the folder of `path` and readable by its owner alone.
pub fn beside(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".new-").tempfile_in(parent_of(path))
}

/// Gives a finished file its name, durably. A file that has that name already stays, which is `AlreadyExists`.
pub fn publish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    flush_folder(&parent_of(path))
}

/// Makes the names in a folder durable.
fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
