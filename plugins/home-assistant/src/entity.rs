//! What a channel becomes in Home Assistant: a sensor, a binary sensor, or an entity that can be set.

use bessai_plugin::{Channel, ChannelKind, Proposal, Value, json};

use crate::quantity::{self, Quantity};

/// One entity: a component of a device's discovery message, and a member of its source's state.
#[derive(Debug)]
pub(crate) struct Entity {
    /// Names it in topics, in the state and, with the device, for ever in Home Assistant.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) kind: EntityKind,
    /// The channel that it shows, by its index in the source.
    pub(crate) channel: u32,
    /// Quoted, for the state.
    pub(crate) member: json::Key,
}

#[derive(Debug, PartialEq)]
pub(crate) enum EntityKind {
    /// A number, or a text without a class.
    Number { quantity: Quantity, unit: Option<String>, state_class: Option<&'static str>, bounds: Option<(f64, f64)> },
    /// A text.
    Text,
    /// One of the names of the values of a state; a select if it can be set.
    Choice { names: Vec<(i64, String)>, settable: bool },
    /// On if any of these bits is set, or the value is not zero; a switch if it can be set.
    Bits { mask: u64, alarm: bool, detail: bool, settable: bool },
}

/// The numbers that a JSON number holds exactly end here, so that no bit above is lost silently.
const MAX_BITS: u32 = 53;
/// What a writable number accepts without the profile's limits; the gateway has the last word in any case.
const ANY_NUMBER: (f64, f64) = (-1e6, 1e6);

/// The entities of one channel: one, and for a flag with named bits one for each bit.
pub(crate) fn of_channel(index: u32, channel: &Channel) -> Vec<Entity> {
    let entity = |key: String, name: String, kind| {
        let member = json::Key::new(&key);
        Entity { key, name, kind, channel: index, member }
    };
    let (key, name) = (identifier(&channel.name), display_name(channel));
    match channel.kind {
        ChannelKind::Gauge | ChannelKind::Counter => vec![entity(key, name, number(channel))],
        ChannelKind::Text => vec![entity(key, name, EntityKind::Text)],
        ChannelKind::State => match names(channel, "state.") {
            names if names.is_empty() && channel.writable => vec![entity(key, name, number(channel))],
            names if names.is_empty() => vec![entity(key, name, plain_number())],
            names => vec![entity(key, name, EntityKind::Choice { names, settable: channel.writable })],
        },
        ChannelKind::Flag => {
            let alarm = quantity::is_alarm(&channel.name);
            let bits = names(channel, "bit.");
            let all = EntityKind::Bits { mask: u64::MAX, alarm, detail: false, settable: channel.writable };
            let mut entities = vec![entity(key.clone(), name.clone(), all)];
            for (bit, label) in bits.iter().filter(|(bit, _)| (0..i64::from(MAX_BITS)).contains(bit)) {
                let kind = EntityKind::Bits { mask: 1 << bit, alarm, detail: true, settable: false };
                entities.push(entity(format!("{key}_bit_{bit}"), format!("{name}: {label}"), kind));
            }
            entities
        }
    }
}

fn number(channel: &Channel) -> EntityKind {
    let (quantity, unit) = quantity::of(channel);
    let state_class = if channel.kind == ChannelKind::Counter { "total_increasing" } else { "measurement" };
    let bounds = channel.writable.then(|| bounds(channel, unit.as_deref()));
    EntityKind::Number { quantity, unit, state_class: Some(state_class), bounds }
}

/// A number that means something else than a quantity.
fn plain_number() -> EntityKind {
    let quantity = Quantity { device_class: None, decimals: 0, factor: 1.0 };
    EntityKind::Number { quantity, unit: None, state_class: None, bounds: None }
}

/// The limits of the profile, if the description has them.
fn bounds(channel: &Channel, unit: Option<&str>) -> (f64, f64) {
    let default = if unit == Some("%") { (0.0, 100.0) } else { ANY_NUMBER };
    let limit = |key: &str| attribute(channel, key).and_then(|text| text.parse::<f64>().ok());
    let (min, max) = (limit("min").unwrap_or(default.0), limit("max").unwrap_or(default.1));
    // Home Assistant refuses a number without a range, and with it the whole device.
    if min < max { (min, max) } else { default }
}

fn attribute<'a>(channel: &'a Channel, key: &str) -> Option<&'a str> {
    channel.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn names(channel: &Channel, prefix: &str) -> Vec<(i64, String)> {
    let named = channel.attributes.iter().filter_map(|(key, name)| {
        let number = key.strip_prefix(prefix)?.parse().ok()?;
        Some((number, name.clone()))
    });
    named.collect()
}

/// The known channels by their usual names, others by their own, those of SunSpec by their labels.
fn display_name(channel: &Channel) -> String {
    let is_sunspec = channel.name.strip_prefix('m').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match (channel.name.as_str(), attribute(channel, "label")) {
        ("soc_pct", _) => "State of charge".into(),
        ("soh_pct", _) => "State of health".into(),
        ("power_kw", _) => "Power".into(),
        ("battery_power_kw", _) => "Battery power".into(),
        ("set_point_kw", _) => "Set-point".into(),
        ("temp_c", _) => "Temperature".into(),
        ("cycle_count", _) => "Cycles".into(),
        (name, Some(label)) if is_sunspec => format!("{label} ({name})"),
        (name, _) => {
            let mut words = name.replace('_', " ");
            if let Some(first) = words.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            words
        }
    }
}

/// Letters, digits, `-` and `_`, as Home Assistant allows in ids and topics have no special meaning for. A text that has other
/// characters gets a checksum, so that two of them stay different.
pub(crate) fn identifier(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(allowed) {
        return text.into();
    }
    // FNV-1a with 32 bits.
    let sum = text.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let clean: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    format!("{clean}_{sum:08x}")
}

impl Entity {
    /// Home Assistant's platform.
    pub(crate) fn platform(&self) -> &'static str {
        match &self.kind {
            EntityKind::Number { bounds: Some(_), .. } => "number",
            EntityKind::Number { .. } | EntityKind::Text => "sensor",
            EntityKind::Choice { settable: true, .. } => "select",
            EntityKind::Choice { .. } => "sensor",
            EntityKind::Bits { settable: true, .. } => "switch",
            EntityKind::Bits { .. } => "binary_sensor",
        }
    }

    pub(crate) fn is_settable(&self) -> bool {
        matches!(self.platform(), "number" | "select" | "switch")
    }

    /// Appends its value; `null`, which Home Assistant shows as unknown, where there is none.
    pub(crate) fn write(&self, value: Option<f64>, text: Option<&str>, writer: &mut json::Writer) {
        match (&self.kind, value) {
            (EntityKind::Number { quantity, .. }, Some(value)) => writer.number(&self.member, value * quantity.factor),
            (EntityKind::Choice { names, .. }, Some(value)) => match name_of(names, value) {
                Some(name) => writer.text(&self.member, name),
                None => writer.null(&self.member),
            },
            (EntityKind::Bits { mask, .. }, Some(value)) => {
                let is_on = if *mask == u64::MAX { value != 0.0 } else { bits(value) & mask != 0 };
                writer.text(&self.member, if is_on { "ON" } else { "OFF" });
            }
            (EntityKind::Text, _) if text.is_some() => writer.text(&self.member, text.unwrap_or_default()),
            _ => writer.null(&self.member),
        }
    }

    /// What a command asks for, in the channel's own unit.
    pub(crate) fn parse(&self, payload: &str) -> Result<f64, String> {
        match &self.kind {
            EntityKind::Number { quantity, bounds: Some((min, max)), .. } => {
                let number = payload.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                let number = number.ok_or_else(|| format!("{payload:?} is not a number"))? / quantity.factor;
                if (*min..=*max).contains(&number) {
                    Ok(number)
                } else {
                    Err(format!("{number} is not within {min} to {max}"))
                }
            }
            EntityKind::Choice { names, settable: true } => {
                let found = names.iter().find(|(_, name)| name == payload);
                let value = found.and_then(|(value, _)| i32::try_from(*value).ok());
                value.map(f64::from).ok_or_else(|| format!("{payload:?} is none of its values"))
            }
            EntityKind::Bits { settable: true, .. } => match payload {
                "ON" => Ok(1.0),
                "OFF" => Ok(0.0),
                _ => Err(format!("{payload:?} is neither ON nor OFF")),
            },
            _ => Err("it cannot be set".into()),
        }
    }

    /// A set-point for its channel.
    pub(crate) fn proposal(&self, device: &str, channel: &str, value: f64) -> Proposal {
        Proposal {
            device: device.into(),
            channel: channel.into(),
            value: Some(Value::Number(value)),
            until: None,
            reference: format!("{device}/{}", self.key),
        }
    }
}

fn name_of(names: &[(i64, String)], value: f64) -> Option<&str> {
    let is_it = |number: i64| i32::try_from(number).is_ok_and(|number| f64::from(number) == value);
    names.iter().find(|(number, _)| is_it(*number)).map(|(_, name)| name.as_str())
}

/// The bits of a whole number below 2^53; none of anything else.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be below 2^53 and not negative")]
fn bits(value: f64) -> u64 {
    if (0.0..9_007_199_254_740_992.0).contains(&value) { value as u64 } else { 0 }
}
