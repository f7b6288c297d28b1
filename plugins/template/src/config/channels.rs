//! `[config.channels]`: which channels are published, under which names, and in which form.

use bessai_plugin::json::Value;

use super::values::{above_zero, choose, shown};

/// What is calculated of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Min,
    Max,
    /// The arithmetic mean of the readings.
    Mean,
    Last,
    /// The area under the readings, in the channel's unit times hours: of `kW`, `kWh`.
    Integral,
}

/// A channel that is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selection {
    pub(crate) channel: String,
    pub(crate) name: String,
    /// The unit that the value is converted to.
    pub(crate) unit: Option<String>,
    pub(crate) factor: Option<f64>,
    pub(crate) offset: Option<f64>,
    pub(crate) decimals: Option<u8>,
    pub(crate) integer: bool,
    pub(crate) aggregates: Option<Vec<Aggregate>>,
    pub(crate) deadband: Option<f64>,
    pub(crate) swinging_door: Option<f64>,
}

/// The keys of a channel's table.
const KEYS: [&str; 9] =
    ["name", "unit", "factor", "offset", "decimals", "integer", "aggregate", "deadband", "swinging_door"];
/// More decimals than a double has.
const MOST_DECIMALS: f64 = 15.0;

impl Aggregate {
    const NAMES: [(&str, Self); 5] = [
        ("min", Self::Min),
        ("max", Self::Max),
        ("mean", Self::Mean),
        ("last", Self::Last),
        ("integral", Self::Integral),
    ];

    /// As in the settings, and as the end of a value's name.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, meaning)| *meaning == self).map_or("", |(name, _)| *name)
    }
}

/// One aggregate, or a list of them.
pub(super) fn aggregates(key: &str, value: &Value) -> Result<Vec<Aggregate>, String> {
    match value {
        Value::List(list) if !list.is_empty() => {
            list.iter().map(|value| choose(key, value, &Aggregate::NAMES)).collect()
        }
        value => Ok(vec![choose(key, value, &Aggregate::NAMES)?]),
    }
}

/// A list of names, or a table whose keys are the site's channels.
pub(super) fn read(value: &Value) -> Result<Vec<Selection>, String> {
    let selections: Vec<_> = match value {
        Value::List(list) => list.iter().map(listed).collect::<Result<_, _>>()?,
        Value::Table(members) => {
            members.iter().map(|(channel, value)| member(channel, value)).collect::<Result<_, _>>()?
        }
        _ => {
            return Err(
                "config.channels is neither a table nor a list: write [\"soc_pct\"] or { soc_pct = \"soc\" }".into()
            );
        }
    };
    if selections.is_empty() {
        return Err("config.channels is empty: write the channels to publish, or remove it to publish all".into());
    }
    let mut names: Vec<_> = selections.iter().map(|selection| selection.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(format!(
            "config.channels publishes two values as {:?}: give one of them another name",
            pair.first().unwrap_or(&"")
        )),
        None => Ok(selections),
    }
}

fn listed(value: &Value) -> Result<Selection, String> {
    match value {
        Value::Text(channel) => Ok(plain(channel, channel)),
        _ => Err(format!("config.channels has {} in its list: write names of channels in quotes", shown(value))),
    }
}

fn plain(channel: &str, name: &str) -> Selection {
    Selection { channel: channel.into(), name: name.into(), ..Selection::default() }
}

fn member(channel: &str, value: &Value) -> Result<Selection, String> {
    let key = format!("config.channels.{channel}");
    let members = match value {
        Value::Text(name) => return named(&key, plain(channel, name)),
        Value::Table(members) => members,
        _ => return Err(format!("{key} is {}: write its name in quotes, or a table", shown(value))),
    };
    let mut selection = plain(channel, channel);
    for (member, value) in members {
        set(&mut selection, &format!("{key}.{member}"), member, value)?;
    }
    if selection.unit.is_some() && (selection.factor.is_some() || selection.offset.is_some()) {
        let other = if selection.factor.is_some() { "factor" } else { "offset" };
        return Err(format!("{key} has unit and {other}: keep one of them"));
    }
    if selection.deadband.is_some() && selection.swinging_door.is_some() {
        return Err(format!("{key} has deadband and swinging_door: keep one of them"));
    }
    named(&key, selection)
}

fn named(key: &str, selection: Selection) -> Result<Selection, String> {
    if selection.name.is_empty() { Err(format!("{key} has an empty name: write one")) } else { Ok(selection) }
}

fn set(selection: &mut Selection, key: &str, member: &str, value: &Value) -> Result<(), String> {
    match (member, value) {
        ("name", Value::Text(name)) => selection.name.clone_from(name),
        ("unit", Value::Text(unit)) => selection.unit = Some(unit.clone()),
        ("name" | "unit", _) => return Err(format!("{key} is not a text: put it in quotes")),
        ("factor", Value::Number(number)) if *number != 0.0 => selection.factor = Some(*number),
        ("offset", Value::Number(number)) => selection.offset = Some(*number),
        ("factor" | "offset", _) => return Err(format!("{key} is {}: write a number", shown(value))),
        ("decimals", _) => selection.decimals = Some(decimals(key, value)?),
        ("integer", Value::Boolean(integer)) => selection.integer = *integer,
        ("integer", _) => return Err(format!("{key} is neither true nor false")),
        ("aggregate", _) => selection.aggregates = Some(aggregates(key, value)?),
        ("deadband", _) => selection.deadband = Some(above_zero(key, value)?),
        ("swinging_door", _) => selection.swinging_door = Some(above_zero(key, value)?),
        _ => return Err(format!("{key} is unknown: write {}", KEYS.join(" or "))),
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number up to 15")]
fn decimals(key: &str, value: &Value) -> Result<u8, String> {
    match value {
        Value::Number(number) if number.fract() == 0.0 && (0.0..=MOST_DECIMALS).contains(number) => Ok(*number as u8),
        _ => Err(format!("{key} is {}: write a whole number from 0 to 15", shown(value))),
    }
}
