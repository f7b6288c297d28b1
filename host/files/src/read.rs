//! Reads a regular file up to a limit.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Why a file is not read. Contains nothing of the file's content.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else, such as a directory.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It is larger than the limit.
    #[error("it has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More can be read than its size says.
    #[error("it grew while it was read")]
    Grew,
    /// It is text in UTF-16.
    #[error("it is UTF-16 text; save it as UTF-8")]
    Utf16,
    /// It is not UTF-8 text.
    #[error("line {0} is not UTF-8 text (perhaps ANSI); save the file as UTF-8")]
    NotUtf8(usize),
}

impl FileError {
    /// Whether there is no file of that name.
    pub fn is_missing(&self) -> bool {
        let missing =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        matches!(self, Self::Io(error) if missing(error))
    }
}

/// Reads a regular file, or one that symbolic links lead to, of up to `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, size) = open(path, limit)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // One byte more than there should be shows that the file has grown.
    file.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= size => Ok(bytes),
        _ => Err(FileError::Grew),
    }
}

/// Whether [`read`] would read the file, as far as its type and size tell.
pub fn check(path: &Path, limit: u64) -> Result<(), FileError> {
    open(path, limit).map(drop)
}

/// The open file and its size.
fn open(path: &Path, limit: u64) -> Result<(File, u64), FileError> {
    // Opening a device can act on it, so the type is looked at before, too.
    check_type(std::fs::metadata(path)?.file_type())?;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    // The standard library adds O_CLOEXEC.
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // What was opened counts: the path may lead elsewhere by now.
    let metadata = file.metadata()?;
    check_type(metadata.file_type())?;
    match metadata.len() {
        bytes if bytes > limit => Err(FileError::TooLarge { bytes, limit }),
        bytes => Ok((file, bytes)),
    }
}

fn check_type(kind: FileType) -> Result<(), FileError> {
    let kinds = [
        (kind.is_dir(), "a directory"),
        (kind.is_fifo(), "a FIFO"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    match kinds.into_iter().find(|(is_kind, _)| *is_kind) {
        Some((_, name)) => Err(FileError::NotRegular(name)),
        None if kind.is_file() => Ok(()),
        None => Err(FileError::NotRegular("something else")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn regular_files_up_to_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&path, "12345").unwrap();
        symlink("file", &link).unwrap();
        assert_eq!((read(&path, 5).unwrap(), read(&link, 5).unwrap()), (b"12345".to_vec(), b"12345".to_vec()));
        for error in [read(&path, 4).unwrap_err(), check(&link, 4).unwrap_err()] {
            assert_eq!(error.to_string(), "it has 5 bytes; at most 4 are allowed");
        }
        assert!(read(&folder.path().join("none"), 5).unwrap_err().is_missing());
        assert!(read(&path.join("below"), 5).unwrap_err().is_missing());
    }

    #[test]
    fn anything_else_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RUSR).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, expected) in [
            ("fifo", "it is a FIFO, not a regular file"),
            ("folder", "it is a directory, not a regular file"),
            ("socket", "it is a socket, not a regular file"),
            ("zero", "it is a device, not a regular file"),
            ("loop", "Too many levels of symbolic links (os error 40)"),
        ] {
            assert_eq!(read(&path(name), 100).unwrap_err().to_string(), expected);
        }
        // Its size is 0, and its content has no end.
        assert!(matches!(read(Path::new("/proc/self/mountinfo"), 100), Err(FileError::Grew)));
    }
}
