//! The two programs that are measured, and how each is told the same task.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bare;
use crate::process::Process;
use crate::surroundings::Surroundings;

/// The first telemetry comes within this, or the run has failed.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// Counts the runs, so that each has a site, and thereby topics and a client id, of its own.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A program to measure.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Gateway,
    Bare,
}

/// A program that has delivered its first reading.
pub(crate) struct Run {
    pub(crate) site: String,
    pub(crate) process: Process,
    /// When the first telemetry was at the subscriber.
    pub(crate) first: Instant,
    /// From just before the start until then.
    pub(crate) start: Duration,
}

impl Program {
    pub(crate) fn gateway(path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("failed to find the gateway {}", path.display()))?;
        Ok(Self { name: "gateway", path, kind: Kind::Gateway })
    }

    /// This program itself, in its other mode.
    pub(crate) fn bare() -> anyhow::Result<Self> {
        let path = std::env::current_exe().context("failed to find the benchmark's own file")?;
        Ok(Self { name: "bare native", path, kind: Kind::Bare })
    }

    /// The program with the least of an environment, to be told what to do.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    /// Starts the program and waits for its first telemetry.
    pub(crate) fn start(&self, surroundings: &Surroundings, period: Duration) -> anyhow::Result<Run> {
        self.start_with(surroundings, period, |_| {})
    }

    /// The same with this folder of plugins.
    pub(crate) fn start_with_plugins(
        &self,
        surroundings: &Surroundings,
        period: Duration,
        plugins: &Path,
    ) -> anyhow::Result<Run> {
        self.start_with(surroundings, period, |command| {
            command.env("BESSAI_PLUGINS", plugins);
        })
    }

    fn start_with(
        &self,
        surroundings: &Surroundings,
        period: Duration,
        adapt: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Run> {
        let site = format!("bench-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command();
        command.current_dir(surroundings.folder());
        match self.kind {
            Kind::Gateway => tell_gateway(&mut command, &site, surroundings, period),
            Kind::Bare => bare::tell(&mut command, &site, surroundings.device, surroundings.broker, period),
        }
        adapt(&mut command);
        let before = Instant::now();
        let process = Process::spawn(&mut command, &surroundings.folder().join(format!("{site}.log")))?;
        let first = surroundings.subscriber.wait(&site, FIRST_WITHIN).with_context(|| {
            format!("no telemetry of the {} within {FIRST_WITHIN:?}:\n{}", self.name, process.last_words())
        })?;
        Ok(Run { site, process, first, start: first - before })
    }
}

impl Run {
    /// Just before the start.
    pub(crate) fn begun(&self) -> Instant {
        self.first - self.start
    }
}

fn tell_gateway(command: &mut Command, site: &str, surroundings: &Surroundings, period: Duration) {
    let (device, broker) = (surroundings.device, surroundings.broker);
    command
        .arg("run")
        .env("SITE_ID", site)
        .env("INVERTER_IP", device.ip().to_string())
        .env("INVERTER_PORT", device.port().to_string())
        .env("DRIVER_PROFILE_PATH", surroundings.folder().join("profile.toml"))
        .env("WATCHDOG_TIMEOUT", period.as_secs_f64().to_string())
        .env("MQTT_BROKER_URL", format!("mqtt://{broker}"))
        .env("HEALTH_PORT", "0")
        .env("BESSAI_DATA", surroundings.folder());
}
