//! A site as a Sparkplug B 3.0 edge node: births, data and deaths of the node and its devices, and their commands.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic))]

use bessai_plugin::{
    Actions, Commands, DeviceStatus, Event, Failure, Frame, Inbound, Login, Messages, Outcome, Plugin, Protocol,
    Request, Safety, SignsIn, Site, Subscription, Timestamp, Watchdog, Welcome, log, state,
};

mod births;
mod config;
mod decode;
mod encode;
mod incoming;
mod model;
mod node;
mod proto;
#[cfg(test)]
mod tests;

use births::Topics;
use config::Config;
use encode::{Metric, Payload, Value, millis};
use model::Model;
use node::{Host, Node};

/// The state's key of the last safety verdict: whether it is safe, and the watchdog.
const SAFETY: &str = "safety";
/// Aliases of the node's own metrics, below those of the devices.
const SAFE_ALIAS: u64 = 1;
const WATCHDOG_ALIAS: u64 = 2;

/// With MQTT 5 the specification wants a DISCONNECT "with will", which the host does not send; with 3.1.1 it wants an NDEATH
/// before the DISCONNECT.
const PROTOCOL: Protocol = Protocol::V311;

/// The edge node.
pub struct SparkplugB {
    config: Config,
    topics: Topics,
    model: Model,
    /// During a call, what is stored at its end.
    node: Option<Node>,
}

impl Plugin for SparkplugB {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let config = Config::read(site, config)?;
        Ok(Self { topics: Topics::new(&config), config, model: Model::new(site), node: None })
    }

    fn site(&mut self, site: &Site, _config: &str) -> Result<(), String> {
        self.model = Model::new(site);
        Ok(())
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let published = self.publish_frame(event, frame, out);
        self.forget_if_failed(published)
    }

    fn safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        let published = self.publish_safety(event, safety, out);
        self.forget_if_failed(published)
    }

    fn device(&mut self, event: &Event, status: &DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        let published = self.publish_status(event, status, out);
        self.forget_if_failed(published)
    }

    fn call_ended(&mut self, _out: &mut Messages) -> Result<(), Failure> {
        self.node.take().map_or(Ok(()), |node| node.store())
    }
}

impl SignsIn for SparkplugB {
    fn connect(&mut self, request: &Request) -> Result<Login, String> {
        let before = Node::load();
        let bd_seq = before.map_or(0, |node| node.bd_seq.wrapping_add(1));
        let host_at = before.map_or(0, |node| node.host_at);
        let node = Node { bd_seq, seq: 0, host: Host::Offline, host_at, born: 0 };
        node.store().map_err(|_| "the plugin's state is full")?;
        self.node = None;
        let (protocol, will) = (Some(PROTOCOL), Some(self.topics.death(bd_seq, request.at)));
        Ok(Login { protocol, clean_start: Some(true), session_expiry_s: Some(0), will, ..Login::default() })
    }

    fn connected(&mut self, welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        let node = Node::load().unwrap_or_default();
        self.node = Some(node);
        if self.config.primary_host.is_none() || node.host == Host::Online {
            self.give_birth(welcome.at, out);
        }
        self.call_ended(out)
    }

    fn closing(&mut self, at: Timestamp, out: &mut Messages) {
        out.push(self.topics.death(Node::load().unwrap_or_default().bd_seq, at));
    }
}

impl Commands for SparkplugB {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        let mut filters = vec![self.topics.commands("NCMD"), format!("{}/+", self.topics.commands("DCMD"))];
        filters.extend(self.config.primary_host.as_deref().map(births::host_topic));
        filters.into_iter().map(Subscription::new).collect()
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        self.received(message, out)
    }

    fn wrote(&mut self, _at: Timestamp, reference: &str, outcome: &Outcome, _: &mut Messages) -> Result<(), Failure> {
        match outcome {
            Outcome::Refused(reason) => log::warn(&format!("a DCMD for {reference} was refused: {reason}")),
            Outcome::Failed(reason) => log::warn(&format!("a DCMD for {reference} failed: {reason}")),
            // The device's next reading shows the value.
            _ => {}
        }
        Ok(())
    }
}

impl SparkplugB {
    fn publish_frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        self.begin(event.at, out)?;
        let source = usize::try_from(frame.source).ok().and_then(|index| self.model.sources.get(index));
        let Some(source) = source else {
            return Err(Failure::Reject(format!("the site has no source {}", frame.source)));
        };
        let Some(device) = self.model.devices.get(source.device).map(|device| device.name.clone()) else {
            return Ok(());
        };
        let last = source.last(self.model.revision);
        let values = source.read(event.at, frame, &last);
        let mut payload = Payload::new(millis(event.at));
        let mut is_empty = true;
        for (index, channel) in source.channels.iter().enumerate() {
            let value = channel.value(index, &values);
            // A backlog is complete: what the host shows now is not what it is compared with.
            if event.historical && value == Value::Null || !event.historical && value == channel.value(index, &last) {
                continue;
            }
            is_empty = false;
            let (timestamp, is_historical) = (millis(event.at), event.historical);
            let (name, alias, data_type, unit) = (None, Some(channel.alias), None, None);
            payload.metric(&Metric { name, alias, timestamp, data_type, is_historical, unit, value });
        }
        if is_empty {
            return Ok(());
        }
        let has_value = values.numbers.iter().any(|value| value.is_finite()) || !values.texts.is_empty();
        if !event.historical {
            source.store(&values, self.model.revision)?;
        }
        if node::dead().contains(&device) {
            if !has_value {
                return Ok(());
            }
            // It answers before its status says so.
            self.device_is_back(&device, event.at, out)?;
        }
        let seq = self.next_seq();
        out.push(self.topics.device("DDATA", &device, payload.finish(seq)));
        Ok(())
    }

    fn publish_safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        self.begin(event.at, out)?;
        let verdict = [u8::from(safety.is_safe), watchdog_number(safety.watchdog)];
        if !event.historical {
            if state::get(SAFETY).as_deref() == Some(&verdict) {
                return Ok(());
            }
            state::set(SAFETY, &verdict)?;
        }
        let mut payload = Payload::new(millis(event.at));
        for (alias, value) in births::safety_values(&verdict) {
            let (timestamp, is_historical, alias) = (millis(event.at), event.historical, Some(alias));
            let (name, data_type, unit) = (None, None, None);
            payload.metric(&Metric { name, alias, timestamp, data_type, is_historical, unit, value });
        }
        let seq = self.next_seq();
        out.push(self.topics.node("NDATA", payload.finish(seq)));
        Ok(())
    }

    fn publish_status(&mut self, event: &Event, status: &DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        self.begin(event.at, out)?;
        let was_dead = node::dead().contains(&status.device);
        if self.model.device(&status.device).is_none() || was_dead != status.online {
            return Ok(());
        }
        if status.online {
            return self.device_is_back(&status.device, event.at, out);
        }
        node::set_dead(&status.device, true)?;
        let seq = self.next_seq();
        out.push(self.topics.device("DDEATH", &status.device, Payload::new(millis(event.at)).finish(seq)));
        Ok(())
    }

    /// What a failed call has counted is not published, so the next call begins with the stored numbers.
    fn forget_if_failed(&mut self, published: Result<(), Failure>) -> Result<(), Failure> {
        if published.is_err() {
            self.node = None;
        }
        published
    }

    /// Every call that publishes: the node is born before its data, and nothing is published without the primary host.
    fn begin(&mut self, at: Timestamp, out: &mut Messages) -> Result<(), Failure> {
        let node = *self.node.get_or_insert_with(|| Node::load().unwrap_or_default());
        if let Some(host) = self.config.primary_host.as_ref().filter(|_| node.host != Host::Online) {
            self.node = None;
            return Err(Failure::Retry(format!("the primary host {host:?} is not online: no STATE message says so")));
        }
        if node.born != self.model.revision {
            self.give_birth(at, out);
        }
        Ok(())
    }

    fn next_seq(&mut self) -> u8 {
        self.node.get_or_insert_default().next_seq()
    }

    fn device_is_back(&mut self, device: &str, at: Timestamp, out: &mut Messages) -> Result<(), Failure> {
        node::set_dead(device, false)?;
        if let Some(index) = self.model.device(device) {
            self.device_birth(index, at, out);
        }
        Ok(())
    }
}

bessai_plugin::export!(SparkplugB, session, commands);

/// Stored, and the index of its name.
fn watchdog_number(watchdog: Watchdog) -> u8 {
    match watchdog {
        Watchdog::Absent => 0,
        Watchdog::Ok => 1,
        Watchdog::Late => 2,
        Watchdog::Failed => 3,
    }
}
