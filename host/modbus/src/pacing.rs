//! Pauses of a bus: the configured ones, or else those that its devices have been found to need.
//!
//! Old inverters need a second after connecting, or a gap between requests, and stop replying without it. Fast devices must
//! not pay for that, so the gateway starts without pauses and adapts.

use std::time::Duration;

use bessai_domain::profile::Pacing;

/// Pauses after connecting; each failed first request selects the next one, and the last is followed by the first.
const CONNECT_PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// Gaps between requests; the next one is selected when devices keep failing after a few replies.
const REQUEST_GAPS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];
/// Replies before a failure below which it counts as early.
const EARLY_FAILURE_REPLIES: u32 = 100;
/// Early failures in a row after which the gap is lengthened; a single one may be an accident.
const MAX_EARLY_FAILURES: u32 = 2;
/// Requests right after a reply that get none, in a row, after which the gap is lengthened. A device that answers others of
/// them needs no gap.
const MAX_QUICK_SILENCES: u32 = 4;
/// Replies on one connection after which both pauses are shortened by one step.
const RELAX_AFTER_REPLIES: u32 = 10_000;
/// Errors in a row after which the connection is reopened, unless the profile says otherwise.
const DEFAULT_RECONNECT_AFTER: u32 = 10;

/// The pauses of one bus.
#[derive(Debug)]
pub(crate) struct AdaptivePacing {
    configured: Pacing,
    frame_gap: Duration,
    /// Index into [`CONNECT_PAUSES`].
    pause: usize,
    /// Index into [`REQUEST_GAPS`].
    gap: usize,
    early_failures: u32,
    /// Requests right after a reply that got none, since the last one that got one.
    quick_silences: u32,
    pause_is_reported: bool,
}

impl AdaptivePacing {
    /// Pacing for the slowest of the devices, on a bus with that gap between frames.
    pub(crate) fn new(devices: impl Iterator<Item = Pacing>, frame_gap: Duration) -> Self {
        let slowest = |one: Pacing, other: Pacing| Pacing {
            request_gap: one.request_gap.max(other.request_gap),
            connect_pause: one.connect_pause.max(other.connect_pause),
            reconnect_after: match (one.reconnect_after, other.reconnect_after) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        };
        Self {
            configured: devices.reduce(slowest).unwrap_or_default(),
            frame_gap,
            pause: 0,
            gap: 0,
            early_failures: 0,
            quick_silences: 0,
            pause_is_reported: false,
        }
    }

    /// Time between a reply and the next request.
    pub(crate) fn gap(&self) -> Duration {
        let learnt = REQUEST_GAPS.get(self.gap).copied().unwrap_or_default();
        self.configured.request_gap.unwrap_or(learnt).max(self.frame_gap)
    }

    /// Time between connecting and the first request.
    pub(crate) fn pause(&self) -> Duration {
        let learnt = CONNECT_PAUSES.get(self.pause).copied().unwrap_or_default();
        self.configured.connect_pause.unwrap_or(learnt)
    }

    /// Errors in a row after which the connection is reopened.
    pub(crate) fn reconnect_after(&self) -> u32 {
        self.configured.reconnect_after.unwrap_or(DEFAULT_RECONNECT_AFTER)
    }

    /// Whether that number is configured.
    pub(crate) fn has_reconnect_after(&self) -> bool {
        self.configured.reconnect_after.is_some()
    }

    /// Time between a reply and the next request below which a longer gap may be needed.
    pub(crate) fn next_gap(&self) -> Duration {
        REQUEST_GAPS.get(self.gap + 1).copied().unwrap_or_default()
    }

    /// Records a reply; `replies` counts those since connecting. `is_quick`: its request was sent right after another reply.
    /// `needs_pause`: nothing but the pause after connecting explains failed first requests. Returns what was learnt, for
    /// the log.
    pub(crate) fn record_reply(&mut self, replies: u32, is_quick: bool, needs_pause: bool) -> Option<String> {
        if is_quick {
            self.quick_silences = 0;
        }
        if replies.is_multiple_of(RELAX_AFTER_REPLIES) {
            (self.gap, self.pause) = (self.gap.saturating_sub(1), self.pause.saturating_sub(1));
            self.early_failures = 0;
        }
        if self.pause == 0 || self.pause_is_reported || !needs_pause {
            return None;
        }
        self.pause_is_reported = true;
        Some(format!("needs a pause after connecting; waiting {:?} from now on", self.pause()))
    }

    /// Records that the first request after connecting failed.
    pub(crate) fn record_failed_first_request(&mut self) {
        if self.configured.connect_pause.is_none() {
            self.pause = (self.pause + 1) % CONNECT_PAUSES.len();
            self.pause_is_reported = false;
        }
    }

    /// Records that the request fails again while others are answered, so that a pause was not the reason.
    pub(crate) fn excuse_failed_first_request(&mut self) {
        self.pause = 0;
    }

    /// Records that the connection failed after a unit had sent that many replies. Returns what changes, for the log.
    pub(crate) fn record_failure(&mut self, replies: u32) -> Option<String> {
        let is_early = replies < EARLY_FAILURE_REPLIES;
        self.early_failures = if is_early { self.early_failures.saturating_add(1) } else { 0 };
        if self.early_failures < MAX_EARLY_FAILURES || !self.lengthen_gap() {
            return None;
        }
        Some(format!("failed after {replies} replies; waiting {:?} between requests from now on", self.gap()))
    }

    /// Records that a request right after a reply got none although the connection lasts. Returns what changes, for the log.
    pub(crate) fn record_quick_silence(&mut self) -> Option<String> {
        self.quick_silences = self.quick_silences.saturating_add(1);
        if self.quick_silences < MAX_QUICK_SILENCES || !self.lengthen_gap() {
            return None;
        }
        let gap = self.gap();
        Some(format!("does not answer requests right after a reply; waiting {gap:?} between requests from now on"))
    }

    /// Selects the next gap, unless it is configured or there is none.
    fn lengthen_gap(&mut self) -> bool {
        if self.configured.request_gap.is_some() || self.gap + 1 == REQUEST_GAPS.len() {
            return false;
        }
        (self.early_failures, self.quick_silences) = (0, 0);
        self.gap += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pacing(configured: Pacing) -> AdaptivePacing {
        AdaptivePacing::new([configured].into_iter(), Duration::ZERO)
    }

    #[test]
    fn a_fast_device_is_not_slowed_down() {
        let mut pacing = pacing(Pacing::default());
        assert_eq!((pacing.gap(), pacing.pause()), (Duration::ZERO, Duration::ZERO));
        assert_eq!((pacing.record_failure(5000), pacing.record_reply(1, false, true)), (None, None));
        assert_eq!((pacing.gap(), pacing.pause()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_failed_first_request_lengthens_the_pause_after_connecting() {
        let mut pacing = pacing(Pacing::default());
        pacing.record_failed_first_request();
        assert_eq!(pacing.pause(), 500 * MS);
        assert!(pacing.record_reply(1, false, true).unwrap().contains("500ms"));
        assert_eq!(pacing.record_reply(2, true, true), None, "it is reported once");
        pacing.record_failed_first_request();
        pacing.record_failed_first_request();
        assert_eq!(pacing.pause(), 2000 * MS);
        pacing.record_failed_first_request();
        assert_eq!(pacing.pause(), 5000 * MS);
        pacing.record_failed_first_request();
        assert_eq!(pacing.pause(), 10_000 * MS);
        pacing.record_failed_first_request();
        assert_eq!(pacing.pause(), Duration::ZERO, "a pause was not the cause");
    }

    #[test]
    fn repeated_early_failures_lengthen_the_gap_until_connections_last() {
        let mut pacing = pacing(Pacing::default());
        assert_eq!(pacing.record_failure(5), None, "an accident");
        assert!(pacing.record_failure(5).unwrap().contains("20ms"));
        assert_eq!(pacing.gap(), 20 * MS);
        pacing.record_failed_first_request();
        pacing.record_reply(RELAX_AFTER_REPLIES, true, true);
        assert_eq!((pacing.gap(), pacing.pause()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn silence_right_after_replies_lengthens_the_gap_unless_others_are_answered() {
        let mut pacing = pacing(Pacing::default());
        for _ in 0..100 {
            assert_eq!(pacing.record_quick_silence(), None);
            pacing.record_reply(1, false, true);
            pacing.record_reply(2, true, true);
        }
        assert_eq!(pacing.gap(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(pacing.record_quick_silence(), None, "an accident");
            pacing.record_reply(1, false, true);
        }
        assert!(pacing.record_quick_silence().unwrap().contains("waiting 20ms"));
        assert_eq!((pacing.gap(), pacing.next_gap()), (20 * MS, 50 * MS));
    }

    #[test]
    fn a_first_request_that_fails_for_another_reason_says_nothing_about_the_pause() {
        let mut pacing = pacing(Pacing::default());
        pacing.record_failed_first_request();
        assert_eq!(pacing.record_reply(1, false, false), None, "it may be the request's fault");
        pacing.excuse_failed_first_request();
        assert_eq!((pacing.pause(), pacing.record_reply(2, true, true)), (Duration::ZERO, None));
    }

    #[test]
    fn configured_pauses_stay_and_the_slowest_device_of_a_bus_decides() {
        let one = Pacing { request_gap: Some(5 * MS), connect_pause: Some(MS), reconnect_after: Some(7) };
        let other = Pacing { request_gap: Some(9 * MS), ..Pacing::default() };
        let mut pacing = AdaptivePacing::new([one, other].into_iter(), 6 * MS);
        for _ in 0..10 {
            pacing.record_failed_first_request();
            assert_eq!((pacing.record_failure(1), pacing.record_quick_silence()), (None, None));
        }
        assert_eq!((pacing.gap(), pacing.pause(), pacing.reconnect_after()), (9 * MS, MS, 7));
        assert_eq!(AdaptivePacing::new([one].into_iter(), 6 * MS).gap(), 6 * MS);
    }
}
