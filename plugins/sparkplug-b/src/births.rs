//! Topics, and the messages that announce the node and its devices.

use bessai_plugin::{Message, Messages, Qos, Timestamp, state};

use crate::config::Config;
use crate::encode::{DataType, Metric, Payload, Value, millis};
use crate::node::{self, Node};
use crate::{SAFE_ALIAS, SAFETY, SparkplugB, WATCHDOG_ALIAS};

/// The first level of every topic.
const NAMESPACE: &str = "spBv1.0";
/// The metric that pairs a birth with the death of the same session.
const BD_SEQ: &str = "bdSeq";
/// The command that asks for all births again.
pub(crate) const REBIRTH: &str = "Node Control/Rebirth";
/// The names of the watchdog's verdicts by their numbers.
const WATCHDOGS: [&str; 4] = ["absent", "ok", "late", "failed"];

/// The parts of the node's topics.
pub(crate) struct Topics {
    group: String,
    node: String,
}

/// Where the state of a host application is.
pub(crate) fn host_topic(host: &str) -> String {
    format!("{NAMESPACE}/STATE/{host}")
}

impl Topics {
    pub(crate) fn new(config: &Config) -> Self {
        Self { group: config.group_id.clone(), node: config.edge_node_id.clone() }
    }

    /// A message of the node.
    pub(crate) fn node(&self, kind: &str, payload: Vec<u8>) -> Message {
        Message::new(self.commands(kind), payload).with_qos(Qos::AtMostOnce)
    }

    /// A message of a device.
    pub(crate) fn device(&self, kind: &str, device: &str, payload: Vec<u8>) -> Message {
        Message::new(format!("{}/{device}", self.commands(kind)), payload).with_qos(Qos::AtMostOnce)
    }

    /// The last will, and what is published instead of it before an intended sign-off.
    pub(crate) fn death(&self, bd_seq: u8, at: Timestamp) -> Message {
        let mut payload = Payload::new(millis(at));
        payload.metric(&birth_metric(BD_SEQ, at, DataType::Int64, Value::Int64(bd_seq.into())));
        self.node("NDEATH", payload.finish_without_seq()).with_qos(Qos::AtLeastOnce)
    }

    /// The node's topic of this kind, which is also the beginning of those of its devices.
    pub(crate) fn commands(&self, kind: &str) -> String {
        format!("{NAMESPACE}/{}/{kind}/{}", self.group, self.node)
    }
}

fn birth_metric<'a>(name: &'a str, at: Timestamp, data_type: DataType, value: Value<'a>) -> Metric<'a> {
    let (name, data_type) = (Some(name), Some(data_type));
    Metric { name, alias: None, timestamp: millis(at), data_type, is_historical: false, unit: None, value }
}

/// The metrics of a stored verdict.
pub(crate) fn safety_values(verdict: &[u8]) -> [(u64, Value<'static>); 2] {
    let watchdog = verdict.get(1).and_then(|number| WATCHDOGS.get(usize::from(*number)));
    [
        (SAFE_ALIAS, verdict.first().map_or(Value::Null, |safe| Value::Boolean(*safe == 1))),
        (WATCHDOG_ALIAS, watchdog.map_or(Value::Null, |name| Value::String(name))),
    ]
}

impl SparkplugB {
    /// Publishes the birth of the node and of each device that is not offline.
    pub(crate) fn give_birth(&mut self, at: Timestamp, out: &mut Messages) {
        let node = self.node.get_or_insert_default();
        (node.seq, node.born) = (0, self.model.revision);
        let Node { bd_seq, .. } = *node;
        let mut payload = Payload::new(millis(at));
        payload.metric(&birth_metric(BD_SEQ, at, DataType::Int64, Value::Int64(bd_seq.into())));
        payload.metric(&birth_metric(REBIRTH, at, DataType::Boolean, Value::Boolean(false)));
        let verdict = state::get(SAFETY).unwrap_or_default();
        let described = [("Safety/is_safe", DataType::Boolean), ("Safety/watchdog", DataType::String)];
        for ((name, data_type), (alias, value)) in described.into_iter().zip(safety_values(&verdict)) {
            payload.metric(&Metric { alias: Some(alias), ..birth_metric(name, at, data_type, value) });
        }
        let seq = self.next_seq();
        out.push(self.topics.node("NBIRTH", payload.finish(seq)));
        let dead = node::dead();
        for index in 0..self.model.devices.len() {
            if self.model.devices.get(index).is_some_and(|device| !dead.contains(&device.name)) {
                self.device_birth(index, at, out);
            }
        }
    }

    /// Publishes the birth of a device, with the last value of each channel.
    pub(crate) fn device_birth(&mut self, index: usize, at: Timestamp, out: &mut Messages) {
        let seq = self.next_seq();
        let Some(device) = self.model.devices.get(index) else { return };
        let mut payload = Payload::new(millis(at));
        for (alias, name, value) in &device.properties {
            let metric = birth_metric(name, at, DataType::String, Value::String(value));
            payload.metric(&Metric { alias: Some(*alias), ..metric });
        }
        for source in self.model.sources.iter().filter(|source| source.device == index) {
            let last = source.last(self.model.revision);
            for (position, channel) in source.channels.iter().enumerate() {
                let value = channel.value(position, &last);
                let metric = birth_metric(&channel.name, at, channel.data_type, value);
                let timestamp = if last.at == 0 { metric.timestamp } else { millis(last.at) };
                let (alias, unit) = (Some(channel.alias), channel.unit.as_deref());
                payload.metric(&Metric { alias, timestamp, unit, ..metric });
            }
        }
        out.push(self.topics.device("DBIRTH", &device.name, payload.finish(seq)));
    }
}
