//! The part of `check` about safety limits.

use bessai_domain::safety::{Alarm, Bounds, SetPointLimits, age_limit};

use crate::cli::output::{OutputError, print_line};
use crate::config::{Config, DeviceConfig};

/// Prints each limit, from which age on a value counts as unknown, and the limits of set-points.
pub(super) fn print(config: &Config) -> Result<(), OutputError> {
    let bound = |bound: Option<f64>| bound.map_or_else(|| "open".to_owned(), |bound| bound.to_string());
    config.safety.bounds.iter().try_for_each(|(channel, bounds)| {
        let range = format!("safety {channel}: {} to {}", bound(bounds.min), bound(bounds.max));
        let age_limit_of =
            |device: &DeviceConfig| device.period_of(channel).map(|period| bounds.max_age.unwrap_or(age_limit(period)));
        let limits: Vec<_> = config.devices.iter().filter_map(age_limit_of).collect();
        match (limits.iter().min(), limits.iter().max()) {
            (None, _) | (_, None) => print_line(format_args!("{range}; no device has it yet")),
            (Some(least), Some(most)) if least == most => {
                print_line(format_args!("{range}; unknown when the last good value is older than {most:?}"))
            }
            (Some(_), Some(_)) => {
                print_line(format_args!("{range}; unknown when the last good value is too old:"))?;
                let devices = config.devices.iter();
                let mut of_devices = devices.filter_map(|device| Some((&device.name, age_limit_of(device)?)));
                of_devices.try_for_each(|(name, limit)| print_line(format_args!("  {name}: older than {limit:?}")))
            }
        }?;
        other_rules(bounds).into_iter().try_for_each(|rule| print_line(format_args!("  {rule}")))
    })?;
    for limit in set_point_limits(&config.safety.set_points) {
        print_line(format_args!("safety set-points: {limit}"))?;
    }
    config.safety.device_set_points.iter().try_for_each(|(device, limits)| {
        let mut limits = set_point_limits(limits).into_iter();
        limits.try_for_each(|limit| print_line(format_args!("safety set-points of {device}: {limit}")))
    })
}

/// The rules of a channel besides its range, in words.
fn other_rules(bounds: &Bounds) -> Vec<String> {
    let alarm = bounds.alarm.map(|alarm| match alarm {
        Alarm::NonZero => "every value but 0 is an alarm".to_owned(),
        Alarm::Bits(mask) => format!("an alarm with one of the bits {mask:#x}"),
    });
    // A limit beyond which nothing is safe reduces nothing.
    let is_above = |limit: &f64| bounds.max.is_none_or(|max| *limit < max);
    let is_below = |limit: &f64| bounds.min.is_none_or(|min| *limit > min);
    let until = |limit: f64| match bounds.hysteresis {
        hysteresis if hysteresis > 0.0 => format!(" until it is back at {limit}"),
        _ => String::new(),
    };
    let (falls, rises) = (|limit| until(limit - bounds.hysteresis), |limit| until(limit + bounds.hysteresis));
    let rules = [
        bounds
            .derate_above
            .filter(is_above)
            .map(|limit| format!("above {limit}: set-points have half the power{}", falls(limit))),
        bounds
            .derate_discharge_below
            .filter(is_below)
            .map(|limit| format!("below {limit}: set-points that discharge have half the power{}", rises(limit))),
        bounds
            .no_charge_below
            .filter(is_below)
            .map(|limit| format!("below {limit}: set-points that charge are refused{}", rises(limit))),
        bounds.trip_above.map(|limit| format!("above {limit}: trips until an operator resets it")),
        bounds.trip_below.map(|limit| format!("below {limit}: trips until an operator resets it")),
        bounds.ramp.map(|limit| format!("not safe when it changes by more than {limit} per second")),
        alarm,
    ];
    rules.into_iter().flatten().collect()
}

fn set_point_limits(limits: &SetPointLimits) -> Vec<String> {
    let limits = [
        limits.max_charge_kw.map(|kw| format!("charge with {kw} kW at most")),
        limits.max_discharge_kw.map(|kw| format!("discharge with {kw} kW at most")),
        limits.ramp_kw_per_s.map(|kw| format!("change by {kw} kW per second at most")),
    ];
    limits.into_iter().flatten().collect()
}
