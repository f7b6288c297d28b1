//! A running component: its store, and the calls into it, each under its own deadline.

use wasmtime::Store;

use super::Loaded;
use super::bindings::{Event, Failure, Message, Site, Transformer};
use super::host::Host;
use super::ticker::TICKS_TO_YIELD;

/// Bytes that one call between guest and host may carry towards the host; a call's result may have 1 MiB of messages.
const HANDED_OVER_BYTES: usize = 4 << 20;
/// Resources of WASI that a guest may hold.
const HANDLES: usize = 1024;

pub(super) struct Instance {
    pub(super) store: Store<Host>,
    /// What `configure` said.
    pub(super) configured: Result<(), String>,
    bindings: Transformer,
    loaded: Loaded,
    memory_at_start: usize,
}

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
    let started = match loaded.0.pre.instantiate_async(&mut store).await {
        Ok(bindings) => {
            let transform = bindings.bessai_edge_transform();
            let configured = transform.call_configure(&mut store, &site, &config).await;
            configured.map(|configured| (configured, bindings))
        }
        Err(error) => Err(error),
    };
    drop(running);
    match started {
        Ok((configured, bindings)) => {
            let memory_at_start = store.data().memory().used();
            Ok(Box::new(Instance { store, configured, bindings, loaded, memory_at_start }))
        }
        Err(error) => Err(trap(&error, &store)),
    }
}

impl Instance {
    /// One call; a trap comes as its sentence.
    pub(super) async fn process(
        mut self: Box<Self>,
        events: Vec<Event>,
    ) -> (Box<Self>, Result<Result<Vec<Message>, Failure>, String>) {
        let running = self.loaded.0.ticker.run();
        begin(&mut self.store, self.loaded.0.is_metered);
        let transform = self.bindings.bessai_edge_transform();
        let called = transform.call_process(&mut self.store, &events).await;
        drop(running);
        let result = called.map_err(|error| trap(&error, &self.store));
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
