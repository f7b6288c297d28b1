//! The promise of delivery, held against the values of a counter as they arrive: each comes, in order, and one that has
//! come already comes again only at a seam, a place where a session or the gateway itself ended and began anew.

use serde_json::Value;

/// What has arrived of a device's count so far.
#[derive(Debug, Default)]
pub struct Readings {
    /// The highest value, and the last one.
    highest: Option<u64>,
    last: Option<u64>,
    seams_allowed: usize,
    seams: usize,
    excused: Vec<Kill>,
    missing: Vec<u64>,
}

/// A kill of the gateway. Of what the device had answered it may cost the one value that was on its way to the journal: the
/// last one that was answered before the end, or, where its request lay in the device's buffer, the one after that.
#[derive(Debug)]
struct Kill {
    last_answered: u64,
    is_used: bool,
}

impl Readings {
    /// One seam more may show.
    pub fn seam(&mut self) {
        self.seams_allowed += 1;
    }

    /// So many seams in all may show.
    pub fn seams(&mut self, count: usize) {
        self.seams_allowed = count;
    }

    /// The gateway was killed, after the device had been read so many times in all.
    pub fn kill(&mut self, readings: u16) {
        self.seam();
        let last_answered = self.unwrapped(readings).saturating_sub(1);
        self.excused.push(Kill { last_answered, is_used: false });
    }

    /// Values that never came, each the price of a kill.
    pub fn missing(&self) -> &[u64] {
        &self.missing
    }

    /// Seams that showed.
    pub fn repeats(&self) -> usize {
        self.seams
    }

    /// The highest value that came.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether every value below this count of readings has come.
    pub fn has_all_of(&self, readings: u16) -> bool {
        let wanted = self.unwrapped(readings);
        wanted == 0 || self.highest.is_some_and(|highest| highest + 1 >= wanted)
    }

    /// A value from a telemetry message.
    pub fn arrived(&mut self, telemetry: &Value) -> Result<(), String> {
        let count = telemetry["cycle_count"].as_u64().ok_or_else(|| format!("{telemetry} has no count"))?;
        self.take(u16::try_from(count).map_err(|_| format!("{count} is no count"))?)
    }

    /// The next value; an error is a broken promise.
    pub fn take(&mut self, count: u16) -> Result<(), String> {
        let value = self.unwrapped(count);
        let due = self.highest.map_or(0, |highest| highest + 1);
        if value >= due {
            (due..value).try_for_each(|missing| self.excuse(missing, value))?;
            self.highest = Some(value);
        } else if self.last.is_some_and(|last| value <= last) {
            self.seams += 1;
            if self.seams > self.seams_allowed {
                let (last, allowed) = (self.last, self.seams_allowed);
                return Err(format!("{value} comes again after {last:?}, without a seam: {allowed} so far"));
            }
        } else if self.missing.contains(&value) {
            return Err(format!("{value} comes late, after {:?}", self.highest));
        }
        self.last = Some(value);
        Ok(())
    }

    fn excuse(&mut self, missing: u64, value: u64) -> Result<(), String> {
        let fits = |kill: &&mut Kill| !kill.is_used && (kill.last_answered..kill.last_answered + 2).contains(&missing);
        let Some(kill) = self.excused.iter_mut().find(fits) else {
            return Err(format!(
                "{missing} is missing: {value} comes after {:?}; kills: {:?}",
                self.last, self.excused
            ));
        };
        kill.is_used = true;
        self.missing.push(missing);
        Ok(())
    }

    /// The register has 16 bits: the whole count that is nearest to what has come.
    fn unwrapped(&self, count: u16) -> u64 {
        const TURN: u64 = 1 << 16;
        let near = self.highest.unwrap_or(0);
        let value = near / TURN * TURN + u64::from(count);
        if value + TURN / 2 < near {
            value + TURN
        } else if value > near + TURN / 2 && value >= TURN {
            value - TURN
        } else {
            value
        }
    }
}

#[test]
fn what_may_come_and_what_may_not() {
    let check = |values: &[u16], seams: usize, killed_at: Option<u16>, expected: Option<&str>| {
        let mut readings = Readings::default();
        readings.seams(seams);
        killed_at.into_iter().for_each(|at| readings.kill(at));
        let broken = values.iter().find_map(|value| readings.take(*value).err());
        let is_as_expected = match (&broken, expected) {
            (Some(broken), Some(expected)) => broken.contains(expected),
            (broken, expected) => broken.is_none() && expected.is_none(),
        };
        assert!(is_as_expected, "{values:?}: {broken:?}, expected {expected:?}");
    };
    check(&[0, 1, 2, 3], 0, None, None);
    check(&[1], 0, None, Some("0 is missing"));
    check(&[0, 1, 3], 0, None, Some("2 is missing"));
    check(&[0, 0], 0, None, Some("without a seam"));
    // What was acknowledged out of order does not come again.
    check(&[0, 1, 2, 3, 1, 3, 4], 1, None, None);
    check(&[0, 1, 2, 3, 1, 3, 5], 1, None, Some("4 is missing"));
    check(&[0, 1, 2, 0, 1, 0], 1, None, Some("without a seam"));
    check(&[0, 1, 3, 4], 0, Some(3), None);
    check(&[0, 1, 2, 4], 0, Some(3), None);
    check(&[0, 1, 4], 0, Some(3), Some("3 is missing"));
    check(&[0, 1, 3, 5], 0, Some(3), Some("4 is missing"));
    check(&[0, 1, 3, 2], 0, Some(3), None);
}

#[test]
fn a_count_goes_on_beyond_its_register() {
    let mut readings = Readings::default();
    readings.seam();
    for value in (0..=u16::MAX).chain(0..=3).chain([u16::MAX]).chain(0..=4) {
        readings.take(value).unwrap();
    }
    assert_eq!((readings.highest(), readings.repeats()), (Some(0x1_0004), 1));
    assert!(readings.has_all_of(5) && !readings.has_all_of(6));
}
