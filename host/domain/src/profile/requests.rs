//! How requests to a device are made: timeouts, pauses and sizes.

use std::time::Duration;

use crate::register::{MAX_READ, MAX_READ_BITS, Table};

/// Timeout of a request, unless the profile gives another.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// The shortest timeout that a profile may give: no device responds faster.
pub(super) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The longest timeout or pause that a profile may give.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// Pacing of the requests to a device; none leaves it to the gateway, which adapts to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Minimum time between a response and the next request.
    pub request_gap: Option<Duration>,
    /// Pause between connecting and the first request.
    pub connect_pause: Option<Duration>,
    /// Number of consecutive errors after which the connection is closed and opened again.
    pub reconnect_after: Option<u32>,
}

/// How much one request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// At most this many registers, 1 to 125; a single value may be wider.
    pub registers: u16,
    /// At most this many bits, 1 to 2000.
    pub bits: u16,
    /// The widest gap between two points, in registers, that one request reads across; sixteen times as many bits.
    pub bridged_gap: u16,
}

impl Default for ReadLimits {
    /// The standard's limits. One more request costs far more than sixteen registers.
    fn default() -> Self {
        Self { registers: MAX_READ, bits: MAX_READ_BITS, bridged_gap: 16 }
    }
}

impl ReadLimits {
    /// The most registers or bits of one request.
    pub(crate) fn limit(self, table: Table) -> u16 {
        if table.is_bits() { self.bits } else { self.registers }
    }

    /// The widest bridged gap in registers or bits.
    pub(crate) fn bridged(self, table: Table) -> u32 {
        u32::from(self.bridged_gap) * if table.is_bits() { 16 } else { 1 }
    }
}
