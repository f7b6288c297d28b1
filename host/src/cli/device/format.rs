//! Readings and SunSpec models as text and as JSON.

use std::fmt::Write;

use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::profile::Point;
use bessai_domain::register::{Format, Layout, Table};
use bessai_domain::site::ChannelKind;
use bessai_domain::sunspec::DeviceDescription;
use bessai_domain::time::Timestamp;
use bessai_domain::write::displayed_unit as unit;
use bessai_modbus::PointReadings;
use serde_json::{Map, Value, json};

use crate::config::DeviceConfig;

/// The channels that a discovery lists with the point that provides each.
const MAIN_CHANNELS: [&str; 5] = ["soc_pct", "power_kw", "battery_power_kw", "temp_c", "cycle_count"];

/// Registers in hexadecimal, each with its number without and with a sign, or with the values of a layout.
pub(super) fn registers(table: Table, start: u16, words: &[u16], layout: Option<Layout>, json: bool) -> String {
    let width = usize::from(layout.map_or(1, |layout| layout.format.width()));
    let rows: Vec<_> = words.chunks(width).zip((u32::from(start)..).step_by(width)).collect();
    if json {
        let row = |(words, address): &(&[u16], u32)| {
            let value = layout.map_or_else(|| json!(words), |layout| decoded(layout, words));
            (address.to_string(), value)
        };
        let values: Map<_, _> = rows.iter().map(row).collect();
        return format!("{}\n", json!({ "table": table.name(), "values": values }));
    }
    let mut text = String::new();
    for (words, address) in rows {
        let hexadecimal: Vec<_> = words.iter().map(|word| format!("{word:04x}")).collect();
        let value = match (layout, words) {
            (Some(layout), words) => {
                let decoded = decoded(layout, words);
                let text = decoded.as_str().map(str::to_owned).or(decoded.as_f64().map(|number| number.to_string()));
                text.unwrap_or_else(|| "no value".to_owned())
            }
            (None, [word]) if table.is_bits() => word.to_string(),
            (None, [word]) => format!("{word:>5}  {:>6}  {}", word.cast_signed(), characters(*word)),
            (None, _) => String::new(),
        };
        let _ = writeln!(text, "{} {address:>5}  {}  {value}", table.name(), hexadecimal.join(" "));
    }
    text
}

/// The number or text in some registers; null if they hold no valid one.
fn decoded(layout: Layout, words: &[u16]) -> Value {
    match layout.format {
        Format::Text(_, text) => json!(text.decode(words)),
        _ => json!(layout.decode(words)),
    }
}

/// The two characters of a register, with dots for those that cannot be printed.
fn characters(word: u16) -> String {
    let printable = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '.' };
    word.to_be_bytes().into_iter().map(printable).collect()
}

/// A point's value with its unit, or why there is none.
fn value_text(point: &Point, readings: &PointReadings, channel: usize) -> String {
    let frame = &readings.frame;
    let fault = frame.faults.iter().find(|fault| usize::try_from(fault.channel) == Ok(channel));
    let text = frame.texts.iter().find(|text| usize::try_from(text.channel) == Ok(channel));
    match (fault.map(|fault| fault.kind), text) {
        (Some(FaultKind::Missing), _) => {
            readings.refusals.get(&channel).map_or_else(|| "refused".into(), |reason| format!("refused: {reason}"))
        }
        (Some(FaultKind::Unavailable), _) => "unavailable".into(),
        (_, Some(text)) => text.value.clone(),
        (kind, None) => {
            let value = frame.values.get(channel).copied().unwrap_or(f64::NAN);
            if value.is_nan() && kind == Some(FaultKind::OutOfRange) {
                return "no value (outside its range)".into();
            }
            let note = if kind == Some(FaultKind::OutOfRange) { " (outside its range)" } else { "" };
            format!("{value} {}{}{note}", unit(&point.unit), state_names(point, value))
        }
    }
}

/// The name of a state, or the names of the bits that are set in a flag.
#[allow(clippy::float_cmp, reason = "a state is a whole number")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a flag's bits are whole and positive")]
fn state_names(point: &Point, value: f64) -> String {
    let is_flag = point.kind == ChannelKind::Flag;
    let is_set = |number: u64| match u32::try_from(number) {
        Ok(bit) if is_flag => (value as u64).checked_shr(bit).is_some_and(|bits| bits & 1 == 1),
        Ok(state) => f64::from(state) == value,
        Err(_) => false,
    };
    let names: Vec<_> =
        point.names.iter().filter(|(number, _)| is_set(*number)).map(|(_, name)| name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) }
}

/// One reading of points: a line with the device, then a line per point.
pub(super) fn points(
    device: &DeviceConfig,
    points: &[&Point],
    readings: &PointReadings,
    at: Timestamp,
    json: bool,
) -> String {
    if json {
        return points_json(device, points, &readings.frame, at);
    }
    let longest = points.iter().map(|point| point.channel.chars().count()).max().unwrap_or(0);
    let mut text = format!("{} {} unit {}, {at}\n", device.name, device.address, device.unit.0);
    for (channel, point) in points.iter().enumerate() {
        let name = if point.name == point.channel { String::new() } else { format!("{} ", point.name) };
        let register = format!("{name}{} {}", point.table.name(), point.address);
        let _ = writeln!(text, "  {:longest$}  {:24} {register}", point.channel, value_text(point, readings, channel));
    }
    text
}

fn points_json(device: &DeviceConfig, points: &[&Point], frame: &Frame, at: Timestamp) -> String {
    let (mut values, mut faults) = (Map::new(), Map::new());
    for (channel, point) in points.iter().enumerate() {
        let text = frame.texts.iter().find(|text| usize::try_from(text.channel) == Ok(channel));
        let number = frame.values.get(channel).copied().filter(|value| value.is_finite());
        let value = text.map_or_else(|| json!(number), |text| json!(text.value));
        values.insert(point.channel.clone(), value);
    }
    for fault in &frame.faults {
        let point = usize::try_from(fault.channel).ok().and_then(|channel| points.get(channel));
        let kind = match fault.kind {
            FaultKind::Missing => "missing",
            FaultKind::Unavailable => "unavailable",
            FaultKind::Stale => "stale",
            FaultKind::OutOfRange => "out-of-range",
            FaultKind::Other => "other",
        };
        faults.extend(point.map(|point| (point.channel.clone(), Value::from(kind))));
    }
    format!("{}\n", json!({ "device": device.name, "at": at.to_string(), "values": values, "faults": faults }))
}

/// The models of a SunSpec device, with or without their points.
pub(super) fn discovery(device: &DeviceConfig, found: &DeviceDescription, with_points: bool) -> String {
    let nameplate = &found.nameplate;
    let mut text = format!(
        "{} unit {}: SunSpec at register {}\n  {} {}, version {}, serial number {}\n",
        device.address,
        device.unit.0,
        found.base,
        nameplate.manufacturer,
        nameplate.model,
        nameplate.version,
        nameplate.serial
    );
    let profile = found.profile(device.reading.models.as_deref());
    for model in &found.models {
        let label = if model.label.is_empty() { "unknown to SunSpec: skipped" } else { model.label };
        let length = match model.expected {
            Some(expected) if expected != u32::from(model.length) => {
                format!("{} registers instead of the expected {expected}", model.length)
            }
            _ => format!("{} registers", model.length),
        };
        let _ = writeln!(text, "  model {:>5} at {:>5}: {label}, {length}", model.id, model.address);
        let range = model.address..=model.address.saturating_add(1).saturating_add(model.length);
        for point in profile.points.iter().filter(|point| with_points && range.contains(&point.address)) {
            let _ = writeln!(
                text,
                "    {:>5}  {} {}  {}",
                point.address,
                point.channel,
                unit(&point.unit),
                point.description
            );
        }
    }
    let channel = |name: &str| profile.points.iter().find(|point| point.channel == name);
    for name in MAIN_CHANNELS {
        if let Some(point) = channel(name) {
            let _ = writeln!(text, "  {name} is {} at {}", point.name, point.address);
        }
    }
    text
}
