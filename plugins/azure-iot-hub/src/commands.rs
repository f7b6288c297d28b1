//! Direct methods, messages from the cloud, and what the hub says about the twin.

use bessai_plugin::json::{self, Value as Json};
use bessai_plugin::{
    Actions, Commands, Failure, Inbound, Message, Messages, Outcome, Proposal, Subscription, Timestamp, Value, log,
};

use crate::topics::{self, Arrived};
use crate::{AzureIotHub, provisioning, twin};

/// Precedes the request id of a method in a proposal's reference.
const METHOD: &str = "method/";
/// Precedes the id of a message from the cloud in a proposal's reference.
const MESSAGE: &str = "message/";
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// The methods that are answered.
const METHODS: &str = "status, write";

impl Commands for AzureIotHub {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        if self.provisioning_in_progress().is_some() {
            return vec![Subscription::new("$dps/registrations/res/#")];
        }
        let device = self.device_id().unwrap_or_default();
        let filters = [
            "$iothub/twin/res/#".to_owned(),
            "$iothub/twin/PATCH/properties/desired/#".into(),
            "$iothub/methods/POST/#".into(),
            format!("devices/{device}/messages/devicebound/#"),
        ];
        filters.into_iter().map(Subscription::new).collect()
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        let device = self.device_id().unwrap_or_default();
        let payload = String::from_utf8_lossy(&message.payload);
        match topics::arrived(&message.topic, &device) {
            None => return Err(Failure::Reject(format!("no message of an IoT Hub arrives on {}", message.topic))),
            Some(Arrived::Registration { status, retry_after_s }) => {
                return self.registration(status, retry_after_s, &message.payload, out);
            }
            Some(Arrived::Method { name, rid }) => self.method(&name, &rid, &payload, message.at, out),
            Some(Arrived::Message { id }) => self.message(&id, &payload, message, out),
            Some(Arrived::Desired) => self.desired(&payload, false, out),
            Some(Arrived::TwinAnswer { status, rid }) => match (status, rid.as_str()) {
                (200, twin::READ) => self.desired(&payload, true, out),
                (200..=299, _) => {}
                _ => twin::failed(&rid, status, &payload),
            },
        }
        Ok(())
    }

    fn wrote(&mut self, _at: Timestamp, reference: &str, outcome: &Outcome, out: &mut Messages) -> Result<(), Failure> {
        let (status, payload) = answer(outcome);
        if let Some(rid) = reference.strip_prefix(METHOD) {
            out.push(response(rid, status, payload));
        } else if let Some(id) = reference.strip_prefix(MESSAGE) {
            out.push(self.reply(id, payload));
        }
        Ok(())
    }
}

impl AzureIotHub {
    fn registration(&self, status: u16, retry_after_s: u64, payload: &[u8], out: &mut Actions) -> Result<(), Failure> {
        let Some(registration) = self.provisioning_in_progress() else { return Ok(()) };
        match provisioning::answered(status, retry_after_s, payload, &registration.registration_id)? {
            provisioning::Next::Ask(message) => out.publish(message),
            provisioning::Next::SignIn => out.sign_in_again(),
            provisioning::Next::GiveUp => {}
        }
        Ok(())
    }

    fn method(&self, name: &str, rid: &str, payload: &str, at: Timestamp, out: &mut Actions) {
        match name {
            "status" => out.publish(response(rid, 200, twin::reported(&self.site, &self.selection))),
            "write" => match proposal(payload, at, format!("{METHOD}{rid}")) {
                Ok(proposal) => out.write(proposal),
                Err(why) => out.publish(response(rid, 400, refusal("refused", &why))),
            },
            _ => {
                let why = format!("there is no method {name:?}: call one of {METHODS}");
                out.publish(response(rid, 404, refusal("refused", &why)));
            }
        }
    }

    /// A message from the cloud is a set-point, too; unlike a method it may have waited at the hub for days.
    fn message(&self, id: &str, payload: &str, message: &Inbound, out: &mut Actions) {
        let proposed = match message.historical {
            true => {
                Err("the message may be old: it waited at the hub; send it again while the gateway is connected".into())
            }
            false => proposal(payload, message.at, format!("{MESSAGE}{id}")),
        };
        match proposed {
            Ok(proposal) => out.write(proposal),
            Err(why) => out.publish(self.reply(id, refusal("refused", &why))),
        }
    }

    /// The answer to a message from the cloud: telemetry with the message's id as its correlation id.
    fn reply(&self, id: &str, payload: Vec<u8>) -> Message {
        let system = [("$.cid", id), ("$.ct", "application/json"), ("$.ce", "utf-8")];
        let system = if id.is_empty() { &system[1..] } else { &system[..] };
        let device = self.device_id().unwrap_or_default();
        Message::new(topics::telemetry(&device, &self.config.properties, system), payload)
    }

    fn desired(&mut self, payload: &str, is_whole: bool, out: &mut Actions) {
        let Ok(Json::Table(twin)) = json::read(payload) else {
            log::warn("the hub sent desired properties that are no JSON object; they are ignored");
            return;
        };
        if is_whole {
            let desired = twin.iter().find(|(key, _)| key == "desired").map(|(_, value)| value);
            match desired {
                Some(Json::Table(desired)) => twin::desire(desired, true),
                _ => twin::desire(&[], true),
            }
        } else {
            twin::desire(&twin, false);
        }
        self.select();
        let mut messages = Messages::new();
        twin::report(&self.site, &self.selection, &mut messages);
        messages.into_iter().for_each(|message| out.publish(message));
    }
}

fn response(rid: &str, status: u16, payload: Vec<u8>) -> Message {
    Message::new(format!("$iothub/methods/res/{status}/?$rid={rid}"), payload)
}

/// A set-point as the payload asks for it.
fn proposal(payload: &str, at: Timestamp, reference: String) -> Result<Proposal, String> {
    const SHAPE: &str = r#"write {"device": "battery", "channel": "power_kw", "value": 20.0, "until_s": 60}"#;
    let Ok(Json::Table(members)) = json::read(payload) else {
        return Err(format!("the payload is no JSON object: {SHAPE}"));
    };
    let (mut device, mut channel, mut value, mut until) = (None, None, None, None);
    for (key, member) in members {
        match (key.as_str(), member) {
            ("device", Json::Text(text)) => device = Some(text),
            ("channel", Json::Text(text)) => channel = Some(text),
            ("value", Json::Number(number)) => value = Some(Some(Value::Number(number))),
            ("value", Json::Text(text)) => value = Some(Some(Value::Text(text))),
            ("value", Json::Null) => value = Some(None),
            ("until_s", Json::Number(seconds)) if (0.0..=1e6).contains(&seconds) => {
                until = Some(at + nanoseconds(seconds))
            }
            _ => return Err(format!("{key} is unknown or has a value that is not allowed: {SHAPE}")),
        }
    }
    match (device, channel, value) {
        (Some(device), Some(channel), Some(value)) => Ok(Proposal { device, channel, value, until, reference }),
        _ => Err(format!("device, channel or value is missing: {SHAPE}")),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be from 0 to a million")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e3) as u64 * (SECOND / 1000)
}

fn refusal(outcome: &str, why: &str) -> Vec<u8> {
    let mut writer = json::Writer::default();
    writer.text(&json::Key::new("outcome"), outcome);
    writer.text(&json::Key::new("reason"), why);
    writer.finish()
}

/// The status and payload of a method's answer, by the outcome of the set-point.
fn answer(outcome: &Outcome) -> (u16, Vec<u8>) {
    match outcome {
        Outcome::Verified(value) => {
            let mut writer = json::Writer::default();
            writer.text(&json::Key::new("outcome"), "verified");
            match value {
                Value::Number(number) => writer.number(&json::Key::new("value"), *number),
                Value::Text(text) => writer.text(&json::Key::new("value"), text),
            }
            (200, writer.finish())
        }
        Outcome::Acknowledged => (200, br#"{"outcome":"acknowledged"}"#.to_vec()),
        Outcome::Refused(why) => (403, refusal("refused", why)),
        Outcome::Failed(why) => (502, refusal("failed", why)),
        Outcome::Superseded(by) => (409, refusal("superseded", by)),
        Outcome::Expired => (408, br#"{"outcome":"expired"}"#.to_vec()),
        Outcome::Released(why) => (410, refusal("released", why)),
    }
}
