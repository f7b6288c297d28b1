//! The writes, in order, that make a device charge, discharge or control itself again.

use std::time::Duration;

/// The ordered writes of a device model, which need no register that takes a signed power.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// Make it charge with a power.
    pub charge: Vec<RecipeWrite>,
    /// Make it discharge with a power.
    pub discharge: Vec<RecipeWrite>,
    /// Keep the battery at 0 kW; empty where discharging with 0 kW does.
    pub hold: Vec<RecipeWrite>,
    /// Give control back to the device.
    pub release: Vec<RecipeWrite>,
    /// The power in kW of a device that only takes a mode for charging.
    pub charge_kw: Option<f64>,
    /// The power in kW of a device that only takes a mode for discharging.
    pub discharge_kw: Option<f64>,
    /// How the device releases itself when nothing is written any more, if it does.
    pub revert: Option<Revert>,
}

/// One write of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipeWrite {
    /// The name of the point.
    pub point: String,
    /// What it is set to.
    pub value: RecipeValue,
    /// Left out while the point has no value: the device marks what it does not have.
    pub optional: bool,
}

/// What a write of a recipe sets its point to, in the point's unit.
#[derive(Clone, Debug, PartialEq)]
pub enum RecipeValue {
    /// Always the same.
    Constant(f64),
    /// The power in kW, which is positive in both directions, times the factor, and divided by another point's value if one
    /// is named, as where a device takes a share of its greatest power.
    Power {
        /// From kW to the point's unit.
        scale: f64,
        /// The name of the point to divide by.
        divided_by: Option<String>,
    },
}

/// The device's own timer.
#[derive(Clone, Debug, PartialEq)]
pub enum Revert {
    /// A point holds the time, in its unit, after which the device releases itself; the recipe sets it.
    Point(String),
    /// The device releases itself after this time without a write.
    After(Duration),
}

/// Why a recipe cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// The profile has no writes in this direction.
    #[error("the profile has no recipe for {0}")]
    Missing(&'static str),
    /// The device only takes modes, none of which holds the battery.
    #[error("the profile has no recipe for 0 kW, and the device takes no power")]
    NoHold,
    /// The power is not a number.
    #[error("{0} kW is no power")]
    NotAPower(f64),
    /// The point to divide by has no value other than 0.
    #[error("{0} has no value yet, which the power has to be divided by")]
    NoDivisor(String),
}

impl Recipe {
    /// The writes that set a power in kW, + = discharge; 0 holds the battery. `reading` gives the latest value of a point in
    /// its unit.
    pub fn set_power(
        &self,
        kilowatts: f64,
        reading: impl Fn(&str) -> Option<f64>,
    ) -> Result<Vec<(&str, f64)>, RecipeError> {
        if !kilowatts.is_finite() {
            return Err(RecipeError::NotAPower(kilowatts));
        }
        let (direction, writes, fixed) = match kilowatts {
            0.0 if !self.hold.is_empty() => ("holding", &self.hold, None),
            charging if charging < 0.0 => ("charging", &self.charge, self.charge_kw),
            _ => ("discharging", &self.discharge, self.discharge_kw),
        };
        match fixed {
            _ if writes.is_empty() => return Err(RecipeError::Missing(direction)),
            Some(_) if kilowatts == 0.0 => return Err(RecipeError::NoHold),
            _ => {}
        }
        let is_left_out = |write: &&RecipeWrite| write.optional && reading(&write.point).is_none();
        let value = |write: &RecipeWrite| write.value.resolve(kilowatts.abs(), &reading);
        let writes = writes.iter().filter(|write| !is_left_out(write));
        writes.map(|write| Ok((write.point.as_str(), value(write)?))).collect()
    }

    /// The power in kW that the device takes when it is set to this one, if it only takes a mode in that direction.
    pub fn mode_power(&self, kilowatts: f64) -> Option<f64> {
        match (self.charge_kw, self.discharge_kw) {
            (Some(charge), _) if kilowatts < 0.0 => Some(-charge),
            (_, Some(discharge)) if kilowatts > 0.0 => Some(discharge),
            _ => None,
        }
    }

    /// The writes that give control back to the device.
    pub fn release(&self) -> Vec<(&str, f64)> {
        let constant = |write: &RecipeWrite| write.value.resolve(0.0, &|_: &str| None).unwrap_or_default();
        self.release.iter().map(|write| (write.point.as_str(), constant(write))).collect()
    }

    /// All its writes.
    pub fn writes(&self) -> impl Iterator<Item = &RecipeWrite> {
        self.charge.iter().chain(&self.discharge).chain(&self.hold).chain(&self.release)
    }
}

impl RecipeWrite {
    /// A write that is never left out.
    pub fn new(point: &str, value: RecipeValue) -> Self {
        Self { point: point.into(), value, optional: false }
    }
}

impl RecipeValue {
    pub(crate) fn is_power(&self) -> bool {
        matches!(self, Self::Power { .. })
    }

    fn resolve(&self, kilowatts: f64, reading: &impl Fn(&str) -> Option<f64>) -> Result<f64, RecipeError> {
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Power { scale, divided_by: None } => Ok(kilowatts * scale),
            Self::Power { scale, divided_by: Some(point) } => {
                let divisor = reading(point).filter(|value| value.is_finite() && *value != 0.0);
                Ok(kilowatts * scale / divisor.ok_or_else(|| RecipeError::NoDivisor(point.clone()))?)
            }
        }
    }
}
