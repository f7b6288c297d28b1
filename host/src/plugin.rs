//! Customers' components: loaded, held within limits, called.
//!
//! The only user of wasmtime. A component reaches the three interfaces linked in [`Engine::new`] and nothing else; its
//! WASI is empty. It yields to the other tasks at every tick of the epoch, and a call that outlives its wall-clock limit
//! is dropped together with its instance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::Event;
use bessai_domain::message::Message;
use bessai_domain::site::Site;
use tokio::time::timeout;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker};

mod bindings;
mod cache;
#[allow(dead_code, unreachable_pub, reason = "the engine and the command line do not ask it yet")]
mod contract;
mod convert;
mod host;
mod secrets;
mod ticker;

pub use cache::{Cache, compile_child};
pub use host::State;
pub use secrets::{ReadKey, Secrets};

use bindings::{Transformer, TransformerPre};
use host::Host;
use ticker::Ticker;

/// Linear memory that a guest may grow to, unless its feed's settings say otherwise.
pub const MEMORY: usize = 64 << 20;
/// Wall-clock time of one call, unless the settings say otherwise.
pub const CALL: Duration = Duration::from_millis(500);
/// Wall-clock time of instantiation and `configure`: language runtimes need seconds on a slow processor.
const START: Duration = Duration::from_secs(5);
/// Largest component file, in bytes: a Python guest has 18 MB.
pub const COMPONENT_BYTES: u64 = 64 << 20;
/// Table elements, instances and memories that a guest may have; toolchains use a few.
const TABLE_ELEMENTS: usize = 100_000;

/// How long a handed-over event may be on its way before it is history.
const HISTORICAL: Duration = Duration::from_secs(10);

/// The shared part: one per process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    ticker: Arc<Ticker>,
    cache: Cache,
}

/// A compiled component, to be instantiated any number of times.
#[derive(Clone)]
pub struct Loaded {
    pre: TransformerPre<Host>,
    ticker: Arc<Ticker>,
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
    state: State,
    instance: Option<Instance>,
}

struct Instance {
    store: Store<Host>,
    bindings: Transformer,
}

impl Engine {
    /// An engine whose compiled components are kept in a folder, where there is one.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, String> {
        let engine =
            wasmtime::Engine::new(&cache::config()).map_err(|error| format!("failed to set up wasmtime: {error}"))?;
        let mut linker = Linker::new(&engine);
        let linked = wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| Transformer::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host));
        linked.map_err(|error| format!("failed to link the host's interfaces: {error}"))?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self { engine, linker, ticker, cache: Cache::new(cache) })
    }

    /// Compiles a component, or takes it from the cache, and checks that it fits the contract.
    pub fn load(&self, wasm: &[u8]) -> Result<Loaded, String> {
        let component = self.cache.component(&self.engine, wasm)?;
        let pre = self.pre(&component).map_err(|error| format!("does not fit bessai:edge@0.1.0: {error:#}"))?;
        Ok(Loaded { pre, ticker: Arc::clone(&self.ticker) })
    }

    fn pre(&self, component: &Component) -> wasmtime::Result<TransformerPre<Host>> {
        TransformerPre::new(self.linker.instantiate_pre(component)?)
    }
}

impl Plugin {
    /// Nothing runs until [`Plugin::start`].
    pub fn new(loaded: Loaded, settings: Settings) -> Self {
        Self { loaded, settings, state: State::default(), instance: None }
    }

    /// A fresh instance, configured with the description of the site.
    pub async fn start(&mut self, site: &Site, now: u64) -> Result<(), String> {
        self.instance = None;
        let mut store = Store::new(self.loaded.pre.engine(), Host::new(&self.settings, self.state.clone(), now));
        store.limiter(Host::limits);
        // At each tick the guest lets the other tasks run; the wall-clock limit below ends it.
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        let running = self.loaded.ticker.run();
        let started = timeout(START, async {
            let bindings = self.loaded.pre.instantiate_async(&mut store).await?;
            let site = convert::site(site);
            let transform = bindings.bessai_edge_transform();
            let configured = transform.call_configure(&mut store, &site, &self.settings.config).await?;
            Ok::<_, wasmtime::Error>((bindings, configured))
        });
        let started = started.await;
        drop(running);
        let (bindings, configured) = match started {
            Err(_) => return Err(format!("did not start within {START:?}")),
            Ok(Err(error)) => return Err(format!("failed to start: {}", trap(&error))),
            Ok(Ok(started)) => started,
        };
        configured.map_err(|refusal| format!("refuses its configuration: {refusal}"))?;
        self.state = store.data().state();
        self.instance = Some(Instance { store, bindings });
        Ok(())
    }

    /// Events in, messages out. After [`CallError::Broken`] a fresh instance is needed.
    pub async fn process(&mut self, events: &[Arc<Event>], now: u64) -> Result<Vec<Message>, CallError> {
        let Some(mut instance) = self.instance.take() else {
            return Err(CallError::Broken("the plugin is not started".into()));
        };
        let history = now.saturating_sub(u64::try_from(HISTORICAL.as_nanos()).unwrap_or(0));
        let guest_events: Vec<_> = events.iter().map(|event| convert::event(event, history)).collect();
        let at = events.last().map_or(now, |event| event.at.nanos());
        instance.store.data_mut().begin_call(at);
        instance.store.set_epoch_deadline(1);
        let running = self.loaded.ticker.run();
        let transform = instance.bindings.bessai_edge_transform();
        let called = timeout(self.settings.call, transform.call_process(&mut instance.store, &guest_events)).await;
        drop(running);
        let result = match called {
            Err(_) => return Err(CallError::Broken(format!("ran longer than {:?}", self.settings.call))),
            Ok(Err(error)) => return Err(CallError::Broken(trap(&error))),
            Ok(Ok(result)) => result,
        };
        let outcome = self.outcome(&mut instance, result);
        self.instance = Some(instance);
        outcome
    }

    /// A call that fails leaves no state.
    fn outcome(
        &mut self,
        instance: &mut Instance,
        result: Result<Vec<bindings::Message>, bindings::Failure>,
    ) -> Result<Vec<Message>, CallError> {
        match result {
            Ok(messages) => {
                if instance.store.data().state_changed() {
                    self.state = instance.store.data().state();
                }
                Ok(messages.into_iter().map(convert::message).collect())
            }
            Err(failure) => {
                instance.store.data_mut().restore(&self.state);
                Err(match failure {
                    bindings::Failure::Retry(reason) => CallError::Retry(reason),
                    bindings::Failure::Reject(reason) => CallError::Reject(reason),
                })
            }
        }
    }
}

/// A trap in one line.
fn trap(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    format!("trapped: {}", cause.lines().next().unwrap_or_default())
}
