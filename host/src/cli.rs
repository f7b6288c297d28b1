//! The command line: what each command does, and the exit codes that scripts rely on.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bessai_domain::profile;
use bessai_domain::settings::Mistake;
use bessai_domain::time::parse_duration;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::{self, Config, LogLevel, Outside};
use crate::{app, demo, health, plugin};

mod author;
mod check;
mod device;
mod journal;

/// Something failed while running.
const FAILED: u8 = 1;
/// The command line is wrong (sysexits' EX_USAGE).
const USAGE: u8 = 64;
/// The configuration is wrong (sysexits' EX_CONFIG).
const CONFIGURATION: u8 = 78;

/// Gateway between a battery plant and everyone who wants its data.
#[derive(Parser)]
#[command(name = "bessai-edge", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway.
    Run {
        /// Settings beside the environment and config/.env [default: bessai.toml, if present].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Runs a simulated battery, a broker and the gateway, and prints what is published.
    Demo {
        /// Ends after this time, such as 20s, with a summary.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        duration: Option<Duration>,
        /// The device model to simulate.
        #[arg(long, value_name = "NAME", default_value = demo::DEFAULT_PROFILE, value_parser = profile_name)]
        profile: String,
        /// Lets the device misbehave now and then, such as silence, slow, exception, garbage or block-limit.
        #[arg(long, value_name = "NAME", value_parser = demo::Trouble::named)]
        fault: Option<demo::Trouble>,
    },
    /// Reads the configuration and everything that it names, opens nothing, and says what the gateway would do.
    Check {
        /// Settings beside the environment and config/.env [default: bessai.toml, if present].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Makes, inspects, tests and measures plugins; needs no gateway.
    #[command(subcommand)]
    Plugin(author::Command),
    /// Looks at a Modbus device, with or without settings; needs no gateway.
    #[command(subcommand)]
    Device(device::Command),
    /// Looks into the journal, also while a gateway runs.
    #[command(subcommand)]
    Journal(journal::Command),
    /// Asks a running gateway on this machine for its /health.
    Health,
    #[command(name = plugin::COMPILE, hide = true)]
    Compile {
        memory_bytes: u64,
        time_ms: u64,
        #[arg(long)]
        metered: bool,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a time such as 20s or 5m".into())
}

fn profile_name(text: &str) -> Result<String, String> {
    if profile::built_in(text).is_some() {
        return Ok(text.to_owned());
    }
    let known: Vec<_> = profile::built_in_names().collect();
    Err(format!("no such profile is built in; write one of {}", known.join(", ")))
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    match arguments.command {
        Command::Run { config } => run(config.as_deref()),
        Command::Demo { duration, profile, fault } => finish(demo::run(duration, &profile, fault)),
        Command::Check { config } => check::run(config.as_deref()),
        Command::Plugin(command) => author::run(command),
        Command::Device(command) => device::run(command),
        Command::Journal(command) => journal::run(command),
        Command::Health => finish(ask_health()),
        Command::Compile { memory_bytes, time_ms, metered } => {
            let limits = plugin::CompileLimits { memory_bytes, time: Duration::from_millis(time_ms) };
            finish(plugin::compile_child(limits, metered).map_err(anyhow::Error::msg))
        }
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(file: Option<&Path>) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    log_to_stderr(config.log_level);
    tracing::info!("bessai-edge {} for site {}", env!("CARGO_PKG_VERSION"), config.site);
    finish(serve(config))
}

fn serve(config: Config) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let runtime = app::runtime()?;
    let tasks = LocalSet::new();
    tasks.spawn_local(stop_on_signal(stop));
    let served = tasks.block_on(&runtime, app::run(config, stopped));
    drop(tasks);
    // Nobody waits for a name that is looked up, or a file that is read, on a disk or network that is gone.
    runtime.shutdown_background();
    tracing::info!("stopped");
    served
}

/// The first signal drains, the second ends at once.
async fn stop_on_signal(stop: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("failed to listen for signals: the gateway will not drain when it is stopped");
        return std::future::pending().await;
    };
    for attempt in 0.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if attempt > 0 {
            tracing::warn!("ended by a second signal");
            std::process::exit(i32::from(FAILED));
        }
        tracing::info!("stopping");
        stop.send_replace(true);
    }
}

/// The configuration, or every mistake in it on standard error.
fn load(file: Option<&Path>) -> Result<Config, ExitCode> {
    let loaded = config::load(file, &outside()).and_then(|config| match app::check_files(&config) {
        mistakes if mistakes.is_empty() => Ok(config),
        mistakes => Err(mistakes),
    });
    loaded.map_err(|mistakes| {
        tell("configuration", &mistakes);
        ExitCode::from(CONFIGURATION)
    })
}

fn outside() -> Outside {
    Outside { variables: variables(), working_dir: std::env::current_dir().unwrap_or_default() }
}

fn variables() -> std::collections::BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn tell(what: &str, mistakes: &[Mistake]) {
    let count = mistakes.len();
    eprintln!("{count} {} in the {what}:", if count == 1 { "mistake" } else { "mistakes" });
    for mistake in mistakes {
        eprintln!("  {mistake}");
    }
}

/// Asks the gateway that the same configuration would start here.
fn ask_health() -> anyhow::Result<()> {
    // A gateway may run on a configuration that is unsound by now, such as a plugin's settings.
    let mut address = config::health_address(&outside());
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let asked = app::runtime()?.block_on(health::ask(address));
    println!("{}", asked.map_err(anyhow::Error::msg)?);
    Ok(())
}

/// One line per happening on standard error; libraries only when something is wrong.
pub fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("bessai_edge", level)
        // It warns of each damaged frame, which a bad line repeats without end; the device's own line says what follows.
        .with_target("tokio_modbus", LevelFilter::ERROR)
        .with_target("rumqttd", LevelFilter::OFF);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
