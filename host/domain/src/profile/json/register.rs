//! One entry of `registers`.

use serde_json::Value;

use super::member::member;
use crate::profile::point::{Access, Point};
use crate::profile::unit::unit_and_kind;
use crate::register::{Format, Layout, Order, Scaling, Table};
use crate::settings::{Mistake, Mistakes};
use crate::site::ChannelKind;

/// An entry with its name, and where its mistakes are collected.
pub(super) struct RegisterEntry<'a> {
    pub(super) profile: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
    pub(super) mistakes: &'a Mistakes,
}

impl RegisterEntry<'_> {
    pub(super) fn read(&self, bytes: Order, words: Order, corrections: &mut Vec<String>) -> Option<Point> {
        let address = self.address("address")?;
        let format = self.format(corrections)?;
        let scale_register = self.value.get("scale_register").and_then(|_| self.address("scale_register"));
        let scaling = self.scaling(scale_register, corrections)?;
        let (unit, kind) = unit_and_kind(self.text("unit"));
        // A battery's capacity is in kWh too, but is not a counter.
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
            self.add_mistake("address", "the value would end after register 65535");
            return None;
        }
        Some(point)
    }

    fn text(&self, key: &str) -> &str {
        member(self.value, key).as_str().unwrap_or_default()
    }

    fn add_mistake(&self, key: &str, hint: &str) {
        let path = format!("{}.registers.{}.{key}", self.profile, self.name);
        let value = self.value.get(key).map(Value::to_string);
        self.mistakes.add(Mistake { key: path, value, hint: hint.into() });
    }

    fn address(&self, key: &str) -> Option<u16> {
        let address = member(self.value, key).as_u64().and_then(|address| u16::try_from(address).ok());
        if address.is_none() {
            self.add_mistake(key, "write a register address from 0 to 65535");
        }
        address
    }

    fn format(&self, corrections: &mut Vec<String>) -> Option<Format> {
        let Some(format) = format_named(self.text("type")) else {
            let numbers = Format::NAMES.iter().filter(|(_, format)| *format != Format::Bool);
            let known: Vec<_> = numbers.map(|(name, _)| name.to_uppercase()).collect();
            self.add_mistake("type", &format!("write one of {}", known.join(", ")));
            return None;
        };
        if let Some(count) = member(self.value, "count").as_u64().filter(|&count| count != u64::from(format.width())) {
            let (name, kind, width) = (self.name, self.text("type"), format.width());
            corrections.push(format!("{name}: count {count} does not match {kind}; reading {width} registers"));
        }
        Some(format)
    }

    fn scaling(&self, scale_register: Option<u16>, corrections: &mut Vec<String>) -> Option<Scaling> {
        let scale = match (member(self.value, "scale"), scale_register) {
            (Value::Null, Some(register)) => {
                if self.value.get("scale").is_some() {
                    corrections
                        .push(format!("{}: scale is null; using the scale factor in register {register}", self.name));
                }
                1.0
            }
            (Value::Null, None) => 1.0,
            (scale, _) => scale.as_f64().unwrap_or(f64::NAN),
        };
        let offset = member(self.value, "offset").as_f64().unwrap_or(0.0);
        let scaling = Scaling::new(scale, offset);
        if scaling.is_none() {
            self.add_mistake("scale", "write a number other than 0");
        }
        scaling
    }
}

/// A number format, also by the short names that some profiles use: `U16`, `S32`, `F32`.
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
    Format::from_name(&format!("{kind}{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_may_be_short() {
        let check = |name: &str, expected: Option<Format>| assert_eq!(format_named(name), expected, "{name}");
        check("U16", Some(Format::UInt16));
        check("i32", Some(Format::Int32));
        check("S64", Some(Format::Int64));
        check("F32", Some(Format::Float32));
        check("Uint64", Some(Format::UInt64));
        check("BCD32", Some(Format::Bcd32));
        check("U8", None);
        check("FLOAT", None);
        check("BOOL", None);
    }
}
