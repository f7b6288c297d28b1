//! A battery of 200 kWh and 100 kW whose day passes in minutes: charged around noon, discharged in the evening, unless it is
//! told what to do. Pure arithmetic without a clock, so the same calls give the same day.

use std::f64::consts::TAU;
use std::time::Duration;

/// How fast the power changes, in kW per second of real time; with very short days, in kW per simulated hour.
pub const RAMP_KW_PER_S: f64 = 50.0;
const RAMP_KW_PER_H: f64 = 500.0;
/// Energy between empty and full, in kWh.
pub const CAPACITY_KWH: f64 = 200.0;
/// Largest power in either direction, in kW.
pub const RATED_POWER_KW: f64 = 100.0;
/// Share of the energy kept on the way in, and again on the way out.
pub const EFFICIENCY: f64 = 0.96;
/// The battery never discharges below this state of charge, in percent.
pub const SOC_MIN_PCT: f64 = 12.0;
/// The battery never charges above this state of charge, in percent.
pub const SOC_MAX_PCT: f64 = 94.0;
/// Cycles the battery has behind it at the start.
pub const FIRST_CYCLE_COUNT: u32 = 312;
/// How long a simulated day takes in the demo.
pub const DEMO_DAY: Duration = Duration::from_secs(4 * 60);

/// A shorter simulated day is taken as this long.
const SHORTEST_DAY: Duration = Duration::from_millis(1);
/// The longest simulated time that one call of `advance` passes, in hours; the rest of a longer one is dropped.
const LONGEST_ADVANCE_H: f64 = 366.0 * HOURS_PER_DAY;
/// The longest simulated step over which power counts as constant, in hours.
const STEP_H: f64 = 0.02;
const HOURS_PER_DAY: f64 = 24.0;

/// The first day begins just when charging does, so that a demo shows it at once.
const FIRST_HOUR: f64 = 10.0;
const FIRST_SOC_PCT: f64 = 22.0;

const CHARGE: Bump = Bump { middle_hour: 12.5, length_h: 6.0, peak_kw: -56.0 };
const DISCHARGE: Bump = Bump { middle_hour: 19.5, length_h: 4.5, peak_kw: 70.0 };
/// Power tapers to zero over this many percent of charge before a bound.
const TAPER_PCT: f64 = 6.0;
/// Waves on top of the schedule: share of the power, and waves per hour.
const RIPPLES: [(f64, f64); 2] = [(0.02, 5.3), (0.01, 17.1)];

const AMBIENT_C: f64 = 25.0;
/// Warming per kW of loss once settled, in kelvin.
const WARMING_K_PER_KW: f64 = 4.0;
const THERMAL_TIME_CONSTANT_H: f64 = 1.5;

const VOLTAGE_EMPTY_V: f64 = 700.0;
const VOLTAGE_RISE_V_PER_PCT: f64 = 1.0;
const VOLTAGE_SAG_V_PER_KW: f64 = 0.15;
const WATTS_PER_KW: f64 = 1000.0;
const FREQUENCY_HZ: f64 = 50.0;
/// Waves of the grid frequency: height in hertz, and waves per hour.
const FREQUENCY_WAVES: [(f64, f64); 2] = [(0.012, 3.7), (0.008, 11.3)];

/// A simulated battery.
#[derive(Clone, Debug)]
pub struct Battery {
    hours_per_second: f64,
    /// Simulated time since midnight of the first day.
    hours: f64,
    soc_pct: f64,
    power_kw: f64,
    /// What it is told, instead of the day's schedule.
    command_kw: Option<f64>,
    temp_c: f64,
    charged_kwh: f64,
    discharged_kwh: f64,
    cycle_count: u32,
    /// Energy moved since `cycle_count` last rose.
    throughput_kwh: f64,
}

/// What the battery's instruments show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// State of charge, in percent of [`CAPACITY_KWH`].
    pub soc_pct: f64,
    /// Power at the terminals, in kW: positive discharges, negative charges.
    pub power_kw: f64,
    /// Temperature of the cells, in degrees Celsius.
    pub temp_c: f64,
    /// Full cycles: energy moved, divided by twice the capacity.
    pub cycle_count: u32,
    /// Simulated time of day, in hours from 0 up to 24.
    pub hour_of_day: f64,
    /// Voltage of the DC bus, in volts.
    pub voltage_v: f64,
    /// Current of the DC bus, in amperes, with the sign of the power.
    pub current_a: f64,
    /// Frequency of the grid, in hertz.
    pub frequency_hz: f64,
    /// Energy taken in at the terminals since the start, in kWh.
    pub energy_charged_kwh: f64,
    /// Energy given out at the terminals since the start, in kWh.
    pub energy_discharged_kwh: f64,
}

/// One smooth rise and fall of the daily schedule.
struct Bump {
    middle_hour: f64,
    length_h: f64,
    peak_kw: f64,
}

impl Battery {
    /// A battery at 10 in the morning whose simulated day takes `day`.
    #[must_use]
    pub fn new(day: Duration) -> Self {
        Self {
            hours_per_second: HOURS_PER_DAY / day.max(SHORTEST_DAY).as_secs_f64(),
            hours: FIRST_HOUR,
            soc_pct: FIRST_SOC_PCT,
            power_kw: 0.0,
            command_kw: None,
            temp_c: AMBIENT_C,
            charged_kwh: 0.0,
            discharged_kwh: 0.0,
            cycle_count: FIRST_CYCLE_COUNT,
            throughput_kwh: 0.0,
        }
    }

    /// Follows this power from now on, positive discharging, as far as its rating and its charge allow; with `None` the
    /// day's schedule again.
    pub fn command(&mut self, power_kw: Option<f64>) {
        self.command_kw = power_kw.filter(|power| power.is_finite());
    }

    /// Lets `elapsed` of real time pass.
    pub fn advance(&mut self, elapsed: Duration) {
        let mut left_h = (elapsed.as_secs_f64() * self.hours_per_second).min(LONGEST_ADVANCE_H);
        while left_h > 0.0 {
            self.step(left_h.min(STEP_H));
            left_h -= STEP_H;
        }
    }

    /// The instruments now.
    #[must_use]
    pub fn state(&self) -> State {
        let voltage_v = VOLTAGE_EMPTY_V + VOLTAGE_RISE_V_PER_PCT * self.soc_pct - VOLTAGE_SAG_V_PER_KW * self.power_kw;
        State {
            soc_pct: self.soc_pct,
            power_kw: self.power_kw,
            temp_c: self.temp_c,
            cycle_count: self.cycle_count,
            hour_of_day: self.hours.rem_euclid(HOURS_PER_DAY),
            voltage_v,
            current_a: self.power_kw * WATTS_PER_KW / voltage_v,
            frequency_hz: FREQUENCY_HZ + waves(&FREQUENCY_WAVES, self.hours),
            energy_charged_kwh: self.charged_kwh,
            energy_discharged_kwh: self.discharged_kwh,
        }
    }

    fn step(&mut self, step_h: f64) {
        let wanted_kw = self.command_kw.unwrap_or_else(|| self.scheduled_kw()).clamp(-RATED_POWER_KW, RATED_POWER_KW);
        let change_kw = wanted_kw * self.taper(wanted_kw) - self.power_kw;
        let most_kw = (RAMP_KW_PER_S * step_h / self.hours_per_second).max(RAMP_KW_PER_H * step_h);
        self.power_kw += change_kw.clamp(-most_kw, most_kw);
        // No ramp leads beyond the bounds of the charge.
        let allowed_kw = RATED_POWER_KW * self.taper(self.power_kw);
        self.power_kw = self.power_kw.clamp(-allowed_kw, allowed_kw);
        self.hours += step_h;
        self.store(self.power_kw * step_h);
        self.warm(step_h);
    }

    /// The schedule's power with its ripple, in kW.
    fn scheduled_kw(&self) -> f64 {
        let hour = self.hours.rem_euclid(HOURS_PER_DAY);
        let scheduled_kw = CHARGE.power_kw(hour) + DISCHARGE.power_kw(hour);
        scheduled_kw * (1.0 + waves(&RIPPLES, self.hours))
    }

    /// The share of a power that the state of charge allows, 0 at the bound ahead.
    fn taper(&self, power_kw: f64) -> f64 {
        let margin_pct = if power_kw < 0.0 { SOC_MAX_PCT - self.soc_pct } else { self.soc_pct - SOC_MIN_PCT };
        (margin_pct / TAPER_PCT).clamp(0.0, 1.0)
    }

    /// Books energy given out (positive) or taken in (negative) at the terminals, in kWh.
    fn store(&mut self, given_kwh: f64) {
        let lost_from_cells_kwh = if given_kwh < 0.0 {
            self.charged_kwh -= given_kwh;
            given_kwh * EFFICIENCY
        } else {
            self.discharged_kwh += given_kwh;
            given_kwh / EFFICIENCY
        };
        self.soc_pct -= 100.0 * lost_from_cells_kwh / CAPACITY_KWH;
        self.throughput_kwh += given_kwh.abs();
        // One step moves far less than a cycle, so the count rises by one at most.
        if self.throughput_kwh >= 2.0 * CAPACITY_KWH {
            self.throughput_kwh -= 2.0 * CAPACITY_KWH;
            self.cycle_count = self.cycle_count.saturating_add(1);
        }
    }

    /// Moves the temperature towards what the losses would settle at.
    fn warm(&mut self, step_h: f64) {
        let loss_kw = self.power_kw.abs() * (1.0 - EFFICIENCY);
        let settled_c = AMBIENT_C + WARMING_K_PER_KW * loss_kw;
        let reached = 1.0 - (-step_h / THERMAL_TIME_CONSTANT_H).exp();
        self.temp_c += (settled_c - self.temp_c) * reached;
    }
}

impl Bump {
    /// A raised cosine: zero, with zero slope, at both ends.
    fn power_kw(&self, hour: f64) -> f64 {
        let phase = (hour - self.middle_hour) / self.length_h;
        if phase.abs() >= 0.5 {
            return 0.0;
        }
        self.peak_kw * 0.5 * (1.0 + (TAU * phase).cos())
    }
}

/// The sum of sine waves of (height, waves per hour).
fn waves(waves: &[(f64, f64)], hours: f64) -> f64 {
    let heights = waves.iter().map(|(height, per_hour)| height * (TAU * per_hour * hours).sin());
    heights.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a day as long as a real one, durations read as simulated time.
    const REAL_DAY: Duration = Duration::from_secs(24 * 3600);
    const MINUTE: Duration = Duration::from_secs(60);
    const MINUTES_PER_DAY: usize = 24 * 60;

    fn days(battery: &mut Battery, count: usize) -> Vec<State> {
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
    fn charge_stays_in_bounds_for_a_month() {
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
    fn a_command_is_followed_with_a_ramp_and_within_bounds() {
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
    fn cycles_count_the_energy_moved() {
        let last = *days(&mut Battery::new(REAL_DAY), 30).last().unwrap();
        let moved_kwh = last.energy_charged_kwh + last.energy_discharged_kwh;
        let cycles = f64::from(last.cycle_count - FIRST_CYCLE_COUNT);
        assert!(cycles > 15.0, "{cycles}");
        assert!((moved_kwh / (2.0 * CAPACITY_KWH) - cycles).abs() < 1.0);
    }

    #[test]
    fn long_and_impossible_times_end() {
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
}
