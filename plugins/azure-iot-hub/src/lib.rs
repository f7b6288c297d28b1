//! Azure IoT Hub: signs in with tokens of its own or a certificate, publishes readings one by one or in batches, answers
//! direct methods and messages from the cloud, keeps the twin, and finds its hub by the Device Provisioning Service.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

use bessai_plugin::{DeviceStatus, Event, Failure, Frame, Message, Messages, Plugin, Site, Timestamp, state};

mod batch;
mod commands;
mod config;
mod login;
mod provisioning;
mod readings;
mod token;
mod topics;
mod twin;

use batch::Batches;
use config::{Config, Format};
use readings::Sources;
use twin::Selection;

/// What the gateway calls itself at the hub.
pub(crate) const AGENT: &str = concat!("bessai-edge/", env!("CARGO_PKG_VERSION"));
/// The state's key with the time of each source's last reading, if they are thinned.
const SENT: &str = "sent";
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// The largest message that a hub takes, payload and properties.
const MOST_MESSAGE_BYTES: usize = 262_144;
/// So that the hub's routes can query the payload.
const SYSTEM: [(&str, &str); 2] = [("$.ct", "application/json"), ("$.ce", "utf-8")];

/// A device of a hub.
pub struct AzureIotHub {
    pub(crate) config: Config,
    pub(crate) site: Site,
    pub(crate) selection: Selection,
    sources: Sources,
    batches: Batches,
    /// The time of each source's last reading.
    sent: Vec<Timestamp>,
    is_sent_stored: bool,
    /// The topic of readings, while the device is known.
    topic: Option<String>,
    /// Bytes of the topic's properties, which are billed as the payload is.
    properties_bytes: usize,
}

impl Plugin for AzureIotHub {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let config = Config::read(config)?;
        let selection = Selection::current(&config);
        let sent = state::get(SENT).and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
        Ok(Self {
            sources: Sources::of_site(site, selection.channels.as_deref()),
            site: site.clone(),
            selection,
            batches: Batches::load(),
            sent: sent.split(',').filter_map(|at| at.parse().ok()).collect(),
            is_sent_stored: true,
            topic: None,
            properties_bytes: topics::properties(&config.properties, &SYSTEM).len(),
            config,
        })
    }

    fn site(&mut self, site: &Site, _config: &str) -> Result<(), String> {
        self.site = site.clone();
        self.select();
        Ok(())
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        self.send_aged(event, out)?;
        if !self.is_due(event, frame) {
            return Ok(());
        }
        if self.config.format == Format::Readings {
            if let Some(payload) = self.sources.object(event, frame) {
                self.check_size(payload.len())?;
                self.publish(payload, out)?;
            }
            return Ok(());
        }
        let limit = self.config.batch_bytes.saturating_sub(self.properties_bytes);
        if let Some((header, row)) = self.sources.row(event, frame) {
            self.check_size(header.len() + row.len() + batch::END.len())?;
            for payload in self.batches.add(event.at, header, &row, limit, event.historical) {
                self.publish(payload, out)?;
            }
        }
        Ok(())
    }

    fn device(&mut self, _event: &Event, status: &DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        twin::note(status);
        twin::report(&self.site, &self.selection, out);
        Ok(())
    }

    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        twin::heartbeat(&self.site, &self.selection, out);
        self.send_aged(event, out)
    }

    fn call_ended(&mut self, out: &mut Messages) -> Result<(), Failure> {
        for payload in self.batches.call_ended()? {
            self.publish(payload, out)?;
        }
        if !self.is_sent_stored {
            let sent: Vec<String> = self.sent.iter().map(ToString::to_string).collect();
            state::set(SENT, sent.join(",").as_bytes())?;
            self.is_sent_stored = true;
        }
        Ok(())
    }
}

impl AzureIotHub {
    /// The device's name at the hub: that of the settings, or the assigned one.
    pub(crate) fn device_id(&self) -> Option<String> {
        let assigned = || provisioning::assigned().map(|assigned| assigned.device);
        self.config.device_id.clone().or_else(assigned)
    }

    /// Applies what the hub desires.
    pub(crate) fn select(&mut self) {
        self.selection = Selection::current(&self.config);
        self.sources = Sources::of_site(&self.site, self.selection.channels.as_deref());
    }

    /// The next session may be that of another device.
    pub(crate) fn forget_topic(&mut self) {
        self.topic = None;
    }

    fn topic(&mut self) -> Result<&str, Failure> {
        if self.topic.is_none() {
            let device = self.device_id().ok_or_else(|| Failure::Retry("no device is assigned yet".into()))?;
            self.topic = Some(topics::telemetry(&device, &self.config.properties, &SYSTEM));
        }
        Ok(self.topic.as_deref().unwrap_or_default())
    }

    /// Sets a reading aside that no hub takes, before the hub closes the connection over it.
    fn check_size(&self, payload_bytes: usize) -> Result<(), Failure> {
        let size = payload_bytes + self.properties_bytes;
        if size <= MOST_MESSAGE_BYTES {
            return Ok(());
        }
        Err(Failure::Reject(format!(
            "the reading has {size} bytes with its properties, and IoT Hub takes {MOST_MESSAGE_BYTES}: choose fewer \
             channels in config.channels"
        )))
    }

    fn publish(&mut self, payload: Vec<u8>, out: &mut Messages) -> Result<(), Failure> {
        out.push(Message::new(self.topic()?, payload));
        Ok(())
    }

    /// Sends batches that have waited long enough. Late events do not: a second instance that delivers the backlog begins
    /// with a copy of the open batches, which must be sent once.
    fn send_aged(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        if event.historical {
            return Ok(());
        }
        for payload in self.batches.aged(event.at, self.config.batch_age_s) {
            self.publish(payload, out)?;
        }
        Ok(())
    }

    /// Whether this is the first reading of its source in its interval.
    fn is_due(&mut self, event: &Event, frame: &Frame) -> bool {
        let Some(interval) = self.selection.interval_s.map(|seconds| seconds * SECOND) else { return true };
        let Ok(source) = usize::try_from(frame.source) else { return false };
        if self.sent.len() <= source {
            self.sent.resize(source + 1, 0);
        }
        let Some(last) = self.sent.get_mut(source) else { return false };
        if event.at / interval == *last / interval {
            return false;
        }
        *last = event.at;
        self.is_sent_stored = false;
        true
    }
}

bessai_plugin::export!(AzureIotHub, session, commands);
