//! The counter that a device watches: it takes the gateway for dead when the counter stops.

use std::time::Duration;

use bessai_domain::profile::Profile;
use bessai_domain::time::MonotonicTime;

use crate::interface::OrderId;

/// Time between two counts.
const PERIOD: Duration = Duration::from_secs(1);
/// The counter starts again after this value, unless the point's own maximum is smaller; any 16-bit register holds it.
const LARGEST_COUNT: f64 = 32_767.0;

/// The watchdog's counter of a device.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) point: String,
    largest: f64,
    count: f64,
    next: Option<MonotonicTime>,
    /// The write whose result is awaited: a device that is slow gets no queue of counts.
    awaited: Option<OrderId>,
}

impl Watchdog {
    /// None if the profile has none, or one that must not be written.
    pub(crate) fn of(profile: &Profile) -> Option<Self> {
        let point = profile.point(profile.watchdog.as_ref()?).filter(|point| point.is_writable())?;
        let largest = LARGEST_COUNT.min(*point.layout.format.range().end()).min(point.max.unwrap_or(LARGEST_COUNT));
        Some(Self { point: point.name.clone(), largest, count: 0.0, next: None, awaited: None })
    }

    /// The next count, if it is due.
    pub(crate) fn take_due(&mut self, order: OrderId, now: MonotonicTime) -> Option<f64> {
        if self.awaited.is_some() || self.next.is_some_and(|next| next > now) {
            return None;
        }
        self.count = if self.count >= self.largest { 0.0 } else { self.count + 1.0 };
        // On time, it keeps its pace although each call is a little late.
        let due = self.next.filter(|next| now.since(*next) < PERIOD).unwrap_or(now);
        self.next = Some(due.plus(PERIOD));
        self.awaited = Some(order);
        Some(self.count)
    }

    /// Whether this was its write.
    pub(crate) fn written(&mut self, order: OrderId) -> bool {
        let is_own = self.awaited == Some(order);
        if is_own {
            self.awaited = None;
        }
        is_own
    }

    /// Results of writes to a device that went offline no longer come.
    pub(crate) fn forget(&mut self) {
        self.awaited = None;
    }

    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.next.filter(|_| self.awaited.is_none())
    }
}
