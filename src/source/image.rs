//! What images of ours hold: a static busybox of this host alone, packed as a tar archive in memory.
//!
//! Separate because it is about files and bytes, and no engine is concerned: one imports the archive, another pulls it.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::exec::find_program;
use crate::sys::file::read;

/// A busybox is 1 to 3 MB.
const LONGEST: u64 = 32 << 20;

/// Where it lies beside the path of ordinary users.
const PLACES: [&str; 4] = ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/sbin/busybox"];

/// Blocks of a tar archive, and how many of zeros end it.
const BLOCK: usize = 512;
const END: usize = 2 * BLOCK;

/// The name of the program in the image, and in it what the image is for.
pub const PROGRAM: &str = "busybox";

/// An image that cannot be made here.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No busybox.
    #[error("there is no `busybox` on this host to make an image of")]
    Missing,
    /// A busybox that needs libraries, which the image would not have.
    #[error("`{}` is no static program, so it does not run in an image of its own", .0.display())]
    Dynamic(PathBuf),
    /// It cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An archive with this host's busybox, which may end in a number so that it is another than all others.
#[derive(Clone, Debug)]
pub struct Archive {
    head: Vec<u8>,
}

impl Archive {
    /// With the busybox of this host.
    ///
    /// # Errors
    /// When there is none that runs by itself.
    pub fn of_this_host() -> Result<Self, ImageError> {
        let named = find_program(Path::new(PROGRAM));
        let all = named.into_iter().chain(PLACES.iter().map(PathBuf::from)).filter(|path| path.is_file());
        let mut fault = ImageError::Missing;
        for path in all {
            match read(&path, LONGEST) {
                Ok(program) if is_static(&program) => return Ok(Self::of(PROGRAM, &program)),
                Ok(_) => fault = ImageError::Dynamic(path),
                Err(source) => fault = ImageError::Read { path, source },
            }
        }
        Err(fault)
    }

    /// With this one program at its root.
    #[must_use]
    pub fn of(name: &str, content: &[u8]) -> Self {
        Self { head: packed(name, content) }
    }

    /// What all archives begin with.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What the archive of this number ends with.
    #[must_use]
    pub fn tail(&self, number: u32) -> Vec<u8> {
        let mut tail = packed("number", number.to_string().as_bytes());
        tail.resize(tail.len() + END, 0);
        tail
    }

    /// All of the archive without a number.
    #[must_use]
    pub fn whole(mut self) -> Vec<u8> {
        self.head.resize(self.head.len() + END, 0);
        self.head
    }
}

/// Whether a program of 64 bits, in this host's order of bytes, asks for no interpreter (elf.h: `PT_INTERP` is 3).
fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = program.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let table = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((offset, size, count)) = table() else { return false };
    let kind = |at: u64| number(usize::try_from(offset.checked_add(at.checked_mul(size)?)?).ok()?, 4);
    program.starts_with(b"\x7fELF\x02\x01") && (0..count).all(|at| kind(at).is_some_and(|kind| kind != 3))
}

/// This one program at the root, as it lies in a tar archive (POSIX ustar).
fn packed(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    // The sum is over a header in which its own place holds spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = Vec::with_capacity(BLOCK + content.len() + BLOCK);
    archive.extend_from_slice(&header);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_tar_reads() {
        let folder = tempfile::tempdir().unwrap();
        let content = vec![7; 700];
        let file = folder.path().join("image.tar");
        let archive = Archive::of("busybox", &content);
        std::fs::write(&file, [archive.head(), &archive.tail(12)].concat()).unwrap();
        let done = std::process::Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(folder.path()).status();
        assert!(done.unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("busybox")).unwrap(), content);
        assert_eq!(std::fs::read(folder.path().join("number")).unwrap(), b"12");
        assert_eq!(archive.whole().len(), 3 * BLOCK + END, "a head, and 700 bytes in two blocks");
    }

    #[test]
    fn a_program_that_asks_for_an_interpreter_is_not_static() {
        let mut program = vec![0; 64 + 2 * 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[32], program[54], program[56]) = (64, 56, 2);
        (program[64], program[120]) = (1, 6);
        assert!(is_static(&program));
        program[120] = 3;
        assert!(!is_static(&program));
        assert!(!is_static(b"#!/bin/sh") && !is_static(b"") && !is_static(&program[..100]));
    }
}
