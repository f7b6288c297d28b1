//! Writes events as lines. Defaults that reading adds itself are left out.

use std::sync::Arc;

use serde_json::Value;

use super::json_writer::{number, number_not_null, object, pairs, text, word};
use super::{frame, proposal};
use crate::event::{Anomaly, DeviceStatus, Dispatch, Event, EventBody, Gap, Safety, Violation, Watchdog};
use crate::exchange::Exchange;
use crate::site::{Channel, ChannelKind, Device, Site, Source};

/// The line of an event.
pub(super) fn line(event: &Event, note: Option<&str>) -> String {
    let mut line = String::from("{");
    member(&mut line, "sequence", &event.sequence.0.into());
    member(&mut line, "at", &event.at.to_string().into());
    body(&mut line, &event.body, ChannelsOf::EachSource);
    if let Some(note) = note {
        member(&mut line, "note", &note.into());
    }
    line.push('}');
    line
}

/// A body alone.
pub(super) fn body_alone(body: &EventBody) -> String {
    let mut line = String::from("{");
    self::body(&mut line, body, ChannelsOf::EachList);
    line.push('}');
    line
}

/// What the channels of a description are written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChannelsOf {
    /// For each source, as is convenient for people and scripts.
    EachSource,
    /// For the first source that has a list; the others name it by its number. A thousand devices of one model would
    /// otherwise take many megabytes.
    EachList,
}

/// The key that names the kind, and its value.
fn body(line: &mut String, body: &EventBody, channels_of: ChannelsOf) {
    match body {
        EventBody::Site(body) => {
            key(line, "site");
            site(line, body, channels_of);
        }
        EventBody::Gap(body) => member(line, "gap", &gap(body)),
        EventBody::Frame(body) => member(line, "frame", &frame::write(body)),
        EventBody::Safety(body) => member(line, "safety", &safety(body)),
        EventBody::Anomaly(body) => member(line, "anomaly", &anomaly(body)),
        EventBody::Dispatch(body) => member(line, "dispatch", &dispatch(body)),
        EventBody::Device(body) => member(line, "device", &device_status(body)),
        EventBody::Heartbeat => member(line, "heartbeat", &object([])),
        EventBody::Write(body) => member(line, "write", &proposal::write(body)),
    }
}

/// Starts a member of the object, with a comma unless it is the first.
fn key(line: &mut String, key: &str) {
    if !line.ends_with('{') {
        line.push(',');
    }
    line.extend(["\"", key, "\":"]);
}

fn member(line: &mut String, name: &str, value: &Value) {
    key(line, name);
    *line += &value.to_string();
}

/// Written piece by piece, because as a JSON tree the description of a site with 100,000 channels takes 60 MB.
fn site(line: &mut String, site: &Site, channels_of: ChannelsOf) {
    let device =
        |device: &Device| object([("name", text(&device.name)), ("attributes", attributes(&device.attributes))]);
    line.push('{');
    member(line, "id", &site.id.as_str().into());
    member(line, "revision", &site.revision.into());
    member(line, "devices", &site.devices.iter().map(device).collect());
    key(line, "sources");
    line.push('[');
    let mut lists: Vec<&Arc<[Channel]>> = Vec::new();
    for (index, source) in site.sources.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let known = lists.iter().position(|list| Arc::ptr_eq(list, &source.channels));
        let known = known.filter(|_| channels_of == ChannelsOf::EachList);
        if known.is_none() {
            lists.push(&source.channels);
        }
        *line += &self::source(source, known).to_string();
    }
    line.push(']');
    if let Some(attributes) = attributes(&site.attributes) {
        member(line, "attributes", &attributes);
    }
    line.push('}');
}

fn attributes(attributes: &[(String, String)]) -> Option<Value> {
    (!attributes.is_empty()).then(|| pairs(attributes))
}

/// `list`: the number of its channel list, if that is written already.
fn source(source: &Source, list: Option<usize>) -> Value {
    let whole = u64::try_from(source.period.as_millis()).ok();
    let is_whole = source.period.subsec_nanos().is_multiple_of(1_000_000);
    let period = whole.filter(|_| is_whole).map_or_else(|| number(source.period.as_secs_f64() * 1000.0), Value::from);
    object([
        ("device", text(&source.device)),
        ("period_ms", Some(period)),
        ("channels", list.is_none().then(|| source.channels.iter().map(channel).collect())),
        ("channel_list", list.map(Value::from)),
        ("attributes", attributes(&source.attributes)),
    ])
}

fn channel(channel: &Channel) -> Value {
    object([
        ("name", text(&channel.name)),
        ("unit", text(&channel.unit)),
        ("kind", (channel.kind != ChannelKind::Gauge).then(|| word(&ChannelKind::NAMES, channel.kind))),
        ("writable", channel.writable.then_some(true.into())),
        ("attributes", attributes(&channel.attributes)),
    ])
}

fn gap(gap: &Gap) -> Value {
    object([("lost", Some(gap.lost.into())), ("reason", text(&gap.reason))])
}

fn safety(safety: &Safety) -> Value {
    let violations = &safety.violations;
    object([
        ("is_safe", Some(safety.is_safe.into())),
        ("watchdog", Some(word(&Watchdog::NAMES, safety.watchdog))),
        ("power_limit_kw", safety.power_limit_kw.map(number_not_null)),
        ("violations", (!violations.is_empty()).then(|| violations.iter().map(violation).collect())),
    ])
}

fn violation(violation: &Violation) -> Value {
    object([
        ("rule", text(&violation.rule)),
        ("device", text(&violation.device)),
        ("channel", text(&violation.channel)),
        ("value", Some(number(violation.value))),
        ("limit", Some(number(violation.limit))),
    ])
}

fn anomaly(anomaly: &Anomaly) -> Value {
    object([
        ("model", text(&anomaly.model)),
        ("device", text(&anomaly.device)),
        ("score", Some(number(anomaly.score))),
        ("alert_count", Some(anomaly.alert_count.into())),
        ("trained", Some(anomaly.trained.into())),
        ("alarm", Some(anomaly.alarm.into())),
        ("exchange", anomaly.exchange.as_ref().map(exchange)),
    ])
}

/// Counts that are 0 are left out.
fn exchange(exchange: &Exchange) -> Value {
    let count = |count: u32| (count > 0).then(|| count.into());
    object([
        ("requests", count(exchange.requests)),
        ("failed", count(exchange.failed)),
        ("reply_ms", exchange.reply_ms.map(number)),
        ("writes", count(exchange.writes)),
        ("irregular", count(exchange.irregular)),
    ])
}

fn dispatch(dispatch: &Dispatch) -> Value {
    object([
        ("model", text(&dispatch.model)),
        ("device", text(&dispatch.device)),
        ("target_kw", dispatch.target_kw.map(number_not_null)),
        ("applied", Some(dispatch.applied.into())),
        ("refusal", dispatch.refusal.as_deref().map(Value::from)),
        ("inference_ms", Some(number(dispatch.inference_ms))),
    ])
}

fn device_status(status: &DeviceStatus) -> Value {
    object([("device", text(&status.device)), ("online", Some(status.online.into())), ("detail", text(&status.detail))])
}
