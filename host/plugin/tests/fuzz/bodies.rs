//! Properties of the contract's conversions that hold for any bytes in a guest's memory. `cargo test` runs them with damaged
//! results, `scripts/fuzz` with those that a fuzzer finds.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, RecordedEvent, Sequence};
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{CallError, ConnectError, Plugin as _, Processed};
use bessai_domain::session::{Endpoint, Protocol, SignInRequest, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};
use bessai_plugin_runtime::{
    CompileIn, DEFAULT_MEMORY_BYTES, Engine, EngineSettings, LogSink, Plugin, PluginSettings, Secrets, inspect,
};
use tokio::runtime::Runtime;

use super::events::{events, kind};
use super::guest::{self, EVENT_BYTES, RESULT_SOURCE};
use super::image::{Image, Input};

/// The time of every call.
const NOW: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);

thread_local! {
    static GUEST: RefCell<Option<Guest>> = const { RefCell::new(None) };
}

/// The running component, which is started again after it has trapped.
struct Guest {
    runtime: Runtime,
    plugin: Plugin,
    site: Arc<Site>,
    _engine: Engine,
}

/// Any bytes as what a plugin returns from one of its functions: a result that is laid out as the contract wants it is
/// converted, any other ends the instance or is refused in a sentence.
pub fn returned(data: &[u8]) {
    let Some((function, data)) = data.split_first() else { return };
    with_guest(|guest| match function % 5 {
        0 => guest.processes(Input(data)),
        1 => guest.connects(Input(data)),
        2 => guest.is_connected(Input(data)),
        3 => guest.closes(Input(data)),
        _ => guest.returns_bytes(data),
    });
}

/// Any events reach the plugin with their numbers, times and kinds.
pub fn handed_over(data: &[u8]) {
    with_guest(|guest| {
        let events = events(&mut Input(data));
        let processed = guest.process(&events).unwrap_or_else(|error| panic!("{events:?}: {error}"));
        let [message] = &processed.messages[..] else { panic!("{:?}", processed.messages) };
        assert_eq!(message.payload.len(), events.len() * EVENT_BYTES);
        for (event, bytes) in events.iter().zip(message.payload.chunks(EVENT_BYTES)) {
            assert_eq!(bytes[..8], event.sequence.0.to_le_bytes(), "{event:?}");
            assert_eq!(bytes[8..16], event.at.nanos().to_le_bytes(), "{event:?}");
            assert_eq!(bytes[24], kind(&event.body), "{event:?}");
        }
    });
}

/// Any bytes as a component's file: it fits the contract or does not, in words.
pub fn component(data: &[u8]) {
    match inspect(data) {
        Ok(contract) => {
            assert!(!contract.to_string().is_empty());
            if let Err(reasons) = contract.check() {
                assert!(!reasons.is_empty());
            }
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}

fn with_guest(run: impl FnOnce(&mut Guest)) {
    GUEST.with_borrow_mut(|guest| run(guest.get_or_insert_with(Guest::new)));
}

impl Guest {
    fn new() -> Self {
        let settings = EngineSettings { compile_in: CompileIn::ThisProcess, ..EngineSettings::default() };
        let engine = Engine::new(settings).unwrap();
        let component = engine.load(&guest::component()).unwrap();
        let settings = PluginSettings {
            feed: "fuzz".into(),
            config_json: "{}".into(),
            write: Vec::new(),
            secrets: Arc::new(Secrets::default()),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            call_limit: Duration::from_secs(10),
            log: LogSink::default(),
            metrics: Arc::default(),
        };
        let plugin = Plugin::new(component, settings, PluginState::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        Self { runtime, plugin, site: Arc::new(site), _engine: engine }
    }

    fn start(&mut self) {
        if !self.plugin.is_running() {
            self.runtime.block_on(self.plugin.start(&self.site, NOW)).unwrap();
        }
    }

    fn process(&mut self, events: &[Arc<Event>]) -> Result<Processed, CallError> {
        self.start();
        let events: Vec<_> = events.iter().cloned().map(RecordedEvent::by_wall_clock).collect();
        self.runtime.block_on(self.plugin.process(&events, Moment::by_wall_clock(NOW)))
    }

    fn processes(&mut self, mut input: Input<'_>) {
        let (mut image, messages) = Image::messages(&mut input);
        image.damage(&mut input);
        let is_valid = image.is_valid;
        let returned = self.process(&[result_event(image.into_bytes())]);
        check_messages(returned, is_valid.then_some(messages));
    }

    fn is_connected(&mut self, mut input: Input<'_>) {
        let (mut image, messages) = Image::messages(&mut input);
        image.damage(&mut input);
        let is_valid = image.is_valid;
        self.store(image.into_bytes());
        let welcome = Welcome {
            at: NOW,
            protocol: Protocol::V5,
            session_present: true,
            max_packet: u32::MAX,
            max_qos: Qos::ExactlyOnce,
            retain: true,
        };
        check_messages(self.runtime.block_on(self.plugin.connected(&welcome)), is_valid.then_some(messages));
    }

    fn closes(&mut self, mut input: Input<'_>) {
        let (mut image, messages) = Image::messages(&mut input);
        image.damage(&mut input);
        let is_valid = image.is_valid;
        // The list's address and length are at the beginning, the rest stays where it is.
        let mut bytes = image.into_bytes();
        bytes.copy_within(4..12, 0);
        self.store(bytes);
        check_messages(self.runtime.block_on(self.plugin.closing(NOW)), is_valid.then_some(messages));
    }

    fn connects(&mut self, mut input: Input<'_>) {
        let (mut image, login) = Image::login(&mut input);
        image.damage(&mut input);
        let is_valid = image.is_valid;
        self.store(image.into_bytes());
        match self.runtime.block_on(self.plugin.connect(&request())) {
            Ok(returned) => {
                assert!(returned.check().is_ok(), "{returned:?} cannot be sent");
                assert!(returned.keep_alive_s.is_none_or(|seconds| seconds >= 5), "{returned:?}");
                assert!(!is_valid || returned == login, "{returned:?} instead of {login:?}");
            }
            Err(ConnectError::Refused(reason) | ConnectError::Broken(reason)) => {
                assert_sentence(&reason);
                assert!(!is_valid || login.check().is_err(), "{login:?} is refused: {reason}");
            }
        }
    }

    /// The input itself as the memory that every function returns.
    fn returns_bytes(&mut self, data: &[u8]) {
        check_messages(self.process(&[result_event(data.to_vec())]), None);
        self.store(data.to_vec());
        if let Err(ConnectError::Refused(reason) | ConnectError::Broken(reason)) =
            self.runtime.block_on(self.plugin.connect(&request()))
        {
            assert_sentence(&reason);
        }
    }

    /// Stores what the functions of `session` return.
    fn store(&mut self, bytes: Vec<u8>) {
        let events =
            [result_event(bytes), Arc::new(Event { sequence: Sequence(2), at: NOW, body: EventBody::Heartbeat })];
        self.process(&events).unwrap();
    }
}

fn request() -> SignInRequest {
    let endpoint = Endpoint { host: "broker.example".into(), port: 8883 };
    SignInRequest { endpoint, protocol: Protocol::V5, at: NOW, attempt: u32::MAX }
}

/// A frame whose values are these bytes.
fn result_event(mut bytes: Vec<u8>) -> Arc<Event> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let values = bytes.chunks_exact(8).map(|bytes| f64::from_bits(u64::from_le_bytes(bytes.try_into().unwrap())));
    let frame = Frame { source: RESULT_SOURCE, values: values.collect(), faults: vec![], texts: vec![] };
    Arc::new(Event { sequence: Sequence(1), at: NOW, body: EventBody::Frame(frame) })
}

/// `expected`: what the guest has laid out, if that is valid.
fn check_messages(returned: Result<Processed, CallError>, expected: Option<Vec<Message>>) {
    match (returned, expected) {
        (Ok(processed), Some(expected)) => assert_eq!(processed.messages, expected),
        (Err(error), Some(expected)) => panic!("{expected:?} are refused: {error}"),
        (
            Err(
                CallError::Retry(reason)
                | CallError::Reject(reason)
                | CallError::Broken(reason)
                | CallError::Refused(reason)
                | CallError::Host(reason),
            ),
            None,
        ) => {
            assert_sentence(&reason);
        }
        (Ok(_), None) => {}
    }
}

/// A reason is one line. What the guest says itself may be empty.
fn assert_sentence(reason: &str) {
    assert!(!reason.contains(|character: char| character.is_control()), "{reason:?} is more than a line");
}
