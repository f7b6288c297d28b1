//! Runs a plugin without the gateway: loads a component, configures it for a small site, and prints its messages for three
//! events.
//!
//! `cargo run -p bessai-plugin-runtime --example embed [component.wasm]`, in the root of the checkout

#![allow(clippy::disallowed_methods, reason = "nothing else runs while the file is read")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, RecordedEvent, Sequence};
use bessai_domain::ports::Plugin as _;
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};
use bessai_plugin_runtime::{
    CompileIn, DEFAULT_MEMORY_BYTES, Engine, EngineSettings, LogSink, Plugin, PluginSettings, Secrets,
};

/// The plugin that the gateway ships; `scripts/build` makes it.
const SHIPPED: &str = "dist/plugins/bessai-json.wasm";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| SHIPPED.to_owned());
    let wasm = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;

    let engine = Engine::new(EngineSettings { compile_in: CompileIn::ThisProcess, ..EngineSettings::default() })?;
    let component = engine.load(&wasm).map_err(|error| format!("{path} {error}"))?;
    let settings = PluginSettings {
        feed: "example".to_owned(),
        config_json: "{}".to_owned(),
        write: Vec::new(),
        secrets: Arc::new(Secrets::default()),
        memory_bytes: DEFAULT_MEMORY_BYTES,
        call_limit: Duration::from_secs(1),
        log: LogSink::default(),
        metrics: Arc::default(),
    };
    let mut plugin = Plugin::new(component, settings, PluginState::default());

    let now = Moment::by_wall_clock(Timestamp::from_nanos(1_767_225_600_000_000_000));
    let site = Arc::new(site());
    plugin.start(&site, now.wall).await.map_err(|error| format!("{path} {error}"))?;
    let frame = Frame { source: 0, values: vec![55.5, -12.25], faults: Vec::new(), texts: Vec::new() };
    let bodies = [EventBody::Site(site), EventBody::Frame(frame), EventBody::Heartbeat];
    for (sequence, body) in (1..).zip(bodies) {
        let event = Arc::new(Event { sequence: Sequence(sequence), at: now.wall, body });
        let event = RecordedEvent::by_wall_clock(event);
        for message in plugin.process(&[event], now).await?.messages {
            println!("event {sequence}: {} {}", message.topic, String::from_utf8_lossy(&message.payload));
        }
    }
    Ok(())
}

/// A battery with two channels, read once a second.
fn site() -> Site {
    let channel = |name: &str, unit: &str| Channel {
        name: name.to_owned(),
        unit: unit.to_owned(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    Site {
        id: "demo".to_owned(),
        revision: 1,
        devices: vec![Device { name: "battery".to_owned(), attributes: Vec::new() }],
        sources: vec![Source {
            device: "battery".to_owned(),
            period: Duration::from_secs(1),
            channels: Arc::from([channel("soc_pct", "%"), channel("power_kw", "kW")]),
            attributes: Vec::new(),
        }],
        attributes: Vec::new(),
    }
}
