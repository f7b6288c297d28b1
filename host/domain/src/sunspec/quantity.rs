//! Chooses the points that are the quantities which the gateway knows by name.

use super::found::{DeviceDescription, DevicePoint};
use crate::site::{ChannelKind, channel};

/// A quantity and the points that can be it.
#[derive(Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) channel: &'static str,
    /// UCUM code of the channel.
    pub(super) unit: &'static str,
    /// The power of ten from the model's unit to the channel's.
    pub(super) exponent: i32,
    pub(super) kind: ChannelKind,
    /// Appended to the description.
    pub(super) note: &'static str,
    /// Model and point, the preferred first.
    sources: &'static [(u16, &'static str)],
}

/// All known quantities. Signs are the models' own: a DER's power is positive when it leaves the DER.
const QUANTITIES: [Quantity; 5] = [
    Quantity {
        channel: channel::SOC,
        unit: "%",
        exponent: 0,
        kind: ChannelKind::Gauge,
        note: "",
        sources: &[(713, "SoC"), (802, "SoC"), (124, "ChaState")],
    },
    Quantity {
        channel: channel::POWER,
        unit: "kW",
        exponent: -3,
        kind: ChannelKind::Gauge,
        note: "AC side, + = out of the device",
        sources: &[(701, "W"), (103, "W"), (102, "W"), (101, "W"), (113, "W"), (112, "W"), (111, "W")],
    },
    Quantity {
        channel: "battery_power_kw",
        unit: "kW",
        exponent: -3,
        kind: ChannelKind::Gauge,
        note: "as in the model, + = discharge; some manufacturers invert the sign",
        sources: &[(802, "W")],
    },
    Quantity {
        channel: channel::TEMPERATURE,
        unit: "Cel",
        exponent: 0,
        kind: ChannelKind::Gauge,
        note: "",
        sources: &[(803, "ModTmpAvg"), (803, "ModTmpMax")],
    },
    Quantity {
        channel: channel::CYCLES,
        unit: "1",
        exponent: 0,
        kind: ChannelKind::Counter,
        note: "",
        sources: &[(802, "NCyc")],
    },
];

/// Names of a model's own points that can be one of the quantities.
pub(super) fn points_of(model: u16) -> impl Iterator<Item = &'static str> {
    let sources = QUANTITIES.iter().flat_map(|quantity| quantity.sources);
    sources.filter(move |(of, _)| *of == model).map(|&(_, name)| name)
}

/// The quantities of a device, each with its point: the first candidate that the device implements, or else the first.
pub(super) fn choose<'a>(
    found: &'a DeviceDescription,
    only: &dyn Fn(u16) -> bool,
) -> Vec<(&'static Quantity, &'a DevicePoint)> {
    let choose = |quantity: &'static Quantity| {
        let of = |(model, name): &(u16, &'static str)| {
            let (model, name) = (*model, *name);
            let points = found.points.iter().filter(move |point| only(point.model) && point.model == model);
            points.filter(move |point| point.path.is_empty() && point.definition.name == name)
        };
        let mut candidates = quantity.sources.iter().flat_map(of);
        let first = candidates.clone().next()?;
        let implemented = candidates.find(|point| point.implemented != Some(false));
        Some((quantity, implemented.unwrap_or(first)))
    };
    QUANTITIES.iter().filter_map(choose).collect()
}
