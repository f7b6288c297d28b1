//! The built-in plugin as native code, called in the same way as in the sandbox, for comparison.

use bessai_domain::event::{Event, EventBody, RecordedEvent};
use bessai_domain::message::{Message, Qos};
use bessai_domain::site::Site;
use bessai_json::BessaiJson;
use bessai_plugin as sdk;
use bessai_plugin::export::{Slot, configure, process};

/// `bessai-json` without a sandbox.
pub(super) struct NativePlugin {
    config: String,
    slot: Option<Slot<BessaiJson>>,
}

impl NativePlugin {
    pub(super) fn new(config: &str) -> Self {
        Self { config: config.to_owned(), slot: None }
    }

    pub(super) fn start(&mut self, site: &Site) -> Result<(), String> {
        self.slot = Some(configure(&to_sdk_site(site), self.config.clone())?);
        Ok(())
    }

    /// Processes frames; other events are not measured.
    pub(super) fn call(&mut self, events: &[RecordedEvent]) -> Result<Vec<Message>, String> {
        let events: Vec<_> = events.iter().filter_map(|recorded| to_sdk_event(&recorded.event)).collect();
        let messages = process(&mut self.slot, &events).map_err(|failure| format!("failed: {failure:?}"))?;
        Ok(messages.into_iter().map(message).collect())
    }
}

fn to_sdk_event(event: &Event) -> Option<sdk::Event> {
    let EventBody::Frame(frame) = &event.body else { return None };
    let frame =
        sdk::Frame { source: frame.source, values: frame.values.clone(), faults: Vec::new(), texts: Vec::new() };
    let (sequence, at) = (event.sequence.0, event.at.nanos());
    Some(sdk::Event { sequence, at, historical: false, body: sdk::EventBody::Frame(frame) })
}

fn to_sdk_site(site: &Site) -> sdk::Site {
    let device = |name: &str| sdk::Device { name: name.to_owned(), attributes: Vec::new() };
    let sources = site.sources.iter().map(|source| sdk::Source {
        device: source.device.clone(),
        period_ms: 1000,
        channels: source.channels.iter().map(|channel| to_sdk_channel(&channel.name, &channel.unit)).collect(),
        attributes: Vec::new(),
    });
    sdk::Site {
        id: site.id.clone(),
        revision: site.revision,
        devices: site.devices.iter().map(|known| device(&known.name)).collect(),
        sources: sources.collect(),
        attributes: Vec::new(),
    }
}

fn to_sdk_channel(name: &str, unit: &str) -> sdk::Channel {
    let (name, unit, kind) = (name.to_owned(), unit.to_owned(), sdk::ChannelKind::Gauge);
    sdk::Channel { name, unit, kind, writable: false, attributes: Vec::new() }
}

fn message(message: sdk::Message) -> Message {
    Message {
        topic: message.topic,
        payload: message.payload,
        qos: match message.qos {
            sdk::Qos::AtMostOnce => Qos::AtMostOnce,
            sdk::Qos::AtLeastOnce => Qos::AtLeastOnce,
            sdk::Qos::ExactlyOnce => Qos::ExactlyOnce,
        },
        retain: message.retain,
        properties: None,
    }
}
