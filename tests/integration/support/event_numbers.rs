//! Checks at-least-once delivery by the numbers of events as they arrive: each number arrives, in order. Numbers jump only
//! after a kill of the gateway, and are delivered again only after a session or the gateway has ended.

/// Events that a kill may lose although `/health` had shown them: those of the last milliseconds.
const LOST_TO_A_KILL: u64 = 20;

/// The event numbers that have arrived.
#[derive(Debug, Default)]
pub struct EventNumbers {
    first: Option<u64>,
    highest: Option<u64>,
    /// The last number that arrived, which is not the highest after a redelivery.
    last: Option<u64>,
    redeliveries_allowed: usize,
    redeliveries: usize,
    /// For each kill without a jump so far, the newest event before it.
    kills: Vec<u64>,
    /// Numbers that were skipped, as first and end.
    jumps: Vec<(u64, u64)>,
    count: u64,
}

impl EventNumbers {
    /// Allows this many more redeliveries.
    pub fn allow_redeliveries(&mut self, count: usize) {
        self.redeliveries_allowed += count;
    }

    /// The gateway was killed or stopped after it had shown `newest` as its newest event.
    pub fn record_kill(&mut self, newest: u64) {
        self.allow_redeliveries(1);
        self.kills.push(newest);
    }

    /// Different numbers that arrived.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Redeliveries that occurred.
    pub fn redeliveries(&self) -> usize {
        self.redeliveries
    }

    /// The highest number that arrived.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether this number arrived.
    pub fn contains(&self, number: u64) -> bool {
        let is_skipped = self.jumps.iter().any(|(first, end)| (*first..*end).contains(&number));
        let (Some(first), Some(highest)) = (self.first, self.highest) else { return false };
        (first..=highest).contains(&number) && !is_skipped
    }

    /// Adds the next number; an error describes a violation of at-least-once delivery in order.
    pub fn add(&mut self, number: u64) -> Result<(), String> {
        let due = self.highest.map_or(number, |highest| highest + 1);
        if number >= due {
            if number > due {
                self.jump(due, number)?;
            }
            self.first.get_or_insert(number);
            self.highest = Some(number);
            self.count += 1;
        } else if self.last.is_some_and(|last| number <= last) {
            self.redeliveries += 1;
            if self.redeliveries > self.redeliveries_allowed {
                let (last, allowed) = (self.last, self.redeliveries_allowed);
                return Err(format!("event {number} is repeated after {last:?}; {allowed} redeliveries are allowed"));
            }
        } else if !self.contains(number) {
            return Err(format!("event {number} arrived late, after {:?}", self.highest));
        }
        self.last = Some(number);
        Ok(())
    }

    /// A jump belongs to the first kill that fits; kills before it had none.
    fn jump(&mut self, due: u64, number: u64) -> Result<(), String> {
        let fits = |newest: &u64| (newest.saturating_sub(LOST_TO_A_KILL)..number).contains(&due);
        let Some(index) = self.kills.iter().position(fits) else {
            return Err(format!(
                "events {due} to {} are missing; newest before each kill: {:?}",
                number - 1,
                self.kills
            ));
        };
        self.kills.drain(..=index);
        self.jumps.push((due, number));
        Ok(())
    }
}

#[test]
fn missing_and_repeated_numbers_are_detected() {
    let check = |numbers: &[u64], redeliveries: usize, killed_at: Option<u64>, expected: Option<&str>| {
        let mut arrived = EventNumbers::default();
        arrived.allow_redeliveries(redeliveries);
        killed_at.into_iter().for_each(|at| arrived.record_kill(at));
        let violation = numbers.iter().find_map(|number| arrived.add(*number).err());
        let is_as_expected = match (&violation, expected) {
            (Some(violation), Some(expected)) => violation.contains(expected),
            (violation, expected) => violation.is_none() && expected.is_none(),
        };
        assert!(is_as_expected, "{numbers:?}: {violation:?}, expected {expected:?}");
    };
    check(&[7, 8, 9], 0, None, None);
    check(&[7, 9], 0, None, Some("events 8 to 8 are missing"));
    check(&[7, 8, 8], 0, None, Some("0 redeliveries are allowed"));
    check(&[7, 8, 9, 7, 9, 10], 1, None, None);
    check(&[107, 108, 5000, 5001], 0, Some(108), None);
    check(&[107, 108, 5000, 5002], 0, Some(108), Some("events 5001 to 5001 are missing"));
    check(&[107, 108, 5000], 0, Some(200), Some("events 109 to 4999 are missing"));
    check(&[107, 108, 107, 108, 5000], 0, Some(108), None);
    check(&[107, 108, 5000, 4000], 1, Some(108), None);
}

#[test]
fn numbers_and_redeliveries_are_counted() {
    let mut arrived = EventNumbers::default();
    arrived.record_kill(8);
    [7, 8, 7, 8, 5000].into_iter().for_each(|number| arrived.add(number).unwrap());
    assert_eq!((arrived.count(), arrived.redeliveries(), arrived.highest()), (3, 1, Some(5000)));
    assert!(arrived.contains(8) && !arrived.contains(9) && !arrived.contains(4999) && !arrived.contains(6));
}
