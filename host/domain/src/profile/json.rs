//! The Python gateway's JSON profiles, unchanged; their known faults are mended, each named once in [`Profile::mended`].
//!
//! Mended are: a count that contradicts the type (the type wins), a null scale beside a scale register, overlapping
//! points (read apart), units that are not kW where a channel is in kW, and a battery's power whose sign is + = charge.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::profile::{Access, DEFAULT_TIMEOUT, Point, Profile, unit_and_kind};
use crate::register::{Format, Layout, Order, Scaling, Table, UnitId};
use crate::settings::{Mistake, Mistakes};
use crate::site::channel;

/// Registers that are a channel where the profile maps none itself, the likeliest first.
const ALIASES: [(&str, &[&str]); 4] = [
    (channel::SOC, &["soc_pct", "soc", "battery_soc", "luna_soc", "storage_soc"]),
    (channel::POWER, &["power_kw", "active_power", "ac_power_total", "ac_power", "ac_output_power"]),
    (channel::TEMPERATURE, &["temp_c", "luna_temperature", "battery_temperature"]),
    (channel::CYCLES, &["cycle_count", "luna_cycle_count", "battery_cycle_count"]),
];

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
    map_channels(&mut profile, &value);
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
        let numbers = || Format::NAMES.iter().filter(|(_, format)| *format != Format::Bool);
        let named = |(name, _): &&(&str, Format)| name.eq_ignore_ascii_case(self.text("type"));
        let Some(&(_, format)) = numbers().find(named) else {
            let known: Vec<_> = numbers().map(|(name, _)| name.to_uppercase()).collect();
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

/// Gives the channels that payloads, safety and models know by name to the registers that carry them.
fn map_channels(profile: &mut Profile, value: &Value) {
    let mapping = field(value, "bessai_mapping");
    for (channel, aliases) in ALIASES {
        let mapped = match channel {
            channel::POWER => field(mapping, "active_power_kw"),
            other => field(mapping, other),
        };
        let register = mapped.as_str().or_else(|| field(mapped, "register").as_str());
        let soc_alias = field(field(value, "soc"), "register_alias").as_str().filter(|_| channel == channel::SOC);
        let names = register.into_iter().chain(soc_alias).chain(aliases.iter().copied());
        let places: Vec<usize> = names.filter_map(|name| position(&profile.points, name)).collect();
        let Some(&place) = places.first() else { continue };
        assign(profile, place, channel, field(mapped, "transform").as_str());
    }
}

fn position(points: &[Point], name: &str) -> Option<usize> {
    points.iter().position(|point| point.name == name)
}

fn assign(profile: &mut Profile, place: usize, channel: &str, transform: Option<&str>) {
    // A register that happens to bear the channel's name without being it steps aside.
    for point in profile.points.iter_mut().filter(|point| point.channel == channel) {
        point.channel = format!("{}_register", point.name);
    }
    let Some(point) = profile.points.get_mut(place) else { return };
    point.channel = channel.into();
    let mut notes = Vec::new();
    if channel == channel::POWER {
        to_kilowatts(point, transform, &mut notes);
    } else if transform == Some("multiply_by_10") {
        point.scaling = point.scaling.times_ten_to(1);
    }
    profile.mended.extend(notes);
}

/// `power_kw` is in kW with + = discharge or export, whatever the register has.
fn to_kilowatts(point: &mut Point, transform: Option<&str>, mended: &mut Vec<String>) {
    if point.unit == "W" {
        point.scaling = point.scaling.times_ten_to(-3);
        point.unit = "kW".into();
        if transform.is_none() {
            mended.push(format!("{}: W is published as kW", point.name));
        }
    }
    let negated = transform.is_some_and(|transform| transform.starts_with("negate"));
    let description = point.description.to_lowercase().replace(' ', "");
    let charge_is_positive = description.contains("positive=charg") || description.contains("+=charg");
    if negated || charge_is_positive {
        point.scaling = point.scaling.negated();
    }
    if charge_is_positive && !negated {
        mended.push(format!("{}: its + = charge is turned, power_kw is + = discharge", point.name));
    }
}

/// A member, or null where there is none.
fn field<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        read("box", text).unwrap()
    }

    fn point<'a>(profile: &'a Profile, channel: &str) -> &'a Point {
        profile.points.iter().find(|point| point.channel == channel).unwrap()
    }

    #[test]
    fn reads_registers_and_finds_the_channels() {
        let profile = profile(
            r#"{ "device": {"manufacturer": "M", "model": "X", "slave_id_default": 3},
                 "connection": {"byte_order": "BIG", "word_order": "BIG", "timeout_seconds": 2},
                 "driver": {"slave_id": 7},
                 "registers": {
                   "soc": {"address": 0, "count": 1, "type": "UINT16", "access": "RO", "scale": 1, "unit": "%"},
                   "temp_c": {"address": 1, "count": 1, "type": "UINT16", "scale": 1, "unit": "°C"},
                   "active_power": {"address": 2, "count": 1, "type": "INT16", "scale": 1, "unit": "W"},
                   "watchdog_heartbeat": {"address": 6, "count": 1, "type": "UINT16", "access": "RW", "scale": 1, "unit": "count"}
                 } }"#,
        );
        assert_eq!(
            (profile.unit, profile.usual_unit, profile.timeout),
            (UnitId(7), Some(UnitId(3)), Duration::from_secs(2))
        );
        assert_eq!(point(&profile, "soc_pct").name, "soc");
        assert_eq!((point(&profile, "temp_c").unit.as_str(), point(&profile, "temp_c").address), ("Cel", 1));
        let power = point(&profile, "power_kw");
        assert_eq!((power.unit.as_str(), power.scaling.apply(-8550.0)), ("kW", -8.55));
        assert!(profile.points.iter().all(|point| point.table == Table::Holding));
        assert_eq!(profile.mended, ["active_power: W is published as kW"]);
    }

    #[test]
    fn the_profiles_own_mapping_wins_and_signs_are_turned() {
        let text = |transform: &str| {
            format!(
                r#"{{ "registers": {{
                     "storage_power": {{"address": 1, "type": "INT16", "scale": 1, "unit": "W",
                                        "description": "Battery power. Positive = charging, Negative = discharging."}},
                     "ac_power": {{"address": 2, "type": "INT16", "scale": 1, "unit": "W"}},
                     "temperature": {{"address": 3, "type": "INT16", "scale": 0.01, "unit": "°C"}},
                     "temp_c": {{"address": 4, "type": "INT16", "scale": 1, "unit": "°C"}} }},
                   "bessai_mapping": {{ "temp_c": "temperature",
                     "active_power_kw": {{"register": "storage_power", "transform": "{transform}"}} }} }}"#
            )
        };
        for transform in ["divide_by_1000", "negate_divide_by_1000"] {
            let profile = profile(&text(transform));
            assert_eq!(point(&profile, "power_kw").scaling.apply(-1500.0), 1.5, "{transform}");
            assert_eq!(point(&profile, "temp_c").name, "temperature");
            assert_eq!(point(&profile, "temp_c_register").name, "temp_c");
        }
    }

    #[test]
    fn known_faults_are_mended_and_named() {
        let profile = profile(
            r#"{ "registers": {
                   "ac_current": {"address": 40071, "count": 1, "type": "INT32", "scale": 0.001, "unit": "A"},
                   "ac_voltage": {"address": 40072, "count": 2, "type": "FLOAT32", "scale": 1, "unit": "V"},
                   "ac_power": {"address": 40083, "count": 1, "type": "INT16", "scale": null, "scale_register": 40085, "unit": "W"} } }"#,
        );
        assert_eq!(
            profile.mended,
            [
                "ac_current: count 1 does not fit INT32, 2 registers are read",
                "ac_power: null scale, the scale factor at 40085 is used",
                "ac_voltage at 40072 overlaps ac_current, they are read apart",
                "ac_power: W is published as kW",
            ]
        );
        assert_eq!(point(&profile, "power_kw").scale_register, Some(40085));
    }

    #[test]
    fn byte_and_word_order_give_all_four_layouts() {
        let check = |connection: &str, expected: (Order, Order)| {
            assert_eq!(orders(&serde_json::from_str(connection).unwrap()), expected, "{connection}");
        };
        check("{}", (Order::Big, Order::Big));
        check(r#"{"byte_order":"LITTLE"}"#, (Order::Little, Order::Little));
        check(r#"{"byte_order":"BIG","word_order":"LITTLE"}"#, (Order::Big, Order::Little));
        check(r#"{"byte_order":"LITTLE","word_order":"BIG"}"#, (Order::Little, Order::Big));
    }

    #[test]
    fn what_cannot_be_mended_names_the_register() {
        let check = |text: &str, expected: &[&str]| {
            let mistakes: Vec<_> = read("box", text).unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(mistakes, expected, "{text}");
        };
        check(
            r#"{"device": {"protocol": "CAN"}}"#,
            &["box: has no `registers`: it describes CAN, which is not read over Modbus"],
        );
        check(
            r#"{"registers": {"a": {"address": 70000, "type": "UINT16"}, "b": {"address": 1, "type": "STRING"}}}"#,
            &[
                "box.registers.a.address = 70000: write a register address from 0 to 65535",
                "box.registers.b.type = \"STRING\": write one of INT16, UINT16, INT32, UINT32, INT48, UINT48, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64, BCD16, BCD32, BCD48, BCD64",
            ],
        );
        check(
            r#"{"registers": {"a": {"address": 1, "type": "UINT16", "scale": "x"}}}"#,
            &["box.registers.a.scale = \"x\": write a number other than 0"],
        );
        assert!(read("box", "{").unwrap_err()[0].to_string().starts_with("box: is not JSON"));
    }
}
