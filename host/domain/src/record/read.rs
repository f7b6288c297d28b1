//! Reads the bodies of all kinds of event except frames.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::json_reader::{JsonField, JsonObject};
use crate::event::{Anomaly, DeviceStatus, Dispatch, Gap, Safety, Violation, Watchdog};
use crate::exchange::Exchange;
use crate::settings::unknown_name_hint;
use crate::site::{Channel, ChannelKind, ChannelLists, Device, Site, Source};

/// `revision` applies to a description that does not give one.
pub(super) fn site(object: &JsonObject<'_>, revision: u64) -> Site {
    let id = object.required("id", JsonField::text);
    let revision = object.optional("revision", JsonField::unsigned).unwrap_or(revision);
    let devices = object.required("devices", |field| field.objects(device));
    let lists = RefCell::<ReadLists>::default();
    let sources = object.required("sources", |field| field.objects(|object| source(object, &devices, &lists)));
    Site { id, revision, devices, sources, attributes: attributes(object) }
}

pub(super) fn device(object: &JsonObject<'_>) -> Device {
    Device { name: object.required("name", JsonField::text), attributes: attributes(object) }
}

fn attributes(object: &JsonObject<'_>) -> Vec<(String, String)> {
    object.optional("attributes", JsonField::pairs).unwrap_or_default()
}

/// The channel lists of a description, as they are read.
#[derive(Default)]
pub(super) struct ReadLists {
    shared: ChannelLists,
    /// In their order; a source names one by its number.
    numbered: Vec<Arc<[Channel]>>,
}

impl ReadLists {
    fn add(&mut self, channels: Vec<Channel>) -> Arc<[Channel]> {
        let list = self.shared.share(channels);
        self.numbered.push(Arc::clone(&list));
        list
    }
}

/// The channels of a source: its own list, or that of an earlier source.
fn channels(object: &JsonObject<'_>, lists: &RefCell<ReadLists>) -> Arc<[Channel]> {
    let earlier = |field: &JsonField<'_>| -> Option<Arc<[Channel]>> {
        let number: usize = field.unsigned()?;
        let list = lists.borrow().numbered.get(number).cloned();
        if list.is_none() {
            let count = lists.borrow().numbered.len();
            field.add_mistake(format!("{count} lists of channels are written before; write a number below that"));
        }
        list
    };
    if object.field("channel_list").is_some() {
        return object.optional("channel_list", earlier).unwrap_or_default();
    }
    let channels = object.required("channels", |field| field.objects(channel));
    lists.borrow_mut().add(channels)
}

pub(super) fn source(object: &JsonObject<'_>, devices: &[Device], lists: &RefCell<ReadLists>) -> Source {
    let names = || devices.iter().map(|device| device.name.as_str());
    let known = |field: &JsonField<'_>| {
        let name = field.text()?;
        if !names().any(|known| known == name) {
            field.add_mistake(format!("the device {}", unknown_name_hint(&name, names())));
        }
        Some(name)
    };
    Source {
        device: object.required("device", known),
        period: object.required("period_ms", period),
        channels: channels(object, lists),
        attributes: attributes(object),
    }
}

/// A period in milliseconds; fractions are kept to the nanosecond.
fn period(field: &JsonField<'_>) -> Option<Duration> {
    if let Some(whole) = field.value().as_u64() {
        return Some(Duration::from_millis(whole));
    }
    let period = field.value().as_f64().and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    if period.is_none() {
        field.add_mistake("write a number of milliseconds");
    }
    period
}

fn channel(object: &JsonObject<'_>) -> Channel {
    Channel {
        name: object.required("name", JsonField::text),
        unit: object.required("unit", JsonField::text),
        kind: object.optional("kind", |field| field.word(&ChannelKind::NAMES)).unwrap_or(ChannelKind::Gauge),
        writable: object.optional("writable", JsonField::boolean).unwrap_or_default(),
        attributes: attributes(object),
    }
}

pub(super) fn gap(object: &JsonObject<'_>) -> Gap {
    Gap { lost: object.optional("lost", JsonField::unsigned), reason: object.required("reason", JsonField::text) }
}

pub(super) fn safety(object: &JsonObject<'_>) -> Safety {
    let watchdog = object.required("watchdog", |field| field.word(&Watchdog::NAMES).map(Some));
    Safety {
        is_safe: object.required("is_safe", JsonField::boolean),
        watchdog: watchdog.unwrap_or(Watchdog::Absent),
        power_limit_kw: object.optional("power_limit_kw", JsonField::number),
        violations: object.optional("violations", |field| field.objects(violation)).unwrap_or_default(),
    }
}

fn violation(object: &JsonObject<'_>) -> Violation {
    Violation {
        rule: object.required("rule", JsonField::text),
        device: object.required("device", JsonField::text),
        channel: object.required("channel", JsonField::text),
        value: object.number("value"),
        limit: object.number("limit"),
    }
}

pub(super) fn anomaly(object: &JsonObject<'_>) -> Anomaly {
    Anomaly {
        model: object.required("model", JsonField::text),
        device: object.required("device", JsonField::text),
        score: object.number("score"),
        alert_count: object.required("alert_count", JsonField::unsigned),
        trained: object.required("trained", JsonField::boolean),
        alarm: object.required("alarm", JsonField::boolean),
        exchange: object.optional("exchange", |field| {
            let object = field.object()?;
            let exchange = exchange(&object);
            object.report_unknown_keys();
            Some(exchange)
        }),
    }
}

fn exchange(object: &JsonObject<'_>) -> Exchange {
    let count = |key| object.optional(key, JsonField::unsigned).unwrap_or_default();
    Exchange {
        requests: count("requests"),
        failed: count("failed"),
        reply_ms: object.optional("reply_ms", JsonField::number),
        writes: count("writes"),
        irregular: count("irregular"),
    }
}

pub(super) fn dispatch(object: &JsonObject<'_>) -> Dispatch {
    Dispatch {
        model: object.required("model", JsonField::text),
        device: object.required("device", JsonField::text),
        target_kw: object.optional("target_kw", JsonField::number),
        applied: object.required("applied", JsonField::boolean),
        refusal: object.optional("refusal", JsonField::text),
        inference_ms: object.number("inference_ms"),
    }
}

pub(super) fn device_status(object: &JsonObject<'_>) -> DeviceStatus {
    DeviceStatus {
        device: object.required("device", JsonField::text),
        online: object.required("online", JsonField::boolean),
        detail: object.required("detail", JsonField::text),
    }
}
