//! A battery behind the registers of a profile: what a device of that model would answer.

use bessai_domain::profile::{Point, Profile};
use bessai_domain::register;
use bessai_domain::site::channel;

use crate::battery::State;
use crate::registers::{Registers, Table};

/// Writes a battery's state into every readable register of a profile, all at once. Points that the battery has no
/// quantity for read 0.
pub fn show(state: &State, profile: &Profile, registers: &Registers) {
    registers.revise(|memory| {
        for point in &profile.points {
            let unit = point.unit_id.unwrap_or(profile.unit).0;
            let raw = point.scaling.invert(value(state, point));
            let table = match point.table {
                register::Table::Holding => Table::Holding,
                register::Table::Input => Table::Input,
                // Not kept by this server.
                register::Table::Coil | register::Table::Discrete => continue,
            };
            memory.set(unit, table, point.address, &point.layout.encode(raw));
        }
    });
}

fn value(state: &State, point: &Point) -> f64 {
    match (point.channel.as_str(), point.unit.as_str()) {
        (channel::SOC, _) => state.soc_pct,
        (channel::POWER | "battery_power_kw", _) => state.power_kw,
        (channel::TEMPERATURE, _) | (_, "Cel") => state.temp_c,
        (channel::CYCLES, _) => f64::from(state.cycle_count),
        (_, "V") => state.voltage_v,
        (_, "Hz") => state.frequency_hz,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::battery::{Battery, DEMO_DAY};
    use bessai_domain::plan::Plan;
    use bessai_domain::profile;

    #[test]
    fn a_profile_reads_back_what_the_battery_shows() {
        let profile = profile::built_in("huawei-sun2000").unwrap();
        let (registers, state) = (Registers::new(), Battery::new(DEMO_DAY).state());
        show(&state, &profile, &registers);
        let plan = Plan::new(profile.readable(), profile.unit, profile.blocks);
        let mut reading = plan.reading();
        for request in plan.requests() {
            // The holes between the points are zero in this device.
            let words: Vec<u16> = (request.start..request.start + request.count)
                .map(|address| registers.get(1, Table::Holding, address, 1).map_or(0, |words| words[0]))
                .collect();
            plan.decode(request, &words, &mut reading);
        }
        let values = plan.finish(reading, 0).values;
        let read = |name: &str| values[profile.readable().position(|point| point.channel == name).unwrap()];
        assert!((read("soc_pct") - state.soc_pct).abs() <= 0.05);
        assert!((read("power_kw") - state.power_kw).abs() <= 0.0005);
        assert!((read("temp_c") - state.temp_c).abs() <= 0.05);
        assert_eq!(read("cycle_count"), f64::from(state.cycle_count));
    }
}
