//! SunSpec: devices that describe their own registers.
//!
//! A SunSpec device has a chain of numbered models that begins with the characters `SunS` at one of three addresses.
//! [`Discovery`] walks the chain, [`models`] contains the published models, and [`layout`] places the points of each
//! model. Reading the registers is left to the caller. (SunSpec Device Information Model Specification 1.1, chapters 4
//! to 6.)

mod chain_check;
mod description;
mod discovery;
mod found;
pub mod layout;
pub mod models;
mod point_type;
mod profile;
mod quantity;
mod read;
mod set_point;

pub use chain_check::{ChainCheck, ChainState};
pub use discovery::Discovery;
pub use found::{DeviceDescription, DeviceModel, DevicePoint, GroupRepetition, Nameplate, Scale};
pub use read::{DiscoveryError, ReadError, RegisterRange};

#[cfg(test)]
mod tests;
