//! One quantity of a device: where it is, how it is encoded and what it means.

use std::time::Duration;

use crate::register::{Format, Layout, Scaling, Table, UnitId, WriteFunction};
use crate::report::ReportRule;
use crate::site::{Channel, ChannelKind};

/// Bits of a register.
const REGISTER_BITS: u32 = 16;

/// Whether a point may be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and written.
    ReadWrite,
    /// Written only, such as the register of a watchdog.
    Write,
}

impl Access {
    /// Whether it is read in each cycle.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }
}

/// The header of a SunSpec model. While the device has another one in its place, the registers behind it mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelHeader {
    /// The register of the model's id; its length is in the next one.
    pub address: u16,
    /// The model's id.
    pub id: u16,
    /// Number of registers after the header.
    pub length: u16,
}

/// One quantity of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name in the profile.
    pub name: String,
    /// The name that plugins see; the point's own unless the profile gives another.
    pub channel: String,
    /// The table that it is in.
    pub table: Table,
    /// Its first register, or its bit, counted from 0 as on the wire.
    pub address: u16,
    /// How it is encoded in its registers.
    pub layout: Layout,
    /// Conversion from the raw number to the unit.
    pub scaling: Scaling,
    /// A register of the same table that holds a power of ten to multiply with (SunSpec's `sunssf`).
    pub scale_register: Option<u16>,
    /// Raw values, as the bits of [`Layout::raw_bits`], that mean "no value now". NaN always does.
    pub unavailable: Vec<u64>,
    /// The smallest plausible value, and the smallest that may be written, in the unit.
    pub min: Option<f64>,
    /// The largest plausible value, and the largest that may be written, in the unit.
    pub max: Option<f64>,
    /// Names of the values of a state, or of the bits of a flag.
    pub names: Vec<(u64, String)>,
    /// UCUM code.
    pub unit: String,
    /// What kind of quantity it is.
    pub kind: ChannelKind,
    /// Read, written or both.
    pub access: Access,
    /// No public source confirms it: it is read, but never written.
    pub unverified: bool,
    /// How long the device may take to show a written value; none for [`DEFAULT_SETTLE`](crate::write::DEFAULT_SETTLE).
    pub settle: Option<Duration>,
    /// A wrong value can damage the plant or cut it off: a person must confirm each write.
    pub dangerous: bool,
    /// The device keeps it in flash, which each write wears out: it is written only on change and within a daily budget.
    pub persistent: bool,
    /// The header of the SunSpec model that it belongs to.
    pub header: Option<ModelHeader>,
    /// The function that writes it, if the profile chooses one.
    pub write_function: Option<WriteFunction>,
    /// Its unit id, if it differs from the device's.
    pub unit_id: Option<UnitId>,
    /// One of the profile's slower [`sources`](super::Profile::sources); none for the source at the device's period.
    pub source: Option<String>,
    /// When a change is worth a frame; none if every reading is.
    pub report: Option<ReportRule>,
    /// Display text.
    pub description: String,
}

impl Point {
    /// A read-only point without scaling, whose channel has the same name.
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
            unverified: false,
            settle: None,
            dangerous: false,
            persistent: false,
            header: None,
            write_function: None,
            unit_id: None,
            source: None,
            report: None,
            description: String::new(),
        }
    }

    /// Whether it may be written: its profile allows it, and a public source confirms the register.
    pub const fn is_writable(&self) -> bool {
        !matches!(self.access, Access::Read) && !self.unverified
    }

    /// How many bits a value has whose bits have a meaning; none for texts, fractions and scaled numbers.
    pub fn bits(&self) -> Option<u32> {
        if self.scaling != Scaling::NONE || self.scale_register.is_some() {
            return None;
        }
        match (self.layout.bits, self.layout.format) {
            (Some(range), _) => Some(u32::from(range.count)),
            (None, Format::Bool) => Some(1),
            (None, format) if format.has_bits() => Some(u32::from(format.width()) * REGISTER_BITS),
            _ => None,
        }
    }

    /// The register after its last one, at most 65,536.
    pub fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.layout.format.width())
    }

    /// The function that writes it: the profile's choice, else 5 or 6 for a single coil or register and 16 for more.
    pub(crate) fn write_function_or_default(&self) -> WriteFunction {
        self.write_function.unwrap_or(match self.table {
            Table::Coil | Table::Discrete => WriteFunction::Coil,
            _ if self.layout.format.width() == 1 => WriteFunction::Register,
            _ => WriteFunction::Registers,
        })
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
        let is_writable = self.is_writable();
        // Who proposes a value has to know them; to readers an implausible value is reported as a fault.
        let limits = [("min", self.min), ("max", self.max)].into_iter().filter(|_| is_writable);
        attributes.extend(limits.filter_map(|(key, limit)| Some((key.to_owned(), limit?.to_string()))));
        Channel {
            name: self.channel.clone(),
            unit: self.unit.clone(),
            kind: self.kind,
            writable: is_writable,
            attributes,
        }
    }
}
