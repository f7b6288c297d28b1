//! A battery's energy in both directions, integrated from its power, for devices that do not count it.

use bessai_plugin::{Channel, Failure, Source, Timestamp, json, state};

use crate::quantity::{Direction, battery_direction};

/// Readings further apart say nothing about the time between them. The gateway leaves out readings that differ too little, but
/// not for that long.
const LONGEST_STEP_S: f64 = 900.0;

/// The names of both entities.
pub(crate) const KEYS: [(&str, &str); 2] =
    [("battery_energy_in", "Battery energy charged"), ("battery_energy_out", "Battery energy discharged")];

/// Integrates the power of one device.
#[derive(Debug)]
pub(crate) struct Energy {
    /// The channel in kW, + = discharge.
    pub(crate) channel: u32,
    state_key: String,
    members: [json::Key; 2],
    totals: Totals,
}

/// Charged and discharged, in kWh, and the reading that the next one is integrated from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    charged: f64,
    discharged: f64,
    last: Option<(f64, Timestamp)>,
}

impl Energy {
    /// None for a device that is no battery or counts both directions itself, and for a source without its power.
    pub(crate) fn of_source(source: &Source, device: &[&Source]) -> Option<Self> {
        let channels = || device.iter().flat_map(|source| &source.channels);
        let counts = |direction| channels().any(|channel| battery_direction(channel) == Some(direction));
        let is_battery = channels().any(|channel| matches!(channel.name.as_str(), "soc_pct" | "battery_power_kw"));
        if !is_battery || (counts(Direction::In) && counts(Direction::Out)) {
            return None;
        }
        let is_power = |channel: &Channel, name: &str| channel.name == name && channel.unit == "kW";
        // The AC side's power includes that of the sun, where there is any: it is the second choice.
        let name = ["battery_power_kw", "power_kw"].into_iter().find(|name| channels().any(|c| is_power(c, name)))?;
        let (channel, _) = (0..).zip(&source.channels).find(|(_, channel)| is_power(channel, name))?;
        let state_key = format!("energy/{}", source.device);
        let totals = state::get(&state_key).and_then(|stored| Totals::read(&stored)).unwrap_or_default();
        Some(Self { channel, state_key, members: KEYS.map(|(key, _)| json::Key::new(key)), totals })
    }

    /// Adds the time since the last reading; none interrupts it.
    pub(crate) fn add(&mut self, at: Timestamp, power_kw: Option<f64>) -> Result<(), Failure> {
        let before = self.totals;
        match power_kw {
            Some(power_kw) => self.totals.add(at, power_kw),
            None => self.totals.last = None,
        }
        if self.totals != before {
            state::set(&self.state_key, self.totals.text().as_bytes())?;
        }
        Ok(())
    }

    /// Appends both totals.
    pub(crate) fn write(&self, writer: &mut json::Writer) {
        for (member, total) in self.members.iter().zip([self.totals.charged, self.totals.discharged]) {
            writer.rounded(member, total, 3);
        }
    }
}

impl Totals {
    fn add(&mut self, at: Timestamp, power: f64) {
        if let Some((earlier, since)) = self.last.replace((power, at)) {
            let seconds = json::seconds(at.saturating_sub(since));
            if at > since && seconds <= LONGEST_STEP_S {
                let (out, back) = trapezoid(earlier, power);
                self.discharged += out * seconds / 3600.0;
                self.charged += back * seconds / 3600.0;
            }
        }
    }

    fn text(&self) -> String {
        let last = self.last.map_or_else(String::new, |(power, at)| format!(" {power} {at}"));
        format!("{} {}{last}", self.charged, self.discharged)
    }

    fn read(stored: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(stored).ok()?.split(' ');
        let (charged, discharged) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let last = words.next().and_then(|power| Some((power.parse().ok()?, words.next()?.parse().ok()?)));
        Some(Self { charged, discharged, last })
    }
}

/// The mean of what is positive and of what is negative on the line from `a` to `b`, both without sign.
fn trapezoid(a: f64, b: f64) -> (f64, f64) {
    if a * b >= 0.0 {
        let mean = f64::midpoint(a, b);
        return (mean.max(0.0), (-mean).max(0.0));
    }
    // The line crosses zero after this part of the time.
    let crossing = a / (a - b);
    let (first, second) = (a * crossing / 2.0, b * (1.0 - crossing) / 2.0);
    (first.max(0.0) + second.max(0.0), (-first).max(0.0) + (-second).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn both_directions_are_integrated_apart() {
        let check = |readings: &[(u64, f64)], charged: f64, discharged: f64| {
            let mut totals = Totals::default();
            readings.iter().for_each(|&(at, power)| totals.add(at * SECOND, power));
            let error = (totals.charged - charged).abs() + (totals.discharged - discharged).abs();
            assert!(error < 1e-12, "{readings:?}: {totals:?}");
            assert_eq!(Totals::read(totals.text().as_bytes()), Some(totals));
        };
        check(&[], 0.0, 0.0);
        check(&[(0, 36.0), (100, 36.0)], 0.0, 1.0);
        check(&[(0, 0.0), (100, -72.0)], 1.0, 0.0);
        // Up to the crossing half of the time, 18 kW in the mean.
        check(&[(0, 36.0), (100, -36.0)], 0.25, 0.25);
        // A step of the clock and a long silence add nothing.
        check(&[(100, 36.0), (50, 36.0), (150, 36.0)], 0.0, 1.0);
        check(&[(0, 36.0), (901, 36.0)], 0.0, 0.0);
    }
}
