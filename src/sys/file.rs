//! Files that a user names, read whole up to a limit.
//!
//! Separate because the length that the system tells is no limit: devices and pipes have none, and a file may grow meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use tokio::sync::oneshot;

/// What some editors put before a text: the byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a text as soon as there is one. A pipe may let its reader wait for ever, so another thread waits: where nobody wants
/// the text any more, that thread ends with the process.
///
/// # Errors
/// As [`read_text`].
pub async fn await_text(path: PathBuf, limit: u64) -> io::Result<String> {
    let (sender, text) = oneshot::channel();
    // Nobody to send it to is no error: it is not wanted any more.
    thread::Builder::new().name("file".to_owned()).spawn(move || drop(sender.send(read_text(&path, limit))))?;
    text.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// Reads a text.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is longer than the limit, which is [`io::ErrorKind::FileTooLarge`].
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| {
        let is_wide = matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        let what = if is_wide { "it is UTF-16, not UTF-8: save it once more" } else { "it is not UTF-8" };
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// Reads bytes, without a byte order mark before them.
///
/// # Errors
/// When it cannot be read, or is longer than the limit, which is [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let what = format!("longer than {}", size(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes > 0 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes > 0 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_no_further() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abcd").unwrap();
        assert_eq!(read_text(file.path(), 4).unwrap(), "abcd");
        let error = read_text(file.path(), 3).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::FileTooLarge, "longer than 3 bytes".to_owned()));
    }

    #[test]
    fn what_has_no_length_ends_at_the_limit_too() {
        let error = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        let told = (error.kind(), error.to_string());
        assert_eq!(told, (io::ErrorKind::FileTooLarge, "longer than 1 MiB".to_owned()));
        assert!(read(Path::new("/proc/self/status"), 1 << 20).is_ok_and(|bytes| !bytes.is_empty()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}a\u{feff}".as_bytes()).unwrap();
        assert_eq!(read_text(file.path(), 100).unwrap(), "a\u{feff}");
    }

    #[tokio::test]
    async fn a_pipe_is_waited_for_and_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let [silent, pipe] = ["silent", "pipe"].map(|name| folder.path().join(name));
        for path in [&silent, &pipe] {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let never = tokio::time::timeout(std::time::Duration::from_millis(50), await_text(silent, 10)).await;
        assert!(never.is_err());
        let writer = thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, "here").unwrap()
        });
        assert_eq!(await_text(pipe, 10).await.unwrap(), "here");
        writer.join().unwrap();
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_as_text_alone() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0xff]).unwrap();
        assert_eq!(read(file.path(), 1).unwrap(), [0xff]);
        assert_eq!(read_text(file.path(), 1).unwrap_err().to_string(), "it is not UTF-8");
        file.write_all(&[0xfe, b'a', 0]).unwrap();
        let error = read_text(file.path(), 100).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("UTF-16")), (io::ErrorKind::InvalidData, true));
    }
}
