//! A guest's log, and what its language writes to standard output and error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bessai_domain::text::is_visible;
use bytes::Bytes;
use tokio::time::Instant;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::bessai::edge::log::Level;
use crate::failure_text::ErrorOutput;

/// Log lines of one feed in one second; further lines are counted and dropped.
const LINES_PER_S: u32 = 20;
/// The period of [`LINES_PER_S`].
const PERIOD: Duration = Duration::from_secs(1);
/// Characters of one log line; the rest of a longer one is dropped.
const LINE_CHARACTERS: usize = 1000;
/// Bytes of one line of standard output or error; a longer one is split.
const OUTPUT_BYTES: usize = 4096;

/// Where a plugin's log lines go.
#[derive(Clone, Debug, Default)]
pub enum LogSink {
    /// To `tracing`, at the line's level and with the feed's name.
    #[default]
    Tracing,
    /// To this list, as `level: line`. The limit of lines per second applies here too.
    Collected(Arc<Mutex<Vec<String>>>),
}

/// One feed's log. Clones share its limit.
#[derive(Clone)]
pub(crate) struct PluginLog(Arc<LogShared>);

struct LogShared {
    feed: String,
    sink: LogSink,
    rate: Mutex<LineRate>,
    // Of the current call, in case that it traps.
    errors: Mutex<Option<ErrorOutput>>,
}

impl PluginLog {
    pub(crate) fn new(feed: &str, sink: LogSink) -> Self {
        let (rate, errors) = (Mutex::default(), Mutex::default());
        Self(Arc::new(LogShared { feed: feed.to_owned(), sink, rate, errors }))
    }

    /// Forgets the error output of earlier calls.
    pub(crate) fn begin_call(&self) {
        self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What the current call has written as an error.
    pub(crate) fn error_output(&self) -> ErrorOutput {
        self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    fn keep_error(&self, line: &str) {
        self.0.errors.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().push(line);
    }

    pub(crate) fn write(&self, level: Level, message: &str) {
        if level == Level::Error {
            self.keep_error(message);
        }
        self.show(level, message);
    }

    fn show(&self, level: Level, message: &str) {
        let feed = &self.0.feed;
        let admitted = self.0.rate.lock().unwrap_or_else(PoisonError::into_inner).admit();
        let Some(dropped) = admitted else { return };
        if dropped > 0 {
            tracing::warn!(%feed, "{dropped} log lines of the plugin are not shown; the limit is {LINES_PER_S} a second");
        }
        let line = one_line(message);
        match &self.0.sink {
            LogSink::Collected(lines) => {
                let line = format!("{}: {line}", name(level));
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            LogSink::Tracing => match level {
                Level::Error => tracing::error!(%feed, "plugin: {line}"),
                Level::Warn => tracing::warn!(%feed, "plugin: {line}"),
                Level::Info => tracing::info!(%feed, "plugin: {line}"),
                Level::Debug => tracing::debug!(%feed, "plugin: {line}"),
            },
        }
    }

    /// A standard output, whose lines are logged as information.
    pub(crate) fn output(&self) -> LoggedOutput {
        LoggedOutput { log: self.clone(), level: Level::Info, line: Vec::new() }
    }

    /// A standard error, whose lines are logged as warnings and kept for the reason of a trap.
    pub(crate) fn error_stream(&self) -> LoggedOutput {
        LoggedOutput { log: self.clone(), level: Level::Warn, line: Vec::new() }
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// A guest's text for one line of our own: it can neither forge lines nor control a terminal nor fill a disk.
pub(crate) fn one_line(text: &str) -> String {
    let printable = |character: char| if is_visible(character) { character } else { ' ' };
    text.chars().take(LINE_CHARACTERS).map(printable).collect()
}

/// Limits the lines per second by the host's own clock: a guest's clock stands still.
struct LineRate {
    since: Instant,
    lines: u32,
    dropped: u32,
}

impl Default for LineRate {
    fn default() -> Self {
        Self { since: Instant::now(), lines: 0, dropped: 0 }
    }
}

impl LineRate {
    /// The number of lines dropped since the last admitted one; none if this line is to be dropped too.
    fn admit(&mut self) -> Option<u32> {
        if self.since.elapsed() >= PERIOD {
            self.since = Instant::now();
            self.lines = 0;
        }
        if self.lines == LINES_PER_S {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// Splits a guest's output into log lines.
pub(crate) struct LoggedOutput {
    log: PluginLog,
    level: Level,
    line: Vec<u8>,
}

impl LoggedOutput {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= OUTPUT_BYTES {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                if !text.trim().is_empty() {
                    if self.level == Level::Warn {
                        self.log.keep_error(&text);
                    }
                    self.log.show(self.level, text.trim_end());
                }
            }
        }
    }
}

impl IsTerminal for LoggedOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LoggedOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self { log: self.log.clone(), level: self.level, line: Vec::new() })
    }

    /// Used by WASI 0.3 only, which guests do not get.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for LoggedOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for LoggedOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(OUTPUT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_number_and_length_and_cannot_be_forged() {
        let collected = Arc::new(Mutex::new(Vec::new()));
        let log = PluginLog::new("acme", LogSink::Collected(Arc::clone(&collected)));
        log.write(Level::Warn, "one\nERROR forged\u{1b}[2J");
        log.write(Level::Info, &"x".repeat(5000));
        for _ in 0..100 {
            log.write(Level::Info, "more");
        }
        let lines = collected.lock().unwrap().clone();
        assert_eq!(lines[0], "warn: one ERROR forged [2J");
        assert_eq!(lines[1].len(), "info: ".len() + LINE_CHARACTERS);
        assert_eq!(lines.len(), usize::try_from(LINES_PER_S).unwrap());
    }

    #[test]
    fn standard_output_becomes_lines() {
        let collected = Arc::new(Mutex::new(Vec::new()));
        let mut output = PluginLog::new("acme", LogSink::Collected(Arc::clone(&collected))).output();
        output.take(b"hel");
        output.take(b"lo\n\nwor");
        output.take(b"ld\r\n");
        output.take(&vec![b'y'; OUTPUT_BYTES]);
        let lines = collected.lock().unwrap().clone();
        assert_eq!(lines[..2], ["info: hello", "info: world"]);
        assert_eq!(lines.len(), 3);
    }
}
