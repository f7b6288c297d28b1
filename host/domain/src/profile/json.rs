//! The Python gateway's JSON profiles, unchanged; their known faults are mended, each named once in [`Profile::mended`].
//!
//! Mended are: a count that contradicts the type (the type wins), a null scale beside a scale register, overlapping
//! points (read apart), units that are not kW where a channel is in kW, and a battery's power whose sign is + = charge.

mod channels;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::profile::{Access, DEFAULT_TIMEOUT, Point, Profile, unit_and_kind};
use crate::register::{Format, Layout, Order, Scaling, Table, UnitId};
use crate::settings::{Mistake, Mistakes};
use crate::site::ChannelKind;

/// Reads a profile, or says everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Err(vec![Mistake::bare(name, format!("is not JSON: {error}"))]),
    };
    let Some(registers) = value.get("registers").and_then(Value::as_object) else {
        let protocol = field(field(&value, "device"), "protocol").as_str().unwrap_or("another protocol");
        let mend = format!("has no `registers`: it describes {protocol}, which is not read over Modbus");
        return Err(vec![Mistake::bare(name, mend)]);
    };
    let mistakes = Mistakes::default();
    let mut profile = read_device(name, &value);
    read_registers(&mut profile, &value, registers, &mistakes);
    note_overlaps(&mut profile);
    channels::map(&mut profile, &value);
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(profile) } else { Err(mistakes) }
}

fn read_device(name: &str, value: &Value) -> Profile {
    let text = |key: &str| field(field(value, "device"), key).as_str().unwrap_or_default().to_owned();
    let unit = |value: &Value| value.as_u64().and_then(|unit| u8::try_from(unit).ok()).map(UnitId);
    let seconds = field(field(value, "connection"), "timeout_seconds").as_f64();
    let timeout = seconds.filter(|seconds| *seconds > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
    Profile {
        manufacturer: text("manufacturer"),
        model: text("model"),
        unit: unit(field(field(value, "driver"), "slave_id")).unwrap_or(UnitId(1)),
        usual_unit: unit(field(field(value, "device"), "slave_id_default")),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        ..Profile::new(name)
    }
}

fn read_registers(profile: &mut Profile, value: &Value, registers: &Map<String, Value>, mistakes: &Mistakes) {
    let (bytes, words) = orders(field(value, "connection"));
    for (name, register) in registers {
        let reader = Register { profile: &profile.name, name, value: register, mistakes };
        if let Some(point) = reader.read(bytes, words, &mut profile.mended) {
            profile.points.push(point);
        }
    }
}

/// `byte_order` alone turns the whole value round, as the Python gateway does; `word_order`, which it ignores, counts.
fn orders(connection: &Value) -> (Order, Order) {
    let order = |key: &str| match field(connection, key).as_str() {
        Some(text) if text.eq_ignore_ascii_case("little") => Some(Order::Little),
        Some(_) => Some(Order::Big),
        None => None,
    };
    let bytes = order("byte_order").unwrap_or(Order::Big);
    (bytes, order("word_order").unwrap_or(bytes))
}

/// One entry of `registers`.
struct Register<'a> {
    profile: &'a str,
    name: &'a str,
    value: &'a Value,
    mistakes: &'a Mistakes,
}

impl Register<'_> {
    fn read(&self, bytes: Order, words: Order, mended: &mut Vec<String>) -> Option<Point> {
        let address = self.address("address")?;
        let format = self.format(mended)?;
        let scale_register = self.value.get("scale_register").and_then(|_| self.address("scale_register"));
        let scaling = self.scaling(scale_register, mended)?;
        let (unit, kind) = unit_and_kind(self.text("unit"));
        // What a battery holds is in kWh too, but does not grow.
        let kind = if self.name.contains("capacity") { ChannelKind::Gauge } else { kind };
        let layout = Layout { bytes, words, ..Layout::plain(format) };
        let point = Point {
            scaling,
            scale_register,
            unit: unit.into(),
            kind,
            access: if self.text("access") == "RW" { Access::ReadWrite } else { Access::Read },
            description: self.text("description").into(),
            ..Point::new(self.name, Table::Holding, address, layout)
        };
        if point.end() > 65_536 {
            self.wrong("address", "the value ends after register 65535");
            return None;
        }
        Some(point)
    }

    fn text(&self, key: &str) -> &str {
        field(self.value, key).as_str().unwrap_or_default()
    }

    fn wrong(&self, key: &str, mend: &str) {
        let path = format!("{}.registers.{}.{key}", self.profile, self.name);
        let value = self.value.get(key).map(Value::to_string);
        self.mistakes.add(Mistake { key: path, value, mend: mend.into() });
    }

    fn address(&self, key: &str) -> Option<u16> {
        let address = field(self.value, key).as_u64().and_then(|address| u16::try_from(address).ok());
        if address.is_none() {
            self.wrong(key, "write a register address from 0 to 65535");
        }
        address
    }

    fn format(&self, mended: &mut Vec<String>) -> Option<Format> {
        let Some(format) = format_named(self.text("type")) else {
            let numbers = Format::NAMES.iter().filter(|(_, format)| *format != Format::Bool);
            let known: Vec<_> = numbers.map(|(name, _)| name.to_uppercase()).collect();
            self.wrong("type", &format!("write one of {}", known.join(", ")));
            return None;
        };
        if let Some(count) = field(self.value, "count").as_u64().filter(|&count| count != u64::from(format.width())) {
            let (name, kind, width) = (self.name, self.text("type"), format.width());
            mended.push(format!("{name}: count {count} does not fit {kind}, {width} registers are read"));
        }
        Some(format)
    }

    fn scaling(&self, scale_register: Option<u16>, mended: &mut Vec<String>) -> Option<Scaling> {
        let scale = match (field(self.value, "scale"), scale_register) {
            (Value::Null, Some(register)) => {
                if self.value.get("scale").is_some() {
                    mended.push(format!("{}: null scale, the scale factor at {register} is used", self.name));
                }
                1.0
            }
            (Value::Null, None) => 1.0,
            (scale, _) => scale.as_f64().unwrap_or(f64::NAN),
        };
        let offset = field(self.value, "offset").as_f64().unwrap_or(0.0);
        let scaling = Scaling::new(scale, offset);
        if scaling.is_none() {
            self.wrong("scale", "write a number other than 0");
        }
        scaling
    }
}

/// A number's type, also by the short names that some profiles have: `U16`, `S32`, `F32`.
fn format_named(name: &str) -> Option<Format> {
    let name = name.to_uppercase();
    let digits = name.find(|character: char| character.is_ascii_digit())?;
    let (kind, bits) = name.split_at_checked(digits)?;
    let kind = match kind {
        "U" => "UINT",
        "I" | "S" => "INT",
        "F" => "FLOAT",
        kind => kind,
    };
    Format::named(&format!("{kind}{bits}"))
}

/// Overlapping points are never read in one request; the plan sees to it, here they are only named.
fn note_overlaps(profile: &mut Profile) {
    let mut points: Vec<_> = profile.points.iter().collect();
    points.sort_by_key(|point| point.address);
    let mut notes = Vec::new();
    for pair in points.windows(2) {
        let [first, second] = pair else { continue };
        if u32::from(second.address) < first.end() {
            notes.push(format!("{} at {} overlaps {}, they are read apart", second.name, second.address, first.name));
        }
    }
    profile.mended.extend(notes);
}

/// A member, or null where there is none.
fn field<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests;
