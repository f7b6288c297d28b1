//! How fast a feed may publish: a bucket of tokens, one a message.

use std::time::Duration;

use tokio::time::Instant;

/// Part of a second whose messages may go at once: a reading of several devices is a burst.
const BURST: Duration = Duration::from_millis(100);

/// The feed's messages per second, held over all its sessions.
#[derive(Debug, Default)]
pub(super) struct Rate {
    // When the bucket would be full again if nothing more were sent.
    full_at: Option<Instant>,
}

impl Rate {
    /// Takes a token, or says when there is one.
    pub(super) fn take(&mut self, per_second: Option<u32>, now: Instant) -> Result<(), Instant> {
        let Some(per_second) = per_second.filter(|rate| *rate > 0) else { return Ok(()) };
        let token = Duration::from_secs(1) / per_second;
        let full_at = self.full_at.unwrap_or(now).max(now);
        let burst = BURST.max(token);
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
    async fn a_rate_is_held_after_a_burst() {
        let start = Instant::now();
        for (per_second, seconds, expected) in [(100, 3, 310), (1, 5, 6), (7, 10, 71)] {
            let mut rate = Rate::default();
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
        let mut unlimited = Rate::default();
        assert!((0..10_000).all(|_| unlimited.take(None, start).is_ok()));
    }
}
