//! Standard output and standard error of the commands.
//!
//! `println!` and `eprintln!` panic if nobody reads the pipe any more, for example behind `| head`. Commands print through
//! these functions instead and end early on an [`OutputError`].

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Why nothing more can be printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// The program that reads the output has enough of it.
    #[error("standard output is closed")]
    Closed,
    /// For example, the output goes to a file and the disk is full.
    #[error("failed to write to standard output: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Prints text to standard output.
pub(super) fn print(text: impl Display) -> Result<(), OutputError> {
    let mut out = io::stdout();
    write!(out, "{text}")?;
    // Without a newline at its end, text waits in the buffer and a failure would go unnoticed.
    Ok(out.flush()?)
}

/// Prints text and a newline to standard output.
pub(super) fn print_line(text: impl Display) -> Result<(), OutputError> {
    print(format_args!("{text}\n"))
}

/// Prints a line to standard error.
pub(super) fn print_error(text: impl Display) {
    // If standard error is closed too, there is nowhere left to report it.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_distinguished_from_a_full_disk() {
        assert!(matches!(OutputError::from(io::Error::from(ErrorKind::BrokenPipe)), OutputError::Closed));
        let error = OutputError::from(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(error.to_string(), "failed to write to standard output: no storage space");
    }
}
