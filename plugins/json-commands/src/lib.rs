//! Set-points as JSON: a customer publishes `{"value": 20.0, "until_s": 60, "ref": "a1"}` on a request topic, and gets
//! an answer with the outcome on the response topic.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic))]

use bessai_plugin::{
    Actions, Commands, Event, Failure, Inbound, Message, Messages, Outcome, Plugin, Properties, Proposal, Site,
    Subscription, Timestamp, Value, Write, json, log, state,
};

mod command;
mod config;
#[cfg(test)]
mod tests;

use config::Config;

/// The state's key with the number of commands so far.
const COUNT: &str = "count";
/// Channels that the host sets on every device that it controls, though no source reads them.
const SET_ONLY: [&str; 3] = ["set_point_kw", "charge_limit_kw", "discharge_limit_kw"];
/// The state's key with what the references of this feed's proposals begin with.
const NONCE: &str = "nonce";
/// Commands whose outcome is awaited. A device may take 30 s to show a value, and the host hands over 50 messages a second, after
/// a burst of 100: more are never open.
const OPEN: u64 = 2048;

/// Topics, and the channels that exist.
pub struct JsonCommands {
    config: Config,
    channels: Vec<(String, String)>,
}

/// Where an answer goes, and what it repeats.
struct Return {
    topic: String,
    reference: Option<String>,
    correlation: Option<Vec<u8>>,
}

impl Plugin for JsonCommands {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let channels = site
            .sources
            .iter()
            .flat_map(|source| source.channels.iter().map(|channel| (source.device.clone(), channel.name.clone())));
        Ok(Self { config: Config::read(site, config)?, channels: channels.collect() })
    }

    /// Outcomes of this feed's own proposals: the first one, and those that follow, such as the end of the time.
    fn write(&mut self, _: &Event, write: &Write, out: &mut Messages) -> Result<(), Failure> {
        let Proposal { device, channel, reference, .. } = &write.proposal;
        let (Some(topic), Some(outcome)) = (self.config.outcome_topic_of(device, channel), &write.outcome) else {
            return Ok(());
        };
        let Some(nonce) = nonce() else { return Ok(()) };
        let Some((_, own)) = reference.strip_prefix(&nonce).and_then(|rest| rest.split_once(':')) else {
            return Ok(());
        };
        let reference = Some(own.to_owned()).filter(|own| !own.is_empty());
        out.push(Return { topic, reference, correlation: None }.outcome(outcome));
        Ok(())
    }
}

impl Commands for JsonCommands {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        vec![Subscription::new(self.config.filter())]
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        let Some((device, channel)) = self.config.names_of(&message.topic) else {
            return Err(Failure::Reject(format!("{} is not a request topic", message.topic)));
        };
        // Deleting a retained message publishes an empty one.
        if message.payload.is_empty() {
            return Ok(());
        }
        let (reference, command) = command::read(&message.payload);
        let answer = self.answer_to(message, device, channel, reference);
        let refusal = refusal_of_age(message).or_else(|| self.unknown(device, channel));
        let command = match refusal.map_or(command, Err) {
            Ok(command) => command,
            Err(reason) => {
                log::warn(&format!("a command on {} is refused: {reason}", message.topic));
                out.publish(answer.message("refused", None, Some(&reason)));
                return Ok(());
            }
        };
        let reference = match remember(&answer, self.nonce(message)?) {
            Ok(reference) => reference,
            Err(_) => {
                let reason = "too many commands wait for their outcome; send it again later";
                out.publish(answer.message("refused", None, Some(reason)));
                return Ok(());
            }
        };
        out.write(Proposal {
            device: device.into(),
            channel: channel.into(),
            value: command.value,
            until: command.hold.map(|hold| message.at.saturating_add(hold)),
            reference,
        });
        Ok(())
    }

    fn wrote(&mut self, _: Timestamp, reference: &str, outcome: &Outcome, out: &mut Messages) -> Result<(), Failure> {
        let Some(answer) = recall(reference) else {
            log::warn(&format!("the outcome of {reference:?} came too late to be answered"));
            return Ok(());
        };
        out.push(answer.outcome(outcome));
        Ok(())
    }
}

bessai_plugin::export!(JsonCommands, commands);

impl JsonCommands {
    /// MQTT 5 names where an answer is expected; otherwise it goes to the topic of the settings.
    fn answer_to(&self, message: &Inbound, device: &str, channel: &str, reference: Option<String>) -> Return {
        let properties = message.properties.as_ref();
        let asked = properties.and_then(|properties| properties.response_topic.clone());
        Return {
            topic: asked.unwrap_or_else(|| self.config.response_topic_of(device, channel)),
            reference,
            correlation: properties.and_then(|properties| properties.correlation_data.clone()),
        }
    }

    /// The first part of this feed's references, which distinguishes its events from those of other feeds: when its first
    /// command arrived. Empty if no outcomes are published.
    fn nonce(&self, message: &Inbound) -> Result<String, Failure> {
        if self.config.outcome_topic_of("", "").is_none() {
            return Ok(String::new());
        }
        if let Some(nonce) = nonce() {
            return Ok(nonce);
        }
        let nonce = format!("{:x}-", message.at);
        state::set(NONCE, nonce.as_bytes())?;
        Ok(nonce)
    }

    fn unknown(&self, device: &str, channel: &str) -> Option<String> {
        let mut of_device = self.channels.iter().filter(|(name, _)| name == device).peekable();
        if of_device.peek().is_none() {
            return Some(format!("the site has no device {device:?}, or this feed has no right to read it"));
        }
        let is_known = SET_ONLY.contains(&channel) || of_device.any(|(_, name)| name == channel);
        (!is_known).then(|| format!("{device} has no channel {channel:?}"))
    }
}

/// A set-point must never be applied later than it was meant.
fn refusal_of_age(message: &Inbound) -> Option<String> {
    if message.retained {
        Some("the command is retained, so it may be of any age: publish it without the retain flag".into())
    } else if message.historical {
        Some("the command is old: the broker or the gateway kept it for a while; publish it again".into())
    } else {
        None
    }
}

/// What the references of this feed begin with, once a command has come.
fn nonce() -> Option<String> {
    String::from_utf8(state::get(NONCE)?).ok()
}

/// Keeps where the outcome goes; returns the proposal's reference: the nonce, its number, and the command's own reference.
fn remember(answer: &Return, nonce: String) -> Result<String, Failure> {
    let stored = state::get(COUNT).and_then(|count| String::from_utf8(count).ok()?.parse::<u64>().ok());
    let number = stored.map_or(1, |count| count.wrapping_add(1));
    state::set(COUNT, number.to_string().as_bytes())?;
    let mut bytes = number.to_le_bytes().to_vec();
    let reference = answer.reference.as_deref();
    let parts = [Some(answer.topic.as_bytes()), reference.map(str::as_bytes), answer.correlation.as_deref()];
    for part in parts {
        // A length of its own stands for none.
        let length = part.map_or(u32::MAX, |part| u32::try_from(part.len()).unwrap_or(0));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part.unwrap_or_default());
    }
    state::set(&open_key(number), &bytes)?;
    Ok(format!("{nonce}{number}:{}", reference.unwrap_or_default()))
}

/// Where the outcome of a proposal goes; the next one with its place overwrites it.
fn recall(reference: &str) -> Option<Return> {
    let number = reference.split_once(':')?.0;
    let number: u64 = number.rsplit_once('-').map_or(number, |(_, number)| number).parse().ok()?;
    let key = open_key(number);
    let bytes = state::get(&key)?;
    let (stored, mut rest) = bytes.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*stored) != number {
        return None;
    }
    state::delete(&key);
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let length = if length == u32::MAX { None } else { usize::try_from(length).ok() };
        let (part, after) = after.split_at_checked(length.unwrap_or(0))?;
        rest = after;
        Some(length.map(|_| part.to_vec()))
    };
    let (topic, reference, correlation) = (part()??, part()?, part()?);
    let reference = reference.and_then(|reference| String::from_utf8(reference).ok());
    Some(Return { topic: String::from_utf8(topic).ok()?, reference, correlation })
}

fn open_key(number: u64) -> String {
    format!("open/{}", number % OPEN)
}

impl Return {
    fn outcome(&self, outcome: &Outcome) -> Message {
        let (word, value, reason) = match outcome {
            Outcome::Verified(value) => ("verified", Some(value), None),
            Outcome::Acknowledged => ("acknowledged", None, None),
            Outcome::Refused(reason) => ("refused", None, Some(reason.as_str())),
            Outcome::Failed(reason) => ("failed", None, Some(reason.as_str())),
            Outcome::Superseded(by) => ("superseded", None, Some(by.as_str())),
            Outcome::Expired => ("expired", None, None),
            Outcome::Released(reason) => ("released", None, Some(reason.as_str())),
        };
        self.message(word, value, reason)
    }

    fn message(&self, outcome: &str, value: Option<&Value>, reason: Option<&str>) -> Message {
        let mut payload = json::Writer::default();
        match &self.reference {
            Some(reference) => payload.text(&json::Key::new("ref"), reference),
            None => payload.null(&json::Key::new("ref")),
        }
        payload.text(&json::Key::new("outcome"), outcome);
        match value {
            Some(Value::Number(number)) => payload.number(&json::Key::new("value"), *number),
            Some(Value::Text(text)) => payload.text(&json::Key::new("value"), text),
            None => {}
        }
        if let Some(reason) = reason {
            payload.text(&json::Key::new("reason"), reason);
        }
        let properties = Properties {
            content_type: Some("application/json".into()),
            expiry_s: None,
            response_topic: None,
            correlation_data: self.correlation.clone(),
            payload_utf8: true,
            user: Vec::new(),
        };
        Message::new(&self.topic, payload.finish()).with_properties(properties)
    }
}
