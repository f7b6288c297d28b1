//! How often a point that is kept in flash may be written.

use std::collections::VecDeque;
use std::time::Duration;

use bessai_domain::time::MonotonicTime;

/// The time in which writes count.
const DAY: Duration = Duration::from_hours(24);

/// The writes of one persistent point within the last 24 h.
#[derive(Debug, Default)]
pub(crate) struct WriteBudget {
    /// At most as many as the budget has, and releases beyond it.
    writes: VecDeque<MonotonicTime>,
}

impl WriteBudget {
    pub(crate) fn count(&mut self, now: MonotonicTime) {
        self.forget(now);
        self.writes.push_back(now);
    }

    /// Whether so many more writes are within the budget.
    pub(crate) fn allows(&mut self, writes: usize, per_day: u32, now: MonotonicTime) -> bool {
        self.forget(now);
        let per_day = usize::try_from(per_day).unwrap_or(usize::MAX);
        self.writes.len().saturating_add(writes) <= per_day
    }

    fn forget(&mut self, now: MonotonicTime) {
        while self.writes.front().is_some_and(|at| now.since(*at) >= DAY) {
            self.writes.pop_front();
        }
    }
}
