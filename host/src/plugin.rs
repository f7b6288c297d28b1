//! Customers' components: loaded, held within limits, called.
//!
//! The only user of wasmtime. A component reaches the three interfaces linked in [`Engine::new`] and nothing else; its
//! WASI is empty. A call that goes on until the epoch's tick moves to the guests' thread, and one that outlives its
//! wall-clock limit is dropped together with its instance.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bessai_domain::event::Event;
use bessai_domain::message::Message;
use bessai_domain::site::Site;
use bessai_domain::state::State;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

mod bindings;
mod cache;
mod compiler;
mod contract;
mod convert;
mod host;
mod instance;
mod lane;
mod log;
mod memory;
mod secrets;
mod session;
mod ticker;

pub use cache::Cache;
pub use compiler::{COMPILE, CompileLimits, compile_child};
pub use contract::{Contract, Kind};
pub use log::Lines;
pub use secrets::{ReadKey, Secrets};
pub use session::ConnectError;

use bindings::Connector;
use host::Host;
use instance::{Called, Instance};
use lane::Lane;
use log::Log;
use ticker::Ticker;

/// Linear memory that a guest may grow to, unless its feed's settings say otherwise.
pub const MEMORY: usize = 64 << 20;
/// A call that takes longer is counted: the author should look at it.
pub const SLOW_CALL: Duration = Duration::from_millis(50);
/// Wall-clock time of instantiation and `configure`: language runtimes need seconds on a slow processor.
pub const START: Duration = Duration::from_secs(5);
/// Largest component file, in bytes: a Python guest has 18 MB.
pub const COMPONENT_BYTES: u64 = 64 << 20;
/// Quick calls on the guests' thread after which a plugin runs on the caller's thread again.
const QUICK_CALLS_TO_RETURN: u32 = 100;
/// What counts as quick there: far from an epoch's tick.
const QUICK_CALL: Duration = Duration::from_millis(2);
/// How long a handed-over event may be on its way before it is history.
const HISTORICAL: Duration = Duration::from_secs(10);

const PACKAGE: &str = "bessai:edge@0.1.0";
/// The interface of a plugin that decides how its feed signs in.
const SESSION: &str = "bessai:edge/session@0.1.0";

/// What a component's file exports and imports; the error says what the file is instead.
pub fn inspect(wasm: &[u8]) -> Result<Contract, String> {
    check_size(wasm.len())?;
    contract::read(wasm)
}

fn check_size(bytes: usize) -> Result<(), String> {
    match u64::try_from(bytes) {
        Ok(bytes) if bytes <= COMPONENT_BYTES => Ok(()),
        _ => Err(format!("has {bytes} bytes; a component may have {COMPONENT_BYTES}")),
    }
}

/// The shared part: one per process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    ticker: Arc<Ticker>,
    lane: Arc<Lane>,
    cache: Cache,
    is_metered: bool,
    // By the digest of the file: thirty feeds of one component share its machine code.
    loaded: Mutex<HashMap<[u8; 32], Weak<Shared>>>,
}

/// A compiled component, to be instantiated any number of times.
#[derive(Clone)]
pub struct Loaded(Arc<Shared>);

struct Shared {
    pre: InstancePre<Host>,
    transform: bindings::transform::GuestIndices,
    // Where the component decides how its feed signs in.
    session: Option<bindings::session::GuestIndices>,
    ticker: Arc<Ticker>,
    lane: Arc<Lane>,
    is_metered: bool,
    digest: [u8; 32],
}

/// What one feed gives its plugin.
#[derive(Clone)]
pub struct Settings {
    /// The feed's name, for its log lines.
    pub feed: String,
    /// Its `[config]` as JSON.
    pub config: String,
    /// What it may sign with.
    pub secrets: Arc<Secrets>,
    /// Bytes of linear memory.
    pub memory: usize,
    /// Time of one call.
    pub call: Duration,
    /// Where its log goes.
    pub lines: Lines,
}

/// Why a call brought no messages.
#[derive(Debug)]
pub enum CallError {
    /// The plugin asks for the events again later.
    Retry(String),
    /// The plugin cannot handle the events.
    Reject(String),
    /// The instance is gone.
    Broken(String),
}

/// One feed's plugin: a running instance, and what outlives it.
pub struct Plugin {
    loaded: Loaded,
    settings: Settings,
    log: Log,
    state: State,
    // Boxed: a call moves it into its future and back.
    instance: Option<Box<Instance>>,
    // None: runs on the caller's thread. Else the quick calls since it moved to the guests' thread.
    quick_calls: Option<u32>,
    fuel: u64,
}

/// A call that ended well.
#[derive(Debug)]
pub struct Processed {
    /// In the order in which they are published.
    pub messages: Vec<Message>,
    /// What the plugin keeps after this call.
    pub state: State,
    /// Wall-clock time.
    pub took: Duration,
}

type GuestMessages = Result<Vec<bindings::Message>, bindings::Failure>;

/// A call that did not trap.
struct Returned<T> {
    instance: Box<Instance>,
    value: T,
    took: Duration,
}

impl Engine {
    /// An engine whose compiled components are kept in a folder, where there is one.
    pub fn new(cache: Option<PathBuf>, limits: CompileLimits) -> Result<Self, String> {
        Self::build(cache, limits, false)
    }

    /// One whose guests' fuel is counted, at the cost of some speed.
    pub fn metered(cache: Option<PathBuf>, limits: CompileLimits) -> Result<Self, String> {
        Self::build(cache, limits, true)
    }

    fn build(cache: Option<PathBuf>, limits: CompileLimits, is_metered: bool) -> Result<Self, String> {
        let engine = wasmtime::Engine::new(&compiler::config(is_metered))
            .map_err(|error| format!("failed to set up wasmtime: {error}"))?;
        let mut linker = Linker::new(&engine);
        let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| Connector::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host));
        linked.map_err(|error| format!("failed to link the host's interfaces: {error}"))?;
        let ticker = Ticker::start(engine.clone())?;
        let cache = Cache::new(cache, limits, is_metered);
        Ok(Self { engine, linker, ticker, lane: Lane::start()?, cache, is_metered, loaded: Mutex::default() })
    }

    /// Compiles a component, or takes it from the cache, and checks that it fits the contract. Blocks while it compiles.
    pub fn load(&self, wasm: &[u8]) -> Result<Loaded, String> {
        let digest = cache::digest(wasm);
        let known = self.shared().get(&digest).and_then(Weak::upgrade);
        if let Some(shared) = known {
            return Ok(Loaded(shared));
        }
        let component = self.cache.component(&self.engine, wasm, &digest)?;
        let shared = self.link(&component, digest).map_err(|error| format!("does not fit {PACKAGE}: {error:#}"))?;
        let shared = Arc::new(shared);
        let mut loaded = self.shared();
        loaded.retain(|_, shared| shared.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&shared));
        Ok(Loaded(shared))
    }

    fn link(&self, component: &Component, digest: [u8; 32]) -> Result<Shared, wasmtime::Error> {
        let pre = self.linker.instantiate_pre(component)?;
        let transform = bindings::transform::GuestIndices::new(&pre)?;
        let has_session = component.get_export_index(None, SESSION).is_some();
        let session = has_session.then(|| bindings::session::GuestIndices::new(&pre)).transpose()?;
        let (ticker, lane) = (Arc::clone(&self.ticker), Arc::clone(&self.lane));
        Ok(Shared { pre, transform, session, ticker, lane, is_metered: self.is_metered, digest })
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Weak<Shared>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// The first bytes of the file's SHA-256, in hexadecimal: which version this is.
    pub fn version(&self) -> String {
        self.0.digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it decides how its feed signs in.
    pub fn has_session(&self) -> bool {
        self.0.session.is_some()
    }
}

impl Plugin {
    /// Nothing runs until [`Plugin::start`].
    pub fn new(loaded: Loaded, settings: Settings, state: State) -> Self {
        let log = Log::new(&settings.feed, settings.lines.clone());
        Self { loaded, settings, log, state, instance: None, quick_calls: None, fuel: 0 }
    }

    /// Which version of the component this is.
    pub fn version(&self) -> String {
        self.loaded.version()
    }

    /// What it keeps between two calls.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes back what calls since then left; the instance goes with it.
    pub fn restore(&mut self, state: State) {
        self.state = state;
        self.instance = None;
    }

    /// Fuel burnt so far, where the engine counts it.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Bytes of linear memory of the running instance.
    pub fn memory(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.memory())
    }

    /// Whether there is an instance to call.
    pub fn is_running(&self) -> bool {
        self.instance.is_some()
    }

    /// A fresh instance, configured with the description of the site.
    pub async fn start(&mut self, site: &Site, now: u64) -> Result<(), String> {
        self.instance = None;
        let host = Host::new(&self.settings, self.log.clone(), self.state.clone(), now);
        let work = instance::start(self.loaded.clone(), host, convert::site(site), self.settings.config.clone());
        let ran = self.loaded.0.lane.run(work, START, self.quick_calls.is_some()).await;
        let Some(started) = ran.result else { return Err(format!("did not start within {START:?}")) };
        let mut instance = started.map_err(|error| format!("failed to start: {error}"))?;
        self.fuel += instance.take_fuel();
        instance
            .configured
            .clone()
            .map_err(|refusal| format!("refuses its configuration: {}", log::one_line(&refusal)))?;
        self.state = instance.store.data().state().clone();
        self.instance = Some(instance);
        Ok(())
    }

    /// Events in, messages out. After [`CallError::Broken`] a fresh instance is needed.
    pub async fn process(&mut self, events: &[Arc<Event>], now: u64) -> Result<Processed, CallError> {
        let history = now.saturating_sub(u64::try_from(HISTORICAL.as_nanos()).unwrap_or(0));
        let guest_events: Vec<_> = events.iter().map(|event| convert::event(event, history)).collect();
        let at = events.last().map_or(now, |event| event.at.nanos());
        let returned = self.call(at, |instance| instance.process(guest_events)).await;
        self.take_messages(returned.map_err(CallError::Broken)?)
    }

    /// A call into the instance, under the feed's limits; the error says why there is no instance any more.
    async fn call<T: Send + 'static, W: Future<Output = Called<T>> + Send + 'static>(
        &mut self,
        at: u64,
        work: impl FnOnce(Box<Instance>) -> W,
    ) -> Result<Returned<T>, String> {
        let Some(instance) = self.instance.take() else { return Err("the plugin is not started".into()) };
        instance.store.data().set_clock(at);
        let limit = self.settings.call;
        let ran = self.loaded.0.lane.run(work(instance), limit, self.quick_calls.is_some()).await;
        self.note_speed(ran.was_moved, ran.worked);
        let Some((mut instance, result)) = ran.result else {
            return Err(format!("ran longer than {limit:?}, which [limits] call sets"));
        };
        self.fuel += instance.take_fuel();
        Ok(Returned { instance, value: result?, took: ran.took })
    }

    fn take_messages(&mut self, returned: Returned<GuestMessages>) -> Result<Processed, CallError> {
        let Returned { instance, value, took } = returned;
        match value {
            Ok(messages) => {
                self.keep(instance);
                let messages = messages.into_iter().map(convert::message).collect();
                Ok(Processed { messages, state: self.state.clone(), took })
            }
            Err(failure) => {
                self.undo(instance);
                Err(match failure {
                    bindings::Failure::Retry(reason) => CallError::Retry(log::one_line(&reason)),
                    bindings::Failure::Reject(reason) => CallError::Reject(log::one_line(&reason)),
                })
            }
        }
    }

    /// After a call that ended well.
    fn keep(&mut self, instance: Box<Instance>) {
        self.state = instance.store.data().state().clone();
        self.instance = (!instance.has_outgrown(self.settings.memory)).then_some(instance);
    }

    /// A call that fails leaves no state.
    fn undo(&mut self, mut instance: Box<Instance>) {
        instance.store.data_mut().set_state(self.state.clone());
        self.instance = Some(instance);
    }

    /// A plugin that once took long stays on the guests' thread until it has been quick for a while.
    /// What it waited for others there is not its own.
    fn note_speed(&mut self, was_moved: bool, worked: Duration) {
        if !was_moved {
            return;
        }
        let quick_calls = if worked < QUICK_CALL { self.quick_calls.unwrap_or(0) + 1 } else { 0 };
        self.quick_calls = (quick_calls < QUICK_CALLS_TO_RETURN).then_some(quick_calls);
    }
}
