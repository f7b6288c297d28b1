//! What a guest can reach: its log, its state, signatures, and an empty WASI whose clock shows the event's time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::bindings::bessai::edge::{log, secrets, state, types};
use super::secrets::Secrets;
use super::{Settings, TABLE_ELEMENTS};

/// Keys and values of a feed's state; shared until a call changes it.
pub type State = Arc<BTreeMap<String, Vec<u8>>>;

/// Bytes of keys and values that a feed may keep.
const STATE_BYTES: usize = 1 << 20;
/// Log lines of one feed in one second; what is more is counted and said.
const LOG_LINES_PER_S: u32 = 20;
/// Characters of one log line.
const LOG_LINE_CHARACTERS: usize = 1000;

pub(super) struct Host {
    limits: StoreLimits,
    wasi: WasiCtx,
    table: ResourceTable,
    clock: Clock,
    feed: String,
    secrets: Arc<Secrets>,
    state: State,
    state_changed: bool,
    log: LogBudget,
}

impl Host {
    pub(super) fn new(settings: &Settings, state: State, now: u64) -> Self {
        let clock = Clock(Arc::new(AtomicU64::new(now)));
        let wasi = WasiCtx::builder().wall_clock(clock.clone()).monotonic_clock(clock.clone()).build();
        let limits = StoreLimitsBuilder::new().memory_size(settings.memory).table_elements(TABLE_ELEMENTS).build();
        Self {
            limits,
            wasi,
            table: ResourceTable::new(),
            clock,
            feed: settings.feed.clone(),
            secrets: Arc::clone(&settings.secrets),
            state,
            state_changed: false,
            log: LogBudget::default(),
        }
    }

    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    /// The guest's clock stands at the time of its newest event.
    pub(super) fn begin_call(&mut self, at: u64) {
        self.clock.0.store(at, Ordering::Relaxed);
        self.state_changed = false;
    }

    pub(super) fn state(&self) -> State {
        Arc::clone(&self.state)
    }

    pub(super) fn state_changed(&self) -> bool {
        self.state_changed
    }

    pub(super) fn restore(&mut self, state: &State) {
        self.state = Arc::clone(state);
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) {
        let feed = &self.feed;
        let Some(missed) = self.log.take() else { return };
        if missed > 0 {
            tracing::warn!(%feed, "{missed} log lines of the plugin are not shown: it may write {LOG_LINES_PER_S} a second");
        }
        let line: String = message.chars().take(LOG_LINE_CHARACTERS).map(printable).collect();
        match level {
            log::Level::Error => tracing::error!(%feed, "plugin: {line}"),
            log::Level::Warn => tracing::warn!(%feed, "plugin: {line}"),
            log::Level::Info => tracing::info!(%feed, "plugin: {line}"),
            log::Level::Debug => tracing::debug!(%feed, "plugin: {line}"),
        }
    }
}

/// A guest must not forge lines or drive a terminal.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

impl secrets::Host for Host {
    fn hmac_sha256(&mut self, secret: String, data: Vec<u8>) -> Result<Vec<u8>, secrets::SecretError> {
        match self.secrets.hmac_sha256(&secret, &data) {
            None => Err(secrets::SecretError::Unknown),
            Some(Ok(signature)) => Ok(signature),
            Some(Err(error)) => {
                tracing::error!(feed = %self.feed, %secret, "failed to read a secret: {error}");
                Err(secrets::SecretError::Denied)
            }
        }
    }
}

impl state::Host for Host {
    fn get(&mut self, key: String) -> Option<Vec<u8>> {
        self.state.get(&key).cloned()
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), state::StateError> {
        let others = self.state.iter().filter(|(other, _)| **other != key);
        let size: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        if size + key.len() + value.len() > STATE_BYTES {
            return Err(state::StateError::Full);
        }
        Arc::make_mut(&mut self.state).insert(key, value);
        self.state_changed = true;
        Ok(())
    }

    fn delete(&mut self, key: String) {
        self.state_changed |= Arc::make_mut(&mut self.state).remove(&key).is_some();
    }
}

/// Nanoseconds since 1970, set before each call.
#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lines per second of the host's own clock: a guest's clock stands still.
struct LogBudget {
    since: std::time::Instant,
    lines: u32,
    missed: u32,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self { since: std::time::Instant::now(), lines: 0, missed: 0 }
    }
}

impl LogBudget {
    /// Lines missed since the last one that was shown; none when this one is not shown either.
    fn take(&mut self) -> Option<u32> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = std::time::Instant::now();
            self.lines = 0;
        }
        if self.lines == LOG_LINES_PER_S {
            self.missed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.missed))
    }
}
