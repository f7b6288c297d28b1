//! When each source is due: drift-free, and late ones skip what they missed.

use std::time::Duration;

use tokio::time::Instant;

/// How late the clock may wake a line: a tick that passed by less was not missed, it is served behind the one before.
const COARSENESS: Duration = Duration::from_millis(2);

/// The due times of a line's sources.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    device: usize,
    source: usize,
    period: Duration,
    due: Instant,
}

impl Schedule {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, entries: Vec::new() }
    }

    /// Adds a source of a device, due at once.
    pub(super) fn add(&mut self, device: usize, source: usize, period: Duration) {
        self.entries.push(Entry { device, source, period, due: self.start });
    }

    /// When something is due next; none when there is nothing to read.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    /// A device and source that is due, the longest waiting first. It is due again a period later, and where that was missed at
    /// the next multiple of its period after now: missed readings are not made up for.
    pub(super) fn take(&mut self, now: Instant) -> Option<(usize, usize)> {
        let entry = self.entries.iter_mut().filter(|entry| entry.due <= now).min_by_key(|entry| entry.due)?;
        let following = entry.due + entry.period;
        let is_missed = now.saturating_duration_since(following) >= COARSENESS;
        entry.due = if is_missed { next_tick(self.start, entry.period, now) } else { following };
        Some((entry.device, entry.source))
    }
}

/// The first multiple of a period after `start` that lies behind `now`.
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
    fn equal_periods_fall_on_one_tick_and_nothing_drifts() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.add(0, 0, SECOND);
        schedule.add(1, 0, SECOND);
        schedule.add(0, 1, SECOND * 3);
        assert_eq!(schedule.next(), Some(start));
        for _ in 0..3 {
            assert!(schedule.take(start).is_some());
        }
        assert_eq!(schedule.take(start), None);
        // Late by a little: the next tick is not.
        let now = start + SECOND + Duration::from_millis(300);
        assert_eq!((schedule.take(now), schedule.take(now), schedule.take(now)), (Some((0, 0)), Some((1, 0)), None));
        assert_eq!(schedule.next(), Some(start + SECOND * 2));
    }

    #[test]
    fn a_coarse_clock_costs_no_tick() {
        let start = Instant::now();
        let (mut schedule, micros) = (Schedule::new(start), Duration::from_micros);
        schedule.add(0, 0, micros(1000));
        let mut taken = 0;
        for woken in 0..1000 {
            // Every 1.1 ms, and so now and then behind two ticks.
            let now = start + micros(1100 * woken);
            while schedule.take(now).is_some() {
                taken += 1;
            }
        }
        assert_eq!(taken, 1 + 1100 * 999 / 1000);
    }

    #[test]
    fn a_late_source_skips_what_it_missed() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.add(0, 0, SECOND);
        schedule.take(start);
        assert_eq!(schedule.take(start + Duration::from_millis(5700)), Some((0, 0)));
        assert_eq!(schedule.take(start + Duration::from_millis(5700)), None);
        assert_eq!(schedule.next(), Some(start + SECOND * 6));
    }
}
