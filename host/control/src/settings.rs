//! Which devices are controlled, and how far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::{Profile, RecipeValue};

/// The longest that a set-point may hold, unless the settings say otherwise.
const DEFAULT_LONGEST_LEASE: Duration = Duration::from_secs(15 * 60);
/// Writes of one persistent point in 24 h, unless the settings say otherwise: flash of 100,000 cycles lasts ten years.
pub(crate) const DEFAULT_WRITES_PER_DAY: u32 = 24;

/// The settings of the control room.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlSettings {
    /// The controlled devices by name; nothing is written to others.
    pub devices: BTreeMap<String, ControlledDevice>,
    /// Names of feeds, the one whose set-point applies first.
    pub priority: Vec<String>,
    /// The longest time for which one proposal holds.
    pub longest_lease: Duration,
    /// Digital inputs that limit a device's power.
    pub contacts: Vec<Contact>,
}

/// A digital input that limits a device's power while it is active, or not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// The device and the channel of the input.
    pub input: (String, String),
    /// It is active while the channel reads 0.
    pub is_inverted: bool,
    /// The device that it limits.
    pub device: String,
    /// The limits in kW that apply while it is active, by their channels.
    pub limits: Vec<(&'static str, f64)>,
}

/// A controlled device.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlledDevice {
    /// Its points and what sets its power.
    pub profile: Arc<Profile>,
    /// Highest charging power of a set-point, in kW; none for as much as its profile allows.
    pub max_charge_kw: Option<f64>,
    /// Highest discharging power of a set-point, in kW.
    pub max_discharge_kw: Option<f64>,
    /// The limit of charging that applies while nobody who sets one can be heard, in kW.
    pub charge_limit_fallback_kw: Option<f64>,
    /// The same of discharging.
    pub discharge_limit_fallback_kw: Option<f64>,
    /// How often each persistent point may be written in 24 h.
    pub writes_per_day: u32,
}

impl ControlledDevice {
    /// A device without limits of its own.
    pub fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            max_charge_kw: None,
            max_discharge_kw: None,
            charge_limit_fallback_kw: None,
            discharge_limit_fallback_kw: None,
            writes_per_day: DEFAULT_WRITES_PER_DAY,
        }
    }
}

impl ControlledDevice {
    /// The device's own range, the same in both directions, in kW; none if neither the settings nor the profile say.
    pub(crate) fn rated_kw(&self) -> Option<f64> {
        let configured = [self.max_charge_kw, self.max_discharge_kw].into_iter().flatten().reduce(f64::max);
        configured.or_else(|| self.profile_kw())
    }

    /// The greatest power that the profile's registers take, in kW; none if the profile does not say.
    pub fn profile_kw(&self) -> Option<f64> {
        let set_point = self.profile.set_point.as_ref()?;
        let of_recipe =
            set_point.recipe.iter().flat_map(|recipe| recipe.writes()).filter_map(|write| match write.value {
                RecipeValue::Power { scale, divided_by: None } if scale != 0.0 => {
                    Some(self.profile.point(&write.point)?.max? / scale.abs())
                }
                _ => None,
            });
        let of_register = |name: &String| {
            let point = self.profile.point(name)?;
            Some(if point.unit == "W" { point.max? / 1000.0 } else { point.max? })
        };
        let registers = [&set_point.power, &set_point.charge, &set_point.discharge];
        registers.into_iter().flatten().filter_map(of_register).chain(of_recipe).reduce(f64::max)
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            devices: BTreeMap::new(),
            priority: Vec::new(),
            longest_lease: DEFAULT_LONGEST_LEASE,
            contacts: Vec::new(),
        }
    }
}
