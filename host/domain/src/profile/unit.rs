//! Names of units in profiles.

use crate::site::ChannelKind;

/// The UCUM code of a unit as profiles write it, and the [`ChannelKind`] that it implies.
pub(super) fn unit_and_kind(unit: &str) -> (&str, ChannelKind) {
    match unit {
        "°C" | "C" | "Cel" => ("Cel", ChannelKind::Gauge),
        "enum" => ("1", ChannelKind::State),
        "bitmask" | "bitfield" => ("1", ChannelKind::Flag),
        "count" | "counter" | "cycles" => ("1", ChannelKind::Counter),
        "kWh" | "Wh" | "MWh" => (unit, ChannelKind::Counter),
        "kvar" | "var" | "kVAr" | "VAr" => (if unit.starts_with('k') { "kvar" } else { "var" }, ChannelKind::Gauge),
        "Ah" => ("A.h", ChannelKind::Gauge),
        "" | "SF" => ("1", ChannelKind::Gauge),
        unit => (unit, ChannelKind::Gauge),
    }
}
