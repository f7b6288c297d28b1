//! A gateway with many devices, a durable journal and one feed that publishes a message a reading with all of its values.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::arrivals::{Arrivals, FIRST_CHANNEL};
use super::tasks::Devices;
use crate::plugins::{folder, write};
use crate::process::Process;
use crate::program::Program;
use crate::surroundings::Surroundings;

/// Counts the plants, so that each has topics and a client id of its own.
static PLANTS: AtomicU32 = AtomicU32::new(0);
/// The default feed with every channel in its message.
const FEED: &str = "[config]\nchannels = \"all\"\n";

/// A gateway that runs, and what arrives of it.
pub(super) struct Plant<'a> {
    pub(super) process: Process,
    pub(super) arrivals: Arrivals,
    /// What it is told to read.
    pub(super) sources: usize,
    data: PathBuf,
    surroundings: &'a Surroundings,
}

impl<'a> Plant<'a> {
    /// Returns when each device's readings arrive.
    pub(super) fn start(
        gateway: &Program,
        surroundings: &'a Surroundings,
        devices: &Devices,
        period: Duration,
    ) -> anyhow::Result<Self> {
        let site = format!("bench-modbus-{}", PLANTS.fetch_add(1, Ordering::Relaxed));
        let data = folder(surroundings, &site)?;
        write(&folder(surroundings, &format!("{site}/plugins"))?.join("default.toml"), FEED)?;
        write(&data.join("profile.toml"), profile(devices.values))?;
        write(&data.join("bessai.toml"), settings(&site, surroundings, devices, period))?;
        let arrivals = Arrivals::of(surroundings.broker, &site)?;
        let mut command = gateway.command();
        command.args(["run", "--config", "bessai.toml"]).current_dir(&data);
        command.env("HEALTH_PORT", "0").env("BESSAI_DATA", &data);
        let process = Process::spawn(&mut command, &data.join("gateway.log"))?;
        let sources = devices.addresses.len() * usize::from(devices.units);
        let plant = Self { process, arrivals, sources, data, surroundings };
        plant.arrivals.wait(sources, &plant.process)?;
        Ok(plant)
    }
}

impl Drop for Plant<'_> {
    fn drop(&mut self) {
        // Its journal is large; what is left goes with the benchmark's own folder.
        let _ = std::fs::remove_dir_all(self.data.join("journal"));
        // The first device's messages went there too.
        self.surroundings.subscriber.take();
    }
}

/// So many single floats, one behind the other.
pub(super) fn profile(values: u16) -> String {
    let mut profile = String::from("[points]\n");
    for place in 0..values {
        let name = if place == 0 { FIRST_CHANNEL.to_owned() } else { format!("v{place}") };
        // Writing to a string does not fail.
        let _ = writeln!(profile, "{name} = {{ address = {}, type = \"float32\", scale = 1 }}", 2 * place);
    }
    profile
}

fn settings(site: &str, surroundings: &Surroundings, devices: &Devices, period: Duration) -> String {
    let mut settings = format!("site = \"{site}\"\n[broker]\nurl = \"mqtt://{}\"\n", surroundings.broker);
    for (place, address) in devices.addresses.iter().enumerate() {
        for unit in 1..=devices.units {
            let _ = write!(
                settings,
                "[[device]]\nname = \"d{place}-{unit}\"\naddress = \"tcp://{address}\"\nunit = {unit}\n\
                 profile = \"profile.toml\"\nperiod = \"{}s\"\n",
                period.as_secs_f64()
            );
        }
    }
    settings
}
