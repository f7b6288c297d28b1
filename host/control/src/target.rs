//! One channel that is set: its holders, and what the device has of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::time::MonotonicTime;

use crate::actuator::{Actuator, Writes};
use crate::interface::ProposalId;
use crate::leases::Leases;

/// Pause after a failed attempt; doubles each time, up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause after a failed attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a device has of a channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Applied {
    /// It controls itself.
    Released,
    /// It has taken a set-point.
    Set(SetValue),
    /// Not known: something was written, or the device was away.
    Unknown,
}

/// A set-point that a device has taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetValue {
    pub(crate) id: ProposalId,
    pub(crate) value: f64,
    pub(crate) writes: Writes,
    /// The values that were read back, by point.
    pub(crate) shown: BTreeMap<String, f64>,
    pub(crate) since: MonotonicTime,
    pub(crate) renewed: MonotonicTime,
}

/// One channel that is set.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) actuator: Actuator,
    pub(crate) leases: Leases,
    pub(crate) applied: Applied,
    /// The value that a single point had before it was set.
    pub(crate) before: Option<f64>,
    /// The last proposal that was written, which a release follows.
    pub(crate) last: Option<ProposalId>,
    /// No attempt before this time.
    pub(crate) retry_at: Option<MonotonicTime>,
    pause: Duration,
    /// What the device has refused of its release, while the rest of it was written.
    pub(crate) unreleased: Writes,
    /// A failure since the last success was reported.
    pub(crate) is_failure_reported: bool,
}

impl Target {
    pub(crate) fn new(actuator: Actuator) -> Self {
        Self {
            actuator,
            leases: Leases::default(),
            applied: Applied::Released,
            before: None,
            last: None,
            retry_at: None,
            pause: SHORTEST_PAUSE,
            unreleased: Writes::new(),
            is_failure_reported: false,
        }
    }

    pub(crate) fn failed(&mut self, now: MonotonicTime) {
        self.applied = Applied::Unknown;
        self.retry_at = Some(now.plus(self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    pub(crate) fn succeeded(&mut self) {
        self.retry_at = None;
        self.pause = SHORTEST_PAUSE;
        self.is_failure_reported = false;
    }

    pub(crate) fn may_try(&self, now: MonotonicTime) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When the device's own timer has to be renewed: at half of it.
    pub(crate) fn renewal_due(&self) -> Option<MonotonicTime> {
        let Applied::Set(set) = &self.applied else { return None };
        Some(set.renewed.plus(self.actuator.revert_time()? / 2))
    }

    /// When something happens by itself; `can_write`: something may be written then.
    pub(crate) fn next_due(&self, can_write: bool) -> Option<MonotonicTime> {
        let waits = matches!(self.applied, Applied::Unknown) || self.leases.first().is_some();
        let retry = self.retry_at.filter(|_| waits);
        let writes = [retry, self.renewal_due()].into_iter().flatten().filter(|_| can_write);
        writes.chain(self.leases.next_end()).min()
    }

    /// Nothing is set, and nobody wants it.
    pub(crate) fn is_idle(&self) -> bool {
        self.applied == Applied::Released && self.leases.first().is_none()
    }
}
