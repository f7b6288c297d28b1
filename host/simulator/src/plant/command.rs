//! The set-point that a client has written, read from the registers that the profile names for it.

use bessai_domain::profile::{Profile, SetPoint};

use super::position;
use crate::registers::Registers;

/// The commanded power, positive discharging; none where no client has written it, or remote control is not enabled.
pub(super) fn power_kw(profile: &Profile, registers: &Registers) -> Option<f64> {
    let set_point = profile.set_point.as_ref()?;
    let written = |name: &Option<String>| written(profile, registers, name.as_deref()?);
    let mode = match &set_point.mode {
        Some(_) => mode(set_point, written(&set_point.mode)?.raw)?,
        None => PowerMode::Remote,
    };
    let power = written(&set_point.power).map(|power| power.kw);
    let charge = written(&set_point.charge).map(|power| power.kw);
    let discharge = written(&set_point.discharge).map(|power| power.kw);
    match mode {
        PowerMode::Charge => charge.map(|kw| -kw).or(power),
        PowerMode::Discharge => discharge.or(power),
        PowerMode::Remote => power.or_else(|| {
            let both = discharge.unwrap_or(0.0) - charge.unwrap_or(0.0);
            (charge.is_some() || discharge.is_some()).then_some(both)
        }),
    }
}

/// The direction of the commanded power.
enum PowerMode {
    /// By the sign of the power.
    Remote,
    Charge,
    Discharge,
}

/// A value that a client has written.
struct WrittenValue {
    raw: f64,
    kw: f64,
}

fn written(profile: &Profile, registers: &Registers, name: &str) -> Option<WrittenValue> {
    let point = profile.point(name)?;
    let (unit, table, address) = position(profile, point);
    let words = registers.get(unit, table, address, point.layout.format.width())?;
    if registers.writes(unit, table, address) == 0 {
        return None;
    }
    let raw = point.layout.decode(&words)?;
    let value = point.scaling.to_value(raw);
    Some(WrittenValue { raw, kw: if point.unit == "W" { value / 1000.0 } else { value } })
}

/// The mode of a raw value; none where the profile names no such value: remote control is not enabled.
fn mode(set_point: &SetPoint, raw: f64) -> Option<PowerMode> {
    let (name, _) = set_point.mode_values.iter().find(|(_, value)| *value == raw)?;
    Some(match name.as_str() {
        "charge" => PowerMode::Charge,
        "discharge" => PowerMode::Discharge,
        _ => PowerMode::Remote,
    })
}
