//! From a line's object to what happened, all kinds but frames.

use std::cell::RefCell;
use std::time::Duration;

use super::object::{Field, Object};
use super::{CHANNEL_KINDS, WATCHDOGS};
use crate::event::{Anomaly, DeviceStatus, Dispatch, Gap, Safety, Violation, Watchdog};
use crate::settings::unknown;
use crate::site::{Channel, ChannelKind, ChannelLists, Device, Site, Source};

/// `revision` is that of a description that does not say.
pub(super) fn site(object: &Object<'_>, revision: u64) -> Site {
    let id = object.required("id", Field::text);
    let revision = object.optional("revision", Field::whole).unwrap_or(revision);
    let devices = object.required("devices", |field| field.objects(device));
    let lists = RefCell::default();
    let sources = object.required("sources", |field| field.objects(|object| source(object, &devices, &lists)));
    Site { id, revision, devices, sources, attributes: attributes(object) }
}

pub(super) fn device(object: &Object<'_>) -> Device {
    Device { name: object.required("name", Field::text), attributes: attributes(object) }
}

fn attributes(object: &Object<'_>) -> Vec<(String, String)> {
    object.optional("attributes", Field::pairs).unwrap_or_default()
}

pub(super) fn source(object: &Object<'_>, devices: &[Device], lists: &RefCell<ChannelLists>) -> Source {
    let names = || devices.iter().map(|device| device.name.as_str());
    let known = |field: &Field<'_>| {
        let name = field.text()?;
        if !names().any(|known| known == name) {
            field.wrong(format!("the device {}", unknown(&name, names())));
        }
        Some(name)
    };
    Source {
        device: object.required("device", known),
        period: object.required("period_ms", period),
        channels: lists.borrow_mut().shared(object.required("channels", |field| field.objects(channel))),
        attributes: attributes(object),
    }
}

/// Milliseconds; a fraction is kept to the nanosecond.
fn period(field: &Field<'_>) -> Option<Duration> {
    const MEND: &str = "write a number of milliseconds";
    if let Some(whole) = field.value().as_u64() {
        return Some(Duration::from_millis(whole));
    }
    let period = field.value().as_f64().and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
    if period.is_none() {
        field.wrong(MEND);
    }
    period
}

fn channel(object: &Object<'_>) -> Channel {
    Channel {
        name: object.required("name", Field::text),
        unit: object.required("unit", Field::text),
        kind: object.optional("kind", |field| field.word(&CHANNEL_KINDS)).unwrap_or(ChannelKind::Gauge),
        writable: object.optional("writable", Field::boolean).unwrap_or_default(),
        attributes: attributes(object),
    }
}

pub(super) fn gap(object: &Object<'_>) -> Gap {
    Gap { lost: object.optional("lost", Field::whole), reason: object.required("reason", Field::text) }
}

pub(super) fn safety(object: &Object<'_>) -> Safety {
    let watchdog = object.required("watchdog", |field| field.word(&WATCHDOGS).map(Some));
    Safety {
        is_safe: object.required("is_safe", Field::boolean),
        watchdog: watchdog.unwrap_or(Watchdog::Absent),
        power_limit_kw: object.optional("power_limit_kw", Field::number),
        violations: object.optional("violations", |field| field.objects(violation)).unwrap_or_default(),
    }
}

fn violation(object: &Object<'_>) -> Violation {
    Violation {
        rule: object.required("rule", Field::text),
        device: object.required("device", Field::text),
        channel: object.required("channel", Field::text),
        value: object.number("value"),
        limit: object.number("limit"),
    }
}

pub(super) fn anomaly(object: &Object<'_>) -> Anomaly {
    Anomaly {
        model: object.required("model", Field::text),
        device: object.required("device", Field::text),
        score: object.number("score"),
        alert_count: object.required("alert_count", Field::whole),
        trained: object.required("trained", Field::boolean),
        alarm: object.required("alarm", Field::boolean),
    }
}

pub(super) fn dispatch(object: &Object<'_>) -> Dispatch {
    Dispatch {
        model: object.required("model", Field::text),
        device: object.required("device", Field::text),
        target_kw: object.optional("target_kw", Field::number),
        applied: object.required("applied", Field::boolean),
        refusal: object.optional("refusal", Field::text),
        inference_ms: object.number("inference_ms"),
    }
}

pub(super) fn device_status(object: &Object<'_>) -> DeviceStatus {
    DeviceStatus {
        device: object.required("device", Field::text),
        online: object.required("online", Field::boolean),
        detail: object.required("detail", Field::text),
    }
}
