//! The two programs that are measured, started with the same task.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::native;
use crate::process::Process;
use crate::test_bed::TestBed;

/// Time limit for the first telemetry.
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// Counts the runs: each has its own site id, and thereby its own topics and client id.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A program to measure.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    path: PathBuf,
    kind: ProgramKind,
    // A shell runs this before the program, to limit it.
    limits: Option<String>,
}

#[derive(Clone, Copy)]
enum ProgramKind {
    Gateway,
    Native,
}

/// A program that has delivered its first reading.
pub(crate) struct Run {
    pub(crate) site: String,
    pub(crate) process: Process,
    /// When the subscriber received the first telemetry.
    pub(crate) first: Instant,
    /// From the start of the process until then.
    pub(crate) start_time: Duration,
}

impl Program {
    pub(crate) fn gateway(path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("failed to find the gateway {}", path.display()))?;
        Ok(Self { name: "gateway", path, kind: ProgramKind::Gateway, limits: None })
    }

    /// The native program, which is this executable with another argument.
    pub(crate) fn native() -> anyhow::Result<Self> {
        let path = std::env::current_exe().context("failed to find the benchmark's own file")?;
        Ok(Self { name: "native program", path, kind: ProgramKind::Native, limits: None })
    }

    /// The same program, limited by a command that a shell runs before it becomes the program.
    pub(crate) fn limited_by(&self, limits: String) -> Self {
        Self { name: self.name, path: self.path.clone(), kind: self.kind, limits: Some(limits) }
    }

    /// A command that runs the program with a minimal environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.limits {
            None => Command::new(&self.path),
            Some(limits) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("{limits} && exec \"$0\" \"$@\"")).arg(&self.path);
                shell
            }
        };
        command.env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    /// Starts the program and waits for its first telemetry.
    pub(crate) fn start(&self, test_bed: &TestBed, period: Duration) -> anyhow::Result<Run> {
        self.start_with(test_bed, period, |_| {})
    }

    /// As [`Program::start`], with this plugins' folder.
    pub(crate) fn start_with_plugins(
        &self,
        test_bed: &TestBed,
        period: Duration,
        plugins: &Path,
    ) -> anyhow::Result<Run> {
        self.start_with(test_bed, period, |command| {
            command.env("BESSAI_PLUGINS", plugins);
        })
    }

    /// As [`Program::start`], with everything in the log.
    pub(crate) fn start_at_trace(&self, test_bed: &TestBed, period: Duration) -> anyhow::Result<Run> {
        self.start_with(test_bed, period, |command| {
            command.env("LOG_LEVEL", "TRACE");
        })
    }

    /// As [`Program::start`], with a command that is adapted first.
    pub(crate) fn start_with(
        &self,
        test_bed: &TestBed,
        period: Duration,
        adapt: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Run> {
        let site = format!("bench-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command();
        command.current_dir(test_bed.folder());
        match self.kind {
            ProgramKind::Gateway => configure_gateway(&mut command, &site, test_bed, period),
            ProgramKind::Native => native::add_arguments(&mut command, &site, test_bed.device, test_bed.broker, period),
        }
        adapt(&mut command);
        let before = Instant::now();
        let process = Process::spawn(&mut command, &test_bed.folder().join(format!("{site}.log")))?;
        let first = test_bed.subscriber.wait_for_site(&site, FIRST_WITHIN).with_context(|| {
            format!("no telemetry of the {} within {FIRST_WITHIN:?}:\n{}", self.name, process.log_tail())
        })?;
        Ok(Run { site, process, first, start_time: first - before })
    }
}

impl Run {
    /// When the process was started.
    pub(crate) fn started_at(&self) -> Instant {
        self.first - self.start_time
    }
}

fn configure_gateway(command: &mut Command, site: &str, test_bed: &TestBed, period: Duration) {
    let (device, broker) = (test_bed.device, test_bed.broker);
    command
        .arg("run")
        .env("SITE_ID", site)
        .env("INVERTER_IP", device.ip().to_string())
        .env("INVERTER_PORT", device.port().to_string())
        .env("DRIVER_PROFILE_PATH", test_bed.folder().join("profile.toml"))
        .env("WATCHDOG_TIMEOUT", period.as_secs_f64().to_string())
        .env("MQTT_BROKER_URL", format!("mqtt://{broker}"))
        .env("HEALTH_PORT", "0")
        .env("BESSAI_DATA", test_bed.folder());
}
