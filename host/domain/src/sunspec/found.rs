//! The description that a SunSpec device gives of itself.

use super::models::PointDefinition;
use super::point_type::PointType;

/// The description of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceDescription {
    /// The register of `SunS`.
    pub base: u16,
    /// In the order of the chain, including unknown ones.
    pub models: Vec<DeviceModel>,
    /// What follows the last model.
    pub(super) end: ChainEnd,
    /// What is wrong with the chain although it can be used.
    pub note: Option<String>,
    /// From the common model.
    pub nameplate: Nameplate,
    /// The points of all known models, in the order of their registers.
    pub points: Vec<DevicePoint>,
}

/// What follows the last model of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChainEnd {
    /// The first register after it; none if it is the last one of all.
    pub(super) address: Option<u16>,
    /// What it holds: the end marker, or something that is no model's id; none if it cannot be read.
    pub(super) id: Option<u16>,
}

/// One model of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceModel {
    /// Its id.
    pub id: u16,
    /// Its name; empty for an unknown vendor model.
    pub name: &'static str,
    /// Display name; empty if it is unknown.
    pub label: &'static str,
    /// The register of its id.
    pub address: u16,
    /// Its length as the device gives it: the registers after id and length.
    pub length: u16,
    /// Its length according to the published model and the device's counts; none if the model is unknown.
    pub expected: Option<u32>,
    /// Its number among the models with this id, from 1.
    pub instance: u16,
}

/// The texts of the common model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Nameplate {
    pub manufacturer: String,
    pub model: String,
    pub options: String,
    pub version: String,
    pub serial: String,
}

/// One value of a device. Padding and scale factors are not included.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePoint {
    /// The id of its model.
    pub(crate) model: u16,
    /// The number of its model among those with this id, from 1.
    pub(crate) instance: u16,
    /// The groups that contain it, from the outermost; empty if it is the model's own.
    pub path: Vec<GroupRepetition>,
    /// Its first register.
    pub address: u16,
    /// The power of ten to multiply with.
    pub scale: Scale,
    /// Whether the device had a value for it; none if the discovery did not read it. It changes while the device runs,
    /// so compare profiles to find out whether a device has changed.
    pub(crate) implemented: Option<bool>,
    /// Its published definition.
    pub definition: &'static PointDefinition,
}

/// A group on the path to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRepetition {
    /// The group's name.
    pub group: &'static str,
    /// The number of its repetition, from 1; none if it does not repeat.
    pub index: Option<u16>,
}

/// The power of ten to multiply a point with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// There is none.
    None,
    /// Always this one.
    Fixed(i16),
    /// The one in this register, as a signed number.
    Register(u16),
}

impl DevicePoint {
    /// Its type.
    pub fn kind(&self) -> PointType {
        self.definition.kind
    }
}
