//! What a guest can reach: its log, its state, signatures, and an empty WASI whose clock shows the event's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bessai_domain::state::State;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::Settings;
use super::bindings::bessai::edge::log::Level;
use super::bindings::bessai::edge::{log, secrets, state, types};
use super::log::Log;
use super::memory::Memory;
use super::secrets::Secrets;

/// Random numbers that a guest may ask for at once, bytes.
const RANDOM_BYTES: u64 = 64 << 10;
/// What every guest's random numbers begin with: the same events give the same bytes, in every instance.
const SEED: u128 = 0x6265_7373_6169_2d65_6467_6520_706c_7567;

pub(super) struct Host {
    memory: Memory,
    wasi: WasiCtx,
    table: ResourceTable,
    clock: Clock,
    feed: String,
    secrets: Arc<Secrets>,
    state: State,
    log: Log,
}

impl Host {
    pub(super) fn new(settings: &Settings, log: Log, state: State, now: u64) -> Self {
        let clock = Clock(Arc::new(AtomicU64::new(now)));
        let wasi = WasiCtx::builder()
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .secure_random(random())
            .insecure_random(random())
            .insecure_random_seed(SEED)
            .max_random_size(RANDOM_BYTES)
            .stdout(log.output(Level::Info))
            .stderr(log.output(Level::Warn))
            .build();
        Self {
            memory: Memory::new(settings.memory),
            wasi,
            table: ResourceTable::new(),
            clock,
            feed: settings.feed.clone(),
            secrets: Arc::clone(&settings.secrets),
            state,
            log,
        }
    }

    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The guest's clock stands at the time of its newest event, ns since 1970.
    pub(super) fn set_clock(&self, at: u64) {
        self.clock.0.store(at, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn set_state(&mut self, state: State) {
        self.state = state;
    }
}

/// The words of a linear congruential generator (Knuth, TAOCP 2, 3.3.4): any fixed sequence serves.
fn random() -> Deterministic {
    const WORDS: usize = 512;
    let seed = SEED.to_le_bytes().map(u64::from).iter().fold(0_u64, |sum, byte| (sum << 4) ^ byte);
    let next = |word: &u64| Some(word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    let words = std::iter::successors(Some(seed), next).skip(1).take(WORDS);
    Deterministic::new(words.flat_map(|word| word.to_be_bytes().into_iter().take(4)).collect())
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Host {}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) {
        self.log.write(level, &message);
    }
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
        self.state.get(&key).map(<[u8]>::to_vec)
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), state::StateError> {
        self.state.set(key, value).map_err(|_| state::StateError::Full)
    }

    fn delete(&mut self, key: String) {
        self.state.delete(&key);
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
