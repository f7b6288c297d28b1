//! When the chain of models of a SunSpec device is checked: once a minute, and at once when a value is absurd.

use std::time::Duration;

use bessai_domain::sunspec::{ChainCheck, ChainState, DeviceDescription};
use tokio::time::Instant;

/// Time between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(50);
/// Least time between two checks because of absurd values: they may be the device's own.
const ABSURDITY_INTERVAL: Duration = Duration::from_secs(10);

/// The chain of a device as it was discovered.
pub(crate) struct ChainWatch {
    check: ChainCheck,
    checked_at: Instant,
    has_changed: bool,
}

impl ChainWatch {
    /// A watch for what was just discovered.
    pub(crate) fn new(found: &DeviceDescription, max_registers: u16) -> Self {
        Self { check: ChainCheck::new(found, max_registers), checked_at: Instant::now(), has_changed: false }
    }

    /// The check to carry out now, if one is due.
    pub(crate) fn due(&mut self) -> Option<ChainCheck> {
        self.after(CHECK_INTERVAL)
    }

    /// The same, after a reading with absurd values.
    pub(crate) fn due_after_absurdity(&mut self) -> Option<ChainCheck> {
        self.after(ABSURDITY_INTERVAL)
    }

    fn after(&mut self, interval: Duration) -> Option<ChainCheck> {
        if self.has_changed || self.checked_at.elapsed() < interval {
            return None;
        }
        self.checked_at = Instant::now();
        Some(self.check.clone())
    }

    /// Records a check's result.
    pub(crate) fn record(&mut self, state: ChainState) {
        self.has_changed |= state == ChainState::Changed;
    }

    /// Whether the device has to be discovered again.
    pub(crate) fn has_changed(&self) -> bool {
        self.has_changed
    }
}
