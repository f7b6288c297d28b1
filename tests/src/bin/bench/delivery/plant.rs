//! A gateway in a folder of its own, with the devices, the broker and the feeds that a figure needs.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::plugins::{folder, write};
use crate::process::Process;
use crate::program::Program;
use crate::surroundings::{PROFILE, Surroundings, UNIT};

/// What the gateway is told.
pub(super) struct Plant<'a> {
    pub(super) site: &'a str,
    /// Read by so many tasks, as if they were different ones.
    pub(super) device: SocketAddr,
    pub(super) devices: usize,
    pub(super) period: Duration,
    pub(super) broker: SocketAddr,
    /// As `[broker] protocol` has it.
    pub(super) protocol: &'a str,
}

impl Plant<'_> {
    /// The folder that the gateway works in; the site's name must be a fresh one.
    pub(super) fn folder(&self, surroundings: &Surroundings) -> anyhow::Result<PathBuf> {
        let data = folder(surroundings, self.site)?;
        folder(surroundings, &format!("{}/plugins", self.site))?;
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
        for place in 0..*devices {
            // Writing to a string does not fail.
            let _ = write!(
                settings,
                "[[device]]\nname = \"battery-{place}\"\naddress = \"tcp://{device}\"\nunit = {UNIT}\n\
                 profile = \"profile.toml\"\nperiod = \"{}ms\"\n",
                period.as_millis()
            );
        }
        let _ = write!(settings, "[broker]\nurl = \"mqtt://{broker}\"\nprotocol = \"{protocol}\"\n");
        settings
    }
}
