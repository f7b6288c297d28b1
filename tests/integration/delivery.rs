//! Delivery that loses nothing: a device counts its readings, and whatever plug is pulled, every count arrives, in order,
//! again only at seams.
//!
//! `EDGE_LONG_TESTS=1` runs the long forms: outages of a minute, 200 kills, the gateway's own full limits.

use crate::support::device::Device;
use crate::support::gateway::Setup;

mod clock;
mod disk;
mod greetings;
mod network;
mod outage;
mod power;
mod scripted;

/// Seconds between two readings: many in a short test, few enough for a busy machine.
const PERIOD_S: &str = "0.03";

/// A gateway that reads a counter.
fn counting(device: &Device) -> Setup {
    Setup::new().device(device.port()).with("WATCHDOG_TIMEOUT", PERIOD_S)
}
