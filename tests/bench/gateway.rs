//! A running gateway's log, read while it is written, and its `/health`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::process::Process;

/// Precedes the address of `/health` in the log.
const HEALTH: &str = "/health on ";
/// Time limit for `/health` to be served after a start.
const HEALTH_SERVED_WITHIN: Duration = Duration::from_secs(5);
/// Time limit for an answer of `/health`.
const HEALTH_ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Polling period of the log, and so the precision of its lines' times.
const READ_EVERY: Duration = Duration::from_micros(200);
/// Polling period of other conditions.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(50);

/// Reads a log from a position in its file.
pub(crate) struct LogReader {
    file: File,
    unfinished: String,
    last: String,
}

impl LogReader {
    /// Begins with the first line.
    pub(crate) fn open(process: &Process) -> anyhow::Result<Self> {
        let path = process.log();
        let file = File::open(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self { file, unfinished: String::new(), last: String::new() })
    }

    /// Continues with the next line that will be written.
    pub(crate) fn skip_to_end(&mut self) -> anyhow::Result<()> {
        self.unfinished.clear();
        self.file.seek(SeekFrom::End(0)).map(drop).context("failed to read the gateway's log")
    }

    /// The lines written since the last call.
    pub(crate) fn new_lines(&mut self) -> anyhow::Result<Vec<String>> {
        self.file.read_to_string(&mut self.unfinished).context("failed to read the gateway's log")?;
        let Some(end) = self.unfinished.rfind('\n') else { return Ok(Vec::new()) };
        let rest = self.unfinished.split_off(end + 1);
        let lines = std::mem::replace(&mut self.unfinished, rest);
        self.last = lines.lines().last().unwrap_or_default().to_owned();
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// The next line that contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str, limit: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(line) = self.new_lines()?.into_iter().find(|line| line.contains(part)) {
                return Ok(line);
            }
            sleep(READ_EVERY);
        }
        bail!("the gateway's log has no line with `{part}` within {limit:?}; it ends with:\n{}", self.last)
    }
}

/// The address of a gateway's `/health`.
pub(crate) struct HealthClient(SocketAddr);

impl HealthClient {
    pub(crate) fn of(process: &Process) -> anyhow::Result<Self> {
        let line = LogReader::open(process)?.wait_for(HEALTH, HEALTH_SERVED_WITHIN)?;
        let address = line.split(HEALTH).nth(1).and_then(|address| address.trim().parse().ok());
        Ok(Self(address.with_context(|| format!("failed to find an address in `{line}`"))?))
    }

    /// The whole answer.
    pub(crate) fn get(&self) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(self.0).context("failed to reach /health")?;
        stream.set_read_timeout(Some(HEALTH_ANSWERS_WITHIN))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).context("failed to read /health")?;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        ensure!(head.starts_with("HTTP/1.1 200"), "/health answered {head}");
        serde_json::from_str(body).context("failed to parse /health")
    }

    /// A feed's entry.
    pub(crate) fn feed(&self, name: &str) -> anyhow::Result<Value> {
        let health = self.get()?;
        health.pointer(&format!("/feeds/{name}")).cloned().with_context(|| format!("/health has no feed {name}"))
    }

    /// Waits until there are `count` feeds and each of them meets the condition.
    pub(crate) fn wait_for_feeds(
        &self,
        count: usize,
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let health = self.get()?;
            let feeds: Vec<_> = health.pointer("/feeds").and_then(Value::as_object).into_iter().flatten().collect();
            let waiting = feeds.iter().find(|(_, feed)| !condition(feed));
            if feeds.len() == count && waiting.is_none() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let example = waiting.map(|(name, feed)| format!("{name}: {feed}")).unwrap_or_default();
                bail!(
                    "{} of {count} feeds exist, and not all meet the condition within {limit:?}: {example}",
                    feeds.len()
                );
            }
            sleep(POLL_EVERY);
        }
    }
}

pub(crate) fn is_signed_in(feed: &Value) -> bool {
    feed.get("connected").and_then(Value::as_bool) == Some(true)
}

/// Whether a feed is signed in and its plugin was called at least this many times.
pub(crate) fn has_called(feed: &Value, calls: u64) -> bool {
    is_signed_in(feed) && feed.get("calls").and_then(Value::as_u64).is_some_and(|count| count >= calls)
}
