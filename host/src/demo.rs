//! `bessai-edge demo`: a simulated battery, a broker, the gateway and a subscriber in one process.

#![allow(clippy::disallowed_methods, reason = "the demo writes its settings before the gateway starts")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bessai_domain::profile::{self, Profile};
use bessai_mqtt::{BrokerSettings, subscribe};
use bessai_simulator::battery::DEMO_DAY;
use bessai_simulator::broker::Broker;
use bessai_simulator::plant::Plant;
use bessai_simulator::registers::Registers;
use bessai_simulator::server::Server;
use bessai_simulator::sunspec;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{self, Config, LogLevel, ProcessEnvironment};
use crate::{app, logging};

mod fault;
mod feeds;
mod printer;

pub(crate) use fault::DeviceFault;
use printer::{PrintLine, Printer};

/// The demo's site, unless `SITE_ID` names another.
const SITE: &str = "SITE-CL-001";
/// The demo's device model, unless another is wanted.
pub(crate) const DEFAULT_PROFILE: &str = "huawei-sun2000";
/// Time between two steps of the simulated battery.
const STEP: Duration = Duration::from_millis(100);
/// Seconds between readings, unless `WATCHDOG_TIMEOUT` says otherwise: short, so that values change visibly.
const PERIOD: &str = "1";
/// Time for the gateway to drain.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// The demo's model, made by scripts/make-model.
const MODEL: &[u8] = include_bytes!("../../models/dispatch.onnx");
const MANIFEST: &str = include_str!("../../models/dispatch.toml");
const MODEL_SETTINGS: &str = "[[model]]\nname = \"dispatch\"\nfile = \"dispatch.onnx\"\n";

/// Simulates a built-in profile's device, optionally with a fault, until the duration is over or SIGINT arrives. Fails if
/// no telemetry was received, or as soon as a line cannot be printed. `keep` names the folder for settings and journal, which
/// stays; without it there is a temporary one.
pub(crate) fn run(
    duration: Option<Duration>,
    profile: &str,
    fault: Option<DeviceFault>,
    keep: Option<&Path>,
    print_line: PrintLine,
) -> anyhow::Result<()> {
    let profile = profile::built_in(profile).with_context(|| format!("the profile {profile} is not built in"))?;
    let folder = keep.map_or_else(Folder::temporary, Folder::kept)?;
    let runtime = app::runtime()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, play(&folder.path, duration, profile, fault, print_line))
}

async fn play(
    folder: &Path,
    duration: Option<Duration>,
    profile: Profile,
    fault: Option<DeviceFault>,
    print_line: PrintLine,
) -> anyhow::Result<()> {
    let name = profile.name.clone();
    let (broker_url, own_broker) = broker().await?;
    let device = start_battery(profile)?;
    let config = configure(folder, &broker_url, &name, device.address())?;
    logging::log_to_stderr(if config.log_level == LogLevel::Info { LogLevel::Warn } else { config.log_level })?;
    let minutes = DEMO_DAY.as_secs() / 60;
    print_line(&format!("battery   a simulated {name} on tcp://{}, a day every {minutes} minutes", device.address()))?;
    print_line(&format!("broker    {}", shown(&config)))?;
    print_line(&format!("gateway   site {}, {} feed(s); Ctrl-C ends it", config.site, config.feeds.len()))?;
    print_line(&format!("health    http://127.0.0.1:{}/health", config.health.port()))?;
    print_line(&format!("journal   {}\n", config.journal.folder.display()))?;
    // A plugin may publish outside the site's topics; a broker of somebody else has other messages than those.
    let topics = if own_broker.is_some() { "#".to_owned() } else { format!("{}/#", config.site) };
    let mut messages = subscribe(subscriber(&config)?, topics);
    let announcing = feeds::announce(config.health, print_line);
    let (stop, stopped) = watch::channel(false);
    let gateway = tokio::task::spawn_local(app::run(config, app::Outside::stopped_by(stopped)));
    let mut printer = Printer::new(print_line);
    let printing = async {
        while let Some(message) = messages.recv().await {
            printer.print(&message.topic, &message.payload)?;
        }
        Ok(())
    };
    let end = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let injecting = async {
        match fault {
            Some(fault) => fault.inject(&device, print_line).await,
            None => std::future::pending().await,
        }
    };
    let printed = tokio::select! {
        printed = printing => printed,
        printed = injecting => printed,
        announced = announcing => announced,
        () = end => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    stop.send_replace(true);
    // The gateway logs what it could not deliver.
    let _ = timeout(STOP_LIMIT, gateway).await;
    device.stop().await;
    printed?;
    printer.summary()
}

/// The URL of the user's broker, or of one in this process, which runs as long as it is held.
async fn broker() -> anyhow::Result<(String, Option<Broker>)> {
    if let Some(url) = std::env::var("MQTT_BROKER_URL").ok().filter(|url| !url.is_empty()) {
        return Ok((url, None));
    }
    let broker =
        Broker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.context("failed to start the broker")?;
    Ok((format!("mqtt://{}", broker.address()), Some(broker)))
}

/// A Modbus server on a free port whose registers follow the battery.
fn start_battery(profile: Profile) -> anyhow::Result<Server> {
    let registers = Registers::new();
    let profile = if profile.is_discovered {
        sunspec::battery_inverter(&registers, profile.unit.0).context("failed to lay out the simulated device")?
    } else {
        profile
    };
    let mut plant = Plant::new(profile, registers.clone(), DEMO_DAY);
    let device = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), registers)
        .context("failed to start the simulated battery")?;
    tokio::task::spawn_local(async move {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            plant.advance(STEP);
        }
    });
    Ok(device)
}

/// Builds the configuration as a user's would be, from variables, in a folder of its own.
fn configure(folder: &Path, broker_url: &str, profile: &str, device: SocketAddr) -> anyhow::Result<Config> {
    std::fs::write(folder.join("dispatch.onnx"), MODEL)?;
    std::fs::write(folder.join("dispatch.toml"), MANIFEST)?;
    std::fs::write(folder.join("bessai.toml"), MODEL_SETTINGS)?;
    let taken = |name: &String| {
        name.starts_with("MQTT_")
            || matches!(name.as_str(), "SITE_ID" | "WATCHDOG_TIMEOUT" | "LOG_LEVEL" | "HOME" | "XDG_CACHE_HOME")
    };
    let mut variables: BTreeMap<String, String> = std::env::vars().filter(|(name, _)| taken(name)).collect();
    for (name, value) in [("SITE_ID", SITE), ("WATCHDOG_TIMEOUT", PERIOD)] {
        variables.entry(name.into()).or_insert_with(|| value.into());
    }
    if let Some(plugins) = std::env::var_os("BESSAI_PLUGINS").filter(|path| !path.is_empty()) {
        let plugins = std::path::absolute(PathBuf::from(plugins))?;
        variables.insert("BESSAI_PLUGINS".into(), plugins.to_string_lossy().into_owned());
    }
    variables.insert("MQTT_BROKER_URL".into(), broker_url.into());
    variables.insert("INVERTER_IP".into(), device.ip().to_string());
    variables.insert("INVERTER_PORT".into(), device.port().to_string());
    variables.insert("DRIVER_PROFILE_PATH".into(), profile.into());
    let outside = ProcessEnvironment { variables, working_dir: folder.to_path_buf() };
    let mut config = config::load(None, &outside).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", mistakes.join("\n"))
    })?;
    // Any free port, because a gateway may be running on this machine already.
    config.health.set_port(free_port()?);
    Ok(config)
}

/// A port for `/health` that is free now, so that its address can be printed before the gateway starts.
fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn shown(config: &Config) -> String {
    let broker = config.feeds.first().map(|feed| &feed.broker);
    broker.map_or_else(String::new, config::BrokerConfig::url)
}

/// The subscriber signs in as the default feed does, with its own client id and without a will.
fn subscriber(config: &Config) -> anyhow::Result<BrokerSettings> {
    let Some(feed) = config.feeds.first() else { bail!("no feed is enabled: there is nothing to show") };
    let mut settings = app::broker(&config.site, feed);
    settings.client_id = format!("bessai-demo-{}", std::process::id());
    settings.will = None;
    Ok(settings)
}

/// The folder for settings and journal.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    /// One that is removed when the demo ends.
    fn temporary() -> anyhow::Result<Self> {
        Self::create(std::env::temp_dir().join(format!("bessai-demo-{}", std::process::id())), true)
    }

    /// One that stays; a journal that is there already is continued.
    fn kept(path: &Path) -> anyhow::Result<Self> {
        Self::create(std::path::absolute(path)?, false)
    }

    fn create(path: PathBuf, is_temporary: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make the folder {}", path.display()))?;
        Ok(Self { path, is_temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            // A failure leaves a few files in the system's temporary folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
