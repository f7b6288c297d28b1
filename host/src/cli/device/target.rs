//! Which device a command talks to: one from the settings, or one described on the command line.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::{Point, Profile};
use bessai_domain::register::UnitId;
use bessai_domain::settings::most_similar;
use bessai_modbus::DeviceClient;
use clap::Args;

use crate::app;
use crate::cli::configuration::ConfigArgument;
use crate::cli::error::CommandError;
use crate::cli::values::duration;
use crate::config::{self, DeviceConfig, ReadSettings};

use super::gateway;

/// Period of a device that is described on the command line; nothing polls it.
const PERIOD: Duration = Duration::from_secs(1);

// Not a doc comment: clap would show it as the help of every command that takes these arguments.
// Which device to talk to, and how.
#[derive(Args)]
pub(in crate::cli) struct DeviceArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Name of the device in the settings [default: the first device]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Address of a device that is not in the settings, for example tcp://192.168.1.20:502 or
    /// rtu:///dev/ttyUSB0?baud=9600.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "device"])]
    address: Option<String>,
    /// Modbus unit id [default: the one in the settings, else the profile's]
    #[arg(long, value_name = "ID")]
    unit: Option<u8>,
    /// Profile of the device at --address: the name of a built-in profile, or a file.
    #[arg(long, value_name = "PROFILE", requires = "address")]
    profile: Option<String>,
    /// Register at which the models of a SunSpec device begin [default: the one in the settings, else 40000, 0 or 50000]
    #[arg(long, value_name = "REGISTER", value_parser = clap::value_parser!(u16).range(..=65_533))]
    sunspec_base: Option<u16>,
    /// Time limit for a reply, for example 500ms or 400us [default: the one in the settings, else the profile's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

impl DeviceArguments {
    /// Finds the device in the settings, or takes it from the command line alone.
    pub(super) fn find(&self) -> Result<DeviceConfig, CommandError> {
        let mut device = match &self.address {
            Some(address) => described(address, self.profile.as_deref())?,
            None => self.configured()?,
        };
        if let Some(unit) = self.unit {
            (device.unit, device.unit_is_configured) = (UnitId(unit), true);
        }
        if let Some(timeout) = self.timeout {
            device.reading.timeout = timeout;
        }
        if self.sunspec_base.is_some() {
            let mut profile = Profile::clone(&device.profile);
            profile.sunspec_base = self.sunspec_base;
            device.profile = Arc::new(profile);
        }
        Ok(device)
    }

    fn configured(&self) -> Result<DeviceConfig, CommandError> {
        let devices = self.file.load()?.devices;
        let Some(name) = &self.device else {
            return devices.into_iter().next().ok_or_else(|| CommandError::failed("the settings have no device"));
        };
        let names: Vec<_> = devices.iter().map(|device| device.name.clone()).collect();
        devices.into_iter().find(|device| device.name == *name).ok_or_else(|| {
            CommandError::Usage(format!(
                "--device {name}: no device has this name; the settings have {}",
                names.join(", ")
            ))
        })
    }
}

fn described(address: &str, profile: Option<&str>) -> Result<DeviceConfig, CommandError> {
    let address =
        config::parse_address(address).map_err(|hint| CommandError::Usage(format!("--address {address}: {hint}")))?;
    let profile = match profile {
        None => Profile::new(""),
        Some(name) => config::profile(name).map_err(CommandError::invalid("profile"))?,
    };
    Ok(DeviceConfig {
        name: "device".into(),
        address,
        unit: profile.unit,
        unit_is_configured: false,
        period: PERIOD,
        reading: ReadSettings::of(&profile),
        profile: Arc::new(profile),
    })
}

/// A client that connects to the device with its first request, unless a running gateway is connected to it.
pub(super) fn client(device: &DeviceConfig) -> DeviceClient {
    if let Some(client) = gateway::client(device) {
        return client;
    }
    let (endpoint, settings) = app::single_device(device);
    DeviceClient::new(endpoint, settings)
}

/// Replaces the profile by the points that the device describes itself.
pub(super) async fn discover(device: &mut DeviceConfig, client: &mut DeviceClient) -> anyhow::Result<()> {
    let found = client.discover().await.map_err(|reason| anyhow::anyhow!("{}: {reason}", device.address))?;
    device.profile = Arc::new(found.profile(device.reading.models.as_deref()));
    Ok(())
}

/// The profile's point with this name or channel; the error suggests a similar one.
pub(super) fn find_point<'a>(profile: &'a Profile, name: &str) -> Result<&'a Point, String> {
    profile.point(name).ok_or_else(|| {
        let known = profile.points.iter().flat_map(|point| [point.name.as_str(), point.channel.as_str()]);
        match most_similar(name, known) {
            Some(near) => format!("{name}: the profile {} has no such point; did you mean `{near}`?", profile.name),
            None => format!("{name}: the profile {} has no such point", profile.name),
        }
    })
}
