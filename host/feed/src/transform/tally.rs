//! How many of a plugin's events are quarantined: a plugin that fails on many of them, though not on all, is switched off
//! before it has lost much.

use std::time::Duration;

use tokio::time::Instant;

/// Events are counted over this time.
const WINDOW: Duration = Duration::from_mins(1);
/// So many quarantined events in the window may be the events' fault.
const MAX_QUARANTINED: u32 = 20;
/// More of them are the plugin's fault only if they are at least this part of all.
const MIN_PART: f64 = 0.1;

/// Events of the current window and of the one before it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    began: Option<Instant>,
    current: Counts,
    before: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    processed: u32,
    quarantined: u32,
}

impl Tally {
    /// So many events were processed.
    pub(super) fn processed(&mut self, count: usize, now: Instant) {
        self.turn(now);
        self.current.processed = self.current.processed.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// An event was quarantined.
    pub(super) fn quarantined(&mut self, now: Instant) {
        self.turn(now);
        self.current.quarantined += 1;
    }

    /// Begins a new window if the last one is over.
    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let elapsed = now.duration_since(began);
        if elapsed < WINDOW {
            return;
        }
        self.before = if elapsed < WINDOW * 2 { self.current } else { Counts::default() };
        (self.began, self.current) = (Some(now), Counts::default());
    }

    /// What is too much, for people, if the plugin fails on too many of its events.
    pub(super) fn excess(&mut self, now: Instant) -> Option<String> {
        self.turn(now);
        let quarantined = self.current.quarantined + self.before.quarantined;
        let all = quarantined.saturating_add(self.current.processed).saturating_add(self.before.processed);
        let is_too_much = quarantined > MAX_QUARANTINED && f64::from(quarantined) >= MIN_PART * f64::from(all);
        is_too_much
            .then(|| format!("the plugin failed on {quarantined} of its last {all} events, which are quarantined"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_events_or_a_small_part_of_many_are_no_reason() {
        let now = Instant::now();
        let check = |processed: usize, quarantined: u32, expected: bool| {
            let mut tally = Tally::default();
            tally.processed(processed, now);
            (0..quarantined).for_each(|_| tally.quarantined(now));
            assert_eq!(tally.excess(now).is_some(), expected, "{quarantined} beside {processed}");
        };
        check(0, MAX_QUARANTINED, false);
        check(100, MAX_QUARANTINED + 1, true);
        check(100_000, 1000, false);
        check(100_000, 12_000, true);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_does_not_count() {
        let mut tally = Tally::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            (0..5).for_each(|_| tally.quarantined(now));
            assert_eq!(tally.excess(now), None);
            now += WINDOW;
        }
        (0..20).for_each(|_| tally.quarantined(now));
        assert!(tally.excess(now).unwrap().contains("25 of its last 25 events"));
        assert_eq!(tally.excess(now + 2 * WINDOW), None);
    }
}
