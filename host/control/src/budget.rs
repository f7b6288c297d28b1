//! How often a point that is kept in flash may be written. Releases are made in any case: a set-point is refused unless its
//! release is within the budget, too, so that only those are beyond it that the device refuses before it takes one.

use std::collections::VecDeque;
use std::time::Duration;

use bessai_domain::time::MonotonicTime;

/// The time in which writes count.
const DAY: Duration = Duration::from_hours(24);

/// The writes of one persistent point within the last 24 h.
#[derive(Debug, Default)]
pub(crate) struct WriteBudget {
    /// When each of them no longer counts: at most as many as the budget has, and releases beyond it.
    ends: VecDeque<MonotonicTime>,
}

impl WriteBudget {
    pub(crate) fn count(&mut self, now: MonotonicTime) {
        self.forget(now);
        self.ends.push_back(now.plus(DAY));
    }

    /// Whether so many more writes are within the budget.
    pub(crate) fn allows(&mut self, writes: usize, per_day: u32, now: MonotonicTime) -> bool {
        self.forget(now);
        let per_day = usize::try_from(per_day).unwrap_or(usize::MAX);
        self.ends.len().saturating_add(writes) <= per_day
    }

    fn forget(&mut self, now: MonotonicTime) {
        while self.ends.front().is_some_and(|end| *end <= now) {
            self.ends.pop_front();
        }
    }

    /// The writes that still count, by the time when they no longer do.
    pub(crate) fn ends(&self, now: MonotonicTime) -> Vec<MonotonicTime> {
        self.ends.iter().copied().filter(|end| *end > now).collect()
    }

    /// Writes before a restart. None counts for longer than one that is made now.
    pub(crate) fn restore(&mut self, ends: &[MonotonicTime], now: MonotonicTime) {
        let mut all: Vec<_> = ends.iter().map(|end| (*end).min(now.plus(DAY))).chain(self.ends.drain(..)).collect();
        all.sort_unstable();
        self.ends = all.into();
    }
}
