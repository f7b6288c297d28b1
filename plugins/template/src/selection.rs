//! Which channels of a source are published, looked up by name when the site's description comes.

use bessai_plugin::{Channel, ChannelKind, Site};

use crate::compression::Bound;
use crate::config::{Aggregate, Selection, Settings};
use crate::row::Column;
use crate::units::{Conversion, SAME, conversion};

/// A channel of a source, and how it is published.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// Its position in the source's frames.
    pub(crate) index: usize,
    pub(crate) column: Column,
    pub(crate) conversion: Conversion,
    pub(crate) bound: Bound,
    pub(crate) aggregates: Option<Vec<Aggregate>>,
}

/// The channels of a source that are published, in the order of the settings.
pub(crate) fn picks(device: &str, channels: &[Channel], settings: &Settings) -> Result<Vec<Pick>, String> {
    let Some(selections) = &settings.channels else {
        let whole = |(index, channel): (usize, &Channel)| {
            let selection = Selection { name: channel.name.clone(), ..Selection::default() };
            pick(device, index, channel, &selection, settings)
        };
        return channels.iter().enumerate().map(whole).collect();
    };
    let found = |selection: &Selection| {
        let (index, channel) = channels.iter().enumerate().find(|(_, channel)| channel.name == selection.channel)?;
        Some(pick(device, index, channel, selection, settings))
    };
    selections.iter().filter_map(found).collect()
}

fn pick(
    device: &str,
    index: usize,
    channel: &Channel,
    selection: &Selection,
    settings: &Settings,
) -> Result<Pick, String> {
    let unit = selection.unit.as_ref().unwrap_or(&channel.unit);
    let conversion = match &selection.unit {
        None => Conversion {
            factor: selection.factor.unwrap_or(SAME.factor),
            offset: selection.offset.unwrap_or(SAME.offset),
        },
        Some(unit) => conversion(&channel.unit, unit).ok_or_else(|| {
            format!(
                "config.channels.{}.unit is {unit:?}, and {device} has it in {:?}, which is not converted to that: \
                 write another unit, or a factor",
                channel.name, channel.unit
            )
        })?,
    };
    let column = Column {
        name: selection.name.clone(),
        unit: unit.clone(),
        decimals: selection.decimals,
        integer: selection.integer,
    };
    let bound = if channel.kind == ChannelKind::Text { Bound::None } else { bound(selection, settings) };
    Ok(Pick { index, column, conversion, bound, aggregates: selection.aggregates.clone() })
}

/// The channel's own bound, or that of all. Rounding is part of the error.
fn bound(selection: &Selection, settings: &Settings) -> Bound {
    let step = selection.decimals.map_or(0.0, |decimals| 0.5 * 10_f64.powi(-i32::from(decimals)));
    match (selection.deadband, selection.swinging_door, settings.deadband, settings.swinging_door) {
        (Some(most), _, _, _) | (None, None, Some(most), _) => Bound::Deadband(most - step),
        (None, Some(most), _, _) | (None, None, None, Some(most)) => Bound::SwingingDoor(most - step),
        (None, None, None, None) => Bound::None,
    }
}

/// The first selected channel that no device has. Devices whose points are not known yet may have it.
pub(crate) fn check(site: &Site, settings: &Settings) -> Result<(), String> {
    let known = channel_names(site);
    let Some(selections) = settings.channels.as_ref().filter(|_| is_known(site)) else { return Ok(()) };
    let Some(missing) = selections.iter().find(|selection| !known.contains(&selection.channel.as_str())) else {
        return Ok(());
    };
    let (channel, name) = (&missing.channel, &missing.name);
    if known.contains(&name.as_str()) {
        return Err(format!(
            "config.channels.{channel} = {name:?}: no device has a channel {channel:?}; write {name} = {channel:?} to \
             publish {name} as {channel}"
        ));
    }
    Err(format!("config.channels: no device has a channel {channel:?}; write {}", known.join(" or ")))
}

/// Whether the channels of all devices are known.
pub(crate) fn is_known(site: &Site) -> bool {
    let has_channels = |device: &str| site.sources.iter().any(|own| own.device == device && !own.channels.is_empty());
    !site.devices.is_empty() && site.devices.iter().all(|device| has_channels(&device.name))
}

fn channel_names(site: &Site) -> Vec<&str> {
    let all = site.sources.iter().flat_map(|source| &source.channels).map(|channel| channel.name.as_str());
    let mut names: Vec<_> = all.collect();
    names.sort_unstable();
    names.dedup();
    names
}
