//! One feed's plugin: a running instance of its component, and the state that survives the instance.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::command::{InboundMessage, Subscription};
use bessai_domain::event::RecordedEvent;
use bessai_domain::ports::{self, CallError, ConnectError, Processed, Received};
use bessai_domain::proposal::WriteOutcome;
use bessai_domain::session::{Login, SignInRequest, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};

use crate::bindings::{Failure, Message};
use crate::engine::CompiledComponent;
use crate::guest_thread::{ProcessorTime, StartOn};
use crate::instance::{self, CallResult, Fault, Instance};
use crate::log::{PluginLog, one_line};
use crate::settings::PluginSettings;
use crate::store_data::StoreData;
use crate::{commands, convert, session};

/// Wall-clock limit of instantiation and `configure`: language runtimes need seconds on a slow processor.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Number of quick calls on the guest thread after which a plugin runs on the caller's thread again.
const QUICK_CALLS_TO_RETURN: u32 = 100;
/// A call on the guest thread that takes less than this is quick: it would end well before the first epoch tick.
const QUICK_CALL: Duration = Duration::from_millis(2);

/// A component as one feed's plugin, which runs once [`ports::Plugin::start`] has succeeded.
pub struct Plugin {
    component: CompiledComponent,
    settings: PluginSettings,
    log: PluginLog,
    state: PluginState,
    // Boxed because each call moves it into its future and back.
    instance: Option<Box<Instance>>,
    call_thread: CallThread,
    processor_time: ProcessorTime,
    fuel_used: u64,
}

/// The thread on which a plugin's calls start.
#[derive(Clone, Copy)]
enum CallThread {
    Caller,
    /// One of its calls took long; `quick_calls` counts the quick ones since then.
    Guest {
        quick_calls: u32,
    },
}

/// A call that did not trap.
struct Returned<T> {
    instance: Box<Instance>,
    value: T,
    took: Duration,
}

impl Plugin {
    /// A plugin without an instance yet.
    pub fn new(component: CompiledComponent, settings: PluginSettings, state: PluginState) -> Self {
        let log = PluginLog::new(&settings.feed, settings.log.clone());
        Self {
            component,
            settings,
            log,
            state,
            instance: None,
            call_thread: CallThread::Caller,
            processor_time: ProcessorTime::default(),
            fuel_used: 0,
        }
    }

    /// Fuel burnt so far; 0 unless the engine counts it.
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Linear memory of the running instance, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes())
    }

    /// Calls into the instance within the feed's limits; the error says why the instance is gone.
    async fn call<T: Send + 'static, W: Future<Output = CallResult<T>> + Send + 'static>(
        &mut self,
        at: Timestamp,
        work: impl FnOnce(Box<Instance>) -> W,
    ) -> Result<Returned<T>, Fault> {
        let Some(instance) = self.instance.take() else {
            return Err(Fault::Guest("the plugin is not started".into()));
        };
        instance.store.data().set_clock(at);
        let limit = self.settings.call_limit;
        let (guest_thread, start_on) = (&self.component.linked().guest_thread, self.call_thread.start_on());
        let run = guest_thread.run(work(instance), limit, start_on, &self.processor_time).await;
        // A call that ends before the first tick may still take so long that its next ones delay the caller's other tasks.
        if run.was_moved || run.worked >= QUICK_CALL {
            self.call_thread = self.call_thread.after_call(run.worked);
        }
        let Some((mut instance, result)) = run.result else {
            return Err(Fault::Guest(format!("ran longer than {limit:?}, the limit set by [limits] call")));
        };
        self.fuel_used += instance.take_fuel();
        Ok(Returned { instance, value: result?, took: run.took })
    }

    fn take_messages(&mut self, returned: Returned<Result<Vec<Message>, Failure>>) -> Result<Processed, CallError> {
        let Returned { instance, value, took } = returned;
        match value {
            Ok(messages) => {
                self.commit(instance);
                let messages = messages.into_iter().map(convert::message).collect();
                Ok(Processed { messages, state: self.state.clone(), took })
            }
            Err(failure) => Err(self.failed(instance, &failure)),
        }
    }

    fn failed(&mut self, instance: Box<Instance>, failure: &Failure) -> CallError {
        self.roll_back(instance);
        match failure {
            Failure::Retry(reason) => CallError::Retry(one_line(reason)),
            Failure::Reject(reason) => CallError::Reject(one_line(reason)),
        }
    }

    fn take_login(&mut self, returned: Returned<Result<session::GuestLogin, String>>) -> Result<Login, ConnectError> {
        let Returned { instance, value, .. } = returned;
        let login = value
            .map_err(|reason| format!("the plugin refuses to sign in: {}", one_line(&reason)))
            .and_then(|login| session::login(login, &self.settings.secrets));
        match login {
            Ok(login) => {
                // Invalid data costs the instance, as a trap does.
                login.check().map_err(|fault| ConnectError::Broken(format!("returned {fault}")))?;
                self.commit(instance);
                Ok(login)
            }
            Err(reason) => {
                self.roll_back(instance);
                Err(ConnectError::Refused(reason))
            }
        }
    }

    /// Takes over the state of a successful call.
    fn commit(&mut self, instance: Box<Instance>) {
        self.state = instance.store.data().state().clone();
        self.instance = (!instance.has_outgrown(self.settings.memory_bytes)).then_some(instance);
    }

    /// Discards the state changes of a failed call.
    fn roll_back(&mut self, mut instance: Box<Instance>) {
        instance.store.data_mut().set_state(self.state.clone());
        self.instance = Some(instance);
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Guest(reason) => Self::Broken(reason),
            Fault::Host(reason) => Self::Host(reason),
        }
    }
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Guest(reason) => Self::Broken(reason),
            Fault::Host(reason) => Self::Refused(reason),
        }
    }
}

impl CallThread {
    fn start_on(self) -> StartOn {
        match self {
            Self::Caller => StartOn::CallerThread,
            Self::Guest { .. } => StartOn::GuestThread,
        }
    }

    /// After a call on the guest thread. `worked` excludes waiting for other guests there.
    fn after_call(self, worked: Duration) -> Self {
        let quick_calls = match self {
            _ if worked >= QUICK_CALL => 0,
            Self::Caller => 1,
            Self::Guest { quick_calls } => quick_calls + 1,
        };
        if quick_calls < QUICK_CALLS_TO_RETURN { Self::Guest { quick_calls } } else { Self::Caller }
    }
}

impl ports::Plugin for Plugin {
    fn version(&self) -> String {
        self.component.version()
    }

    fn is_running(&self) -> bool {
        self.instance.is_some()
    }

    async fn start(&mut self, site: &Arc<Site>, now: Timestamp) -> Result<(), CallError> {
        self.instance = None;
        let data = StoreData::new(&self.settings, self.log.clone(), self.state.clone(), now);
        let config_json = self.settings.config_json.clone();
        let work =
            instance::start(self.component.clone(), data, convert::site(site, &self.settings.write), config_json);
        let (guest_thread, start_on) = (&self.component.linked().guest_thread, self.call_thread.start_on());
        let run = guest_thread.run(work, START_LIMIT, start_on, &self.processor_time).await;
        let Some(started) = run.result else {
            return Err(CallError::Broken(format!("did not start within {START_LIMIT:?}")));
        };
        let (mut instance, configured) = started.map_err(|fault| match fault {
            Fault::Guest(reason) => CallError::Broken(format!("failed to start: {reason}")),
            Fault::Host(reason) => CallError::Host(reason),
        })?;
        self.fuel_used += instance.take_fuel();
        configured.map_err(|refusal| CallError::Refused(one_line(&refusal)))?;
        self.state = instance.store.data().state().clone();
        self.instance = Some(instance);
        Ok(())
    }

    async fn process(&mut self, events: &[RecordedEvent], now: Moment) -> Result<Processed, CallError> {
        let write = &self.settings.write;
        let guest_events: Vec<_> =
            events.iter().map(|recorded| convert::event(recorded, now.monotonic, write)).collect();
        let at = events.last().map_or(now.wall, |recorded| recorded.event.at);
        let returned = self.call(at, |instance| instance.process(guest_events)).await;
        self.take_messages(returned?)
    }

    fn has_session(&self) -> bool {
        self.component.has_session()
    }

    async fn connect(&mut self, request: &SignInRequest) -> Result<Login, ConnectError> {
        let guest_request = session::request(request);
        let returned = self.call(request.at, |instance| instance.connect(guest_request)).await;
        self.take_login(returned?)
    }

    async fn connected(&mut self, welcome: &Welcome) -> Result<Processed, CallError> {
        let guest_welcome = session::welcome(welcome);
        let returned = self.call(welcome.at, |instance| instance.connected(guest_welcome)).await;
        self.take_messages(returned?)
    }

    async fn closing(&mut self, at: Timestamp) -> Result<Processed, CallError> {
        let returned = self.call(at, |instance| instance.closing(at.nanos())).await;
        let Returned { instance, value, took } = returned?;
        self.take_messages(Returned { instance, value: Ok(value), took })
    }

    fn has_commands(&self) -> bool {
        self.component.has_commands()
    }

    async fn subscriptions(&mut self, at: Timestamp) -> Result<Vec<Subscription>, CallError> {
        let returned = self.call(at, |instance| instance.subscriptions()).await;
        let Returned { instance, value, .. } = returned?;
        self.commit(instance);
        Ok(value.into_iter().map(commands::subscription).collect())
    }

    async fn receive(&mut self, message: &InboundMessage) -> Result<Received, CallError> {
        let guest_message = commands::inbound(message);
        let returned = self.call(message.at, |instance| instance.receive(guest_message)).await;
        let Returned { instance, value, took } = returned?;
        match value {
            Ok(actions) => {
                self.commit(instance);
                let actions = actions.into_iter().map(commands::action).collect();
                Ok(Received { actions, state: self.state.clone(), took })
            }
            Err(failure) => Err(self.failed(instance, &failure)),
        }
    }

    async fn wrote(&mut self, at: Timestamp, reference: &str, outcome: &WriteOutcome) -> Result<Processed, CallError> {
        let (reference, outcome) = (reference.to_owned(), convert::outcome(outcome));
        let returned = self.call(at, |instance| instance.wrote(at.nanos(), reference, outcome)).await;
        self.take_messages(returned?)
    }

    fn processor_time(&self) -> Duration {
        self.processor_time.total()
    }

    fn state(&self) -> &PluginState {
        &self.state
    }

    fn twin(&self, state: PluginState) -> Self {
        Self::new(self.component.clone(), self.settings.clone(), state)
    }

    fn restore(&mut self, state: PluginState) {
        self.state = state;
        self.instance = None;
    }
}
