//! The part of `check` about control.

use bessai_control::{ControlSettings, ControlledDevice};

use crate::cli::output::{OutputError, print_line};
use crate::config::Config;

/// Prints what may be written to which devices; nothing if control is off.
pub(super) fn print(config: &Config) -> Result<(), OutputError> {
    let Some(ControlSettings { devices, priority, longest_lease, contacts }) = &config.control else { return Ok(()) };
    for (name, device) in devices {
        print_line(format_args!("control {name}: {}", described(device)))?;
    }
    for contact in contacts {
        let (device, channel) = &contact.input;
        let limits: Vec<_> = contact.limits.iter().map(|(limit, value)| format!("{limit} {value}")).collect();
        let state = if contact.is_inverted { "0" } else { "not 0" };
        let limits = limits.join(", ");
        print_line(format_args!(
            "control {}: {limits} while {device}/{channel} is {state} or unknown",
            contact.device
        ))?;
    }
    let priority = if priority.is_empty() { "any feed".to_owned() } else { priority.join(", ") };
    print_line(format_args!(
        "control order: operator, then {priority}, then models; a set-point holds {longest_lease:?} at most"
    ))
}

fn described(device: &ControlledDevice) -> String {
    if device.profile.set_point.is_none() && !device.profile.is_discovered {
        return "its profile does not say what sets its power; single points can be set".into();
    }
    let limit = |kilowatts: Option<f64>| kilowatts.map_or_else(|| "no limit".to_owned(), |kw| format!("{kw} kW"));
    let (charge, discharge) = (limit(device.max_charge_kw), limit(device.max_discharge_kw));
    format!("charge {charge}, discharge {discharge}, {} writes a day of a point in flash", device.writes_per_day)
}
