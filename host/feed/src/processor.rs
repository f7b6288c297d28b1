//! A feed's share of the processor: a token bucket of processor time, filled by time and by the events that are processed.

use std::time::Duration;

use tokio::time::Instant;

/// Processor time that a plugin may use at once after it used little: a start, a report, a new description.
pub(crate) const BURST: Duration = Duration::from_secs(1);
/// The same for a backlog: it takes no time that the feed's newest events need.
pub(crate) const BURST_OF_BACKLOG: Duration = Duration::from_millis(500);
/// Processor time per event that is not counted. Work that is done once for each event is bounded by the events, so the
/// share does not slow down an ordinary plugin that catches up after an outage.
const FREE_PER_EVENT: Duration = Duration::from_micros(100);
/// Time over which `/health` averages the share that a feed uses.
const AVERAGED_OVER_S: f64 = 10.0;
/// The share of a feed whose settings name none.
const DEFAULT_PERCENT: u32 = 25;

/// A share of one core, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorShare(u32);

impl Default for ProcessorShare {
    fn default() -> Self {
        Self(DEFAULT_PERCENT)
    }
}

impl ProcessorShare {
    /// From 1 to 100; other numbers are brought into this range.
    pub fn percent(percent: u32) -> Self {
        Self(percent.clamp(1, 100))
    }
}

/// The processor time that a feed's calls have used and not yet earned.
#[derive(Debug, Default)]
pub(crate) struct ProcessorBudget {
    used: Duration,
    // When `used` was brought up to date.
    settled: Option<Instant>,
}

impl ProcessorBudget {
    /// Counts the processor time of a call that processed this many events.
    pub(crate) fn charge(&mut self, busy: Duration, events: usize, share: ProcessorShare, now: Instant) {
        self.settle(share, now);
        let free = FREE_PER_EVENT * u32::try_from(events).unwrap_or(u32::MAX);
        self.used += busy.saturating_sub(free);
    }

    /// When the next call may begin, if it has to wait until no more than `burst` is used.
    pub(crate) fn available_at(&mut self, share: ProcessorShare, burst: Duration, now: Instant) -> Option<Instant> {
        self.settle(share, now);
        let excess = self.used.checked_sub(burst).filter(|excess| !excess.is_zero())?;
        Some(now + excess * 100 / share.0)
    }

    fn settle(&mut self, share: ProcessorShare, now: Instant) {
        let earned = now.saturating_duration_since(self.settled.unwrap_or(now)) * share.0 / 100;
        self.used = self.used.saturating_sub(earned);
        self.settled = Some(now);
    }
}

/// The share of a core that a feed used recently.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AverageShare {
    share: f64,
    at: Option<Instant>,
}

impl AverageShare {
    pub(crate) fn add(&mut self, busy: Duration, now: Instant) {
        self.share = self.at(now) + busy.as_secs_f64() / AVERAGED_OVER_S;
        self.at = Some(now);
    }

    /// The average over the time before `now`, in which newer calls count more.
    pub(crate) fn at(&self, now: Instant) -> f64 {
        let age = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.share * (-age.as_secs_f64() / AVERAGED_OVER_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls one after another for a minute, each as soon as it may begin; returns how much processor time they used.
    fn busy_in_a_minute(percent: u32, call: Duration, events: usize) -> Duration {
        let (mut budget, share) = (ProcessorBudget::default(), ProcessorShare::percent(percent));
        let start = Instant::now();
        let (mut now, mut busy) = (start, Duration::ZERO);
        while now < start + Duration::from_mins(1) {
            match budget.available_at(share, BURST, now) {
                Some(available) => now = available,
                None => {
                    now += call;
                    busy += call;
                    budget.charge(call, events, share, now);
                }
            }
        }
        busy
    }

    #[tokio::test(start_paused = true)]
    async fn calls_keep_to_their_share_after_a_burst() {
        for (percent, call_ms, expected_s) in [(25, 100, 16), (25, 3, 16), (1, 100, 1), (50, 500, 31), (100, 100, 60)] {
            let busy = busy_in_a_minute(percent, Duration::from_millis(call_ms), 1).as_secs();
            assert!((expected_s..=expected_s + 1).contains(&busy), "{percent} % with {call_ms} ms: {busy} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_proportional_to_the_events_does_not_wait() {
        assert_eq!(busy_in_a_minute(25, Duration::from_millis(5), 64).as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn the_average_follows_what_is_used_and_decays() {
        let (mut average, start) = (AverageShare::default(), Instant::now());
        for second in 0..60 {
            average.add(Duration::from_millis(250), start + Duration::from_secs(second));
        }
        let now = start + Duration::from_mins(1);
        assert!((0.2..0.3).contains(&average.at(now)), "{average:?}");
        assert!(average.at(now + Duration::from_mins(2)) < 0.001);
    }
}
