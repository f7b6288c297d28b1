//! The native program that the gateway is compared with: the same task with the same two libraries, without settings, plugin,
//! journal or safety checks. Any error ends it.
//!
//! Its traffic equals the gateway's: one read of four registers and one telemetry message per reading, and a heartbeat and
//! a safety message every 5 s, MQTT 5 at QoS 1.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_modbus::client::{Context as Device, Reader, tcp};
use tokio_modbus::slave::Slave;

use crate::test_bed::UNIT;

/// The first argument with which the benchmark runs as this program; site, device, broker and period in µs follow.
pub(crate) const FLAG: &str = "--native";

/// Period of heartbeat and safety messages, as in the gateway.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages in flight, as in the gateway.
const IN_FLIGHT: u16 = 100;

/// Adds the arguments that [`run`] reads.
pub(crate) fn add_arguments(
    command: &mut Command,
    site: &str,
    device: SocketAddr,
    broker: SocketAddr,
    period: Duration,
) {
    command.args([FLAG, site, &device.to_string(), &broker.to_string(), &period.as_micros().to_string()]);
}

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [site, device, broker, period] = arguments else { bail!("{FLAG} SITE DEVICE BROKER PERIOD_US") };
    let (device, broker) = (device.parse()?, broker.parse()?);
    let period = Duration::from_micros(period.parse()?);
    // The kind of runtime that the gateway uses, which is also the fastest for this task.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(site, device, broker, period))
}

async fn serve(site: &str, device: SocketAddr, broker: SocketAddr, period: Duration) -> anyhow::Result<()> {
    let (client, events) = sign_in(site, broker);
    tokio::select! {
        result = drive(events) => result,
        result = read_and_publish(site, device, client, period) => result,
    }
}

fn sign_in(site: &str, broker: SocketAddr) -> (AsyncClient, EventLoop) {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let mut options = MqttOptions::new(format!("native-{site}"), broker.ip().to_string(), broker.port());
    options.set_network_options(network);
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    AsyncClient::new(options, usize::from(IN_FLIGHT))
}

async fn drive(mut events: EventLoop) -> anyhow::Result<()> {
    loop {
        events.poll().await.context("failed to talk to the broker")?;
    }
}

async fn read_and_publish(site: &str, device: SocketAddr, client: AsyncClient, period: Duration) -> anyhow::Result<()> {
    let stream = TcpStream::connect(device).await.context("failed to connect to the device")?;
    stream.set_nodelay(true)?;
    let mut device = tcp::attach_slave(stream, Slave(UNIT));
    let (telemetry, heartbeat, safety) =
        (format!("{site}/telemetry"), format!("{site}/system/heartbeat"), format!("{site}/safety"));
    let (mut readings, mut heartbeats) = (ticks(period), ticks(HEARTBEAT));
    loop {
        tokio::select! {
            _ = readings.tick() => {
                let message = read(&mut device, site).await?;
                client.publish(&telemetry, QoS::AtLeastOnce, false, message).await?;
            }
            _ = heartbeats.tick() => {
                let begin = begin(site)?;
                client.publish(&heartbeat, QoS::AtLeastOnce, false, format!("{begin}}}")).await?;
                let verdict = format!(r#"{begin},"is_safe":true,"watchdog":"ok"}}"#);
                client.publish(&safety, QoS::AtLeastOnce, false, verdict).await?;
            }
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn read(device: &mut Device, site: &str) -> anyhow::Result<String> {
    let words = device.read_holding_registers(0, 4).await??;
    let [soc, power, temp, cycles] = words.as_slice() else { bail!("the device returned {} registers", words.len()) };
    let (soc_pct, power_kw, temp_c) =
        (f64::from(*soc) * 0.1, f64::from(power.cast_signed()) * 0.01, f64::from(temp.cast_signed()) * 0.1);
    let begin = begin(site)?;
    Ok(format!(
        r#"{begin},"soc_pct":{soc_pct:.2},"power_kw":{power_kw:.3},"temp_c":{temp_c:.1},"cycle_count":{cycles}}}"#
    ))
}

/// The first members of every message.
fn begin(site: &str) -> anyhow::Result<String> {
    let ts = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    Ok(format!(r#"{{"ts":{ts},"site_id":"{site}""#))
}
