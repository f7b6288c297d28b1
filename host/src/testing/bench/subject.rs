//! The ways to run a plugin that a benchmark compares, and the events that it processes.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, RecordedEvent, Sequence};
use bessai_domain::message::Message;
use bessai_domain::ports::Plugin as _;
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};
use bessai_plugin_runtime::{CompiledComponent, LogSink, Plugin};

use crate::testing::native::NativePlugin;
use crate::testing::run_settings::RunSettings;

/// Time of all events: 2025-02-21T15:20:00Z.
const AT: Timestamp = Timestamp::from_nanos(1_740_151_200_000_000_000);

/// A plugin that can be called.
pub(super) enum BenchSubject {
    /// In the sandbox, with the site that it was last started for: like the gateway, a call replaces an instance that has
    /// grown too large.
    Sandboxed(Box<Plugin>, Arc<Site>),
    /// As native code.
    Native(Box<NativePlugin>),
}

impl BenchSubject {
    /// A component in the sandbox.
    pub(super) fn sandboxed(component: CompiledComponent, settings: &RunSettings) -> Self {
        let log = LogSink::Collected(Arc::default());
        let plugin = Plugin::new(component, settings.plugin_settings(log), PluginState::default());
        Self::Sandboxed(Box::new(plugin), Arc::new(site(1)))
    }

    /// Configures the plugin for a site.
    pub(super) async fn start(&mut self, site: &Site) -> Result<(), String> {
        match self {
            Self::Sandboxed(plugin, current) => {
                *current = Arc::new(site.clone());
                plugin.start(current, AT).await.map_err(|error| error.to_string())
            }
            Self::Native(native) => native.start(site),
        }
    }

    /// Processes events in one call.
    pub(super) async fn call(&mut self, events: &[RecordedEvent]) -> Result<Vec<Message>, String> {
        match self {
            Self::Sandboxed(plugin, site) => {
                if !plugin.is_running() {
                    plugin.start(site, AT).await.map_err(|error| error.to_string())?;
                }
                let processed = plugin.process(events, Moment::by_wall_clock(AT)).await;
                processed.map(|processed| processed.messages).map_err(|error| error.to_string())
            }
            Self::Native(native) => native.call(events),
        }
    }

    /// Linear memory in bytes.
    pub(super) fn memory(&self) -> Option<usize> {
        match self {
            Self::Sandboxed(plugin, _) => Some(plugin.memory_bytes()),
            Self::Native(_) => None,
        }
    }
}

/// A site of one device with one source.
pub(super) fn site(channels: usize) -> Site {
    let channel = |index: usize| Channel {
        name: match index {
            0 => "power_kw".into(),
            1 => "soc_pct".into(),
            _ => format!("channel_{index:03}"),
        },
        unit: "kW".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let source = Source {
        device: "battery".into(),
        period: Duration::from_secs(1),
        channels: (0..channels).map(channel).collect(),
        attributes: Vec::new(),
    };
    let device = Device { name: "battery".into(), attributes: Vec::new() };
    Site { id: "SITE-CL-001".into(), revision: 1, devices: vec![device], sources: vec![source], attributes: Vec::new() }
}

/// A reading with one to three decimals, like those of scaled registers.
pub(super) fn event(channels: usize) -> RecordedEvent {
    let value =
        |index: u32| f64::from(index * 137 + 50) / [10.0, 100.0, 1000.0].get(index as usize % 3).unwrap_or(&1.0);
    let values = (0..).map(value).take(channels).collect();
    let frame = Frame { source: 0, values, faults: Vec::new(), texts: Vec::new() };
    let event = Event { sequence: Sequence(1), at: AT, body: EventBody::Frame(frame) };
    RecordedEvent::by_wall_clock(Arc::new(event))
}
