//! The time from a command on the broker until the register is written, and until the answer says that it is verified, while
//! 100,000 values a second are read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bessai_simulator::registers::{Origin, Registers, Table};
use serde_json::Value;

use super::ModbusBench;
use super::customer::{self, AnsweredCommand, DEVICE};
use super::polling_gateway::PollingGateway;
use super::rate::{AFTER, WARM_UP, hundred_devices};
use crate::gateway::{HealthClient, POLL_EVERY};
use crate::plugins::{component, write};
use crate::table::MeasuredFigure;
use crate::test_bed::{UNIT, serve};

/// The polling period of all devices.
const PERIOD: Duration = Duration::from_secs(1);
/// The component that turns a customer's commands into set-points.
const COMPONENT: &str = "json-commands.wasm";
/// The feed's name.
const FEED: &str = "customer";
/// Time until the feed has subscribed and safety has judged the battery.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The registers of the battery: state of charge, power and temperature, then those that are written.
const BATTERY: [u16; 5] = [500, 0, 250, 0, 0];
/// The register of the power in W.
const TARGET: u16 = 3;
/// The profile of these registers.
const PROFILE: &str = r#"[set_point]
charge = [{ point = "target", scale = -1000 }, { point = "mode", value = 1 }]
discharge = [{ point = "target", scale = 1000 }, { point = "mode", value = 1 }]
release = [{ point = "mode", value = 0 }, { point = "target", value = 0 }]
[points]
soc = { channel = "soc_pct", address = 0, type = "uint16", scale = 0.1, unit = "%" }
power = { channel = "power_kw", address = 1, type = "int16", scale = 0.001, unit = "kW" }
temperature = { channel = "temp_c", address = 2, type = "int16", scale = 0.1, unit = "Cel" }
target = { address = 3, type = "int16", scale = 1, unit = "W", access = "RW", min = -10000, max = 10000 }
mode = { address = 4, type = "uint16", scale = 1, access = "RW", min = 0, max = 1, dangerous = true }
"#;

/// The times between two moments of each command, in rising order.
struct Delays(Vec<Duration>);

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<Vec<MeasuredFigure>> {
    let (devices, count) = (hundred_devices()?, bench.parameters.commands);
    let registers = Registers::new();
    registers.set(UNIT, Table::Holding, 0, &BATTERY);
    let battery = serve(registers.clone())?;
    eprintln!("{count} commands while 100,000 values/s are read");
    let gateway = PollingGateway::start_prepared(bench.gateway, bench.test_bed, &devices, PERIOD, |site, data| {
        prepare(site, data, battery)
    })?;
    wait_until_ready(&gateway)?;
    sleep(WARM_UP);
    gateway.subscriber.discard_received();
    let begin = Instant::now();
    let answered = customer::send(bench.test_bed.broker, &gateway.site, count);
    let answered = answered.with_context(|| gateway.process.log_tail())?;
    let end = Instant::now();
    sleep(AFTER);
    let summary = gateway.subscriber.take(&(begin..end)).with_context(|| gateway.process.log_tail())?;
    let to_register = Delays::to_register(&answered, &registers)?;
    let to_answer = Delays::of(answered.iter().map(|command| command.answered - command.sent));
    Ok(vec![
        MeasuredFigure {
            figure: "a command on the broker until its register is written: median; 99th percentile".into(),
            target: "",
            measured: to_register.text()?,
            elsewhere: "",
        },
        MeasuredFigure {
            figure: "the same until the answer that it is verified has arrived over the broker".into(),
            target: "≤ 10 ms; ≤ 30 ms",
            measured: to_answer.text()?,
            elsewhere: "",
        },
        MeasuredFigure {
            figure: format!("messages of {} values meanwhile", devices.values),
            target: "100/s, 0 missing",
            measured: format!(
                "{} in {:.1} s, {} missing",
                summary.messages,
                (end - begin).as_secs_f64(),
                summary.missing
            ),
            elsewhere: "",
        },
    ])
}

/// Writes the feed and the profile of the battery; returns the settings.
fn prepare(site: &str, data: &Path, battery: SocketAddr) -> anyhow::Result<String> {
    let wasm = component(COMPONENT);
    let wasm = std::fs::read(&wasm).with_context(|| format!("{} is missing: run scripts/build", wasm.display()))?;
    let plugins = data.join("plugins");
    write(&plugins.join(format!("{FEED}.wasm")), wasm)?;
    let rights = format!(
        "[rights]\nread = [\"{DEVICE}\"]\nsubscribe = [\"{site}/cmd/#\"]\ntopics = [\"{site}/answer/#\"]\n\
         write = [\"{DEVICE}/set_point_kw\"]\n"
    );
    write(&plugins.join(format!("{FEED}.toml")), rights)?;
    write(&data.join("battery.toml"), PROFILE)?;
    Ok(format!(
        "[[device]]\nname = \"{DEVICE}\"\naddress = \"tcp://{battery}\"\nunit = {UNIT}\nprofile = \"battery.toml\"\n\
         period = \"{}s\"\n[control]\nenabled = true\ndevices = [\"{DEVICE}\"]\n",
        PERIOD.as_secs_f64()
    ))
}

/// Waits until commands are received and safety allows set-points.
fn wait_until_ready(gateway: &PollingGateway<'_>) -> anyhow::Result<()> {
    let client = HealthClient::of(&gateway.process)?;
    let deadline = Instant::now() + READY_WITHIN;
    while !is_ready(&client.get()?) {
        ensure!(
            Instant::now() < deadline,
            "no subscription or no safe battery within {READY_WITHIN:?}: {}\n{}",
            client.get()?,
            gateway.process.log_tail()
        );
        sleep(POLL_EVERY);
    }
    Ok(())
}

fn is_ready(health: &Value) -> bool {
    let subscriptions = health.pointer(&format!("/feeds/{FEED}/commands/subscriptions")).and_then(Value::as_object);
    let is_subscribed = subscriptions
        .is_some_and(|filters| !filters.is_empty() && filters.values().all(|state| state.as_str() == Some("QoS 1")));
    is_subscribed && health.get("safety_status").and_then(Value::as_str) == Some("ok")
}

impl Delays {
    fn of(delays: impl Iterator<Item = Duration>) -> Self {
        let mut delays: Vec<_> = delays.collect();
        delays.sort_unstable();
        Self(delays)
    }

    /// From the publication of each command until the device received its value.
    fn to_register(answered: &[AnsweredCommand], registers: &Registers) -> anyhow::Result<Self> {
        let mut written = BTreeMap::new();
        for record in registers.write_log() {
            if record.origin == Origin::Client && record.address == TARGET {
                let watts = record.words.first().copied().context("a write has no words")?;
                written.entry(watts).or_insert_with(|| record.at.into_std());
            }
        }
        let delay = |command: &AnsweredCommand| {
            let at = written.get(&command.watts);
            let at = at.with_context(|| format!("{} W is verified, but was never written", command.watts))?;
            Ok(at.saturating_duration_since(command.sent))
        };
        let delays = answered.iter().map(delay).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self::of(delays.into_iter()))
    }

    /// The median and the 99th percentile.
    fn text(&self) -> anyhow::Result<String> {
        let at = |percent: usize| self.0.get(self.0.len() * percent / 100).context("no command was answered");
        let (median, high) = (at(50)?.as_secs_f64() * 1e3, at(99)?.as_secs_f64() * 1e3);
        Ok(format!("{median:.2} ms; {high:.2} ms"))
    }
}
