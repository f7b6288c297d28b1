//! Messages from the broker: commands to the node and its devices, and the state of the primary host.

use bessai_plugin::json::{self, Value};
use bessai_plugin::{Actions, Failure, Inbound, Messages, Proposal, log};

use crate::SparkplugB;
use crate::births::{self, REBIRTH};
use crate::decode;
use crate::node::{Host, Node};
use crate::proto::Metric;

impl SparkplugB {
    pub(crate) fn received(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        if self.config.primary_host.as_deref().is_some_and(|host| births::host_topic(host) == message.topic) {
            return self.host_state(message, out);
        }
        if message.retained || message.historical {
            return Err(Failure::Reject(format!("a command on {} may be old: it is ignored", message.topic)));
        }
        let Some(metrics) = decode::metrics(&message.payload) else {
            return Err(Failure::Reject(format!("what arrived on {} is not a Sparkplug payload", message.topic)));
        };
        if message.topic == self.topics.commands("NCMD") {
            return self.node_command(&metrics, message, out);
        }
        let device = message.topic.strip_prefix(&self.topics.commands("DCMD")).and_then(|rest| rest.strip_prefix('/'));
        let known = device.and_then(|device| Some((device, self.model.device(device)?)));
        let Some((device, index)) = known else {
            return Err(Failure::Reject(format!("a command on {} is for no device of this site", message.topic)));
        };
        for metric in &metrics {
            match self.proposal(device, index, metric) {
                Ok(proposal) => out.write(proposal),
                Err(reason) => log::warn(&format!("a metric of a command on {} is ignored: {reason}", message.topic)),
            }
        }
        Ok(())
    }

    fn node_command(&mut self, metrics: &[Metric], message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        for metric in metrics {
            match metric.name.as_deref() {
                Some(REBIRTH) if metric.is_true() => {
                    self.publish_births(message.at, out)?;
                }
                // False asks for nothing.
                Some(REBIRTH) => {}
                name => {
                    let name = name.unwrap_or("without a name");
                    log::warn(&format!("a metric of a command to the node is ignored: {name} cannot be written"));
                }
            }
        }
        Ok(())
    }

    fn publish_births(&mut self, at: u64, out: &mut Actions) -> Result<(), Failure> {
        let mut births = Messages::new();
        let node = Node::load().unwrap_or_default();
        if self.config.primary_host.is_some() && node.host != Host::Online {
            return Ok(());
        }
        self.node = Some(node);
        self.give_birth(at, &mut births);
        births.into_iter().for_each(|birth| out.publish(birth));
        self.node.take().map_or(Ok(()), |node| node.store())
    }

    fn proposal(&self, device: &str, index: usize, metric: &Metric) -> Result<Proposal, String> {
        let named = || metric.name.clone().unwrap_or_else(|| format!("alias {}", metric.alias.unwrap_or(0)));
        let channel = self.model.channel(index, metric.name.as_deref(), metric.alias);
        let channel = channel.ok_or_else(|| format!("{device} has no metric {}", named()))?;
        let value = metric.wanted(channel.data_type as u32);
        let value = value.map_err(|reason| format!("{device}/{}: {reason}", channel.name))?;
        let reference = format!("{device}/{}", channel.name);
        Ok(Proposal { device: device.into(), channel: channel.name.clone(), value, until: None, reference })
    }

    /// A STATE message. One that is older than the newest says nothing.
    fn host_state(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        let (online, at) = host_state(&message.payload).ok_or_else(|| {
            Failure::Reject(format!("{}: the payload is not {{\"online\":…,\"timestamp\":…}}", message.topic))
        })?;
        let mut node = Node::load().unwrap_or_default();
        if at < node.host_at {
            log::warn(&format!(
                "{}: the message of {at} is older than that of {}: it is ignored; the host's clock was set back, or it sends a will late",
                message.topic, node.host_at
            ));
            return Ok(());
        }
        let before = node.host;
        node.host_at = at;
        node.host = match (before, online) {
            (Host::Offline | Host::Online, true) => Host::Online,
            (Host::Offline, false) => Host::Offline,
            (Host::Online | Host::Left, false) | (Host::Left, true) => Host::Left,
        };
        node.store()?;
        match (before, node.host) {
            (Host::Offline, Host::Online) => self.publish_births(message.at, out),
            (Host::Online, Host::Left) => {
                log::warn("the primary host is offline: the node signs off and waits for it");
                out.publish(self.topics.death(node.bd_seq, message.at));
                out.sign_in_again();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the host is online, and since when in milliseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds fit into 53 bits")]
fn host_state(payload: &[u8]) -> Option<(bool, u64)> {
    let Ok(Value::Table(members)) = json::read(std::str::from_utf8(payload).ok()?) else { return None };
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    match (member("online"), member("timestamp")) {
        (Some(Value::Boolean(online)), Some(Value::Number(at))) if *at >= 0.0 => Some((*online, *at as u64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_host() {
        let check = |payload: &str, expected| assert_eq!(host_state(payload.as_bytes()), expected, "{payload}");
        check(r#"{"online":true,"timestamp":1486144502122}"#, Some((true, 1_486_144_502_122)));
        check(r#"{"timestamp":5,"online":false}"#, Some((false, 5)));
        check("ONLINE", None);
        check(r#"{"online":"true","timestamp":5}"#, None);
        check(r#"{"online":true}"#, None);
        check(r#"{"online":true,"timestamp":-1}"#, None);
    }
}
