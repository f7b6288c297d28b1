//! `bessai-edge demo`: a battery, a broker, the gateway and a listener, all on this machine, in one process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bessai_domain::profile::{self, Profile};
use bessai_simulator::battery::DEMO_DAY;
use bessai_simulator::plant::Plant;
use bessai_simulator::registers::Registers;
use bessai_simulator::server::Server;
use bessai_simulator::sunspec;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app;
use crate::config::{self, Config, LogLevel, Outside};
use crate::mqtt;

mod printer;
mod trouble;

use printer::Printer;
pub use trouble::Trouble;

/// The demo's site, unless `SITE_ID` names another.
const SITE: &str = "SITE-CL-001";
/// The demo's device model, unless another is wanted.
pub const DEFAULT_PROFILE: &str = "huawei-sun2000";
/// How often the simulated battery moves.
const STEP: Duration = Duration::from_millis(100);
/// Time between readings, unless `WATCHDOG_TIMEOUT` says otherwise: a watcher does not like to wait.
const PERIOD: &str = "1";
/// Time for the gateway to stop.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// The demo's model, made by scripts/make-model.
const MODEL: &[u8] = include_bytes!("../../models/dispatch.onnx");
const MANIFEST: &str = include_str!("../../models/dispatch.toml");
const MODEL_SETTINGS: &str = "[[model]]\nname = \"dispatch\"\nfile = \"dispatch.onnx\"\n";
/// The embedded broker speaks no other.
const EMBEDDED: &str = "[broker]\nprotocol = \"3.1.1\"\n";

/// Simulates a built-in profile's device, which is in trouble now and then, until the time is over or a signal comes.
/// Fails when no telemetry arrived.
pub fn run(duration: Option<Duration>, profile: &str, trouble: Option<Trouble>) -> anyhow::Result<()> {
    let profile = profile::built_in(profile).with_context(|| format!("the profile {profile} is not built in"))?;
    let folder = Folder::new()?;
    let broker_url = broker_url()?;
    let runtime = app::runtime()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, play(&folder.0, broker_url, duration, profile, trouble))
}

async fn play(
    folder: &Path,
    broker_url: String,
    duration: Option<Duration>,
    profile: Profile,
    trouble: Option<Trouble>,
) -> anyhow::Result<()> {
    let name = profile.name.clone();
    let device = start_battery(profile)?;
    let config = configure(folder, &broker_url, &name, device.address())?;
    crate::cli::log_to_stderr(if config.log_level == LogLevel::Info { LogLevel::Warn } else { config.log_level });
    println!(
        "battery   a simulated {name} on tcp://{}, a day every {} minutes",
        device.address(),
        DEMO_DAY.as_secs() / 60
    );
    println!("broker    {}", shown(&config));
    println!("gateway   site {}, {} feed(s); Ctrl-C ends it", config.site, config.feeds.len());
    println!();
    let mut heard = mqtt::listen(listener(&config)?, format!("{}/#", config.site));
    let (stop, stopped) = watch::channel(false);
    let gateway = tokio::task::spawn_local(app::run(config, stopped));
    let mut printer = Printer::default();
    let printing = async {
        while let Some(message) = heard.recv().await {
            printer.print(&message.topic, &message.payload);
        }
    };
    let end = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let troubling = async {
        match trouble {
            Some(trouble) => trouble.strike(&device).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = printing => {}
        () = end => {}
        () = troubling => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.send_replace(true);
    // The gateway says itself what it could not deliver.
    let _ = timeout(STOP_LIMIT, gateway).await;
    device.stop().await;
    printer.summary()
}

/// The user's broker, or one in this process.
fn broker_url() -> anyhow::Result<String> {
    match std::env::var("MQTT_BROKER_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => Ok(url),
        None => embedded_broker(),
    }
}

#[cfg(feature = "demo-broker")]
fn embedded_broker() -> anyhow::Result<String> {
    let broker = bessai_simulator::broker::Broker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(format!("mqtt://{}", broker.address()))
}

#[cfg(not(feature = "demo-broker"))]
fn embedded_broker() -> anyhow::Result<String> {
    bail!("this build has no broker of its own: set MQTT_BROKER_URL to one, such as mqtt://localhost:1883")
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

/// The same configuration as a user's, from variables alone, in a folder of its own.
fn configure(folder: &Path, broker_url: &str, profile: &str, device: SocketAddr) -> anyhow::Result<Config> {
    std::fs::write(folder.join("dispatch.onnx"), MODEL)?;
    std::fs::write(folder.join("dispatch.toml"), MANIFEST)?;
    let is_embedded = std::env::var_os("MQTT_BROKER_URL").is_none_or(|url| url.is_empty());
    let protocol = if is_embedded { EMBEDDED } else { "" };
    std::fs::write(folder.join("bessai.toml"), format!("{protocol}{MODEL_SETTINGS}"))?;
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
    let outside = Outside { variables, working_dir: folder.to_path_buf() };
    let mut config = config::load(None, &outside).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", mistakes.join("\n"))
    })?;
    // A free port: a gateway may be running here already.
    config.health.set_port(0);
    Ok(config)
}

fn shown(config: &Config) -> String {
    let broker = config.feeds.first().map(|feed| &feed.broker);
    broker.map_or_else(String::new, config::Broker::url)
}

/// The listener signs in as the default feed does, under a name of its own and without its will.
fn listener(config: &Config) -> anyhow::Result<mqtt::Settings> {
    let Some(feed) = config.feeds.first() else { bail!("no feed is enabled: there is nothing to listen to") };
    let mut settings = app::broker(&config.site, feed);
    settings.client_id = format!("bessai-demo-{}", std::process::id());
    settings.will = None;
    Ok(settings)
}

/// Removed when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bessai-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
