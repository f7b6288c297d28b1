//! Pauses between attempts: they double, with jitter so that many gateways do not sign in at the same time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: SHORTEST }
    }
}

impl Backoff {
    /// Half to the whole of the current pause; the next one is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        // The random keys of the standard library's hasher are random enough for jitter.
        let random = u32::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or(0);
        pause / 2 + pause / 2 * random / 0xffff
    }

    /// Starts again from the first pause.
    pub(crate) fn reset(&mut self) {
        self.pause = SHORTEST;
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
        assert!(backoff.next() <= SHORTEST);
    }
}
