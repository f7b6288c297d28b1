//! How quickly a line may be asked: what its settings say, else what it has shown to bear.
//!
//! Old inverters need a second after they were connected to, or a pause between requests, and show it by falling silent. A
//! quick device must not pay for them: the gateway begins without pauses and learns.

use std::time::Duration;

use bessai_domain::profile::Pacing;

/// Pauses after connecting that are tried one after the other when the first request fails, then from the start again.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Gaps that are tried one after the other when connections keep breaking under quick requests.
const GAPS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];
/// A connection that broke before so many answers was short-lived.
const SHORT_LIVED: u32 = 100;
/// So many short-lived connections in a row are no accident.
const ACCIDENTS: u32 = 2;
/// After so many answers in a row a gap is tried that is one step shorter.
const RELAXED_AFTER: u32 = 10_000;

/// The pauses of one line.
#[derive(Debug)]
pub(super) struct Pace {
    given: Pacing,
    least_gap: Duration,
    pause: usize,
    gap: usize,
    short_lived: u32,
}

impl Pace {
    /// For devices that want to be asked so, on a line that needs a silence between frames.
    pub(super) fn new(devices: impl Iterator<Item = Pacing>, least_gap: Duration) -> Self {
        let slowest = |one: Pacing, other: Pacing| Pacing {
            request_gap: one.request_gap.max(other.request_gap),
            connect_pause: one.connect_pause.max(other.connect_pause),
            reconnect_after: match (one.reconnect_after, other.reconnect_after) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        };
        Self { given: devices.reduce(slowest).unwrap_or_default(), least_gap, pause: 0, gap: 0, short_lived: 0 }
    }

    /// Between an answer and the next request.
    pub(super) fn gap(&self) -> Duration {
        let learnt = GAPS.get(self.gap).copied().unwrap_or_default();
        self.given.request_gap.unwrap_or(learnt).max(self.least_gap)
    }

    /// Between connecting and the first request.
    pub(super) fn pause(&self) -> Duration {
        let learnt = PAUSES.get(self.pause).copied().unwrap_or_default();
        self.given.connect_pause.unwrap_or(learnt)
    }

    /// Errors in a row after which the connection is made anew.
    pub(super) fn reconnect_after(&self) -> u32 {
        const DEFAULT: u32 = 10;
        self.given.reconnect_after.unwrap_or(DEFAULT)
    }

    /// A connection gave so many answers so far.
    pub(super) fn answered(&mut self, answers: u32) {
        if answers.is_multiple_of(RELAXED_AFTER) {
            self.gap = self.gap.saturating_sub(1);
            self.short_lived = 0;
        }
    }

    /// A connection broke, or fell silent, after so many answers. Gives what is done about it, for the log.
    pub(super) fn broke(&mut self, answers: u32) -> Option<String> {
        if answers == 0 {
            if self.given.connect_pause.is_none() {
                self.pause = (self.pause + 1) % PAUSES.len();
                let pause = self.pause();
                return (!pause.is_zero()).then(|| format!("from now on {pause:?} are waited after connecting"));
            }
            return None;
        }
        self.short_lived = if answers < SHORT_LIVED { self.short_lived.saturating_add(1) } else { 0 };
        if self.short_lived < ACCIDENTS || self.given.request_gap.is_some() || self.gap + 1 == GAPS.len() {
            return None;
        }
        self.short_lived = 0;
        self.gap += 1;
        Some(format!("from now on {:?} are waited between requests", self.gap()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(given: Pacing) -> Pace {
        Pace::new([given].into_iter(), Duration::ZERO)
    }

    #[test]
    fn a_quick_device_is_not_kept_waiting() {
        let mut pace = pace(Pacing::default());
        assert_eq!((pace.gap(), pace.pause()), (Duration::ZERO, Duration::ZERO));
        assert_eq!(pace.broke(5000), None);
        assert_eq!((pace.gap(), pace.pause()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_first_request_that_fails_asks_for_a_pause() {
        let mut pace = pace(Pacing::default());
        assert!(pace.broke(0).unwrap().contains("500ms"));
        assert_eq!(pace.pause(), 500 * MS);
        pace.broke(0);
        pace.broke(0);
        assert_eq!(pace.pause(), 2000 * MS);
        assert_eq!(pace.broke(0), None, "it was not for a pause");
        assert_eq!(pace.pause(), Duration::ZERO);
    }

    #[test]
    fn connections_that_keep_breaking_ask_for_a_gap() {
        let mut pace = pace(Pacing::default());
        assert_eq!(pace.broke(5), None, "an accident");
        assert!(pace.broke(5).unwrap().contains("20ms"));
        assert_eq!(pace.gap(), 20 * MS);
        pace.answered(RELAXED_AFTER);
        assert_eq!(pace.gap(), Duration::ZERO);
    }

    #[test]
    fn what_is_given_is_kept_and_the_slowest_of_a_line_counts() {
        let one = Pacing { request_gap: Some(5 * MS), connect_pause: Some(MS), reconnect_after: Some(7) };
        let other = Pacing { request_gap: Some(9 * MS), ..Pacing::default() };
        let mut pace = Pace::new([one, other].into_iter(), 6 * MS);
        assert_eq!((pace.gap(), pace.pause(), pace.reconnect_after()), (9 * MS, MS, 7));
        for _ in 0..10 {
            assert_eq!((pace.broke(0), pace.broke(1)), (None, None));
        }
        assert_eq!(Pace::new([one].into_iter(), 6 * MS).gap(), 6 * MS);
    }
}
