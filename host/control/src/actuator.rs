//! The writes that set a channel of a device to a value, and those that release it.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::{Point, Profile, Recipe, RecipeValue, Revert, SetPoint};
use bessai_domain::register::UnitId;
use bessai_domain::write::WriteError;

use crate::reserved::uses;

/// What a timer of the device is set to if its recipe does not say: renewed at half of it.
const REVERT_TIME: Duration = Duration::from_secs(60);

/// Writes in order: names of points, and values in their units.
pub(crate) type Writes = Vec<(String, f64)>;

/// What sets one channel.
#[derive(Clone, Debug)]
pub(crate) enum Actuator {
    /// The device's power in kW, + = discharge.
    Power(Arc<Profile>, Box<SetPoint>),
    /// One point, which gets its earlier value back.
    Point(Box<Point>),
}

impl Actuator {
    /// The error says why the channel is not controlled.
    pub(crate) fn of_channel(profile: &Arc<Profile>, channel: &str) -> Result<Self, String> {
        let point = profile.point(channel).ok_or_else(|| format!("the device has no channel {channel}"))?;
        let is_part = |set_point: &SetPoint| uses(set_point, &point.name);
        if profile.set_point.as_ref().is_some_and(is_part) {
            return Err(format!("{channel} belongs to the device's set-point; propose set_point_kw instead"));
        }
        if profile.watchdog.as_ref() == Some(&point.name) {
            return Err(format!("{channel} is the device's watchdog, which the gateway itself writes"));
        }
        if !point.is_writable() || point.layout.format.is_text() {
            return Err(format!("{channel} cannot be set: its profile makes it read-only or a text"));
        }
        if point.dangerous {
            return Err(format!("{channel} is marked as dangerous in its profile; only a person writes it"));
        }
        Ok(Self::Point(Box::new(point.clone())))
    }

    /// What sets the power of this device; none if its profile does not say.
    pub(crate) fn of_power(profile: &Arc<Profile>) -> Option<Self> {
        let set_point = profile.set_point.clone()?;
        let sets_power = set_point.power.is_some() || set_point.charge.is_some() || set_point.discharge.is_some();
        let has_recipe = set_point.recipe.as_ref().is_some_and(|recipe| !is_empty(recipe));
        (sets_power || has_recipe).then(|| Self::Power(Arc::clone(profile), Box::new(set_point)))
    }

    /// The writes that set it. `reading` gives the newest value of a point.
    pub(crate) fn set(&self, value: f64, reading: impl Fn(&str) -> Option<f64>) -> Result<Writes, String> {
        let (profile, set_point) = match self {
            Self::Point(point) => return Ok(vec![(point.name.clone(), value)]),
            Self::Power(profile, set_point) => (profile, set_point),
        };
        let mut writes: Writes = match &set_point.recipe {
            Some(recipe) if !is_empty(recipe) => {
                let writes = recipe.set_power(value, reading).map_err(|error| error.to_string())?;
                writes.into_iter().map(|(point, value)| (point.to_owned(), value)).collect()
            }
            _ => registers(profile, set_point, value)?,
        };
        // A recipe that sets the timer itself may leave it out for a device that has none.
        let is_in_recipe =
            |name: &str| self.recipe().is_some_and(|recipe| recipe.writes().any(|write| write.point == name));
        if let Some(timer) = self.timer_write().filter(|(name, _)| !is_in_recipe(name)) {
            writes.insert(0, timer);
        }
        Ok(writes)
    }

    /// The writes that release it; `before` is the value that a single point had.
    pub(crate) fn release(&self, before: Option<f64>) -> Writes {
        match self {
            Self::Point(point) => before.map(|value| (point.name.clone(), value)).into_iter().collect(),
            Self::Power(_, set_point) => match &set_point.recipe {
                Some(recipe) => recipe.release().into_iter().map(|(point, value)| (point.to_owned(), value)).collect(),
                None => {
                    let registers = [&set_point.power, &set_point.charge, &set_point.discharge];
                    registers.into_iter().flatten().map(|point| (point.clone(), 0.0)).collect()
                }
            },
        }
    }

    /// Why a value cannot be written, if that is known before the device is asked.
    pub(crate) fn check_range(&self, writes: &Writes) -> Result<(), String> {
        let profile = match self {
            Self::Power(profile, _) => profile,
            Self::Point(point) => return check_point(point, writes.first().map_or(f64::NAN, |(_, value)| *value)),
        };
        writes.iter().try_for_each(|(name, value)| match profile.point(name) {
            Some(point) => check_point(point, *value),
            None => Err(format!("the device has no point {name}")),
        })
    }

    /// The power in kW that the device takes for this one, where it only takes a mode.
    pub(crate) fn mode_power(&self, kilowatts: f64) -> Option<f64> {
        self.recipe()?.mode_power(kilowatts)
    }

    pub(crate) fn point(&self, name: &str) -> Option<&Point> {
        match self {
            Self::Power(profile, _) => profile.point(name),
            Self::Point(point) => (point.name == name).then_some(point),
        }
    }

    /// After how long the device releases itself without a write.
    pub(crate) fn revert_time(&self) -> Option<Duration> {
        match self.revert()? {
            Revert::After(time) => Some(*time),
            Revert::Point(name) => {
                let (recipe, point) = (self.recipe()?, self.point(name)?);
                let constant = |value: &RecipeValue| match value {
                    RecipeValue::Constant(value) => Some(*value),
                    RecipeValue::Power { .. } => None,
                };
                let set = recipe.writes().find(|write| write.point == *name).and_then(|write| constant(&write.value));
                let seconds = set.map_or(REVERT_TIME.as_secs_f64(), |value| value * seconds_per_unit(&point.unit));
                Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
            }
        }
    }

    /// The point that holds the device's own timer: it counts down, so that its value is no foreign change.
    pub(crate) fn timer(&self) -> Option<&str> {
        match self.revert()? {
            Revert::Point(name) => Some(name),
            Revert::After(_) => None,
        }
    }

    fn timer_write(&self) -> Option<(String, f64)> {
        let point = self.point(self.timer()?)?;
        Some((point.name.clone(), (REVERT_TIME.as_secs_f64() / seconds_per_unit(&point.unit)).ceil()))
    }

    fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::Power(_, set_point) => set_point.recipe.as_ref(),
            Self::Point(_) => None,
        }
    }

    fn revert(&self) -> Option<&Revert> {
        self.recipe()?.revert.as_ref()
    }
}

/// A scale factor that is read only when the point is written leaves the range to the device's own check.
fn check_point(point: &Point, value: f64) -> Result<(), String> {
    let exponent = point.scale_register.map(|_| 0);
    match point.write(value, exponent, UnitId(1)) {
        Err(WriteError::OutOfRange { .. }) if exponent.is_some() && point.min.is_none() => Ok(()),
        checked => checked.map(drop).map_err(|error| error.to_string()),
    }
}

fn seconds_per_unit(unit: &str) -> f64 {
    match unit {
        "min" => 60.0,
        "h" => 3600.0,
        _ => 1.0,
    }
}

fn is_empty(recipe: &Recipe) -> bool {
    recipe.charge.is_empty() && recipe.discharge.is_empty()
}

/// The writes of a device with a register for its power, or for each direction.
fn registers(profile: &Profile, set_point: &SetPoint, kilowatts: f64) -> Result<Writes, String> {
    let in_unit = |name: &String, value: f64| {
        let is_watts = profile.point(name).is_some_and(|point| point.unit == "W");
        (name.clone(), if is_watts { value * 1000.0 } else { value })
    };
    let (wanted, other, direction) = match kilowatts < 0.0 {
        true => (&set_point.charge, &set_point.discharge, "charge"),
        false => (&set_point.discharge, &set_point.charge, "discharge"),
    };
    let mut writes = Vec::new();
    if let Some(mode) = &set_point.mode {
        let values = || set_point.mode_values.iter();
        let value =
            values().find(|(name, _)| name == direction).or_else(|| values().find(|(name, _)| name == "remote"));
        let (_, value) = value.ok_or("the profile does not say which mode takes a power")?;
        writes.push((mode.clone(), *value));
    }
    match (&set_point.power, wanted) {
        (Some(power), _) => writes.push(in_unit(power, kilowatts)),
        (None, Some(wanted)) => {
            writes.extend(other.iter().map(|point| in_unit(point, 0.0)));
            writes.push(in_unit(wanted, kilowatts.abs()));
        }
        (None, None) => return Err(format!("the profile has no register to {direction} with")),
    }
    Ok(writes)
}
