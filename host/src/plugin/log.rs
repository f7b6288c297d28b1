//! What a guest says: its log, and what its language writes to standard output and error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::bindings::bessai::edge::log::Level;

/// Log lines of one feed in one second; what is more is counted and said.
const LINES_PER_S: u32 = 20;
/// Characters of one log line.
const LINE_CHARACTERS: usize = 1000;
/// Bytes of standard output taken at once; unfinished lines are cut there.
const OUTPUT_BYTES: usize = 4096;

/// Where a feed's lines go.
#[derive(Clone, Debug, Default)]
pub enum Lines {
    /// To the gateway's log, [`LINES_PER_S`] at most.
    #[default]
    Logged,
    /// Kept for whoever runs the plugin by hand, all but as many as the gateway would drop in a call.
    Kept(Arc<Mutex<Vec<String>>>),
}

/// One feed's log, shared by all ways into it.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    feed: String,
    lines: Lines,
    budget: Mutex<Budget>,
}

impl Log {
    pub(super) fn new(feed: &str, lines: Lines) -> Self {
        Self(Arc::new(Shared { feed: feed.to_owned(), lines, budget: Mutex::default() }))
    }

    pub(super) fn write(&self, level: Level, message: &str) {
        let feed = &self.0.feed;
        let shown = self.0.budget.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(missed) = shown else { return };
        if missed > 0 {
            tracing::warn!(%feed, "{missed} log lines of the plugin are not shown: it may write {LINES_PER_S} a second");
        }
        let line = one_line(message);
        match &self.0.lines {
            Lines::Kept(lines) => {
                let line = format!("{}: {line}", word(level));
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            Lines::Logged => match level {
                Level::Error => tracing::error!(%feed, "plugin: {line}"),
                Level::Warn => tracing::warn!(%feed, "plugin: {line}"),
                Level::Info => tracing::info!(%feed, "plugin: {line}"),
                Level::Debug => tracing::debug!(%feed, "plugin: {line}"),
            },
        }
    }

    /// An end of standard output or error whose lines are logged.
    pub(super) fn output(&self, level: Level) -> Output {
        Output { log: self.clone(), level, line: Vec::new() }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// What a guest wrote, as part of one line of ours: it must not forge lines, drive a terminal or fill a disk.
pub(super) fn one_line(text: &str) -> String {
    text.chars().take(LINE_CHARACTERS).map(printable).collect()
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// Lines per second of the host's own clock: a guest's clock stands still.
struct Budget {
    since: Instant,
    lines: u32,
    missed: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { since: Instant::now(), lines: 0, missed: 0 }
    }
}

impl Budget {
    /// Lines missed since the last one that was shown; none when this one is not shown either.
    fn take(&mut self) -> Option<u32> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.lines = 0;
        }
        if self.lines == LINES_PER_S {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.missed))
    }
}

/// Collects bytes to lines.
pub(super) struct Output {
    log: Log,
    level: Level,
    line: Vec<u8>,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= OUTPUT_BYTES {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                if !text.trim().is_empty() {
                    self.log.write(self.level, text.trim_end());
                }
            }
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.log.output(self.level))
    }

    /// Only asked for by other versions of WASI than the one that guests get.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
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
        let kept = Arc::new(Mutex::new(Vec::new()));
        let log = Log::new("acme", Lines::Kept(Arc::clone(&kept)));
        log.write(Level::Warn, "one\nERROR forged\u{1b}[2J");
        log.write(Level::Info, &"x".repeat(5000));
        for _ in 0..100 {
            log.write(Level::Info, "more");
        }
        let lines = kept.lock().unwrap().clone();
        assert_eq!(lines[0], "warn: one ERROR forged [2J");
        assert_eq!(lines[1].len(), "info: ".len() + LINE_CHARACTERS);
        assert_eq!(lines.len(), usize::try_from(LINES_PER_S).unwrap());
    }

    #[test]
    fn standard_output_becomes_lines() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut output = Log::new("acme", Lines::Kept(Arc::clone(&kept))).output(Level::Info);
        output.take(b"hel");
        output.take(b"lo\n\nwor");
        output.take(b"ld\r\n");
        output.take(&vec![b'y'; OUTPUT_BYTES]);
        let lines = kept.lock().unwrap().clone();
        assert_eq!(lines[..2], ["info: hello", "info: world"]);
        assert_eq!(lines.len(), 3);
    }
}
