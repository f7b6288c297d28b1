//! When each source is due. Periods do not drift, and missed readings are skipped.

use std::time::Duration;

use tokio::time::Instant;

/// How late a timer may fire: a tick that passed by less than this is not missed, but read directly after the one before.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);

/// The due times of a bus's sources.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    entries: Vec<ScheduledSource>,
}

#[derive(Debug)]
struct ScheduledSource {
    device: usize,
    source: usize,
    period: Duration,
    due: Instant,
}

impl Schedule {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, entries: Vec::new() }
    }

    /// Adds a source of a device, due at the start.
    pub(crate) fn add(&mut self, device: usize, source: usize, period: Duration) {
        self.entries.push(ScheduledSource { device, source, period, due: self.start });
    }

    /// When the next source is due; none if there are no sources.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    /// When a source of this device is due next.
    pub(crate) fn next_due_of(&self, device: usize) -> Option<Instant> {
        self.entries.iter().filter(|entry| entry.device == device).map(|entry| entry.due).min()
    }

    /// The device and source that has been due longest. It is due again one period later, or at the next multiple of its
    /// period after now if that tick is missed: missed readings are not made up for.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(usize, usize)> {
        let entry = self.entries.iter_mut().filter(|entry| entry.due <= now).min_by_key(|entry| entry.due)?;
        let following = entry.due + entry.period;
        let is_missed = now.saturating_duration_since(following) >= TIMER_TOLERANCE;
        entry.due = if is_missed { next_tick(self.start, entry.period, now) } else { following };
        Some((entry.device, entry.source))
    }
}

/// The first multiple of a period after `start` that is later than `now`.
fn next_tick(start: Instant, period: Duration, now: Instant) -> Instant {
    let period_ns = period.as_nanos().max(1);
    let passed = now.saturating_duration_since(start).as_nanos() / period_ns;
    let ahead = (passed + 1).saturating_mul(period_ns);
    start + Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn equal_periods_are_due_together_and_do_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.add(0, 0, SECOND);
        schedule.add(1, 0, SECOND);
        schedule.add(0, 1, SECOND * 3);
        assert_eq!(schedule.next_due(), Some(start));
        for _ in 0..3 {
            assert!(schedule.take_due(start).is_some());
        }
        assert_eq!(schedule.take_due(start), None);
        // A late reading does not delay the next tick.
        let now = start + SECOND + Duration::from_millis(300);
        assert_eq!(
            (schedule.take_due(now), schedule.take_due(now), schedule.take_due(now)),
            (Some((0, 0)), Some((1, 0)), None)
        );
        assert_eq!(schedule.next_due(), Some(start + SECOND * 2));
    }

    #[test]
    fn a_coarse_timer_costs_no_tick() {
        let start = Instant::now();
        let (mut schedule, micros) = (Schedule::new(start), Duration::from_micros);
        schedule.add(0, 0, micros(1000));
        let mut taken = 0;
        for woken in 0..1000 {
            // Every 1.1 ms, and so occasionally after two ticks.
            let now = start + micros(1100 * woken);
            while schedule.take_due(now).is_some() {
                taken += 1;
            }
        }
        assert_eq!(taken, 1 + 1100 * 999 / 1000);
    }

    #[test]
    fn a_late_source_skips_missed_ticks() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.add(0, 0, SECOND);
        schedule.take_due(start);
        assert_eq!(schedule.take_due(start + Duration::from_millis(5700)), Some((0, 0)));
        assert_eq!(schedule.take_due(start + Duration::from_millis(5700)), None);
        assert_eq!(schedule.next_due(), Some(start + SECOND * 6));
    }
}
