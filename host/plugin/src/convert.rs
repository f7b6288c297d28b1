//! Converts the domain's values to and from the contract's generated types.

use std::time::Duration;

use bessai_domain::event::{self, EventBody, RecordedEvent};
use bessai_domain::message;
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_domain::site;
use bessai_domain::time::MonotonicTime;

use crate::bindings as guest;

/// An event that is handed over later than this is marked as historical.
const HISTORICAL_AFTER: Duration = Duration::from_secs(10);

/// `now` is the time at which the event is handed over; `write` are the channels that the plugin may propose to write.
pub(crate) fn event(recorded: &RecordedEvent, now: MonotonicTime, write: &[String]) -> guest::Event {
    let event = &recorded.event;
    guest::Event {
        sequence: event.sequence.0,
        at: event.at.nanos(),
        historical: now.since(recorded.occurred) > HISTORICAL_AFTER,
        body: body(event, write),
    }
}

fn body(event: &event::Event, write: &[String]) -> guest::EventBody {
    match &event.body {
        EventBody::Site(description) => guest::EventBody::Site(site(description, write)),
        EventBody::Gap(gap) => guest::EventBody::Gap(guest::Gap { lost: gap.lost, reason: gap.reason.clone() }),
        EventBody::Frame(frame) => guest::EventBody::Frame(self::frame(frame)),
        EventBody::Safety(safety) => guest::EventBody::Safety(self::safety(safety)),
        EventBody::Anomaly(anomaly) => guest::EventBody::Anomaly(guest::Anomaly {
            model: anomaly.model.clone(),
            device: anomaly.device.clone(),
            score: anomaly.score,
            alert_count: anomaly.alert_count,
            trained: anomaly.trained,
            alarm: anomaly.alarm,
        }),
        EventBody::Dispatch(dispatch) => guest::EventBody::Dispatch(guest::Dispatch {
            model: dispatch.model.clone(),
            device: dispatch.device.clone(),
            target_kw: dispatch.target_kw,
            applied: dispatch.applied,
            refusal: dispatch.refusal.clone(),
            inference_ms: dispatch.inference_ms,
        }),
        EventBody::Device(status) => guest::EventBody::Device(guest::DeviceStatus {
            device: status.device.clone(),
            online: status.online,
            detail: status.detail.clone(),
        }),
        EventBody::Heartbeat => guest::EventBody::Heartbeat,
        EventBody::Write(step) => guest::EventBody::Write(write_step(step, event.sequence)),
    }
}

fn frame(frame: &event::Frame) -> guest::Frame {
    let fault = |fault: &event::Fault| guest::Fault { channel: fault.channel, kind: fault_kind(fault.kind) };
    let text = |text: &event::Text| guest::Text { channel: text.channel, value: text.value.clone() };
    guest::Frame {
        source: frame.source,
        values: frame.values.clone(),
        faults: frame.faults.iter().map(fault).collect(),
        texts: frame.texts.iter().map(text).collect(),
    }
}

fn fault_kind(kind: event::FaultKind) -> guest::FaultKind {
    match kind {
        event::FaultKind::Missing => guest::FaultKind::Missing,
        event::FaultKind::Unavailable => guest::FaultKind::Unavailable,
        event::FaultKind::Stale => guest::FaultKind::Stale,
        event::FaultKind::OutOfRange => guest::FaultKind::OutOfRange,
        event::FaultKind::Other => guest::FaultKind::Other,
    }
}

fn safety(safety: &event::Safety) -> guest::Safety {
    let violation = |violation: &event::Violation| guest::Violation {
        rule: violation.rule.clone(),
        device: violation.device.clone(),
        channel: violation.channel.clone(),
        value: violation.value,
        limit: violation.limit,
    };
    guest::Safety {
        is_safe: safety.is_safe,
        watchdog: match safety.watchdog {
            event::Watchdog::Absent => guest::Watchdog::Absent,
            event::Watchdog::Ok => guest::Watchdog::Ok,
            event::Watchdog::Late => guest::Watchdog::Late,
            event::Watchdog::Failed => guest::Watchdog::Failed,
        },
        power_limit_kw: safety.power_limit_kw,
        violations: safety.violations.iter().map(violation).collect(),
    }
}

fn write_step(step: &WriteStep, sequence: event::Sequence) -> guest::Write {
    guest::Write {
        proposed: step.proposed.unwrap_or(sequence).0,
        proposer: step.proposer.clone(),
        proposal: proposal(&step.proposal),
        unit: step.unit.clone(),
        outcome: step.outcome.as_ref().map(outcome),
    }
}

fn proposal(proposal: &Proposal) -> guest::Proposal {
    guest::Proposal {
        device: proposal.device.clone(),
        channel: proposal.channel.clone(),
        value: proposal.value.as_ref().map(value),
        until: proposal.until.map(|until| until.nanos()),
        reference: proposal.reference.clone(),
    }
}

fn value(value: &SetValue) -> guest::Value {
    match value {
        SetValue::Number(number) => guest::Value::Number(*number),
        SetValue::Text(text) => guest::Value::Text(text.clone()),
    }
}

pub(crate) fn outcome(outcome: &WriteOutcome) -> guest::Outcome {
    match outcome {
        WriteOutcome::Verified(read) => guest::Outcome::Verified(value(read)),
        WriteOutcome::Acknowledged => guest::Outcome::Acknowledged,
        WriteOutcome::Refused(reason) => guest::Outcome::Refused(reason.clone()),
        WriteOutcome::Failed(reason) => guest::Outcome::Failed(reason.clone()),
        WriteOutcome::Superseded(proposer) => guest::Outcome::Superseded(proposer.clone()),
        WriteOutcome::Expired => guest::Outcome::Expired,
        WriteOutcome::Released(reason) => guest::Outcome::Released(reason.clone()),
    }
}

/// Of the channels that can be written, the plugin is shown those that it may propose to write, `device/channel`.
pub(crate) fn site(site: &site::Site, write: &[String]) -> guest::Site {
    let may_write =
        |device: &str, channel: &str| write.iter().any(|right| right.split_once('/') == Some((device, channel)));
    let device =
        |device: &site::Device| guest::Device { name: device.name.clone(), attributes: device.attributes.clone() };
    let source = |source: &site::Source| guest::Source {
        device: source.device.clone(),
        period_ms: u32::try_from(source.period.as_millis()).unwrap_or(u32::MAX),
        channels: source
            .channels
            .iter()
            .map(|known| channel(known, known.writable && may_write(&source.device, &known.name)))
            .collect(),
        attributes: source.attributes.clone(),
    };
    guest::Site {
        id: site.id.clone(),
        revision: site.revision,
        devices: site.devices.iter().map(device).collect(),
        sources: site.sources.iter().map(source).collect(),
        attributes: site.attributes.clone(),
    }
}

fn channel(channel: &site::Channel, writable: bool) -> guest::Channel {
    guest::Channel {
        name: channel.name.clone(),
        unit: channel.unit.clone(),
        kind: match channel.kind {
            site::ChannelKind::Gauge => guest::ChannelKind::Gauge,
            site::ChannelKind::Counter => guest::ChannelKind::Counter,
            site::ChannelKind::State => guest::ChannelKind::State,
            site::ChannelKind::Flag => guest::ChannelKind::Flag,
            site::ChannelKind::Text => guest::ChannelKind::Text,
        },
        writable,
        attributes: channel.attributes.clone(),
    }
}

pub(crate) fn message(message: guest::Message) -> message::Message {
    message::Message {
        topic: message.topic,
        payload: message.payload,
        qos: qos(message.qos),
        retain: message.retain,
        properties: message.properties.map(properties),
    }
}

pub(crate) fn qos(qos: guest::Qos) -> message::Qos {
    match qos {
        guest::Qos::AtMostOnce => message::Qos::AtMostOnce,
        guest::Qos::AtLeastOnce => message::Qos::AtLeastOnce,
        guest::Qos::ExactlyOnce => message::Qos::ExactlyOnce,
    }
}

fn properties(properties: guest::Properties) -> message::Properties {
    message::Properties {
        content_type: properties.content_type,
        expiry_s: properties.expiry_s,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        payload_utf8: properties.payload_utf8,
        user: properties.user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_writable_by_its_profile_and_the_feeds_right() {
        let channel = |name: &str, writable| site::Channel {
            name: name.into(),
            unit: "kW".into(),
            kind: site::ChannelKind::Gauge,
            writable,
            attributes: vec![("max".into(), "12".into())],
        };
        let described = site::Site {
            id: "S".into(),
            revision: 1,
            devices: Vec::new(),
            sources: vec![site::Source {
                device: "battery".into(),
                period: Duration::from_secs(1),
                channels: [channel("set_point_kw", true), channel("power_kw", false)].into(),
                attributes: Vec::new(),
            }],
            attributes: Vec::new(),
        };
        let check = |write: &[&str], expected: [bool; 2]| {
            let write: Vec<String> = write.iter().map(|right| (*right).to_owned()).collect();
            let channels = &self::site(&described, &write).sources[0].channels;
            assert_eq!([channels[0].writable, channels[1].writable], expected, "{write:?}");
            assert_eq!(channels[0].attributes, [("max".to_owned(), "12".to_owned())]);
        };
        check(&[], [false, false]);
        check(&["battery/power_kw", "meter/set_point_kw"], [false, false]);
        check(&["battery/set_point_kw", "battery/power_kw"], [true, false]);
    }
}
