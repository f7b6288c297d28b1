//! A gateway with many devices, a durable journal and one feed that publishes all values of a reading in one message.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::reading_subscriber::{FIRST_CHANNEL, ReadingSubscriber};
use super::tasks::SimulatedDevices;
use crate::plugins::{folder, write};
use crate::process::Process;
use crate::program::Program;
use crate::test_bed::TestBed;

/// Counts the gateways: each has its own topics and client id.
static GATEWAYS: AtomicU32 = AtomicU32::new(0);
/// Settings of the default feed: every channel is published.
const FEED: &str = "[config]\nchannels = \"all\"\n";

/// A running gateway and a subscriber to its readings.
pub(super) struct PollingGateway<'a> {
    pub(super) process: Process,
    pub(super) subscriber: ReadingSubscriber,
    /// Its site's id.
    pub(super) site: String,
    /// The number of polled sources.
    pub(super) sources: usize,
    data: PathBuf,
    test_bed: &'a TestBed,
}

impl<'a> PollingGateway<'a> {
    /// Returns when readings of every device arrive.
    pub(super) fn start(
        gateway: &Program,
        test_bed: &'a TestBed,
        devices: &SimulatedDevices,
        period: Duration,
    ) -> anyhow::Result<Self> {
        Self::start_with(gateway, test_bed, devices, period, "")
    }

    /// The same with more settings.
    pub(super) fn start_with(
        gateway: &Program,
        test_bed: &'a TestBed,
        devices: &SimulatedDevices,
        period: Duration,
        more: &str,
    ) -> anyhow::Result<Self> {
        Self::start_prepared(gateway, test_bed, devices, period, |_, _| Ok(more.to_owned()))
    }

    /// The same; `prepare` gets the site's id and the gateway's folder, writes further files and returns further settings.
    pub(super) fn start_prepared(
        gateway: &Program,
        test_bed: &'a TestBed,
        devices: &SimulatedDevices,
        period: Duration,
        prepare: impl FnOnce(&str, &Path) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let site = format!("bench-modbus-{}", GATEWAYS.fetch_add(1, Ordering::Relaxed));
        let data = folder(test_bed, &site)?;
        write(&folder(test_bed, &format!("{site}/plugins"))?.join("default.toml"), FEED)?;
        write(&data.join("profile.toml"), profile(devices.values))?;
        let settings = settings(&site, test_bed, devices, period) + &prepare(&site, &data)?;
        write(&data.join("bessai.toml"), settings)?;
        let subscriber = ReadingSubscriber::start(test_bed.broker, &site)?;
        let mut command = gateway.command();
        command.args(["run", "--config", "bessai.toml"]).current_dir(&data);
        command.env("HEALTH_PORT", "0").env("BESSAI_DATA", &data);
        let process = Process::spawn(&mut command, &data.join("gateway.log"))?;
        let sources = devices.addresses.len() * usize::from(devices.units);
        let polling_gateway = Self { process, subscriber, site, sources, data, test_bed };
        polling_gateway.subscriber.wait_for_devices(sources, &polling_gateway.process)?;
        Ok(polling_gateway)
    }
}

impl Drop for PollingGateway<'_> {
    fn drop(&mut self) {
        // The journal is large; the rest is removed with the benchmark's own folder.
        let _ = std::fs::remove_dir_all(self.data.join("journal"));
        // The common subscriber received the first device's messages.
        self.test_bed.subscriber.take();
    }
}

/// A profile of that many consecutive single-precision values.
pub(super) fn profile(values: u16) -> String {
    let mut profile = String::from("[points]\n");
    for index in 0..values {
        let name = if index == 0 { FIRST_CHANNEL.to_owned() } else { format!("v{index}") };
        // Writing to a string cannot fail.
        let _ = writeln!(profile, "{name} = {{ address = {}, type = \"float32\", scale = 1 }}", 2 * index);
    }
    profile
}

fn settings(site: &str, test_bed: &TestBed, devices: &SimulatedDevices, period: Duration) -> String {
    let mut settings = format!("site = \"{site}\"\n[broker]\nurl = \"mqtt://{}\"\n", test_bed.broker);
    for (index, address) in devices.addresses.iter().enumerate() {
        for unit in 1..=devices.units {
            let _ = write!(
                settings,
                "[[device]]\nname = \"d{index}-{unit}\"\naddress = \"tcp://{address}\"\nunit = {unit}\n\
                 profile = \"profile.toml\"\nperiod = \"{}s\"\n",
                period.as_secs_f64()
            );
        }
    }
    settings
}
