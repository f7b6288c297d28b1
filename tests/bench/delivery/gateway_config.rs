//! The settings of a measured gateway, which runs in a folder of its own.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::plugins::{folder, write};
use crate::process::Process;
use crate::program::Program;
use crate::test_bed::{PROFILE, TestBed, UNIT};

/// Site, devices and broker of a gateway.
pub(super) struct GatewayConfig<'a> {
    pub(super) site: &'a str,
    /// The device that each configured device connects to.
    pub(super) device: SocketAddr,
    /// How many devices are configured.
    pub(super) devices: usize,
    pub(super) period: Duration,
    pub(super) broker: SocketAddr,
    /// The value of `[broker] protocol`.
    pub(super) protocol: &'a str,
}

impl GatewayConfig<'_> {
    /// Creates the gateway's working folder, named after the site, whose id must be unused.
    pub(super) fn folder(&self, test_bed: &TestBed) -> anyhow::Result<PathBuf> {
        let data = folder(test_bed, self.site)?;
        folder(test_bed, &format!("{}/plugins", self.site))?;
        write(&data.join("profile.toml"), PROFILE)?;
        write(&data.join("bessai.toml"), self.settings())?;
        Ok(data)
    }

    pub(super) fn start(&self, gateway: &Program, data: &Path) -> anyhow::Result<Process> {
        let mut command = gateway.command();
        command.args(["run", "--config", "bessai.toml"]).current_dir(data);
        command.env("HEALTH_PORT", "0").env("BESSAI_DATA", data);
        Process::spawn(&mut command, &data.join("gateway.log"))
    }

    fn settings(&self) -> String {
        let Self { site, device, devices, period, broker, protocol } = self;
        let mut settings = format!("site = \"{site}\"\n");
        for index in 0..*devices {
            // Writing to a string cannot fail.
            let _ = write!(
                settings,
                "[[device]]\nname = \"battery-{index}\"\naddress = \"tcp://{device}\"\nunit = {UNIT}\n\
                 profile = \"profile.toml\"\nperiod = \"{}ms\"\n",
                period.as_millis()
            );
        }
        let _ = write!(settings, "[broker]\nurl = \"mqtt://{broker}\"\nprotocol = \"{protocol}\"\n");
        settings
    }
}
