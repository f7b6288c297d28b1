//! The thread that writes log lines to standard error, and may wait there for as long as the reader likes.

#![allow(clippy::disallowed_methods, reason = "a thread of its own, which may block")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

use super::limiter::Suppressed;
use super::line::Line;
use super::{Log, line};

/// Pause before standard error is tried again that does not block and has no room.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// Bytes of a buffer that is kept; a larger one, from a burst of lines, is returned to the system.
const KEPT_BUFFER: usize = 16 * 1024;

/// Starts the thread.
pub(super) fn start(log: Arc<Log>, has_colours: bool) -> io::Result<()> {
    let run = move || {
        // Not through `io::stderr`: this thread would hold its lock for as long as nobody reads.
        let stderr = io::stderr();
        Writer { log: &log, output: stderr.as_fd(), has_colours, unreported: 0 }.run();
    };
    std::thread::Builder::new().name("log".into()).spawn(run).map(drop)
}

struct Writer<'a> {
    log: &'a Log,
    output: BorrowedFd<'a>,
    has_colours: bool,
    /// Dropped lines that no line has reported yet.
    unreported: u64,
}

impl Writer<'_> {
    fn run(mut self) {
        let mut bytes = Vec::new();
        loop {
            let taken = self.log.queue.take(&mut bytes);
            self.unreported += taken.dropped;
            self.write(&bytes);
            self.report_dropped();
            for suppressed in self.log.limiter.take_reports(Instant::now(), taken.is_last) {
                self.write(report(&suppressed, self.has_colours).as_bytes());
            }
            if taken.is_last {
                self.log.queue.set_finished();
                return;
            }
            bytes.clear();
            bytes.shrink_to(KEPT_BUFFER);
        }
    }

    /// Writes lines; those that cannot be written count as dropped.
    fn write(&mut self, lines: &[u8]) {
        let unwritten = write_all(self.output, lines);
        if !unwritten.is_empty() {
            let lost = unwritten.iter().filter(|byte| **byte == b'\n').count();
            let lost = u64::try_from(lost).unwrap_or(u64::MAX);
            self.unreported += lost;
            self.log.queue.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Says how many lines are missing here, as soon as a line can be written.
    fn report_dropped(&mut self) {
        if self.unreported == 0 {
            return;
        }
        let dropped = self.unreported;
        let text = format_args!("{dropped} log lines were dropped here: nobody read standard error in time");
        let mut line = Line::new(line::stamp(), Level::WARN, self.has_colours);
        line.message(text);
        if write_all(self.output, line.finish().as_bytes()).is_empty() {
            self.unreported = 0;
        }
    }
}

/// The line that stands for suppressed ones.
fn report(suppressed: &Suppressed, has_colours: bool) -> String {
    let Suppressed { lines, is_total, during, example, feed, device } = suppressed;
    let seconds = during.as_secs().max(1);
    let mut line = Line::new(line::stamp(), Level::WARN, has_colours);
    if *is_total {
        line.message(format_args!(
            "suppressed {lines} lines in the last {seconds} s, as this feed logs more than its total allowance; the first: \
             {example}"
        ));
    } else {
        line.message(format_args!("suppressed {lines} lines like this in the last {seconds} s: {example}"));
    }
    for (name, value) in [("feed", feed), ("device", device)] {
        if let Some(value) = value {
            line.field(name, format_args!("{value}"));
        }
    }
    line.finish()
}

/// Writes everything; returns the rest after an error. Waits while the reader does not read.
fn write_all<'a>(output: BorrowedFd<'_>, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(0) => break,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // Who shares the pipe has made it non-blocking.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(FULL_PAUSE),
            Err(_) => break,
        }
    }
    bytes
}
