//! Profiles: what the registers of a device model mean.
//!
//! A profile is written in TOML ([`toml`]) or taken over from the Python gateway as JSON
//! ([`json`]). Both give the same [`Profile`], in which every point is complete and valid.

mod built_in;
pub mod json;
mod model;
mod no_value;
mod plausible;
mod point;
mod recipe;
mod register_map;
mod requests;
pub mod toml;
mod unit;

pub use built_in::{DEFAULT, built_in, built_in_names};
pub(crate) use built_in::{SUNSPEC, nameplate_source};
pub use model::{Profile, SetPoint};
pub use point::{Access, ModelHeader, Point};
pub use recipe::{Recipe, RecipeError, RecipeValue, RecipeWrite, Revert};
pub(crate) use register_map::{Decoder, Item, RegisterMap, Role};
pub use requests::{Pacing, ReadLimits};

use crate::settings::Mistake;

/// Reads a profile in the format that its file name implies.
pub fn read(name: &str, file_name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    if file_name.to_lowercase().ends_with(".json") { json::read(name, text) } else { toml::read(name, text) }
}
