//! A running component: its wasmtime store, and the calls into it, each with its own epoch deadline.

use wasmtime::Store;

use crate::bindings::commands::{Action, Inbound, Subscription};
use crate::bindings::session::{Login, Request, Welcome};
use crate::bindings::{Event, Failure, Message, Outcome, Site};
use crate::engine::{CompiledComponent, LinkedComponent};
use crate::epoch::{RunningGuest, TICKS_TO_YIELD};
use crate::exports::Exports;
use crate::failure_text;
use crate::store_data::StoreData;

/// Bytes that one call may transfer from the guest to the host; the messages of one call may have 1 MiB.
const TRANSFER_BYTES: usize = 4 << 20;
/// wasmtime's words for a call that transfers more.
const TRANSFER_EXHAUSTED: &str = "fuel allocated for hostcalls";
/// WASI resources that a guest may hold at the same time.
const HANDLES: usize = 1024;

pub(crate) struct Instance {
    pub(crate) store: Store<StoreData>,
    exports: Exports,
    component: CompiledComponent,
    memory_at_start: usize,
}

/// The instance after a call, and what the call returned.
pub(crate) type CallResult<T> = (Box<Instance>, Result<T, Fault>);

/// Why a call did not return.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The guest trapped.
    Guest(String),
    /// This machine has no memory, address space or threads for it.
    Host(String),
}

/// What `configure` returned.
pub(crate) type Configured = Result<(), String>;

/// Instantiates and configures.
pub(crate) async fn start(
    component: CompiledComponent,
    data: StoreData,
    site: Site,
    config_json: String,
) -> Result<(Box<Instance>, Configured), Fault> {
    let linked = component.linked();
    let running = linked.epoch_ticker.run();
    let mut store = Store::new(linked.pre.engine(), data);
    store.limiter(StoreData::limiter);
    store.set_hostcall_fuel(TRANSFER_BYTES);
    store.set_max_component_handles(HANDLES);
    // Past its deadline the guest yields at each tick; its caller drops it at the wall-clock limit.
    store.epoch_deadline_async_yield_and_update(1);
    reset_deadline(&mut store, linked);
    store.data().log().begin_call();
    let started = configure(linked, &mut store, site, config_json).await;
    drop(running);
    match started {
        Ok((configured, exports)) => {
            let memory_at_start = store.data().memory().used();
            let instance = Instance { store, exports, component, memory_at_start };
            Ok((Box::new(instance), configured))
        }
        Err(error) => Err(fault(&error, &store)),
    }
}

async fn configure(
    linked: &LinkedComponent,
    store: &mut Store<StoreData>,
    site: Site,
    config_json: String,
) -> Result<(Configured, Exports), wasmtime::Error> {
    let instance = linked.pre.instantiate_async(&mut *store).await?;
    let exports = linked.exports.load(&mut *store, &instance)?;
    let configured = exports.configure(store, site, config_json).await?;
    Ok((configured, exports))
}

impl Instance {
    pub(crate) async fn process(mut self: Box<Self>, events: Vec<Event>) -> CallResult<Result<Vec<Message>, Failure>> {
        let running = self.begin();
        let returned = self.exports.process(&mut self.store, events).await;
        self.end(running, returned)
    }

    pub(crate) async fn connect(mut self: Box<Self>, request: Request) -> CallResult<Result<Login, String>> {
        let running = self.begin();
        let returned = self.exports.connect(&mut self.store, request).await;
        self.end(running, returned)
    }

    pub(crate) async fn connected(mut self: Box<Self>, welcome: Welcome) -> CallResult<Result<Vec<Message>, Failure>> {
        let running = self.begin();
        let returned = self.exports.connected(&mut self.store, welcome).await;
        self.end(running, returned)
    }

    pub(crate) async fn closing(mut self: Box<Self>, at: u64) -> CallResult<Vec<Message>> {
        let running = self.begin();
        let returned = self.exports.closing(&mut self.store, at).await;
        self.end(running, returned)
    }

    pub(crate) async fn subscriptions(mut self: Box<Self>) -> CallResult<Vec<Subscription>> {
        let running = self.begin();
        let returned = self.exports.subscriptions(&mut self.store).await;
        self.end(running, returned)
    }

    pub(crate) async fn receive(mut self: Box<Self>, message: Inbound) -> CallResult<Result<Vec<Action>, Failure>> {
        let running = self.begin();
        let returned = self.exports.receive(&mut self.store, message).await;
        self.end(running, returned)
    }

    pub(crate) async fn wrote(
        mut self: Box<Self>,
        at: u64,
        reference: String,
        outcome: Outcome,
    ) -> CallResult<Result<Vec<Message>, Failure>> {
        let running = self.begin();
        let returned = self.exports.wrote(&mut self.store, at, reference, outcome).await;
        self.end(running, returned)
    }

    fn begin(&mut self) -> RunningGuest {
        let linked = self.component.linked();
        reset_deadline(&mut self.store, linked);
        self.store.data().log().begin_call();
        linked.epoch_ticker.run()
    }

    fn end<T>(self: Box<Self>, running: RunningGuest, returned: Result<T, wasmtime::Error>) -> CallResult<T> {
        drop(running);
        let result = returned.map_err(|error| fault(&error, &self.store));
        (self, result)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().memory().used()
    }

    /// Whether the instance has grown to near its limit. Linear memory never shrinks, and language runtimes let it grow
    /// call by call, so such an instance is replaced between two calls before it traps within one.
    pub(crate) fn has_outgrown(&self, limit: usize) -> bool {
        let used = self.memory_bytes();
        used > limit / 4 * 3 && used > self.memory_at_start / 4 * 5
    }

    /// Fuel burnt by the last call; 0 unless it is counted.
    pub(crate) fn take_fuel(&mut self) -> u64 {
        self.store.get_fuel().map_or(0, |left| u64::MAX - left)
    }
}

/// Gives each call its own deadline: one that belonged to the instance would pass with the first call.
fn reset_deadline(store: &mut Store<StoreData>, linked: &LinkedComponent) {
    store.set_epoch_deadline(TICKS_TO_YIELD);
    if linked.count_fuel {
        // Fails only where fuel is not counted.
        let _ = store.set_fuel(u64::MAX);
    }
}

/// Why a call did not return, in one line.
fn fault(error: &wasmtime::Error, store: &Store<StoreData>) -> Fault {
    let memory = store.data().memory();
    let reason = failure_text::describe(error, &store.data().log().error_output());
    if let Some(limit) = memory.exceeded_limit() {
        return Fault::Guest(format!(
            "trapped after it requested more than {limit} bytes of memory, the limit set by [limits] memory: {reason}"
        ));
    }
    if let Some(refusal) = memory.host_refusal() {
        return Fault::Host(format!("there is no memory for it: {refusal}"));
    }
    if is_of_host(error) {
        return Fault::Host(format!("the system refuses it memory: {error}: {}", error.root_cause()));
    }
    if reason.contains(TRANSFER_EXHAUSTED) {
        return Fault::Guest(format!(
            "returned or logged more than {} MiB in one call; its messages may have 1 MiB a call",
            TRANSFER_BYTES >> 20
        ));
    }
    Fault::Guest(format!("trapped: {reason}"))
}

/// Whether the system refused something: a guest has no means to make it return an error.
pub(crate) fn is_of_host(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<rustix::io::Errno>() || cause.is::<std::io::Error>() || cause.is::<wasmtime::error::OutOfMemory>()
    })
}
