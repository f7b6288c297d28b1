//! The battery over days: energy, limits, commands.

use super::*;

/// With a day as long as a real one, durations read as simulated time.
const REAL_DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES_PER_DAY: usize = 24 * 60;

fn days(battery: &mut Battery, count: usize) -> Vec<BatteryState> {
    let minute = |_| {
        battery.advance(MINUTE);
        battery.state()
    };
    (0..count * MINUTES_PER_DAY).map(minute).collect()
}

#[test]
fn charge_follows_the_integrated_power() {
    let mut battery = Battery::new(REAL_DAY);
    let before_pct = battery.state().soc_pct;
    // Until 16:00 the battery only charges; over the whole day both directions count.
    for states in [&days(&mut battery.clone(), 1)[..6 * 60], &days(&mut battery, 1)] {
        let stored_kwh: f64 = states.iter().map(|state| stored_kwh(state.power_kw)).sum();
        let moved_kwh: f64 = states.iter().map(|state| state.power_kw.abs() / 60.0).sum();
        let rise_kwh = (states.last().unwrap().soc_pct - before_pct) / 100.0 * CAPACITY_KWH;
        assert!(moved_kwh > 100.0, "{moved_kwh}");
        assert!((rise_kwh - stored_kwh).abs() < 0.01 * moved_kwh);
    }
}

/// What a minute at this power adds to the cells, in kWh.
fn stored_kwh(power_kw: f64) -> f64 {
    let factor = if power_kw < 0.0 { EFFICIENCY } else { 1.0 / EFFICIENCY };
    -power_kw * factor / 60.0
}

#[test]
fn measurements_stay_in_range_for_a_month() {
    for state in days(&mut Battery::new(REAL_DAY), 30) {
        assert!((SOC_MIN_PCT..=SOC_MAX_PCT).contains(&state.soc_pct), "{state:?}");
        assert!(state.power_kw.abs() <= RATED_POWER_KW, "{state:?}");
        assert!((24.9..45.0).contains(&state.temp_c), "{state:?}");
        assert!((690.0..810.0).contains(&state.voltage_v), "{state:?}");
        assert!((49.97..50.03).contains(&state.frequency_hz), "{state:?}");
        assert!((0.0..24.0).contains(&state.hour_of_day), "{state:?}");
    }
}

#[test]
fn every_day_charges_and_discharges() {
    for day in days(&mut Battery::new(REAL_DAY), 30).chunks(MINUTES_PER_DAY) {
        let lowest = day.iter().min_by(|a, b| a.power_kw.total_cmp(&b.power_kw));
        let highest = day.iter().max_by(|a, b| a.power_kw.total_cmp(&b.power_kw));
        let (lowest, highest) = (lowest.unwrap(), highest.unwrap());
        assert!(lowest.power_kw < -40.0 && highest.power_kw > 40.0);
        assert!((10.0..15.0).contains(&lowest.hour_of_day), "{lowest:?}");
        assert!((17.0..22.0).contains(&highest.hour_of_day), "{highest:?}");
        assert!(day.iter().any(|state| state.power_kw == 0.0), "never idle");
    }
}

#[test]
fn power_moves_smoothly() {
    let states = days(&mut Battery::new(REAL_DAY), 3);
    for pair in states.windows(2) {
        assert!((pair[1].power_kw - pair[0].power_kw).abs() < 3.0, "{pair:?}");
    }
}

#[test]
fn a_command_is_followed_with_a_ramp_and_within_limits() {
    let second = Duration::from_secs(1);
    let mut battery = Battery::new(REAL_DAY);
    battery.command(Some(80.0));
    battery.advance(second);
    assert!((battery.state().power_kw - RAMP_KW_PER_S).abs() < 1e-9, "{:?}", battery.state());
    battery.advance(second);
    assert!((battery.state().power_kw - 80.0).abs() < 1e-9, "{:?}", battery.state());
    battery.command(Some(-1000.0));
    battery.advance(10 * second);
    assert!((battery.state().power_kw + RATED_POWER_KW).abs() < 1e-9, "{:?}", battery.state());
    for state in days(&mut battery, 1) {
        assert!((SOC_MIN_PCT..=SOC_MAX_PCT).contains(&state.soc_pct), "{state:?}");
    }
    assert!(battery.state().soc_pct > SOC_MAX_PCT - 1.0);
    battery.command(None);
    let day = days(&mut battery, 1);
    assert!(day.iter().any(|state| state.power_kw > 40.0), "the schedule is followed again");
    battery.command(Some(f64::NAN));
    assert!(battery.command_kw.is_none());
}

#[test]
fn cycles_count_the_energy_charged_and_discharged() {
    let last = *days(&mut Battery::new(REAL_DAY), 30).last().unwrap();
    let moved_kwh = last.energy_charged_kwh + last.energy_discharged_kwh;
    let cycles = f64::from(last.cycle_count - FIRST_CYCLE_COUNT);
    assert!(cycles > 15.0, "{cycles}");
    assert!((moved_kwh / (2.0 * CAPACITY_KWH) - cycles).abs() < 1.0);
}

#[test]
fn extreme_durations_are_limited() {
    let mut battery = Battery::new(Duration::ZERO);
    battery.advance(Duration::MAX);
    assert!(battery.state().soc_pct >= SOC_MIN_PCT);
}

#[test]
fn a_demo_day_takes_four_minutes() {
    let mut battery = Battery::new(DEMO_DAY);
    battery.advance(DEMO_DAY / 4);
    assert!((battery.state().hour_of_day - 16.0).abs() < 1e-6);
}
