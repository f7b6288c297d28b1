//! A device model: its points, how it is read and what controls it.

use std::sync::Arc;
use std::time::Duration;

use super::point::Point;
use super::recipe::Recipe;
use super::register_map::{RegisterMap, SharedMaps};
use super::requests::{DEFAULT_TIMEOUT, Pacing, ReadLimits};
use crate::register::UnitId;

/// What sets the power of a device model; each name is a point of the profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetPoint {
    /// Takes the power in kW, + = discharge, after its scaling.
    pub power: Option<String>,
    /// Takes the power to charge with, positive, on devices that have separate registers for the two directions.
    pub charge: Option<String>,
    /// Takes the power to discharge with, positive, on devices that have separate registers for the two directions.
    pub discharge: Option<String>,
    /// Selects who controls the device.
    pub mode: Option<String>,
    /// The raw values of `mode` by purpose: `remote`, or `charge` and `discharge`. If there is a mode without known
    /// values, the power cannot be set.
    pub mode_values: Vec<(String, f64)>,
    /// The writes that set a power and give control back, where one register does not.
    pub recipe: Option<Recipe>,
}

/// A device model.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name that selects it.
    pub name: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model name.
    pub model: String,
    /// The unit id to use if the settings give none.
    pub unit: UnitId,
    /// The unit id that devices are shipped with; suggested to the user when [`unit`](Self::unit) does not answer.
    pub usual_unit: Option<UnitId>,
    /// Timeout of a request.
    pub timeout: Duration,
    /// Pacing of requests.
    pub pacing: Pacing,
    /// How much one request reads.
    pub read_limits: ReadLimits,
    /// Slower sources in addition to the one at the device's period, with the time between two readings.
    pub sources: Vec<(String, Duration)>,
    /// In the order of a frame's values, including those that are only written.
    pub points: Vec<Point>,
    /// The points are not listed here: the device describes them itself (SunSpec).
    pub is_discovered: bool,
    /// The register at which a SunSpec device's chain of models begins, if the settings name it.
    pub sunspec_base: Option<u16>,
    /// What sets its power, if anything.
    pub set_point: Option<SetPoint>,
    /// The point that a controller writes to show that it is alive, if there is one.
    pub watchdog: Option<String>,
    /// What was corrected while reading a profile of the Python gateway, for the log.
    pub corrections: Vec<String>,
    pub(crate) maps: SharedMaps,
}

impl Profile {
    /// A profile without points.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            manufacturer: String::new(),
            model: String::new(),
            unit: UnitId(1),
            usual_unit: None,
            timeout: DEFAULT_TIMEOUT,
            pacing: Pacing::default(),
            read_limits: ReadLimits::default(),
            sources: Vec::new(),
            points: Vec::new(),
            is_discovered: false,
            sunspec_base: None,
            set_point: None,
            watchdog: None,
            corrections: Vec::new(),
            maps: SharedMaps::default(),
        }
    }

    /// The points of all sources that are read, in the order of the profile.
    pub fn readable(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.access.is_read())
    }

    /// The points of one source in the order of a frame's values: one of [`sources`](Self::sources), or the one at the
    /// device's period.
    pub fn source(&self, name: Option<&str>) -> impl Iterator<Item = &Point> {
        self.readable().filter(move |point| point.source.as_deref() == name)
    }

    /// The register map of one of its sources for a device with this unit id; empty if there is no such source.
    pub(crate) fn register_map(&self, source: Option<&str>, unit: UnitId) -> Arc<RegisterMap> {
        // A point with a unit id of its own is an exception on some devices and none on others.
        if self.points.iter().any(|point| point.unit_id.is_some()) {
            return Arc::new(RegisterMap::new(self.source(source), Some(unit)));
        }
        let names = || [None].into_iter().chain(self.sources.iter().map(|(name, _)| Some(name.as_str())));
        let map = |name: Option<&str>| (name.map(str::to_owned), Arc::new(RegisterMap::new(self.source(name), None)));
        let shared = self.maps.get(source, || names().map(map).collect());
        shared.unwrap_or_else(|| Arc::new(RegisterMap::new(std::iter::empty(), None)))
    }

    /// The attributes of a device of this model in the site's description.
    pub fn attributes(&self) -> Vec<(String, String)> {
        let text = |key: &str, value: &str| (!value.is_empty()).then(|| (key.to_owned(), value.to_owned()));
        let known = [text("profile", &self.name), text("manufacturer", &self.manufacturer), text("model", &self.model)];
        known.into_iter().flatten().collect()
    }

    /// The point with this name, or else the one whose channel has it.
    pub fn point(&self, name: &str) -> Option<&Point> {
        let named = self.points.iter().find(|point| point.name == name);
        named.or_else(|| self.points.iter().find(|point| point.channel == name))
    }
}
