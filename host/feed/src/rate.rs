//! Limits how fast a feed publishes: a token bucket, one token per message.

use std::time::Duration;

use tokio::time::Instant;

/// A burst may contain the messages of this time: a reading of several devices arrives at once.
const BURST: Duration = Duration::from_millis(100);

/// Keeps a feed's rate over all its sessions.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    // When the bucket would be full if nothing more were sent.
    full_at: Option<Instant>,
}

impl RateLimiter {
    /// Takes a token, or returns when the next one is available.
    pub(crate) fn take(&mut self, per_second: Option<u32>, now: Instant) -> Result<(), Instant> {
        let Some(per_second) = per_second.filter(|rate| *rate > 0) else { return Ok(()) };
        self.take_in_bursts(per_second, BURST, now)
    }

    /// The same, where a burst may contain what comes in this time at a rate that is not 0.
    pub(crate) fn take_in_bursts(&mut self, per_second: u32, burst: Duration, now: Instant) -> Result<(), Instant> {
        let token = Duration::from_secs(1) / per_second;
        let full_at = self.full_at.unwrap_or(now).max(now);
        let burst = burst.max(token);
        let next_full = full_at + token;
        if next_full > now + burst {
            return Err(next_full - burst);
        }
        self.full_at = Some(next_full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_after_a_burst() {
        let start = Instant::now();
        for (per_second, seconds, expected) in [(100, 3, 310), (1, 5, 6), (7, 10, 71)] {
            let mut rate = RateLimiter::default();
            let mut now = start;
            let mut taken = 0;
            while now <= start + Duration::from_secs(seconds) {
                match rate.take(Some(per_second), now) {
                    Ok(()) => taken += 1,
                    Err(next) => {
                        assert!(next > now);
                        now = next;
                    }
                }
            }
            assert_eq!(taken, expected, "{per_second}/s");
        }
        let mut unlimited = RateLimiter::default();
        assert!((0..10_000).all(|_| unlimited.take(None, start).is_ok()));
    }
}
