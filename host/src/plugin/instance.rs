//! A running component: its store, and the calls into it, each under its own deadline.

use wasmtime::Store;

use super::Loaded;
use super::bindings::session::{self, Login, Request, Welcome};
use super::bindings::{Event, Failure, Message, Site, transform};
use super::host::Host;
use super::ticker::{Running, TICKS_TO_YIELD};

/// Bytes that one call between guest and host may carry towards the host; a call's result may have 1 MiB of messages.
const HANDED_OVER_BYTES: usize = 4 << 20;
/// Nobody asks a plugin that has none.
const NO_SESSION: &str = "it does not export `session`";
/// Resources of WASI that a guest may hold.
const HANDLES: usize = 1024;

pub(super) struct Instance {
    pub(super) store: Store<Host>,
    /// What `configure` said.
    pub(super) configured: Result<(), String>,
    transform: transform::Guest,
    session: Option<session::Guest>,
    loaded: Loaded,
    memory_at_start: usize,
}

/// A call's instance, and what it returned; a trap comes as its sentence.
pub(super) type Called<T> = (Box<Instance>, Result<T, String>);

/// Instantiates and configures; the error is a trap's sentence.
pub(super) async fn start(loaded: Loaded, host: Host, site: Site, config: String) -> Result<Box<Instance>, String> {
    let running = loaded.0.ticker.run();
    let mut store = Store::new(loaded.0.pre.engine(), host);
    store.limiter(Host::limiter);
    store.set_hostcall_fuel(HANDED_OVER_BYTES);
    store.set_max_component_handles(HANDLES);
    // After its deadline the guest lets others run at each tick; whoever runs it ends it at its wall-clock limit.
    store.epoch_deadline_async_yield_and_update(1);
    begin(&mut store, loaded.0.is_metered);
    let started = configure(&loaded, &mut store, &site, &config).await;
    drop(running);
    match started {
        Ok((configured, transform, session)) => {
            let memory_at_start = store.data().memory().used();
            Ok(Box::new(Instance { store, configured, transform, session, loaded, memory_at_start }))
        }
        Err(error) => Err(trap(&error, &store)),
    }
}

type Configured = (Result<(), String>, transform::Guest, Option<session::Guest>);

async fn configure(
    loaded: &Loaded,
    store: &mut Store<Host>,
    site: &Site,
    config: &str,
) -> Result<Configured, wasmtime::Error> {
    let instance = loaded.0.pre.instantiate_async(&mut *store).await?;
    let transform = loaded.0.transform.load(&mut *store, &instance)?;
    let session = loaded.0.session.as_ref().map(|session| session.load(&mut *store, &instance)).transpose()?;
    let configured = transform.call_configure(&mut *store, site, config).await?;
    Ok((configured, transform, session))
}

impl Instance {
    /// One call.
    pub(super) async fn process(mut self: Box<Self>, events: Vec<Event>) -> Called<Result<Vec<Message>, Failure>> {
        let running = self.begin();
        let returned = self.transform.call_process(&mut self.store, &events).await;
        self.end(running, returned)
    }

    /// How to sign in.
    pub(super) async fn connect(mut self: Box<Self>, request: Request) -> Called<Result<Login, String>> {
        let running = self.begin();
        let returned = match &self.session {
            Some(session) => session.call_connect(&mut self.store, &request).await,
            None => Err(wasmtime::Error::msg(NO_SESSION)),
        };
        self.end(running, returned)
    }

    /// Signed in.
    pub(super) async fn connected(mut self: Box<Self>, welcome: Welcome) -> Called<Result<Vec<Message>, Failure>> {
        let running = self.begin();
        let returned = match &self.session {
            Some(session) => session.call_connected(&mut self.store, welcome).await,
            None => Err(wasmtime::Error::msg(NO_SESSION)),
        };
        self.end(running, returned)
    }

    /// About to sign off.
    pub(super) async fn closing(mut self: Box<Self>, at: u64) -> Called<Vec<Message>> {
        let running = self.begin();
        let returned = match &self.session {
            Some(session) => session.call_closing(&mut self.store, at).await,
            None => Err(wasmtime::Error::msg(NO_SESSION)),
        };
        self.end(running, returned)
    }

    fn begin(&mut self) -> Running {
        begin(&mut self.store, self.loaded.0.is_metered);
        self.loaded.0.ticker.run()
    }

    fn end<T>(self: Box<Self>, running: Running, returned: Result<T, wasmtime::Error>) -> Called<T> {
        drop(running);
        let result = returned.map_err(|error| trap(&error, &self.store));
        (self, result)
    }

    pub(super) fn memory(&self) -> usize {
        self.store.data().memory().used()
    }

    /// Memory never shrinks, and language runtimes let it grow call by call. An instance that has grown to near its
    /// limit is replaced between two calls, before it traps within one.
    pub(super) fn has_outgrown(&self, limit: usize) -> bool {
        let used = self.memory();
        used > limit / 4 * 3 && used > self.memory_at_start / 4 * 5
    }

    /// Fuel burnt since this was last asked; zero where it is not counted.
    pub(super) fn take_fuel(&mut self) -> u64 {
        self.store.get_fuel().map_or(0, |left| u64::MAX - left)
    }
}

/// The deadline belongs to each call, not to the instance.
fn begin(store: &mut Store<Host>, is_metered: bool) {
    store.set_epoch_deadline(TICKS_TO_YIELD);
    if is_metered {
        // Fails only where fuel is not counted.
        let _ = store.set_fuel(u64::MAX);
    }
}

/// A trap in one line.
fn trap(error: &wasmtime::Error, store: &Store<Host>) -> String {
    let cause = error.root_cause().to_string();
    let cause = cause.lines().next().unwrap_or_default();
    match store.data().memory().refused() {
        Some(limit) => format!(
            "trapped after it was refused more than {limit} bytes of memory, which [limits] memory sets: {cause}"
        ),
        None => format!("trapped: {cause}"),
    }
}
