//! What a running gateway tells: its log as it is written, and `/health`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::process::Process;

/// Part of the log's line that tells where `/health` is served.
const HEALTH: &str = "/health on ";
const HEALTH_SERVED_WITHIN: Duration = Duration::from_secs(5);
const HEALTH_ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How finely the log's lines are timed.
const READ_EVERY: Duration = Duration::from_micros(200);
/// Between two looks at something that is waited for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The log from some place on.
pub(crate) struct Log {
    file: File,
    unfinished: String,
    last: String,
}

impl Log {
    /// From the beginning.
    pub(crate) fn of(process: &Process) -> anyhow::Result<Self> {
        let path = process.log();
        let file = File::open(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Self { file, unfinished: String::new(), last: String::new() })
    }

    /// From here on.
    pub(crate) fn skip(&mut self) -> anyhow::Result<()> {
        self.unfinished.clear();
        self.file.seek(SeekFrom::End(0)).map(drop).context("failed to read the gateway's log")
    }

    /// The lines since the last time.
    pub(crate) fn take(&mut self) -> anyhow::Result<Vec<String>> {
        self.file.read_to_string(&mut self.unfinished).context("failed to read the gateway's log")?;
        let Some(end) = self.unfinished.rfind('\n') else { return Ok(Vec::new()) };
        let rest = self.unfinished.split_off(end + 1);
        let lines = std::mem::replace(&mut self.unfinished, rest);
        self.last = lines.lines().last().unwrap_or_default().to_owned();
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// The next line that has `part` in it.
    pub(crate) fn wait(&mut self, part: &str, limit: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(line) = self.take()?.into_iter().find(|line| line.contains(part)) {
                return Ok(line);
            }
            sleep(READ_EVERY);
        }
        bail!("the gateway's log has no line with `{part}` within {limit:?}; it ends with:\n{}", self.last)
    }
}

/// Where a gateway answers.
pub(crate) struct Health(SocketAddr);

impl Health {
    pub(crate) fn of(process: &Process) -> anyhow::Result<Self> {
        let line = Log::of(process)?.wait(HEALTH, HEALTH_SERVED_WITHIN)?;
        let address = line.split(HEALTH).nth(1).and_then(|address| address.trim().parse().ok());
        Ok(Self(address.with_context(|| format!("failed to find an address in `{line}`"))?))
    }

    /// All that it says.
    pub(crate) fn ask(&self) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(self.0).context("failed to reach /health")?;
        stream.set_read_timeout(Some(HEALTH_ANSWERS_WITHIN))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).context("failed to read /health")?;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        ensure!(head.starts_with("HTTP/1.1 200"), "/health answers {head}");
        serde_json::from_str(body).context("failed to understand /health")
    }

    /// What is said of a feed.
    pub(crate) fn feed(&self, name: &str) -> anyhow::Result<Value> {
        let health = self.ask()?;
        health.pointer(&format!("/feeds/{name}")).cloned().with_context(|| format!("/health knows no feed {name}"))
    }

    /// Waits until `count` feeds are there and all are as they should be.
    pub(crate) fn wait(&self, count: usize, limit: Duration, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let health = self.ask()?;
            let feeds: Vec<_> = health.pointer("/feeds").and_then(Value::as_object).into_iter().flatten().collect();
            let missing = feeds.iter().find(|(_, feed)| !is_so(feed));
            if feeds.len() == count && missing.is_none() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let shown = missing.map(|(name, feed)| format!("{name}: {feed}")).unwrap_or_default();
                bail!(
                    "{} of {count} feeds are there, or not all as they should be within {limit:?}: {shown}",
                    feeds.len()
                );
            }
            sleep(LOOK_EVERY);
        }
    }
}

pub(crate) fn is_signed_in(feed: &Value) -> bool {
    feed.get("connected").and_then(Value::as_bool) == Some(true)
}

/// Signed in, and at least so many calls made.
pub(crate) fn has_called(feed: &Value, calls: u64) -> bool {
    is_signed_in(feed) && feed.get("calls").and_then(Value::as_u64).is_some_and(|made| made >= calls)
}
