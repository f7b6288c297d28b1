//! The rules: what one value of a channel breaks, and what that means for set-points.

use super::limits::Bounds;

/// The names of the rules in verdicts, logs and events.
pub mod rule {
    /// A value is below its smallest safe one.
    pub(crate) const MIN: &str = "min";
    /// A value is above its largest safe one.
    pub(crate) const MAX: &str = "max";
    /// A value changed faster than is safe.
    pub(crate) const RAMP: &str = "ramp";
    /// A value of an alarm register is an alarm.
    pub(crate) const ALARM: &str = "alarm";
    /// A value was beyond its trip limit, and no operator has reset that.
    pub const TRIP: &str = "trip";
    /// The last good value is too old.
    pub(crate) const STALE: &str = "stale";
    /// There was no good value yet.
    pub const UNREAD: &str = "unread";
    /// Set-points are derated in both directions.
    pub(crate) const DERATE: &str = "derate";
    /// Set-points that discharge are derated.
    pub(crate) const DERATE_DISCHARGE: &str = "derate-discharge";
    /// Set-points that charge are refused.
    pub(crate) const NO_CHARGE: &str = "no-charge";
    /// A set-point is not a number.
    pub(crate) const NOT_FINITE: &str = "not-finite";
    /// A set-point charges with more than the largest power.
    pub(crate) const MAX_CHARGE: &str = "max-charge";
    /// A set-point discharges with more than the largest power.
    pub(crate) const MAX_DISCHARGE: &str = "max-discharge";
}

/// A rule that a value breaks, with the value and the limit as the verdict shows them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) value: f64,
    pub(super) limit: f64,
}

/// Whether a verdict with this broken rule is still safe: the rule reduces set-points only.
pub(crate) fn reduces_only(rule: &str) -> bool {
    matches!(rule, rule::DERATE | rule::DERATE_DISCHARGE | rule::NO_CHARGE)
}

/// Whether the rule says that a value is not known.
pub(crate) fn is_ignorance(rule: &str) -> bool {
    matches!(rule, rule::STALE | rule::UNREAD)
}

/// Every rule that ends safety and that the value breaks; `rate` is its change per second since the reading before. The first
/// one is shown.
pub(super) fn broken(bounds: &Bounds, value: f64, rate: Option<f64>) -> Option<Broken> {
    let found = |rule, value, limit| Some(Broken { rule, value, limit });
    match bounds {
        Bounds { min: Some(min), .. } if value < *min => return found(rule::MIN, value, *min),
        Bounds { max: Some(max), .. } if value > *max => return found(rule::MAX, value, *max),
        Bounds { alarm: Some(alarm), .. } if alarm.is_raised(value) => return found(rule::ALARM, value, 0.0),
        _ => {}
    }
    let (rate, ramp) = (rate?, bounds.ramp?);
    if rate.abs() > ramp { found(rule::RAMP, rate, ramp) } else { None }
}

/// The rules that the value breaks and that only reduce set-points. One of `before`, which the value before broke, stays until
/// the value is back by the hysteresis, so that a value on its limit does not move set-points up and down.
pub(super) fn reductions(bounds: &Bounds, value: f64, before: &[Broken]) -> Vec<Broken> {
    let margin = |rule| if before.iter().any(|broken| broken.rule == rule) { bounds.hysteresis } else { 0.0 };
    let above = |rule, limit: Option<f64>| {
        let limit = limit.map(|limit| if value > limit { limit } else { limit - margin(rule) });
        limit.filter(|limit| value > *limit).map(|limit| Broken { rule, value, limit })
    };
    let below = |rule, limit: Option<f64>| {
        let limit = limit.map(|limit| if value < limit { limit } else { limit + margin(rule) });
        limit.filter(|limit| value < *limit).map(|limit| Broken { rule, value, limit })
    };
    let all = [
        above(rule::DERATE, bounds.derate_above),
        below(rule::DERATE_DISCHARGE, bounds.derate_discharge_below),
        below(rule::NO_CHARGE, bounds.no_charge_below),
    ];
    all.into_iter().flatten().collect()
}

/// The trip limit that the value is beyond.
pub(super) fn tripped(bounds: &Bounds, value: f64) -> Option<Broken> {
    let above = bounds.trip_above.filter(|limit| value > *limit);
    let limit = above.or(bounds.trip_below.filter(|limit| value < *limit))?;
    Some(Broken { rule: rule::TRIP, value, limit })
}
