//! Files that a user names, read whole up to a limit.
//!
//! Separate because the length that the system tells is no limit: devices and pipes have none, and a file may grow meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a text.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is longer than the limit, which is [`io::ErrorKind::FileTooLarge`].
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads bytes.
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
    fn bytes_that_are_no_text_are_refused_as_text_alone() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0xff]).unwrap();
        assert_eq!(read(file.path(), 1).unwrap(), [0xff]);
        assert_eq!(read_text(file.path(), 1).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
