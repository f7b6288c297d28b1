//! SunSpec: devices that say themselves what their registers mean.
//!
//! A chain of numbered models lies behind the letters `SunS` at one of three places. [`Discovery`] walks it, [`table`] knows what
//! is in each published model, [`layout`] puts the two together. Who reads the registers is the caller's business.
//! (SunSpec Device Information Model Specification 1.1, chapters 4 to 6.)

mod discovery;
pub mod layout;
mod profile;
mod quantity;
pub mod table;

pub use discovery::{Discovery, DiscoveryError, Read, Refused};
pub use profile::nameplate;

use table::PointType;

/// The id that ends the chain.
pub const END: u16 = 0xffff;

/// The model that says who made the device; the first of the chain.
pub const COMMON: u16 = 1;

/// What a device says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where `SunS` was.
    pub base: u16,
    /// In the order of the chain, unknown ones included.
    pub models: Vec<FoundModel>,
    /// Out of the common model.
    pub nameplate: Nameplate,
    /// Of all known models, in the order of their registers.
    pub points: Vec<FoundPoint>,
}

/// One model of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundModel {
    /// Its number.
    pub id: u16,
    /// Its name; empty for a vendor's own that the table does not know.
    pub name: &'static str,
    /// For people; empty where unknown.
    pub label: &'static str,
    /// The register of its id.
    pub address: u16,
    /// Registers behind its id and length, as the device has it.
    pub length: u16,
    /// What the length should be, by the table and the device's own counts; none where the model is unknown.
    pub expected: Option<u32>,
    /// The how manieth of this id, from 1.
    pub instance: u16,
}

/// What the common model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Nameplate {
    pub manufacturer: String,
    pub model: String,
    pub options: String,
    pub version: String,
    pub serial: String,
}

/// One value of a device. What pads, and what scales others, is none.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPoint {
    /// Its model's id.
    pub model: u16,
    /// Which of the models with this id, from 1.
    pub instance: u16,
    /// The groups it is in, from the outermost; empty where it is the model's own.
    pub path: Vec<Place>,
    /// Its first register.
    pub address: u16,
    /// The power of ten that it is multiplied with.
    pub scale: Scale,
    /// Whether the device had a value for it; none where the discovery had no need to look. To see whether a device has changed,
    /// compare profiles: this changes with the time of day.
    pub implemented: Option<bool>,
    /// Name, type, registers, unit, access, label and symbols.
    pub definition: &'static table::Point,
}

/// One group on the way to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The group's name.
    pub group: &'static str,
    /// Which of its repetitions, from 1; none where it does not repeat.
    pub index: Option<u16>,
}

/// Where the power of ten of a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The number is the value.
    One,
    /// Always the same.
    Fixed(i16),
    /// In this register, as a signed number.
    Register(u16),
}

impl FoundPoint {
    /// Its first register and the one after its last.
    pub fn registers(&self) -> (u32, u32) {
        let start = u32::from(self.address);
        (start, start + u32::from(self.definition.size))
    }

    /// What its bits mean.
    pub fn kind(&self) -> PointType {
        self.definition.kind
    }
}

#[cfg(test)]
mod device;
#[cfg(test)]
mod tests;
