//! Pauses between attempts: they double, with jitter so that many gateways do not sign in at the same time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: SHORTEST }
    }
}

impl Backoff {
    /// A random part of the current pause, which is at most `longest`; the next one is twice as long.
    pub(crate) fn next(&mut self, longest: Duration) -> Duration {
        let pause = self.pause.min(longest);
        self.pause = (pause * 2).min(LONGEST);
        // The random keys of the standard library's hasher are random enough for jitter.
        let random = u32::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or(0);
        pause * random / 0xffff
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
            let pause = backoff.next(LONGEST);
            assert!(pause <= Duration::from_secs(whole), "{pause:?} of {whole} s");
        }
        assert!(backoff.next(SHORTEST) <= SHORTEST);
        backoff.reset();
        assert!(backoff.next(LONGEST) <= SHORTEST);
    }

    #[test]
    fn many_feeds_do_not_sign_in_at_the_same_time() {
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let pause = Backoff::default().next(LONGEST).as_millis().min(999);
            tenths[usize::try_from(pause / 100).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (50..=200).contains(count)), "{tenths:?}");
    }
}
