//! A battery of 200 kWh and 100 kW whose day passes in minutes: charged around noon, discharged in the evening, unless it is
//! commanded otherwise. Pure arithmetic without a clock, so the same calls give the same day.

#[cfg(test)]
mod tests;

use std::f64::consts::TAU;
use std::time::Duration;

/// How fast the power changes, in kW per second of real time.
const RAMP_KW_PER_S: f64 = 50.0;
/// How fast the power changes at least, in kW per simulated hour; it matters for very short days only.
const RAMP_KW_PER_H: f64 = 500.0;
/// Energy between empty and full, in kWh.
pub(crate) const CAPACITY_KWH: f64 = 200.0;
/// Largest power in either direction, in kW.
pub(crate) const RATED_POWER_KW: f64 = 100.0;
/// Share of the energy that remains after charging, and again after discharging.
const EFFICIENCY: f64 = 0.96;
/// The battery never discharges below this state of charge, in percent.
const SOC_MIN_PCT: f64 = 12.0;
/// The battery never charges above this state of charge, in percent.
const SOC_MAX_PCT: f64 = 94.0;
/// Cycles of the battery at the start.
const FIRST_CYCLE_COUNT: u32 = 312;
/// How long a simulated day takes in the demo.
pub const DEMO_DAY: Duration = Duration::from_secs(4 * 60);

/// The shortest simulated day; a shorter one is taken as this.
const SHORTEST_DAY: Duration = Duration::from_millis(1);
/// The longest simulated time of one call of `advance`, in hours; the rest of a longer one is dropped.
const LONGEST_ADVANCE_H: f64 = 366.0 * HOURS_PER_DAY;
/// The longest simulated step in which the power is taken as constant, in hours.
const STEP_H: f64 = 0.02;
/// Hours in a day.
const HOURS_PER_DAY: f64 = 24.0;

/// The hour at which the first day starts: charging begins, so that a demo shows it at once.
const FIRST_HOUR: f64 = 10.0;
/// The state of charge at the start, in percent.
const FIRST_SOC_PCT: f64 = 22.0;

/// The daily charging.
const CHARGE: Pulse = Pulse { middle_hour: 12.5, length_h: 6.0, peak_kw: -56.0 };
/// The daily discharging.
const DISCHARGE: Pulse = Pulse { middle_hour: 19.5, length_h: 4.5, peak_kw: 70.0 };
/// Power decreases to zero over this many percent of charge before a limit.
const TAPER_PCT: f64 = 6.0;
/// Waves added to the schedule: share of the power, and waves per hour.
const RIPPLES: [(f64, f64); 2] = [(0.02, 5.3), (0.01, 17.1)];

/// Ambient temperature, in degrees Celsius.
const AMBIENT_C: f64 = 25.0;
/// Steady-state temperature rise per kW of loss, in kelvin.
const WARMING_K_PER_KW: f64 = 4.0;
/// Time constant of the temperature, in hours.
const THERMAL_TIME_CONSTANT_H: f64 = 1.5;

/// Open-circuit voltage at 0 %, in volts.
const VOLTAGE_EMPTY_V: f64 = 700.0;
/// Rise of the open-circuit voltage, in volts per percent of charge.
const VOLTAGE_RISE_V_PER_PCT: f64 = 1.0;
/// Drop of the voltage under load, in volts per kW.
const VOLTAGE_SAG_V_PER_KW: f64 = 0.15;
/// Watts in a kilowatt.
const WATTS_PER_KW: f64 = 1000.0;
/// Nominal grid frequency, in hertz.
const FREQUENCY_HZ: f64 = 50.0;
/// Waves of the grid frequency: amplitude in hertz, and waves per hour.
const FREQUENCY_WAVES: [(f64, f64); 2] = [(0.012, 3.7), (0.008, 11.3)];

/// A simulated battery.
#[derive(Clone, Debug)]
pub(crate) struct Battery {
    hours_per_second: f64,
    /// Simulated time since midnight of the first day.
    hours: f64,
    soc_pct: f64,
    power_kw: f64,
    /// The commanded power, instead of the day's schedule.
    command_kw: Option<f64>,
    temp_c: f64,
    charged_kwh: f64,
    discharged_kwh: f64,
    cycle_count: u32,
    /// Energy charged and discharged since `cycle_count` last rose.
    throughput_kwh: f64,
}

/// The measurements of the battery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BatteryState {
    /// State of charge, in percent of [`CAPACITY_KWH`].
    pub(crate) soc_pct: f64,
    /// Power at the terminals, in kW: positive discharges, negative charges.
    pub(crate) power_kw: f64,
    /// Temperature of the cells, in degrees Celsius.
    pub(crate) temp_c: f64,
    /// Full cycles: energy charged and discharged, divided by twice the capacity.
    pub(crate) cycle_count: u32,
    /// Simulated time of day, in hours from 0 up to 24.
    pub(crate) hour_of_day: f64,
    /// Voltage of the DC bus, in volts.
    pub(crate) voltage_v: f64,
    /// Current of the DC bus, in amperes, with the sign of the power.
    pub(crate) current_a: f64,
    /// Frequency of the grid, in hertz.
    pub(crate) frequency_hz: f64,
    /// Energy charged since the start, at the terminals, in kWh.
    pub(crate) energy_charged_kwh: f64,
    /// Energy discharged since the start, at the terminals, in kWh.
    pub(crate) energy_discharged_kwh: f64,
}

/// One smooth rise and fall of the daily schedule.
struct Pulse {
    middle_hour: f64,
    length_h: f64,
    peak_kw: f64,
}

impl Battery {
    /// A battery at 10 in the morning whose simulated day takes `day`.
    #[must_use]
    pub(crate) fn new(day: Duration) -> Self {
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

    /// Follows this power from now on, positive discharging, as far as its rating and its state of charge allow; with `None`
    /// the day's schedule.
    pub(crate) fn command(&mut self, power_kw: Option<f64>) {
        self.command_kw = power_kw.filter(|power| power.is_finite());
    }

    /// Advances by `elapsed` of real time.
    pub(crate) fn advance(&mut self, elapsed: Duration) {
        let mut left_h = (elapsed.as_secs_f64() * self.hours_per_second).min(LONGEST_ADVANCE_H);
        while left_h > 0.0 {
            self.step(left_h.min(STEP_H));
            left_h -= STEP_H;
        }
    }

    /// Simulated time since midnight of the first day, in hours.
    pub(crate) fn hours(&self) -> f64 {
        self.hours
    }

    /// The measurements now.
    #[must_use]
    pub(crate) fn state(&self) -> BatteryState {
        let voltage_v = VOLTAGE_EMPTY_V + VOLTAGE_RISE_V_PER_PCT * self.soc_pct - VOLTAGE_SAG_V_PER_KW * self.power_kw;
        BatteryState {
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
        let largest_change_kw = (RAMP_KW_PER_S * step_h / self.hours_per_second).max(RAMP_KW_PER_H * step_h);
        self.power_kw += change_kw.clamp(-largest_change_kw, largest_change_kw);
        // The ramp must not exceed the limits of the state of charge.
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

    /// The share of a power that the state of charge allows: 0 at the limit in its direction.
    fn taper(&self, power_kw: f64) -> f64 {
        let margin_pct = if power_kw < 0.0 { SOC_MAX_PCT - self.soc_pct } else { self.soc_pct - SOC_MIN_PCT };
        (margin_pct / TAPER_PCT).clamp(0.0, 1.0)
    }

    /// Accounts for energy discharged (positive) or charged (negative) at the terminals, in kWh.
    fn store(&mut self, discharged_kwh: f64) {
        let from_cells_kwh = if discharged_kwh < 0.0 {
            self.charged_kwh -= discharged_kwh;
            discharged_kwh * EFFICIENCY
        } else {
            self.discharged_kwh += discharged_kwh;
            discharged_kwh / EFFICIENCY
        };
        self.soc_pct -= 100.0 * from_cells_kwh / CAPACITY_KWH;
        self.throughput_kwh += discharged_kwh.abs();
        // One step is far less than a cycle, so the count rises by one at most.
        if self.throughput_kwh >= 2.0 * CAPACITY_KWH {
            self.throughput_kwh -= 2.0 * CAPACITY_KWH;
            self.cycle_count = self.cycle_count.saturating_add(1);
        }
    }

    /// Moves the temperature towards the steady state of the losses.
    fn warm(&mut self, step_h: f64) {
        let loss_kw = self.power_kw.abs() * (1.0 - EFFICIENCY);
        let steady_c = AMBIENT_C + WARMING_K_PER_KW * loss_kw;
        let reached = 1.0 - (-step_h / THERMAL_TIME_CONSTANT_H).exp();
        self.temp_c += (steady_c - self.temp_c) * reached;
    }
}

impl Pulse {
    /// A raised cosine: zero, with zero slope, at both ends.
    fn power_kw(&self, hour: f64) -> f64 {
        let phase = (hour - self.middle_hour) / self.length_h;
        if phase.abs() >= 0.5 {
            return 0.0;
        }
        self.peak_kw * 0.5 * (1.0 + (TAU * phase).cos())
    }
}

/// The sum of sine waves of (amplitude, waves per hour).
fn waves(waves: &[(f64, f64)], hours: f64) -> f64 {
    waves.iter().map(|(amplitude, per_hour)| amplitude * (TAU * per_hour * hours).sin()).sum()
}
