//! What a guest can reach: its log, its state, signatures, and an empty WASI whose clock shows the event's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bessai_domain::state::PluginState;
use bessai_domain::time::Timestamp;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::bindings::bessai::edge::{log, metrics, secrets, state, types};
use crate::log::PluginLog;
use crate::memory::MemoryLimiter;
use crate::metrics::{Labels, PluginMetrics};
use crate::secrets::{Secrets, Signed};
use crate::settings::PluginSettings;
use crate::signing::Algorithm;

/// Largest number of random bytes that a guest may request at once.
const RANDOM_BYTES: u64 = 64 << 10;
/// Seed of every guest's random numbers: the same events give the same bytes in every instance.
const SEED: u128 = 0x6265_7373_6169_2d65_6467_6520_706c_7567;
/// Length of the sequence of random words, after which it repeats.
const RANDOM_WORDS: usize = 512;

/// The data of a guest's wasmtime store.
pub(crate) struct StoreData {
    memory: MemoryLimiter,
    wasi: WasiCtx,
    table: ResourceTable,
    clock: EventClock,
    random_word: u64,
    feed: String,
    secrets: Arc<Secrets>,
    metrics: Arc<PluginMetrics>,
    state: PluginState,
    log: PluginLog,
}

impl StoreData {
    pub(crate) fn new(settings: &PluginSettings, log: PluginLog, state: PluginState, now: Timestamp) -> Self {
        let clock = EventClock(Arc::new(AtomicU64::new(now.nanos())));
        let wasi = WasiCtx::builder()
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .secure_random(random())
            .insecure_random(random())
            .insecure_random_seed(SEED)
            .max_random_size(RANDOM_BYTES)
            .stdout(log.output())
            .stderr(log.error_stream())
            .build();
        Self {
            memory: MemoryLimiter::new(settings.memory_bytes),
            wasi,
            table: ResourceTable::new(),
            clock,
            random_word: first_word(),
            feed: settings.feed.clone(),
            secrets: Arc::clone(&settings.secrets),
            metrics: Arc::clone(&settings.metrics),
            state,
            log,
        }
    }

    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    pub(crate) fn log(&self) -> &PluginLog {
        &self.log
    }

    pub(crate) fn memory(&self) -> &MemoryLimiter {
        &self.memory
    }

    /// Sets the guest's clock, which stands still during a call.
    pub(crate) fn set_clock(&self, at: Timestamp) {
        self.clock.0.store(at.nanos(), Ordering::Relaxed);
    }

    /// Nanoseconds since 1970, for WASI 0.3.
    pub(crate) fn clock_nanos(&self) -> u64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    /// The next random number for WASI 0.3.
    pub(crate) fn random_word(&mut self) -> u64 {
        self.random_word = next_word(self.random_word);
        self.random_word
    }

    /// Random bytes for WASI 0.3, as many as it allows to be fewer than requested.
    pub(crate) fn random_bytes(&mut self, most: u64) -> Vec<u8> {
        let count = usize::try_from(most.min(RANDOM_BYTES)).unwrap_or_default();
        let words = std::iter::repeat_with(|| self.random_word());
        words.flat_map(|word| word.to_be_bytes().into_iter().take(4)).take(count).collect()
    }

    pub(crate) fn state(&self) -> &PluginState {
        &self.state
    }

    pub(crate) fn set_state(&mut self, state: PluginState) {
        self.state = state;
    }
}

/// Words of a linear congruential generator (Knuth, TAOCP 2, 3.3.4); any fixed sequence would do.
fn random() -> Deterministic {
    let words = std::iter::successors(Some(first_word()), |word| Some(next_word(*word))).skip(1).take(RANDOM_WORDS);
    Deterministic::new(words.flat_map(|word| word.to_be_bytes().into_iter().take(4)).collect())
}

fn first_word() -> u64 {
    SEED.to_le_bytes().map(u64::from).iter().fold(0_u64, |sum, byte| (sum << 4) ^ byte)
}

fn next_word(word: u64) -> u64 {
    word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for StoreData {}

impl log::Host for StoreData {
    fn write(&mut self, level: log::Level, message: String) {
        self.log.write(level, &message);
    }
}

impl StoreData {
    /// The answer to the guest; logs that a secret cannot be read.
    fn answer(&self, secret: &str, signed: Option<Result<Signed, String>>) -> Result<Vec<u8>, secrets::SecretError> {
        let Some(signed) = signed else { return Err(secrets::SecretError::Unknown) };
        self.secrets.note(&self.feed, secret, signed.as_ref().err().map(String::as_str));
        let signed = signed.map_err(|_| secrets::SecretError::Denied)?;
        signed.map_err(|reason| secrets::SecretError::Unsuitable(format!("the secret {reason}")))
    }
}

impl secrets::Host for StoreData {
    fn hmac_sha256(&mut self, secret: String, data: Vec<u8>) -> Result<Vec<u8>, secrets::SecretError> {
        self.hmac_sha256_derived(secret, Vec::new(), data)
    }

    fn hmac_sha256_derived(
        &mut self,
        secret: String,
        derivation: Vec<Vec<u8>>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, secrets::SecretError> {
        self.answer(&secret, self.secrets.hmac_sha256(&secret, &derivation, &data))
    }

    fn sign(
        &mut self,
        secret: String,
        algorithm: secrets::Algorithm,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, secrets::SecretError> {
        let algorithm = match algorithm {
            secrets::Algorithm::Es256 => Algorithm::Es256,
            secrets::Algorithm::Rs256 => Algorithm::Rs256,
            secrets::Algorithm::Ed25519 => Algorithm::Ed25519,
        };
        self.answer(&secret, self.secrets.sign(&secret, algorithm, &data))
    }
}

impl metrics::Host for StoreData {
    fn counter(&mut self, name: String, labels: Labels, increment: f64) -> Result<(), metrics::MetricError> {
        self.metrics.count(name, labels, increment)
    }

    fn gauge(&mut self, name: String, labels: Labels, value: f64) -> Result<(), metrics::MetricError> {
        self.metrics.set(name, labels, value)
    }

    fn histogram(&mut self, name: String, labels: Labels, value: f64) -> Result<(), metrics::MetricError> {
        self.metrics.observe(name, labels, value)
    }
}

impl state::Host for StoreData {
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
struct EventClock(Arc<AtomicU64>);

impl HostWallClock for EventClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for EventClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
