//! JSON profiles of the Python gateway, read as they are; their known errors are corrected and listed in
//! [`Profile::corrections`].
//!
//! Corrected are: a count that contradicts the type (the type wins), a null scale in addition to a scale register,
//! overlapping points (read in separate requests), W where a channel is in kW, a battery power whose sign is + = charge,
//! and registers that the manufacturers' lists have otherwise.

mod channels;
mod control_registers;
mod member;
mod register;
mod wrong_registers;

use std::time::Duration;

use serde_json::{Map, Value};

use self::member::{member, nested};
use super::model::Profile;
use super::no_value::NoValueMarks;
use super::requests::{DEFAULT_TIMEOUT, MAX_WAIT, MIN_TIMEOUT};
use crate::register::{Order, UnitId};
use crate::settings::{Mistake, Mistakes};

/// Reads a profile, or returns everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Err(vec![Mistake::without_value(name, format!("is not JSON: {error}"))]),
    };
    let Some(registers) = value.get("registers").and_then(Value::as_object) else {
        let protocol = nested(&value, "device", "protocol").as_str().unwrap_or("another protocol");
        let hint = format!("has no `registers`: it describes {protocol}, which is not read over Modbus");
        return Err(vec![Mistake::without_value(name, hint)]);
    };
    let mistakes = Mistakes::default();
    let mut profile = read_device(name, &value);
    read_registers(&mut profile, &value, registers, &mistakes);
    mark_no_values(&mut profile);
    note_overlaps(&mut profile);
    channels::assign_channels(&mut profile, &value);
    wrong_registers::correct(&mut profile);
    control_registers::protect(&mut profile);
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(profile) } else { Err(mistakes) }
}

fn read_device(name: &str, value: &Value) -> Profile {
    let text = |key: &str| nested(value, "device", key).as_str().unwrap_or_default().to_owned();
    let unit = |value: &Value| value.as_u64().and_then(|unit| u8::try_from(unit).ok()).map(UnitId);
    let (timeout, corrections) = read_timeout(nested(value, "connection", "timeout_seconds"));
    Profile {
        manufacturer: text("manufacturer"),
        model: text("model"),
        unit: unit(nested(value, "driver", "slave_id")).unwrap_or(UnitId(1)),
        usual_unit: unit(nested(value, "device", "slave_id_default")),
        timeout,
        corrections,
        ..Profile::new(name)
    }
}

/// The timeout and, if it had to be clamped, the correction. The Python gateway ignores it, so its files hold any
/// number.
fn read_timeout(value: &Value) -> (Duration, Vec<String>) {
    let seconds = value.as_f64().filter(|seconds| *seconds > 0.0);
    let Some(written) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        return (DEFAULT_TIMEOUT, Vec::new());
    };
    let timeout = written.clamp(MIN_TIMEOUT, MAX_WAIT);
    let note = || format!("timeout_seconds {value} is out of range; using {} s", timeout.as_secs_f64());
    (timeout, (timeout != written).then(note).into_iter().collect())
}

fn read_registers(profile: &mut Profile, value: &Value, registers: &Map<String, Value>, mistakes: &Mistakes) {
    let (bytes, words) = orders(member(value, "connection"));
    for (name, value) in registers {
        let register = register::RegisterEntry { profile: &profile.name, name, value, mistakes };
        if let Some(point) = register.read(bytes, words, &mut profile.corrections) {
            profile.points.push(point);
        }
    }
}

/// These files list no marks for "no value": those of the manufacturer apply.
fn mark_no_values(profile: &mut Profile) {
    let marks = NoValueMarks::of_manufacturer(&profile.manufacturer);
    for point in &mut profile.points {
        point.unavailable = marks.of(point.layout.format).to_vec();
    }
}

/// Byte and word order. `byte_order` alone reverses the whole value, as in the Python gateway; `word_order`, which that
/// gateway ignores, is honoured.
fn orders(connection: &Value) -> (Order, Order) {
    let order = |key: &str| match member(connection, key).as_str() {
        Some(text) if text.eq_ignore_ascii_case("little") => Some(Order::Little),
        Some(_) => Some(Order::Big),
        None => None,
    };
    let bytes = order("byte_order").unwrap_or(Order::Big);
    (bytes, order("word_order").unwrap_or(bytes))
}

/// Lists overlapping points; the read plan puts them into separate requests.
fn note_overlaps(profile: &mut Profile) {
    let mut points: Vec<_> = profile.points.iter().collect();
    points.sort_by_key(|point| point.address);
    let mut notes = Vec::new();
    for pair in points.windows(2) {
        let [first, second] = pair else { continue };
        if u32::from(second.address) < first.end() {
            let (name, address, other) = (&second.name, second.address, &first.name);
            notes.push(format!("{name} at {address} overlaps {other}; reading them in separate requests"));
        }
    }
    profile.corrections.extend(notes);
}

#[cfg(test)]
mod tests;
