//! What a client has told the device to do, read back out of the registers that its profile names.

use bessai_domain::profile::{Profile, SetPoint};

use super::place;
use crate::registers::Registers;

/// The power that is wanted, positive discharging; none as long as nobody has asked, or control is not handed over.
pub(super) fn power_kw(profile: &Profile, registers: &Registers) -> Option<f64> {
    let set_point = profile.set_point.as_ref()?;
    let ask = |name: &Option<String>| written(profile, registers, name.as_deref()?);
    let mode = match &set_point.mode {
        Some(_) => mode(set_point, ask(&set_point.mode)?.raw)?,
        None => Mode::Remote,
    };
    let power = ask(&set_point.power).map(|power| power.kw);
    let charge = ask(&set_point.charge).map(|power| power.kw);
    let discharge = ask(&set_point.discharge).map(|power| power.kw);
    match mode {
        Mode::Charge => charge.map(|kw| -kw).or(power),
        Mode::Discharge => discharge.or(power),
        Mode::Remote => power.or_else(|| {
            let both = discharge.unwrap_or(0.0) - charge.unwrap_or(0.0);
            (charge.is_some() || discharge.is_some()).then_some(both)
        }),
    }
}

enum Mode {
    Remote,
    Charge,
    Discharge,
}

/// What a register holds that a client has written.
struct Written {
    raw: f64,
    kw: f64,
}

fn written(profile: &Profile, registers: &Registers, name: &str) -> Option<Written> {
    let point = profile.point(name)?;
    let (unit, table, address) = place(profile, point);
    let words = registers.get(unit, table, address, point.layout.format.width())?;
    if registers.writes(unit, table, address) == 0 {
        return None;
    }
    let raw = point.layout.decode(&words)?;
    let value = point.scaling.apply(raw);
    Some(Written { raw, kw: if point.unit == "W" { value / 1000.0 } else { value } })
}

/// Control is handed over by one of the values that the profile names.
fn mode(set_point: &SetPoint, raw: f64) -> Option<Mode> {
    let (name, _) = set_point.mode_values.iter().find(|(_, value)| *value == raw)?;
    Some(match name.as_str() {
        "charge" => Mode::Charge,
        "discharge" => Mode::Discharge,
        _ => Mode::Remote,
    })
}
