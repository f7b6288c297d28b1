//! How far a set-point may go: the power that safety allows a device now.

use std::fmt;

use super::SafetyMonitor;
use super::limits::{DERATED, SetPointLimits};
use super::readings::LimitedChannel;
use super::rules::{is_ignorance, reduces_only, rule};
use crate::event::Violation;
use crate::site::channel;
use crate::time::MonotonicTime;

/// A set-point that somebody wants to write. Powers are + = discharge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetPoint<'a> {
    /// The device's name.
    pub device: &'a str,
    /// The power, kW.
    pub power_kw: f64,
    /// The device's own range, the same in both directions, kW; none if it is not known.
    pub rated_kw: Option<f64>,
    /// The power that applies now, kW: that of the last set-point, or 0 without one. The ramp starts there.
    pub applied_kw: f64,
    /// Since when it applies.
    pub applied_at: MonotonicTime,
}

/// A set-point that may be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// The power to write, kW: that of the set-point, or less, or on the way to it.
    pub power_kw: f64,
    /// The rule that changed the set-point.
    pub reduced_by: Option<Violation>,
}

/// Why a set-point must not be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Block(pub Violation);

/// The power that is allowed in each direction, as positive numbers, and the rule that reduced it.
#[derive(Clone, Debug, Default)]
struct AllowedPower {
    charge: DirectionLimit,
    discharge: DirectionLimit,
}

/// The power that is allowed in one direction.
#[derive(Clone, Debug, Default)]
struct DirectionLimit {
    /// Set by the settings, else by the device; none if neither is known.
    full_kw: Option<f64>,
    /// The part of it that is allowed now, and the rule that reduced it; none if all of it is.
    reduced: Option<(f64, Violation)>,
}

impl SafetyMonitor {
    /// Whether the set-point may be written now, and with which power.
    ///
    /// It is refused unless the site is safe and its device was read lately, and if it is more than the largest power. It is
    /// reduced while the battery is derated, and approached at the ramp's speed.
    pub fn permits(&self, set_point: &SetPoint<'_>, now: MonotonicTime) -> Result<Permit, Block> {
        let wanted = set_point.power_kw;
        let of_set_point = |rule: &str, value: f64, limit: f64| {
            let (device, channel) = (set_point.device.to_owned(), channel::SET_POINT.to_owned());
            Violation { rule: rule.into(), device, channel, value, limit }
        };
        if !wanted.is_finite() {
            return Err(Block(of_set_point(rule::NOT_FINITE, wanted, f64::NAN)));
        }
        self.blocking(now).map_or(Ok(()), |violation| Err(Block(violation)))?;
        self.unheard(set_point.device, now).map_or(Ok(()), |violation| Err(Block(violation)))?;
        let set_points = self.limits.set_points_of(set_point.device);
        let concerns = |channel: &&LimitedChannel| self.concerns(&channel.device, &channel.channel, set_point.device);
        let concerning = self.channels.iter().filter(concerns);
        let reductions: Vec<_> = concerning.flat_map(|channel| self.reductions(channel, now)).collect();
        let allowed = self.allowed_power(set_points, set_point.rated_kw, reductions.iter());
        let (rule, direction) = match wanted < 0.0 {
            true => (rule::MAX_CHARGE, &allowed.charge),
            false => (rule::MAX_DISCHARGE, &allowed.discharge),
        };
        if let Some(full) = direction.full_kw.filter(|full| wanted.abs() > *full) {
            return Err(Block(of_set_point(rule, wanted.abs(), full)));
        }
        let ramped = ramped(set_points, set_point, now);
        let mut permit = Permit { power_kw: ramped, reduced_by: None };
        if (ramped - wanted).abs() > 0.0 {
            let ramp = set_points.ramp_kw_per_s.unwrap_or_default();
            permit.reduced_by = Some(of_set_point(rule::RAMP, wanted, ramp));
        }
        // The ramp may still be on the other side of zero, so that both directions are limited.
        for (direction, sign) in [(&allowed.charge, -1.0), (&allowed.discharge, 1.0)] {
            direction.apply(&mut permit, sign, wanted)?;
        }
        Ok(permit)
    }

    /// What forbids every set-point now: a trip before other known violations, and these before what is not known.
    fn blocking(&self, now: MonotonicTime) -> Option<Violation> {
        let trip = self.trips.list().first().cloned();
        trip.or_else(|| {
            let all = || self.channels.iter().filter_map(|channel| self.violation(channel, now));
            all().find(|violation| !is_ignorance(&violation.rule)).or_else(|| all().next())
        })
    }

    /// Why the device is not known to be there: no source of it was read lately.
    fn unheard(&self, device: &str, now: MonotonicTime) -> Option<Violation> {
        let of_device = || self.sources.iter().filter(|source| source.device == device);
        if of_device().any(|source| source.is_fresh(now)) {
            return None;
        }
        let newest = of_device().filter_map(|source| source.newest).max();
        let limit = of_device().map(|source| super::age_limit(source.period)).max();
        let (rule, value) = match newest {
            Some(at) => (rule::STALE, now.since(at).as_secs_f64()),
            None => (rule::UNREAD, f64::NAN),
        };
        let limit = limit.unwrap_or(super::limits::SHORTEST_AGE_LIMIT).as_secs_f64();
        Some(Violation { rule: rule.into(), device: device.into(), channel: String::new(), value, limit })
    }

    /// Whether a channel says something about another device's set-points. The temperature of a battery that is a device of
    /// its own counts for the inverter that sets its power, unless the inverter has a temperature itself.
    fn concerns(&self, device: &str, channel: &str, set_point_of: &str) -> bool {
        let is_own = |own: &LimitedChannel| own.device == set_point_of && own.channel == channel;
        device == set_point_of || !self.channels.iter().any(is_own)
    }

    /// The power that is allowed in each direction, with these broken rules.
    fn allowed_power<'a>(
        &self,
        set_points: &SetPointLimits,
        rated_kw: Option<f64>,
        reductions: impl Iterator<Item = &'a Violation>,
    ) -> AllowedPower {
        let power = self.limits.bounds.get(channel::BATTERY_POWER).or_else(|| self.limits.bounds.get(channel::POWER));
        let (min, max) = power.map_or((None, None), |bounds| (bounds.min, bounds.max));
        let full = |limit: Option<f64>, bound: Option<f64>| {
            let all = [limit, bound, rated_kw].into_iter().flatten();
            // A bound on the other side of zero, and a range that is no number, allow nothing.
            let full_kw = all.map(|kw| kw.max(0.0)).reduce(f64::min);
            DirectionLimit { full_kw, reduced: None }
        };
        let mut allowed = AllowedPower {
            charge: full(set_points.max_charge_kw, min.map(|min| -min)),
            discharge: full(set_points.max_discharge_kw, max),
        };
        reductions.for_each(|violation| allowed.reduce(violation));
        allowed
    }

    /// The largest power that every set-point of a safe site may have, whichever device it is for, kW; none if safety knows
    /// none.
    pub(super) fn power_limit_kw(&self, reductions: &[Violation]) -> Option<f64> {
        let of_all = self.allowed_power(&self.limits.set_points, None, reductions.iter());
        let of_one = self.limits.device_set_points.iter().map(|(device, set_points)| {
            let concerns = |violation: &&Violation| self.concerns(&violation.device, &violation.channel, device);
            self.allowed_power(set_points, None, reductions.iter().filter(concerns))
        });
        let directions = of_one.chain([of_all]).flat_map(|allowed| [allowed.charge, allowed.discharge]);
        directions.filter_map(|direction| direction.allowed_kw()).reduce(f64::min)
    }
}

/// The power on the way from that applied to the one wanted.
fn ramped(set_points: &SetPointLimits, set_point: &SetPoint<'_>, now: MonotonicTime) -> f64 {
    let Some(ramp) = set_points.ramp_kw_per_s.filter(|_| set_point.applied_kw.is_finite()) else {
        return set_point.power_kw;
    };
    let step = ramp * now.since(set_point.applied_at).as_secs_f64();
    set_point.power_kw.max(set_point.applied_kw - step).min(set_point.applied_kw + step)
}

impl AllowedPower {
    fn reduce(&mut self, violation: &Violation) {
        match violation.rule.as_str() {
            rule::DERATE => {
                self.charge.reduce(DERATED, violation);
                self.discharge.reduce(DERATED, violation);
            }
            rule::DERATE_DISCHARGE => self.discharge.reduce(DERATED, violation),
            rule::NO_CHARGE => self.charge.reduce(0.0, violation),
            _ => debug_assert!(!reduces_only(&violation.rule), "{violation:?}"),
        }
    }
}

impl DirectionLimit {
    /// The strictest of several rules applies; they do not add up.
    fn reduce(&mut self, part: f64, violation: &Violation) {
        if self.reduced.as_ref().is_none_or(|(known, _)| part < *known) {
            self.reduced = Some((part, violation.clone()));
        }
    }

    /// The power that is allowed now; none if it is not known.
    fn allowed_kw(&self) -> Option<f64> {
        match &self.reduced {
            Some((part, _)) if *part <= 0.0 => Some(0.0),
            Some((part, _)) => self.full_kw.map(|full| full * part),
            None => self.full_kw,
        }
    }

    /// Limits a permit's power in this direction; `sign` is that of the direction's set-points. A set-point that wants the
    /// direction is refused while nothing is allowed there, and half of a power that is not known is nothing.
    fn apply(&self, permit: &mut Permit, sign: f64, wanted: f64) -> Result<(), Block> {
        if permit.power_kw * sign <= 0.0 && wanted * sign <= 0.0 {
            return Ok(());
        }
        let allowed_kw = match (&self.reduced, self.allowed_kw()) {
            (None, None) => return Ok(()),
            (Some(_), None) => 0.0,
            (_, Some(allowed)) => allowed,
        };
        match &self.reduced {
            Some((_, violation)) if allowed_kw <= 0.0 && wanted * sign > 0.0 => return Err(Block(violation.clone())),
            Some((_, violation)) if permit.power_kw * sign > allowed_kw => {
                *permit = Permit { power_kw: allowed_kw * sign, reduced_by: Some(violation.clone()) };
            }
            _ if permit.power_kw * sign > allowed_kw => permit.power_kw = allowed_kw * sign,
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { rule, device, channel, value, limit } = &self.0;
        write!(f, "safety rule {rule}: {device}")?;
        if !channel.is_empty() {
            write!(f, " {channel}")?;
        }
        match (value.is_finite(), limit.is_finite()) {
            (true, true) => write!(f, " is {value}, limit {limit}"),
            (false, true) => write!(f, " has no value, limit {limit}"),
            _ => write!(f, " is {value}"),
        }
    }
}
