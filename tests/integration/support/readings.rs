//! Checks at-least-once delivery by the values of a counter as they arrive: each value arrives, in order, and a value is
//! delivered again only at a redelivery: after a session or the gateway ended and started again.

use serde_json::Value;

/// The readings of a counting device that have arrived.
#[derive(Debug, Default)]
pub struct DeliveredReadings {
    highest: Option<u64>,
    /// The last value that arrived, which is not the highest after a redelivery.
    last: Option<u64>,
    redeliveries_allowed: usize,
    redeliveries: usize,
    kills: Vec<Kill>,
    lost_to_kills: Vec<u64>,
}

/// A kill of the gateway. It may lose the one value that was not in the journal yet: the last one that the device had answered,
/// or, where a request was still in the device's buffer, the one after it.
#[derive(Debug)]
struct Kill {
    last_answered: u64,
    /// Whether a missing value was attributed to this kill.
    is_used: bool,
}

impl DeliveredReadings {
    /// Allows one more redelivery.
    pub fn allow_redelivery(&mut self) {
        self.redeliveries_allowed += 1;
    }

    /// Allows this many redeliveries in total.
    pub fn allow_redeliveries(&mut self, count: usize) {
        self.redeliveries_allowed = count;
    }

    /// The gateway was killed after this many readings of the device in total.
    pub fn record_kill(&mut self, readings: u16) {
        self.allow_redelivery();
        let last_answered = self.unwrapped(readings).saturating_sub(1);
        self.kills.push(Kill { last_answered, is_used: false });
    }

    /// Values that never arrived, each attributed to a kill.
    pub fn lost_to_kills(&self) -> &[u64] {
        &self.lost_to_kills
    }

    /// Redeliveries that occurred.
    pub fn redeliveries(&self) -> usize {
        self.redeliveries
    }

    /// The highest value that arrived.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether every value below this count of readings has arrived.
    pub fn has_all_below(&self, readings: u16) -> bool {
        let count = self.unwrapped(readings);
        count == 0 || self.highest.is_some_and(|highest| highest + 1 >= count)
    }

    /// Adds the value of a telemetry message.
    pub fn add_message(&mut self, telemetry: &Value) -> Result<(), String> {
        let count = count(telemetry).ok_or_else(|| format!("{telemetry} has no count"))?;
        self.add(u16::try_from(count).map_err(|_| format!("{count} is no count"))?)
    }

    /// Adds the next value; an error describes a violation of at-least-once delivery in order.
    pub fn add(&mut self, count: u16) -> Result<(), String> {
        let value = self.unwrapped(count);
        let due = self.highest.map_or(0, |highest| highest + 1);
        if value >= due {
            (due..value).try_for_each(|missing| self.attribute_to_kill(missing, value))?;
            self.highest = Some(value);
        } else if self.last.is_some_and(|last| value <= last) {
            self.redeliveries += 1;
            if self.redeliveries > self.redeliveries_allowed {
                let (last, allowed) = (self.last, self.redeliveries_allowed);
                return Err(format!("{value} is repeated after {last:?}; {allowed} redeliveries are allowed"));
            }
        } else if self.lost_to_kills.contains(&value) {
            return Err(format!("{value} arrived late, after {:?}", self.highest));
        }
        self.last = Some(value);
        Ok(())
    }

    fn attribute_to_kill(&mut self, missing: u64, value: u64) -> Result<(), String> {
        let fits = |kill: &&mut Kill| !kill.is_used && (kill.last_answered..kill.last_answered + 2).contains(&missing);
        let Some(kill) = self.kills.iter_mut().find(fits) else {
            return Err(format!("{missing} is missing: {value} follows {:?}; kills: {:?}", self.last, self.kills));
        };
        kill.is_used = true;
        self.lost_to_kills.push(missing);
        Ok(())
    }

    /// The count before the 16-bit register wrapped: the one nearest to the highest value.
    fn unwrapped(&self, count: u16) -> u64 {
        // The number of values of the register.
        const RANGE: u64 = 1 << 16;
        let near = self.highest.unwrap_or(0);
        let value = near / RANGE * RANGE + u64::from(count);
        if value + RANGE / 2 < near {
            value + RANGE
        } else if value > near + RANGE / 2 && value >= RANGE {
            value - RANGE
        } else {
            value
        }
    }
}

#[test]
fn missing_and_repeated_readings_are_detected() {
    let check = |values: &[u16], redeliveries: usize, killed_at: Option<u16>, expected: Option<&str>| {
        let mut readings = DeliveredReadings::default();
        readings.allow_redeliveries(redeliveries);
        killed_at.into_iter().for_each(|at| readings.record_kill(at));
        let violation = values.iter().find_map(|value| readings.add(*value).err());
        let is_as_expected = match (&violation, expected) {
            (Some(violation), Some(expected)) => violation.contains(expected),
            (violation, expected) => violation.is_none() && expected.is_none(),
        };
        assert!(is_as_expected, "{values:?}: {violation:?}, expected {expected:?}");
    };
    check(&[0, 1, 2, 3], 0, None, None);
    check(&[1], 0, None, Some("0 is missing"));
    check(&[0, 1, 3], 0, None, Some("2 is missing"));
    check(&[0, 0], 0, None, Some("0 redeliveries are allowed"));
    // A value that was acknowledged out of order is not repeated.
    check(&[0, 1, 2, 3, 1, 3, 4], 1, None, None);
    check(&[0, 1, 2, 3, 1, 3, 5], 1, None, Some("4 is missing"));
    check(&[0, 1, 2, 0, 1, 0], 1, None, Some("1 redeliveries are allowed"));
    check(&[0, 1, 3, 4], 0, Some(3), None);
    check(&[0, 1, 2, 4], 0, Some(3), None);
    check(&[0, 1, 4], 0, Some(3), Some("3 is missing"));
    check(&[0, 1, 3, 5], 0, Some(3), Some("4 is missing"));
    check(&[0, 1, 3, 2], 0, Some(3), None);
}

#[test]
fn the_count_continues_after_the_register_wraps() {
    let mut readings = DeliveredReadings::default();
    readings.allow_redelivery();
    for value in (0..=u16::MAX).chain(0..=3).chain([u16::MAX]).chain(0..=4) {
        readings.add(value).unwrap();
    }
    assert_eq!((readings.highest(), readings.redeliveries()), (Some(0x1_0004), 1));
    assert!(readings.has_all_below(5) && !readings.has_all_below(6));
}

/// The number of a reading, which a `Device::counting` gives as its power in W.
pub fn count(telemetry: &Value) -> Option<u64> {
    let watts = telemetry["power_kw"].as_f64()? * 1000.0;
    format!("{watts:.0}").parse().ok()
}
