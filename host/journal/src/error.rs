//! Why a journal's folder cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::segment;

/// Why the journal of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes the journal.
    #[error("{} is in use by another gateway; stop that one or set another [journal] dir", .0.display())]
    InUse(PathBuf),
    /// A later version of the program wrote the file.
    #[error(
        "{} has format {format}, this version reads up to {supported}; install the later version again or move the folder away",
        .path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u16,
        /// The newest format that this program reads.
        supported: u16,
    },
    /// The folder cannot be read or written.
    #[error("the journal cannot use {}: {error}; make it readable and writable or set another [journal] dir", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl OpenError {
    /// Turns a system error about `path` into an [`OpenError`].
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        |error| Self::Io { path: path.to_owned(), error }
    }

    /// For a segment file whose format is newer than this program's.
    pub(crate) fn newer_segment(path: &Path, format: u16) -> Self {
        Self::NewerFormat { path: path.to_owned(), format, supported: segment::FORMAT }
    }
}
