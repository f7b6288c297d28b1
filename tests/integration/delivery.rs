//! At-least-once delivery: a device counts its readings, and through every fault each count must arrive, in order, repeated
//! only after a session or the gateway ended.
//!
//! `EDGE_LONG_TESTS=1` runs the long forms: outages of a minute, 200 kills, the gateway's own time limits.

use crate::support::device::Device;
use crate::support::gateway::Setup;

mod clock;
mod disk;
mod live_first;
mod network;
mod outage;
mod refused;
mod scripted;
mod sign_in_replies;
mod termination;

/// Polling period in seconds: short enough for many readings in a test, long enough for a loaded machine.
const PERIOD_S: &str = "0.03";

/// A gateway that polls a counting device.
fn counting(device: &Device) -> Setup {
    Setup::new().device(device.port()).with("WATCHDOG_TIMEOUT", PERIOD_S)
}

/// One whose default feed speaks this version of MQTT.
pub fn speaking(device: &Device, protocol: &str, url: String) -> Setup {
    let broker = format!("[broker]\nurl = \"{url}\"\nprotocol = \"{protocol}\"\n");
    counting(device).file("plugins/default.toml", broker)
}
