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
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplyTime {
    /// About the longest of the last replies; none before the first one.
    longest: Option<Duration>,
    /// The same of each block, by its first item, in that order.
    blocks: Vec<(usize, Duration)>,
    /// After a request without a reply the device does not reply to others at once either.
    is_held_up: bool,
}

impl ReplyTime {
    /// Records the reply to the read of the block with that first item.
    pub(crate) fn record(&mut self, block: usize, took: Duration) {
        self.longest = Some(slow_maximum(self.longest.unwrap_or_default(), took));
        match self.blocks.binary_search_by_key(&block, |(first, _)| *first) {
            Ok(index) => {
                if let Some((_, longest)) = self.blocks.get_mut(index) {
                    *longest = slow_maximum(*longest, took);
                }
            }
            Err(index) => self.blocks.insert(index, (block, took)),
        }
    }

    /// A request that the device has just answered got no reply after one that it does not answer.
    pub(crate) fn hold_up(&mut self) {
        self.is_held_up = true;
    }

    /// Forgets whether requests without a reply hold up others, and the blocks, which may be others from now on.
    pub(crate) fn forget(&mut self) {
        self.is_held_up = false;
        self.blocks.clear();
    }

    /// The short time limit for a block; for one that was never read that of the slowest.
    fn short_limit(&self, block: Option<usize>, limit: Duration) -> Option<Duration> {
        let longest = self.longest.filter(|_| !self.is_held_up)?;
        let index = block.and_then(|block| self.blocks.binary_search_by_key(&block, |(first, _)| *first).ok());
        let usual = index.and_then(|index| self.blocks.get(index)).map_or(longest, |(_, usual)| *usual);
        Some((usual * SHORT_LIMIT_FACTOR).clamp(MIN_SHORT_LIMIT.min(limit), limit))
    }
}

fn slow_maximum(longest: Duration, took: Duration) -> Duration {
    took.max(longest.saturating_sub(longest / REPLY_TIME_DECAY))
}

/// What is left of a cycle's time for replies that do not come.
#[derive(Debug)]
pub(crate) struct WaitBudget {
    limit: Duration,
    /// Requests may get short limits; not if they have to wait as long as the one without a reply.
    has_short_limits: bool,
    waited: Duration,
    failures: u32,
}

impl WaitBudget {
    /// For a cycle whose requests have this time limit.
    pub(crate) fn new(limit: Duration, reply_time: &ReplyTime) -> Self {
        let has_short_limits = reply_time.short_limit(None, limit).is_some();
        Self { limit, has_short_limits, waited: Duration::ZERO, failures: 0 }
    }

    /// The time limit of the cycle's next request, for the block with that first item. `is_open`: the connection need not be
    /// opened for it.
    pub(crate) fn limit(&self, cycle: &Cycle, block: Option<usize>, reply_time: &ReplyTime, is_open: bool) -> Duration {
        let is_short = self.failures > 0 || (cycle.asks_suspect() && !cycle.asks_new_suspect());
        if !(is_short && is_open && self.has_short_limits) {
            return self.limit;
        }
        let short = reply_time.short_limit(block, self.limit).unwrap_or(self.limit);
        // All attempts together never take two time limits.
        short.min(self.longest_wait().saturating_sub(self.waited)).max(MIN_SHORT_LIMIT.min(self.limit))
    }

    /// The time limit of a request that the device has just answered.
    pub(crate) fn witness_limit(&self, block: Option<usize>, reply_time: &ReplyTime) -> Duration {
        let short = reply_time.short_limit(block, self.limit).filter(|_| self.has_short_limits);
        short.unwrap_or(self.limit)
    }

    /// Whether that is a short one.
    pub(crate) fn is_short(&self, limit: Duration) -> bool {
        limit < self.limit
    }

    /// Records that the device has replied: from now on its reply time is known.
    pub(crate) fn record_reply(&mut self) {
        if self.failures == 0 {
            self.has_short_limits = true;
        }
    }

    /// Records an attempt that brought nothing. `is_open`: the connection can still be used.
    pub(crate) fn record(&mut self, took: Duration, is_open: bool) {
        self.failures += 1;
        self.waited += took;
        if !is_open {
            // A new connection costs time too, and many devices accept only a few.
            self.has_short_limits = false;
        }
    }

    /// Whether an attempt of this cycle has brought nothing.
    pub(crate) fn has_waited(&self) -> bool {
        self.failures > 0
    }

    /// Whether the blocks that were read before are asked for.
    pub(crate) fn allows_blocks(&self) -> bool {
        if self.has_short_limits { self.waited + MIN_SHORT_LIMIT <= self.longest_wait() } else { self.failures < 2 }
    }

    /// Whether further suspects are asked for.
    pub(crate) fn allows_suspects(&self, reply_time: &ReplyTime) -> bool {
        match reply_time.short_limit(None, self.limit).filter(|_| self.has_short_limits) {
            Some(short) => self.waited + short <= self.limit,
            None => self.failures == 0,
        }
    }

    /// The longest time that one cycle waits for replies that do not come.
    fn longest_wait(&self) -> Duration {
        self.limit + self.limit * 7 / 8
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
            times.iter().for_each(|&ms| reply_time.record(0, MS * ms));
            reply_time.short_limit(Some(0), 1000 * MS).map(|limit| limit.as_millis())
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
        reply_time.record(0, MS);
        let mut wait_budget = WaitBudget::new(1000 * MS, &reply_time);
        wait_budget.record(1000 * MS, true);
        assert!(wait_budget.allows_blocks() && !wait_budget.allows_suspects(&reply_time));
        let mut asked = 0;
        while wait_budget.allows_blocks() {
            wait_budget.record(50 * MS, true);
            asked += 1;
        }
        assert_eq!(asked, 17);
        reply_time.hold_up();
        let mut wait_budget = WaitBudget::new(1000 * MS, &reply_time);
        wait_budget.record(1000 * MS, true);
        assert!(wait_budget.allows_blocks() && !wait_budget.allows_suspects(&reply_time));
        wait_budget.record(1000 * MS, true);
        assert!(!wait_budget.allows_blocks());
    }

    #[test]
    fn each_block_has_a_reply_time_of_its_own() {
        let mut reply_time = ReplyTime::default();
        reply_time.record(5, 400 * MS);
        reply_time.record(0, MS);
        reply_time.record(9, 30 * MS);
        let short = |block| reply_time.short_limit(block, 1000 * MS);
        assert_eq!(short(Some(0)), Some(50 * MS));
        assert_eq!(short(Some(5)), Some(1000 * MS));
        assert_eq!(short(Some(9)), Some(120 * MS));
        assert_eq!(short(Some(7)), Some(1000 * MS), "one that was never read may be as slow as the slowest");
    }
}
