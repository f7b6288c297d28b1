//! Turns a device's description into a profile: a point and a channel for each value.

use super::found::{DeviceDescription, DevicePoint, Scale};
use super::point_type::PointType;
use super::quantity::{Quantity, choose};
use super::set_point;
use crate::profile::{Access, ModelHeader, Point, Profile, SUNSPEC, nameplate_source};
use crate::register::{Format, Layout, Scaling, Table, TextLayout};
use crate::site::ChannelKind;

/// The most channels of a profile: half of the values that one plugin call gets, so that a frame always fits. A device
/// with a model for each of its cells can have 20,000 points; its owner then chooses the models.
const MAX_POINTS: usize = 4_096;

/// Whether a model holds only ratings, settings and curves, which change when somebody services the device: the common
/// model, security and communication (1 to 19, 220), ratings and settings (120, 121, 125 to 145), and of IEEE 1547-2018
/// capacity, enter service and the curves (702, 703, 705 to 712). Controls (123, 124, 704) are not among them, so that
/// a dispatch is visible at once.
fn is_nameplate(model: u16) -> bool {
    matches!(model, 1..=19 | 120 | 121 | 125..=145 | 220 | 702 | 703 | 705..=712)
}

impl DeviceDescription {
    /// A profile of all points, or of those of some models only.
    ///
    /// Network addresses are left out because they are not quantities.
    pub fn profile(&self, only: Option<&[u16]>) -> Profile {
        let wanted = |model: u16| only.is_none_or(|only| only.contains(&model));
        let quantities = choose(self, &wanted);
        let quantity_of = |point: &DevicePoint| {
            let chosen = quantities.iter().find(|(_, chosen)| std::ptr::eq(*chosen, point));
            chosen.map(|(quantity, _)| *quantity)
        };
        let points = self.points.iter().filter(|point| wanted(point.model));
        let points = points.filter_map(|point| {
            Some((quantity_of(point), to_point(point, quantity_of(point), self.header_of(point))?))
        });
        let mut points: Vec<_> = points.collect();
        let total = points.len();
        let mut free = 0_usize..MAX_POINTS;
        // The known quantities are included in any case.
        points.retain(|(quantity, _)| quantity.is_some() || free.next().is_some());
        let points: Vec<_> = points.into_iter().map(|(_, point)| point).collect();
        let left_out = total - points.len();
        let truncated = || {
            format!(
                "the device has {total} SunSpec points; leaving out the last {left_out}: choose models with `models`"
            )
        };
        let is_absent = |id: &&u16| !self.models.iter().any(|model| model.id == **id);
        let absent = only.unwrap_or_default().iter().filter(is_absent);
        let absent = absent.map(|id| format!("the device does not have SunSpec model {id}, which `models` lists"));
        Profile {
            manufacturer: self.nameplate.manufacturer.clone(),
            model: self.nameplate.model.clone(),
            sources: vec![nameplate_source()],
            set_point: set_point::of(&points),
            watchdog: watchdog(&points),
            points,
            is_discovered: true,
            corrections: (left_out > 0).then(truncated).into_iter().chain(absent).collect(),
            ..Profile::new(SUNSPEC)
        }
    }

    /// The header of the point's model.
    fn header_of(&self, point: &DevicePoint) -> Option<ModelHeader> {
        let mut models = self.models.iter();
        let model = models.find(|model| (model.id, model.instance) == (point.model, point.instance))?;
        Some(ModelHeader { address: model.address, id: model.id, length: model.length })
    }
}

fn to_point(found: &DevicePoint, quantity: Option<&Quantity>, header: Option<ModelHeader>) -> Option<Point> {
    let definition = found.definition;
    let name = name(found);
    let (exponent, unit, kind) = match quantity {
        Some(quantity) => (quantity.exponent, quantity.unit, quantity.kind),
        // A set-point is in kW everywhere in the gateway.
        None if is_set_point(found) => (-3, "kW", ChannelKind::Gauge),
        None => (0, unit(definition.unit), kind(found)),
    };
    let (fixed, scale_register) = match found.scale {
        Scale::None => (0, None),
        Scale::Fixed(power) => (i32::from(power), None),
        Scale::Register(address) => (0, Some(address)),
    };
    let bit_or_value = |&(value, name): &(u32, &str)| (u64::from(value), name.to_owned());
    let is_slow = definition.fixed || is_nameplate(found.model) || kind == ChannelKind::Text;
    let plain = Point::new(&name, Table::Holding, found.address, Layout::plain(format(found)?));
    Some(Point {
        channel: quantity.map_or(name, |quantity| quantity.channel.to_owned()),
        scaling: Scaling::NONE.times_ten_to(fixed + exponent),
        scale_register,
        unavailable: definition.kind.unavailable().into_iter().collect(),
        names: definition.symbols.iter().map(bit_or_value).collect(),
        unit: unit.to_owned(),
        kind,
        // Strings are read-only, as in every profile.
        access: if definition.writable && kind != ChannelKind::Text { Access::ReadWrite } else { Access::Read },
        source: (is_slow && quantity.is_none()).then(|| nameplate_source().0),
        header,
        description: description(found, quantity),
        ..plain
    })
}

/// The point's name, such as `m160_module_2_DCW`; in the second model with an id, such as `m103_2_W`.
fn name(found: &DevicePoint) -> String {
    let mut name = format!("m{}", found.model);
    let mut add = |part: &str| {
        name.push('_');
        name.extend(part.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }));
    };
    if found.instance > 1 {
        add(&found.instance.to_string());
    }
    for repetition in &found.path {
        add(repetition.group);
        if let Some(index) = repetition.index {
            add(&index.to_string());
        }
    }
    add(found.definition.name);
    name
}

fn description(found: &DevicePoint, quantity: Option<&Quantity>) -> String {
    match quantity.map(|quantity| quantity.note).filter(|note| !note.is_empty()) {
        Some(note) => format!("{} ({note})", found.definition.label),
        None => found.definition.label.to_owned(),
    }
}

fn format(found: &DevicePoint) -> Option<Format> {
    Some(match found.kind() {
        PointType::Int16 => Format::Int16,
        PointType::UInt16 | PointType::Acc16 | PointType::Enum16 | PointType::Bitfield16 | PointType::Count => {
            Format::UInt16
        }
        PointType::Int32 => Format::Int32,
        PointType::UInt32 | PointType::Acc32 | PointType::Enum32 | PointType::Bitfield32 => Format::UInt32,
        PointType::Int64 => Format::Int64,
        PointType::UInt64 | PointType::Acc64 => Format::UInt64,
        PointType::Float32 => Format::Float32,
        PointType::Float64 => Format::Float64,
        PointType::Text => Format::Text(found.definition.size, TextLayout::HighLow),
        PointType::IpAddress | PointType::Ipv6Address | PointType::Eui48 => return None,
        PointType::ScaleFactor | PointType::Pad => return None,
    })
}

fn kind(found: &DevicePoint) -> ChannelKind {
    let is_energy = matches!(unit(found.definition.unit), "Wh" | "kWh" | "varh" | "VAh");
    match found.kind() {
        PointType::Enum16 | PointType::Enum32 => ChannelKind::State,
        PointType::Bitfield16 | PointType::Bitfield32 => ChannelKind::Flag,
        PointType::Text => ChannelKind::Text,
        PointType::Acc16 | PointType::Acc32 | PointType::Acc64 => ChannelKind::Counter,
        // A capacity or the remaining energy is not a counter; those are in single registers.
        PointType::UInt32 | PointType::UInt64 | PointType::Float32 | PointType::Float64 if is_energy => {
            ChannelKind::Counter
        }
        _ => ChannelKind::Gauge,
    }
}

/// The UCUM code of a unit as the models write it; units that both write the same are not listed.
fn unit(unit: &'static str) -> &'static str {
    match unit.trim() {
        "" | "cos()" | "PF" | "SF" | "text" | "YYYYMMDD" | "hhmmss" | "hhmmss.sssZ" | "%ARtg/%dV" => "1",
        "Secs" | "Sec" | "Tms" => "s",
        "mSecs" => "ms",
        "Tmh" => "h",
        "Tmd" => "d",
        "C" => "Cel",
        "Degrees" => "deg",
        "Ah" | "AH" => "A.h",
        "kAH" => "kA.h",
        "WH" => "Wh",
        "Var" => "var",
        "Varh" => "varh",
        "W/m^2" => "W/m2",
        "ohms" => "Ohm",
        "kO" => "kOhm",
        "meters" => "m",
        "HPa" => "hPa",
        "mps" => "m/s",
        "Vm" => "V/m",
        "bps" => "bit/s",
        "Mbps" => "Mbit/s",
        "% PM/Hz" => "%/Hz",
        "Pct" | "VNomPct" | "WMaxPct" | "VarPct" | "DeptRef" => "%",
        percent if percent.starts_with('%') && percent.to_lowercase().ends_with("/sec") => "%/s",
        percent if percent.starts_with('%') && percent.ends_with("/min") => "%/min",
        percent if percent.starts_with('%') => "%",
        same => same,
    }
}

fn is_set_point(found: &DevicePoint) -> bool {
    found.model == 704 && found.path.is_empty() && found.definition.name == "WSet"
}

pub(super) fn named(points: &[Point], name: &str) -> Option<String> {
    points.iter().find(|point| point.name == name).map(|point| point.name.clone())
}

/// The register that a controller increments to show that it is alive: the battery's, or else the DER's.
fn watchdog(points: &[Point]) -> Option<String> {
    named(points, "m802_CtrlHb").or_else(|| named(points, "m715_ControllerHb"))
}
