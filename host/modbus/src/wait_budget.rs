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
/// Requests without a reply that share the time after the first one, where it is not known how fast a device replies.
const MAX_SHARED_FAILURES: u32 = 3;
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

/// Which requests of a cycle get short time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShortLimits {
    /// Those after one without a reply: as long as the device usually takes.
    Usual,
    /// The same, but how fast the device replies is not known: they share what is left.
    Shared,
    /// None: they have to wait as long as the one without a reply, or for a new connection.
    None,
}

/// What is left of a cycle's time for replies that do not come.
#[derive(Debug)]
pub(crate) struct WaitBudget {
    limit: Duration,
    short_limits: ShortLimits,
    waited: Duration,
    failures: u32,
    has_reply: bool,
}

impl WaitBudget {
    /// For a cycle whose requests have this time limit.
    pub(crate) fn new(limit: Duration, reply_time: &ReplyTime) -> Self {
        let short_limits = match reply_time {
            ReplyTime { is_held_up: true, .. } => ShortLimits::None,
            ReplyTime { longest: None, .. } => ShortLimits::Shared,
            ReplyTime { longest: Some(_), .. } => ShortLimits::Usual,
        };
        Self { limit, short_limits, waited: Duration::ZERO, failures: 0, has_reply: false }
    }

    /// The time limit of the cycle's next request, for the block with that first item. `is_open`: the connection need not be
    /// opened for it.
    pub(crate) fn limit(&self, cycle: &Cycle, block: Option<usize>, reply_time: &ReplyTime, is_open: bool) -> Duration {
        // Where nothing is answered, one request has the whole limit, whose error is shown.
        let is_short = self.failures > 0 || self.has_reply && cycle.asks_suspect() && !cycle.asks_new_suspect();
        let shortest = MIN_SHORT_LIMIT.min(self.limit);
        match self.short_limits {
            ShortLimits::Usual if is_short && is_open => {
                let short = reply_time.short_limit(block, self.limit).unwrap_or(self.limit);
                // All attempts together never take two time limits.
                short.min(self.longest_wait().saturating_sub(self.waited)).max(shortest)
            }
            ShortLimits::Shared if is_short && is_open => {
                ((self.longest_wait() - self.limit) / MAX_SHARED_FAILURES).max(shortest)
            }
            _ => self.limit,
        }
    }

    /// The time limit of a request that the device has just answered.
    pub(crate) fn witness_limit(&self, block: Option<usize>, reply_time: &ReplyTime) -> Duration {
        let short = reply_time.short_limit(block, self.limit).filter(|_| self.short_limits == ShortLimits::Usual);
        short.unwrap_or(self.limit)
    }

    /// Whether that is a short one.
    pub(crate) fn is_short(&self, limit: Duration) -> bool {
        limit < self.limit
    }

    /// Records that the device has replied: from now on its reply time is known.
    pub(crate) fn record_reply(&mut self) {
        self.has_reply = true;
        if self.failures == 0 {
            self.short_limits = ShortLimits::Usual;
        }
    }

    /// Records an attempt that brought nothing. `is_open`: the connection can still be used.
    pub(crate) fn record(&mut self, took: Duration, is_open: bool) {
        self.failures += 1;
        self.waited += took;
        if !is_open {
            // A new connection costs time too, and many devices accept only a few.
            self.short_limits = ShortLimits::None;
        }
    }

    /// Whether an attempt of this cycle has brought nothing.
    pub(crate) fn has_waited(&self) -> bool {
        self.failures > 0
    }

    /// Whether the blocks that were read before are asked for.
    pub(crate) fn allows_blocks(&self, reply_time: &ReplyTime) -> bool {
        match self.short_limits {
            // What is left must be enough for a usual reply.
            ShortLimits::Usual => {
                let least = reply_time
                    .longest
                    .unwrap_or_default()
                    .clamp(MIN_SHORT_LIMIT, MIN_SHORT_LIMIT.max(self.limit * 3 / 4));
                self.waited + least <= self.longest_wait()
            }
            ShortLimits::Shared => self.failures <= MAX_SHARED_FAILURES,
            ShortLimits::None => self.failures < 2,
        }
    }

    /// Whether further suspects are asked for.
    pub(crate) fn allows_suspects(&self, reply_time: &ReplyTime) -> bool {
        match reply_time.short_limit(None, self.limit).filter(|_| self.short_limits == ShortLimits::Usual) {
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
        assert!(wait_budget.allows_blocks(&reply_time) && !wait_budget.allows_suspects(&reply_time));
        let mut asked = 0;
        while wait_budget.allows_blocks(&reply_time) {
            wait_budget.record(50 * MS, true);
            asked += 1;
        }
        assert_eq!(asked, 17);
        reply_time.hold_up();
        let mut wait_budget = WaitBudget::new(1000 * MS, &reply_time);
        wait_budget.record(1000 * MS, true);
        assert!(wait_budget.allows_blocks(&reply_time) && !wait_budget.allows_suspects(&reply_time));
        wait_budget.record(1000 * MS, true);
        assert!(!wait_budget.allows_blocks(&reply_time));
    }

    #[test]
    fn before_the_first_reply_a_few_blocks_share_the_time_of_a_cycle() {
        let reply_time = ReplyTime::default();
        let mut wait_budget = WaitBudget::new(1200 * MS, &reply_time);
        let cycle =
            bessai_domain::profile::toml::read("box", "[points]\na = { address = 0, type = \"uint16\", scale = 1 }\n")
                .map(|profile| profile.plan(None, bessai_domain::register::UnitId(1), profile.read_limits).cycle());
        let cycle = cycle.unwrap();
        let limit = |wait_budget: &WaitBudget| wait_budget.limit(&cycle, Some(0), &reply_time, true);
        assert_eq!(limit(&wait_budget), 1200 * MS);
        wait_budget.record(1200 * MS, true);
        for _ in 0..3 {
            assert!(wait_budget.allows_blocks(&reply_time));
            assert_eq!(limit(&wait_budget), 350 * MS);
            wait_budget.record(350 * MS, true);
        }
        assert!(!wait_budget.allows_blocks(&reply_time));
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
