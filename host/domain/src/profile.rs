//! What the registers of a device model mean.
//!
//! A profile is written in TOML ([`toml`](self::toml)) or comes from the Python gateway as JSON ([`json`](self::json)).
//! Both end in the same [`Profile`], which cannot be wrong: every point has a layout, a scale and a place.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::plan::{Blocks, Plan, Wanted};
use crate::register::{Layout, Scaling, Table, UnitId};
use crate::report::Report;
use crate::settings::Mistake;
use crate::site::{Channel, ChannelKind};
use crate::write::WriteFunction;

mod built_in;
pub mod json;
pub mod toml;

pub use built_in::{DEFAULT, SUNSPEC, built_in, built_in_names};

/// Time that a device has for an answer, unless its profile says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a point may be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and written.
    ReadWrite,
    /// Only written, such as a watchdog's register.
    Write,
}

impl Access {
    /// Whether it is read in each cycle.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }
}

/// One quantity of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The profile's name for it.
    pub name: String,
    /// The name that plugins see; the point's own unless the profile gives another.
    pub channel: String,
    /// Where it is kept.
    pub table: Table,
    /// Its first register, or its bit, counted from 0 as on the wire.
    pub address: u16,
    /// How it lies in its registers.
    pub layout: Layout,
    /// From the raw number to the unit.
    pub scaling: Scaling,
    /// A register of the same table that holds a power of ten to multiply with (SunSpec's `sunssf`).
    pub scale_register: Option<u16>,
    /// Raw values, as the bits of [`Layout::raw_bits`], that say "no value now". NaN always does.
    pub unavailable: Vec<u64>,
    /// The least value that is believed and may be written, in the unit.
    pub min: Option<f64>,
    /// The greatest value that is believed and may be written, in the unit.
    pub max: Option<f64>,
    /// What single values of a state mean; what single bits mean where it is a flag.
    pub names: Vec<(u64, String)>,
    /// UCUM code.
    pub unit: String,
    /// What the values mean.
    pub kind: ChannelKind,
    /// Read, written or both.
    pub access: Access,
    /// The function to write it with, where the profile chooses one.
    pub write_function: Option<WriteFunction>,
    /// Where it differs from the device's own.
    pub unit_id: Option<UnitId>,
    /// One of the profile's slower [`sources`](Profile::sources); none for the device's own period.
    pub source: Option<String>,
    /// When a change is worth a frame; none where every reading is.
    pub report: Option<Report>,
    /// For people.
    pub description: String,
}

impl Point {
    /// A point of its own name in plain numbers, which is only read.
    pub fn new(name: &str, table: Table, address: u16, layout: Layout) -> Self {
        Self {
            name: name.into(),
            channel: name.into(),
            table,
            address,
            layout,
            scaling: Scaling::NONE,
            scale_register: None,
            unavailable: Vec::new(),
            min: None,
            max: None,
            names: Vec::new(),
            unit: "1".into(),
            kind: if layout.format.is_text() { ChannelKind::Text } else { ChannelKind::Gauge },
            access: Access::Read,
            write_function: None,
            unit_id: None,
            source: None,
            report: None,
            description: String::new(),
        }
    }

    /// The register after its last one; 65,536 at most.
    pub fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.layout.format.width())
    }

    /// The point as plugins see it.
    pub fn to_channel(&self) -> Channel {
        let mut attributes = Vec::new();
        if self.channel != self.name {
            attributes.push(("point".to_owned(), self.name.clone()));
        }
        if !self.description.is_empty() {
            attributes.push(("label".to_owned(), self.description.clone()));
        }
        let key = if self.kind == ChannelKind::Flag { "bit" } else { "state" };
        attributes.extend(self.names.iter().map(|(value, name)| (format!("{key}.{value}"), name.clone())));
        Channel {
            name: self.channel.clone(),
            unit: self.unit.clone(),
            kind: self.kind,
            writable: self.access != Access::Read,
            attributes,
        }
    }
}

/// How a device wants to be asked; none leaves it to the gateway, which learns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Least time between an answer and the next request.
    pub request_gap: Option<Duration>,
    /// Pause between connecting and the first request.
    pub connect_pause: Option<Duration>,
    /// The connection is made anew after so many errors in a row.
    pub reconnect_after: Option<u32>,
}

/// What a device model's power can be set with; each names a point of the profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetPoint {
    /// Takes kW, + = discharge, by its scaling.
    pub power: Option<String>,
    /// Takes the power to charge with, and
    pub charge: Option<String>,
    /// the power to discharge with, where there are two, both positive.
    pub discharge: Option<String>,
    /// The register that hands control to the gateway, and
    pub mode: Option<String>,
    /// the raw value that does, by what is wanted: `remote`, or `charge` and `discharge`. With a mode of which no value is
    /// known the power cannot be set.
    pub mode_values: Vec<(String, f64)>,
}

/// A device model.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name it was found under.
    pub name: String,
    /// Who makes it.
    pub manufacturer: String,
    /// What it is called.
    pub model: String,
    /// The unit id to ask when the settings name none.
    pub unit: UnitId,
    /// The unit id that the maker ships it with, named when [`unit`](Self::unit) is silent.
    pub usual_unit: Option<UnitId>,
    /// Time that it has for an answer.
    pub timeout: Duration,
    /// How it wants to be asked.
    pub pacing: Pacing,
    /// How much it gives at once.
    pub blocks: Blocks,
    /// Slower sources beside the one at the device's own period, with the time between two readings.
    pub sources: Vec<(String, Duration)>,
    /// In the order of a frame's values, the written-only ones included.
    pub points: Vec<Point>,
    /// The points are not written here: the device itself tells them (SunSpec).
    pub is_discovered: bool,
    /// What sets its power, if anything.
    pub set_point: Option<SetPoint>,
    /// The point that a living controller writes, if there is one.
    pub watchdog: Option<String>,
    /// What was mended while reading a profile of the Python gateway, for the log.
    pub mended: Vec<String>,
    /// What the devices of this model share.
    pub prepared: Prepared,
}

/// The sources of a profile as their plans want them, made when they are first asked for.
#[derive(Debug, Default)]
pub struct Prepared(OnceLock<Vec<(Option<String>, Arc<Wanted>)>>);

impl Clone for Prepared {
    /// A copy may be given other points.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Prepared {
    /// It follows from the rest.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Profile {
    /// One without any points.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            manufacturer: String::new(),
            model: String::new(),
            unit: UnitId(1),
            usual_unit: None,
            timeout: DEFAULT_TIMEOUT,
            pacing: Pacing::default(),
            blocks: Blocks::default(),
            sources: Vec::new(),
            points: Vec::new(),
            is_discovered: false,
            set_point: None,
            watchdog: None,
            mended: Vec::new(),
            prepared: Prepared::default(),
        }
    }

    /// The points that are read, of all sources, in the order of the profile.
    pub fn readable(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.access.is_read())
    }

    /// The points that are read together, in the order of a frame's values: of one of [`sources`](Self::sources), or of the
    /// device's own.
    pub fn source(&self, name: Option<&str>) -> impl Iterator<Item = &Point> {
        self.readable().filter(move |point| point.source.as_deref() == name)
    }

    /// The plan of a source, as [`source`](Self::source) names it, for a device of this model.
    pub fn plan(&self, source: Option<&str>, unit: UnitId, blocks: Blocks) -> Plan {
        if self.points.iter().any(|point| point.unit_id.is_some()) {
            return Plan::new(self.source(source), unit, blocks);
        }
        let wanted = |name: Option<&str>| (name.map(str::to_owned), Arc::new(Wanted::new(self.source(name), None)));
        let named = || self.sources.iter().map(|(name, _)| Some(name.as_str()));
        let prepared = self.prepared.0.get_or_init(|| [None].into_iter().chain(named()).map(wanted).collect());
        match prepared.iter().find(|(name, _)| name.as_deref() == source) {
            Some((_, wanted)) => Plan::of(Arc::clone(wanted), unit, blocks),
            None => Plan::new(std::iter::empty(), unit, blocks),
        }
    }

    /// What is known of a device from it, as the site's description has it.
    pub fn attributes(&self) -> Vec<(String, String)> {
        let text = |key: &str, value: &str| (!value.is_empty()).then(|| (key.to_owned(), value.to_owned()));
        let known = [text("profile", &self.name), text("manufacturer", &self.manufacturer), text("model", &self.model)];
        known.into_iter().flatten().collect()
    }

    /// By its name or its channel's.
    pub fn point(&self, name: &str) -> Option<&Point> {
        let named = self.points.iter().find(|point| point.name == name);
        named.or_else(|| self.points.iter().find(|point| point.channel == name))
    }
}

/// A profile's text, in the format that its file name says.
pub fn read(name: &str, file_name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    if file_name.to_lowercase().ends_with(".json") { json::read(name, text) } else { toml::read(name, text) }
}

/// What [`ChannelKind`] a unit's name of the profiles implies, and the unit's UCUM code.
fn unit_and_kind(unit: &str) -> (&str, ChannelKind) {
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
