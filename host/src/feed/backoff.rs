//! Pauses between attempts: doubling, with jitter so that many gateways do not come back at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First pause.
const MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const MAX: Duration = Duration::from_secs(60);

pub(super) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: MIN }
    }
}

impl Backoff {
    /// Half to whole of the pause; the next one is twice as long.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX);
        // The standard library's random hash keys are jitter enough.
        let random = u32::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or(0);
        pause / 2 + pause / 2 * random / 0xffff
    }

    /// Delivery works: the next trouble is a new one.
    pub(super) fn reset(&mut self) {
        self.pause = MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_their_bounds() {
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = backoff.next();
            let whole = Duration::from_secs(whole);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= MIN);
    }
}
