//! How long one cycle waits for replies that do not come.
//!
//! The first request without a reply may take the whole time limit. Those after it get a short one, which follows from how
//! fast the device usually replies, so that a cycle never waits for as long as two time limits.

use std::time::Duration;

use bessai_domain::plan::Cycle;

/// The shortest time limit: a device that replies at once may need a moment now and then.
const MIN_SHORT_LIMIT: Duration = Duration::from_millis(50);
/// The short time limit as a multiple of the longest usual reply time.
const SHORT_LIMIT_FACTOR: u32 = 4;
/// The usual reply time falls by this part of it with each reply, so that one slow reply is not remembered for ever.
const REPLY_TIME_DECAY: u32 = 64;

/// How fast a device replies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplyTime {
    /// About the longest of the last replies; none before the first one.
    longest: Option<Duration>,
    /// After a request without a reply the device does not reply to others at once either.
    is_held_up: bool,
}

impl ReplyTime {
    pub(crate) fn record(&mut self, took: Duration) {
        let longest = self.longest.unwrap_or_default();
        self.longest = Some(took.max(longest.saturating_sub(longest / REPLY_TIME_DECAY)));
    }

    /// A request that the device has just answered got no reply after one that it does not answer.
    pub(crate) fn hold_up(&mut self) {
        self.is_held_up = true;
    }

    /// Forgets whether requests without a reply hold up others.
    pub(crate) fn forget(&mut self) {
        self.is_held_up = false;
    }

    fn short_limit(&self, limit: Duration) -> Option<Duration> {
        let longest = self.longest.filter(|_| !self.is_held_up)?;
        Some((longest * SHORT_LIMIT_FACTOR).clamp(MIN_SHORT_LIMIT.min(limit), limit))
    }
}

/// What is left of a cycle's time for replies that do not come.
#[derive(Debug)]
pub(crate) struct WaitBudget {
    limit: Duration,
    /// None if other requests have to wait as long as the one without a reply.
    short_limit: Option<Duration>,
    waited: Duration,
    failures: u32,
}

impl WaitBudget {
    /// For a cycle whose requests have this time limit.
    pub(crate) fn new(limit: Duration, reply_time: ReplyTime) -> Self {
        Self { limit, short_limit: reply_time.short_limit(limit), waited: Duration::ZERO, failures: 0 }
    }

    /// The time limit of the cycle's next request. `is_open`: the connection need not be opened for it.
    pub(crate) fn limit(&self, cycle: &Cycle, is_open: bool) -> Duration {
        let is_short = !self.waited.is_zero() || (cycle.asks_suspect() && !cycle.asks_new_suspect());
        self.short_limit.filter(|_| is_short && is_open).unwrap_or(self.limit)
    }

    /// The time limit of a request that the device has just answered.
    pub(crate) fn witness_limit(&self) -> Duration {
        self.short_limit.unwrap_or(self.limit)
    }

    /// Whether that is a short one.
    pub(crate) fn is_short(&self, limit: Duration) -> bool {
        limit < self.limit
    }

    /// Records an attempt that brought nothing. `is_open`: the connection can still be used.
    pub(crate) fn record(&mut self, took: Duration, is_open: bool) {
        self.failures += 1;
        self.waited += took;
        if !is_open {
            // A new connection costs time too, and many devices accept only a few.
            self.short_limit = None;
        }
    }

    /// Whether an attempt of this cycle has brought nothing.
    pub(crate) fn has_waited(&self) -> bool {
        self.failures > 0
    }

    /// Whether the blocks that were read before are asked for.
    pub(crate) fn allows_blocks(&self) -> bool {
        match self.short_limit {
            Some(short) => self.waited + short <= self.limit + self.limit * 3 / 4,
            None => self.failures < 2,
        }
    }

    /// Whether further suspects are asked for.
    pub(crate) fn allows_suspects(&self) -> bool {
        match self.short_limit {
            Some(short) => self.waited + short <= self.limit,
            None => self.failures == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_short_limit_follows_the_reply_time() {
        let short = |times: &[u32]| {
            let mut reply_time = ReplyTime::default();
            times.iter().for_each(|&ms| reply_time.record(MS * ms));
            reply_time.short_limit(1000 * MS).map(|limit| limit.as_millis())
        };
        assert_eq!(short(&[]), None);
        assert_eq!(short(&[1, 2]), Some(50));
        assert_eq!(short(&[100]), Some(400));
        assert_eq!(short(&[800]), Some(1000));
        let mut late_once = vec![200];
        late_once.extend([5; 400]);
        assert_eq!(short(&late_once), Some(50));
    }

    #[test]
    fn a_cycle_waits_about_one_time_limit() {
        let mut reply_time = ReplyTime::default();
        reply_time.record(MS);
        let mut wait_budget = WaitBudget::new(1000 * MS, reply_time);
        wait_budget.record(1000 * MS, true);
        assert!(wait_budget.allows_blocks() && !wait_budget.allows_suspects());
        let mut asked = 0;
        while wait_budget.allows_blocks() {
            wait_budget.record(50 * MS, true);
            asked += 1;
        }
        assert_eq!(asked, 15);
        reply_time.hold_up();
        let mut wait_budget = WaitBudget::new(1000 * MS, reply_time);
        wait_budget.record(1000 * MS, true);
        assert!(wait_budget.allows_blocks() && !wait_budget.allows_suspects());
        wait_budget.record(1000 * MS, true);
        assert!(!wait_budget.allows_blocks());
    }
}
