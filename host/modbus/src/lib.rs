//! Modbus client: one task per bus polls its devices, decodes the registers into frames and performs writes.
//!
//! A bus is what one connection reaches: the units behind a TCP address or on a serial port, distinguished by their unit
//! ids. This is the only crate that uses tokio-modbus. That library has no timeouts and trusts the byte count of a reply,
//! so both are checked here, and it is handed only frames that were found to be the reply. A late reply must never be taken
//! for the reply to the next request: it is recognised by its transaction id, or the bus is drained and the unit sent a probe, or
//! the connection is closed.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::address::Address;
use bessai_domain::profile::{Pacing, Profile, ReadLimits};
use bessai_domain::register::UnitId;
use bessai_domain::time::Clock;
use tokio::sync::mpsc;
use tokio::time::Instant;

mod ambiguity;
mod chain_watch;
mod client;
mod connection;
mod device;
mod discovery;
mod irregularity;
mod link;
mod missing;
mod pacing;
mod poll;
mod relay;
mod reply;
mod reply_filter;
mod reply_timer;
mod request;
mod schedule;
mod socket;
mod source;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod transport;
mod wait_budget;
mod write;

pub use bessai_domain::device::{DeviceReport, MissingBlock, MissingPoints, ReadFailure};
pub use client::{DeviceClient, PointReadings, SharedConnection, SharedOutcome, UnitReply};
pub use irregularity::{FramingCounts, Irregularity};
pub use relay::{BusRelay, LONGEST_OUTCOME, LONGEST_WAIT, RelayedPoint};
pub use request::BusRequest;
pub use streams::{StreamFraming, run_on_streams};
pub use write::{PointWriter, WriteOptions, WriteQueue, WrittenPoint};

/// A connection and the devices that share it.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Where to connect.
    pub endpoint: BusEndpoint,
    /// The devices to poll.
    pub devices: Vec<DeviceSettings>,
}

/// Where to connect, and the TLS settings for an address that needs them.
#[derive(Clone, Debug)]
pub struct BusEndpoint {
    /// Network address or serial port.
    pub address: Address,
    /// Certificates; used only if the address's scheme is TLS.
    pub tls: bessai_tls::Settings,
    /// Name in the device's certificate, if it differs from the address's host.
    pub server_name: Option<String>,
    /// The bus returns what is sent.
    pub local_echo: bool,
    /// Counts what is irregular in the received bytes; clones share it.
    pub framing: Arc<FramingCounts>,
}

impl BusEndpoint {
    /// An endpoint with default TLS settings.
    pub fn new(address: Address) -> Self {
        let (tls, framing) = (bessai_tls::Settings::default(), Arc::default());
        Self { address, tls, server_name: None, local_echo: false, framing }
    }
}

/// A device and how to poll it.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    /// The device's name in the site.
    pub name: String,
    /// Unit id of all points that have none of their own.
    pub unit: UnitId,
    /// Whether the unit id comes from the configuration rather than from the profile.
    pub unit_is_configured: bool,
    /// The device's points.
    pub profile: Arc<Profile>,
    /// SunSpec models to read; all models if absent.
    pub models: Option<Vec<u16>>,
    /// Time limit of one request, and of opening the connection for it.
    pub timeout: Duration,
    /// Pauses that the device needs.
    pub pacing: Pacing,
    /// Limits on the size of one request.
    pub read_limits: ReadLimits,
    /// Groups of points with a period of their own.
    pub sources: Vec<SourceSettings>,
}

/// A group of points that is read at one period.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The source's name in the profile; none for the points at the device's own period.
    pub name: Option<String>,
    /// Time between the starts of two readings.
    pub period: Duration,
    /// The source's index in the site description.
    pub index: u32,
}

/// Polls the devices of a bus until the receiver of the reports is dropped. Periods count from `start`; `clock` timestamps the readings.
pub async fn run<R: From<DeviceReport>>(
    bus: Bus,
    start: Instant,
    clock: Clock,
    reports: mpsc::Sender<R>,
    writes: WriteQueue,
) {
    poll::Poller::new(Box::new(bus.endpoint), bus.devices, start, clock, writes).run(reports).await;
}

/// As [`run`], and performs the requests of a relay between those of the bus.
pub async fn run_relayed<R: From<DeviceReport>>(
    bus: Bus,
    start: Instant,
    clock: Clock,
    reports: mpsc::Sender<R>,
    writes: WriteQueue,
    relay: &BusRelay,
) {
    let poller = poll::Poller::new(Box::new(bus.endpoint), bus.devices, start, clock, writes);
    poller.with_relay(relay).run(reports).await;
}
