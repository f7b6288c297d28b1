//! The shipped plugin, compiled in this process, cached and run.

use std::time::Duration;

use bessai_domain::event::{Event, EventBody, RecordedEvent, Sequence};
use bessai_domain::ports::Plugin as _;
use bessai_domain::proposal::{Proposal, WriteStep};
use bessai_domain::session::{Endpoint, Password, Protocol, SignInRequest};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};

use super::*;
use crate::{DEFAULT_MEMORY_BYTES, LogSink, Plugin, PluginSettings, Secrets};

const NOW: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

fn shipped() -> Vec<u8> {
    std::fs::read("../../dist/plugins/bessai-json.wasm").unwrap()
}

fn settings() -> PluginSettings {
    PluginSettings {
        feed: "test".to_owned(),
        config_json: "{}".to_owned(),
        write: Vec::new(),
        secrets: Arc::new(Secrets::default()),
        memory_bytes: DEFAULT_MEMORY_BYTES,
        // Long enough for a busy test machine: the limit itself is not tested here.
        call_limit: Duration::from_secs(60),
        log: LogSink::default(),
        metrics: Arc::default(),
    }
}

#[test]
fn a_compiled_component_is_cached_for_the_next_engine() {
    let folder = tempfile::tempdir().unwrap();
    let cached = EngineSettings { cache_folder: Some(folder.path().to_owned()), ..EngineSettings::default() };
    let wasm = shipped();
    let is_cached = |settings: &EngineSettings| {
        let engine = Engine::new(settings.clone()).unwrap();
        engine.plain.cached(&digest(&wasm)).is_some()
    };
    assert!(!is_cached(&cached));
    let first = Engine::new(cached.clone()).unwrap().load(&wasm).unwrap();
    assert!(is_cached(&cached));
    assert!(!is_cached(&EngineSettings { count_fuel: true, ..cached.clone() }), "its machine code differs");
    assert_eq!(Engine::new(cached).unwrap().load(&wasm).unwrap().version(), first.version());
}

#[test]
fn feeds_with_the_same_component_share_its_machine_code() {
    let engine = Engine::new(EngineSettings::default()).unwrap();
    let wasm = shipped();
    let (first, second) = (engine.load(&wasm).unwrap(), engine.load(&wasm).unwrap());
    assert!(Arc::ptr_eq(&first.0, &second.0));
    assert!(!first.has_session());
}

/// Built from `tests/guests/signer` when the contract was 0.1.0.
fn signer_of_0_1() -> Vec<u8> {
    std::fs::read("tests/components/signer-0.1.0.wasm").unwrap()
}

#[tokio::test]
async fn a_plugin_that_was_built_for_0_1_runs_unchanged() {
    let engine = Engine::new(EngineSettings::default()).unwrap();
    let read: crate::ReadSecret = Box::new(|| Ok(b"key".to_vec()));
    let secrets = Arc::new(Secrets::new([("device-key".to_owned(), read)].into()));
    let component = engine.load(&signer_of_0_1()).unwrap();
    assert!(component.has_session() && !component.has_commands());
    let mut plugin = Plugin::new(component, PluginSettings { secrets, ..settings() }, PluginState::default());
    let site = Site { id: "demo".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
    plugin.start(&Arc::new(site), NOW).await.unwrap();
    let endpoint = Endpoint { host: "hub.example".into(), port: 8883 };
    let login =
        plugin.connect(&SignInRequest { endpoint, protocol: Protocol::V311, at: NOW, attempt: 0 }).await.unwrap();
    assert_eq!((login.client_id.as_deref(), login.provisioning), (Some("device-1"), false));
    let Some(Password(token)) = login.password else { panic!("there is no token") };
    assert!(token.starts_with(b"SharedAccessSignature sr="), "{}", String::from_utf8_lossy(&token));
    assert_eq!(plugin.state().get("sign-ins"), Some(&b"1"[..]));
    // It makes a message of each event that it gets, and does not get those that 0.1.0 does not know.
    let (device, channel, reference) = ("battery".into(), "power_kw".into(), String::new());
    let proposal = Proposal { device, channel, value: None, until: None, reference };
    let step = WriteStep { proposed: None, proposer: "operator".into(), proposal, unit: "kW".into(), outcome: None };
    let events = [(7, EventBody::Heartbeat), (8, EventBody::Write(Box::new(step))), (9, EventBody::Heartbeat)]
        .map(|(number, body)| Arc::new(Event { sequence: Sequence(number), at: NOW, body }))
        .map(RecordedEvent::by_wall_clock);
    let processed = plugin.process(&events, Moment::by_wall_clock(NOW)).await.unwrap();
    let topics: Vec<_> = processed.messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["devices/device-1/messages/events/"; 2]);
}

#[test]
fn every_interface_of_wasi_0_3_is_linked() {
    let engine = Engine::new(EngineSettings::default()).unwrap();
    // The texts of the standard, shortened to what needs no concurrency.
    let text = r#"(component
        (import "wasi:cli/environment@0.3.0" (instance
            (export "get-environment" (func (result (list (tuple string string)))))
            (export "get-arguments" (func (result (list string))))
            (export "get-initial-cwd" (func (result (option string))))))
        (import "wasi:cli/exit@0.3.1" (instance
            (export "exit" (func (param "status" (result))))
            (export "exit-with-code" (func (param "status-code" u8)))))
        (import "wasi:cli/terminal-output@0.3.0" (instance $output (export "terminal-output" (type (sub resource)))))
        (alias export $output "terminal-output" (type $terminal))
        (import "wasi:cli/terminal-stdout@0.3.0" (instance
            (alias outer 1 $terminal (type $outer))
            (export "terminal-output" (type $t (eq $outer)))
            (type $own (own $t))
            (export "get-terminal-stdout" (func (result (option $own))))))
        (import "wasi:clocks/monotonic-clock@0.3.0" (instance
            (export "now" (func (result u64)))
            (export "get-resolution" (func (result u64)))))
        (import "wasi:clocks/system-clock@0.3.0" (instance
            (type $record (record (field "seconds" s64) (field "nanoseconds" u32)))
            (export "instant" (type $instant (eq $record)))
            (export "now" (func (result $instant)))
            (export "get-resolution" (func (result u64)))))
        (import "wasi:random/random@0.3.0" (instance
            (export "get-random-bytes" (func (param "max-len" u64) (result (list u8))))
            (export "get-random-u64" (func (result u64)))))
        (import "wasi:random/insecure@0.3.0" (instance
            (export "get-insecure-random-bytes" (func (param "max-len" u64) (result (list u8))))
            (export "get-insecure-random-u64" (func (result u64)))))
        (import "wasi:random/insecure-seed@0.3.0" (instance
            (export "get-insecure-seed" (func (result (tuple u64 u64)))))))"#;
    let component = Component::new(&engine.plain.wasmtime, wat::parse_str(text).unwrap()).unwrap();
    engine.plain.linker.instantiate_pre(&component).map(drop).unwrap();
}

#[test]
fn a_file_that_is_not_a_component_is_refused() {
    let engine = Engine::new(EngineSettings::default()).unwrap();
    let refusal = engine.load(b"hello, world").err().unwrap();
    assert_eq!(refusal, LoadError::Component("is a text file, not a component".to_owned()));
}

#[tokio::test]
async fn a_plugin_runs_where_address_space_is_scarce() {
    let folder = tempfile::tempdir().unwrap();
    let cached = EngineSettings { cache_folder: Some(folder.path().to_owned()), ..EngineSettings::default() };
    let site = Arc::new(Site { id: "demo".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] });
    for address_space in [AddressSpace::Ample, AddressSpace::Scarce] {
        // Each has machine code of its own in the same cache.
        for is_cached in [false, true] {
            let engine = Engine::within(cached.clone(), address_space).unwrap();
            assert_eq!(engine.plain.cached(&digest(&shipped())).is_some(), is_cached);
            let mut plugin = Plugin::new(engine.load(&shipped()).unwrap(), settings(), PluginState::default());
            plugin.start(&site, NOW).await.unwrap();
            let heartbeat = Event { sequence: Sequence(1), at: NOW, body: EventBody::Heartbeat };
            let heartbeat = RecordedEvent::by_wall_clock(Arc::new(heartbeat));
            let processed = plugin.process(&[heartbeat], Moment::by_wall_clock(NOW)).await.unwrap();
            assert_eq!(processed.messages[0].topic, "demo/system/heartbeat");
        }
    }
}

#[tokio::test]
async fn a_plugin_runs_and_its_fuel_is_counted() {
    let engine = Engine::new(EngineSettings { count_fuel: true, ..EngineSettings::default() }).unwrap();
    let mut plugin = Plugin::new(engine.load(&shipped()).unwrap(), settings(), PluginState::default());
    assert!(!plugin.is_running());
    let site = Site { id: "demo".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
    plugin.start(&Arc::new(site), NOW).await.unwrap();
    let fuel_at_start = plugin.fuel_used();
    let heartbeat = Event { sequence: Sequence(1), at: NOW, body: EventBody::Heartbeat };
    let heartbeat = RecordedEvent::by_wall_clock(Arc::new(heartbeat));
    let processed = plugin.process(&[heartbeat], Moment::by_wall_clock(NOW)).await.unwrap();
    assert_eq!(processed.messages[0].topic, "demo/system/heartbeat");
    assert!(fuel_at_start > 0 && plugin.fuel_used() > fuel_at_start);
    assert!(plugin.memory_bytes() > 0);
    plugin.restore(PluginState::default());
    assert!(!plugin.is_running());
}
