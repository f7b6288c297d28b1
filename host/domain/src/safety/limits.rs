//! What safety is judged by: the limits of each channel, and those of set-points.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::site::channel;

/// Smallest age from which a value counts as unknown.
pub(super) const SHORTEST_AGE_LIMIT: Duration = Duration::from_secs(30);
/// A value that is read less often counts as unknown when it was not read for this many periods.
const AGE_LIMIT_PERIODS: u32 = 3;
/// The part of the power that a derated battery may still be set to (SPEC-002, 4.2 and 4.3).
pub(super) const DERATED: f64 = 0.5;
/// How far above its smallest safe state of charge a battery is discharged with derated power, % (SPEC-002, 4.3).
pub const DISCHARGE_MARGIN_PCT: f64 = 5.0;
/// The temperature in °C above which a battery always trips (SPEC-002, 4.2).
pub const HIGHEST_TRIP_CEL: f64 = 60.0;
/// The temperature in °C below which a battery always trips (SPEC-002, 4.2).
pub const LOWEST_TRIP_CEL: f64 = -20.0;
/// How far a state of charge (%) or a temperature (°C) must be back before set-points are no longer reduced: more than what a
/// sensor at rest changes by.
const HYSTERESIS: f64 = 1.0;
/// The smallest safe state of charge of a lithium iron phosphate battery, % (SPEC-002, 4.1).
const MIN_SOC_PCT: f64 = 10.0;
/// The largest safe state of charge of a lithium iron phosphate battery, % (SPEC-002, 4.1).
const MAX_SOC_PCT: f64 = 95.0;
/// The temperature in °C above which a battery is derated (SPEC-002, 4.2).
const DERATE_CEL: f64 = 45.0;
/// The temperature in °C below which a battery is not charged (SPEC-002, 4.2).
const NO_CHARGE_CEL: f64 = -10.0;

/// The age above which a value that is read at this period counts as unknown.
pub fn age_limit(period: Duration) -> Duration {
    SHORTEST_AGE_LIMIT.max(period.saturating_mul(AGE_LIMIT_PERIODS))
}

/// The limits of a channel in its unit; one that is none is open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The smallest safe value.
    pub min: Option<f64>,
    /// The largest safe value.
    pub max: Option<f64>,
    /// Above it set-points are derated in both directions.
    pub derate_above: Option<f64>,
    /// Below it set-points that discharge are derated.
    pub derate_discharge_below: Option<f64>,
    /// Below it set-points that charge are refused.
    pub no_charge_below: Option<f64>,
    /// How far a value must be back within the limits above before they no longer reduce set-points.
    pub hysteresis: f64,
    /// Above it the device trips, until an operator resets it.
    pub trip_above: Option<f64>,
    /// Below it the device trips, until an operator resets it.
    pub trip_below: Option<f64>,
    /// The largest safe change between two readings, per second.
    pub ramp: Option<f64>,
    /// Which values are an alarm.
    pub alarm: Option<Alarm>,
    /// The age above which a value is unknown; none for that of its period.
    pub max_age: Option<Duration>,
}

/// Which values of an alarm register are an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Every value but 0.
    NonZero,
    /// Values with one of these bits.
    Bits(u64),
}

impl Alarm {
    /// Whether the value is an alarm. A negative value has every bit that a mask may have.
    pub(super) fn is_raised(self, value: f64) -> bool {
        match self {
            Self::NonZero => value != 0.0,
            Self::Bits(_) if value < 0.0 => true,
            Self::Bits(mask) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
                let bits = value as u64;
                bits & mask != 0
            }
        }
    }
}

/// The limits of set-points; one that is none is open. A device's own range applies in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SetPointLimits {
    /// The largest power at which a battery may be charged, kW.
    pub max_charge_kw: Option<f64>,
    /// The largest power at which a battery may be discharged, kW.
    pub max_discharge_kw: Option<f64>,
    /// The largest change of a set-point, kW per second.
    pub ramp_kw_per_s: Option<f64>,
}

/// Which channels are limited, and how far set-points may go.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyLimits {
    /// Limits by channel name.
    pub bounds: BTreeMap<String, Bounds>,
    /// The channels that at least one device must have, because the operator limited them: without such a device safety is
    /// unknown.
    pub required: BTreeSet<String>,
    /// The limits of set-points of every device that has none of its own.
    pub set_points: SetPointLimits,
    /// The limits of set-points of single devices, by their name.
    pub device_set_points: BTreeMap<String, SetPointLimits>,
}

impl SafetyLimits {
    /// The limits of a device's set-points.
    pub(super) fn set_points_of(&self, device: &str) -> &SetPointLimits {
        self.device_set_points.get(device).unwrap_or(&self.set_points)
    }
}

impl Default for SafetyLimits {
    /// Those of SPEC-002 for a lithium iron phosphate battery, for the devices that have these channels.
    fn default() -> Self {
        let soc = Bounds {
            min: Some(MIN_SOC_PCT),
            max: Some(MAX_SOC_PCT),
            derate_discharge_below: Some(MIN_SOC_PCT + DISCHARGE_MARGIN_PCT),
            hysteresis: HYSTERESIS,
            ..Bounds::default()
        };
        let temperature = Bounds {
            min: Some(LOWEST_TRIP_CEL),
            max: Some(HIGHEST_TRIP_CEL),
            derate_above: Some(DERATE_CEL),
            no_charge_below: Some(NO_CHARGE_CEL),
            hysteresis: HYSTERESIS,
            trip_above: Some(HIGHEST_TRIP_CEL),
            trip_below: Some(LOWEST_TRIP_CEL),
            ..Bounds::default()
        };
        let bounds = BTreeMap::from([(channel::SOC.into(), soc), (channel::TEMPERATURE.into(), temperature)]);
        let (required, device_set_points) = (BTreeSet::new(), BTreeMap::new());
        Self { bounds, required, set_points: SetPointLimits::default(), device_set_points }
    }
}
