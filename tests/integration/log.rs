//! The log of a running gateway: a reader that does not read, floods of lines, what DEBUG and TRACE show, the last line.

use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Child, Stdio};

use bessai_simulator::scripted::{Script, ScriptedBroker};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Setup, signal};
use crate::support::readings;
use crate::support::subscriber::Subscriber;
use crate::support::{free_port, within};

/// Readings at TRACE whose lines are more than pipe and queue hold together.
const READINGS: usize = 1500;

/// A gateway that logs into a pipe that nobody reads.
struct UnreadGateway {
    setup: Setup,
    child: Child,
    log: PipeReader,
    telemetry: Subscriber,
    _device: Device,
    _broker: Broker,
}

impl UnreadGateway {
    async fn start() -> Self {
        let (device, broker) = (Device::counting(), Broker::start());
        let telemetry = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
        let setup = Setup::new().device(device.port()).broker(broker.url()).with("WATCHDOG_TIMEOUT", "0.005");
        let setup = setup.with("LOG_LEVEL", "TRACE").with("HEALTH_PORT", free_port());
        let (log, written) = std::io::pipe().unwrap();
        let child = setup.command(&["run"]).stdout(Stdio::null()).stderr(written).spawn().unwrap();
        Self { setup, child, log, telemetry, _device: device, _broker: broker }
    }

    /// Receives that many readings, none missing.
    async fn readings(&mut self, count: usize) {
        let mut last = None;
        for _ in 0..count {
            let reading = readings::count(&self.telemetry.next("/telemetry").await.json()).unwrap();
            assert!(last.is_none_or(|last| reading == last + 1), "{reading} after {last:?}");
            last = Some(reading);
        }
    }

    fn health(&self) -> Value {
        let output = self.setup.output(&["health"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn stopped(&mut self) -> Option<i32> {
        within("the gateway to stop", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for UnreadGateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_readings_nor_health_nor_the_stop() {
    let mut gateway = UnreadGateway::start().await;
    gateway.readings(READINGS).await;
    let health = gateway.health();
    assert_eq!((&health["safety_status"], &health["feeds"]["default"]["connected"]), (&json!("ok"), &json!(true)));
    gateway.readings(10).await;
    signal(&gateway.child, libc::SIGTERM);
    assert_eq!(gateway.stopped().await, Some(0));
}

#[tokio::test]
async fn dropped_lines_are_counted_where_they_are_missing() {
    let mut gateway = UnreadGateway::start().await;
    gateway.readings(READINGS).await;
    let mut lines = BufReader::new(gateway.log.try_clone().unwrap()).lines();
    let reading = tokio::task::spawn_blocking(move || {
        lines.find(|line| line.as_ref().unwrap().contains(" log lines were dropped here")).unwrap().unwrap()
    });
    let line = within("the line that counts the dropped ones", reading).await.unwrap();
    assert!(line.contains("Z  WARN ") && line.ends_with("nobody read standard error in time"), "{line}");
    let count = line.split(" log lines").next().unwrap().rsplit(' ').next().unwrap();
    assert!(count.parse::<u64>().unwrap() > 0, "{line}");
    // Nobody reads any more.
    gateway.readings(10).await;
    signal(&gateway.child, libc::SIGTERM);
    assert_eq!(gateway.stopped().await, Some(0));
}

#[tokio::test]
async fn a_broker_cannot_flood_the_log() {
    let (device, broker) = (Device::huawei(), ScriptedBroker::start(Script::default()).await.unwrap());
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://{}", broker.address()));
    let gateway = setup.with("LOG_LEVEL", "DEBUG").run();
    within("an acknowledged message", broker.wait_until(|recording| recording.acknowledged > 0)).await;
    // A SUBACK that nobody asked for, with 60,000 refusals: packet id 1, no properties.
    let refusals = 60_000_u32;
    let mut suback = vec![0x90, 0xe3, 0xd4, 0x03, 0, 1, 0];
    suback.extend(std::iter::repeat_n(0x80, usize::try_from(refusals).unwrap()));
    broker.send_to_all(&suback);
    let acknowledged = broker.inspect(|recording| recording.acknowledged);
    within("deliveries behind it", broker.wait_until(|recording| recording.acknowledged > acknowledged + 5)).await;
    let log = || gateway.log();
    assert!(log().matches("SubAck Pkid").count() <= 100, "{}", log());
    let health = gateway.health().await;
    assert_eq!(health["devices"]["battery"]["online"], json!(true));
}

#[tokio::test]
async fn debug_shows_each_attempt_and_not_the_password() {
    let setup = Setup::new().device(free_port()).broker(format!("mqtt://user:hidden@127.0.0.1:{}", free_port()));
    let gateway = setup.with("LOG_LEVEL", "DEBUG").run();
    within("several attempts", async {
        while gateway.log_count("DEBUG connecting to 127.0.0.1:") < 3 || gateway.log_count("DEBUG signing in to") < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    gateway.wait_for_log("DEBUG sending CONNECT of MQTT 5.0").await;
    let log = gateway.log();
    assert!(log.lines().all(|line| !line.contains("CONNECT") || line.contains("feed=default")), "{log}");
    assert!(!log.contains("hidden"), "{log}");
}

#[tokio::test]
async fn trace_shows_frames_and_packets() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = Setup::new().device(device.port()).broker(broker.url()).with("LOG_LEVEL", "TRACE");
    let gateway = setup.run();
    let telemetry = subscriber.next("/telemetry").await;
    for line in
        ["TRACE sent 4b ", "TRACE received 4b ", "TRACE queued PUBLISH ", "TRACE sent PUBLISH ", "received PUBACK"]
    {
        gateway.wait_for_log(line).await;
    }
    let log = gateway.log();
    let queued = log.lines().find(|line| line.contains("queued PUBLISH topic=SITE-CL-001/telemetry")).unwrap();
    assert!(queued.contains(&format!(" bytes={} ", telemetry.payload.len())), "{queued}");
    assert!(!log.contains("soc_pct"), "a payload is in the log: {log}");
}

#[tokio::test]
async fn the_second_signal_is_the_last_line_with_its_exit_code() {
    // A broker that acknowledges nothing keeps the gateway draining.
    let broker = Script::with_acknowledgements(bessai_simulator::scripted::Acknowledgements::Never);
    let (device, broker) = (Device::huawei(), ScriptedBroker::start(broker).await.unwrap());
    let mut gateway = Setup::new().device(device.port()).broker(format!("mqtt://{}", broker.address())).run();
    within("a message", broker.wait_until(|recording| !recording.messages.is_empty())).await;
    gateway.terminate();
    gateway.wait_for_log("stopping: feeds deliver what is in flight").await;
    gateway.terminate();
    assert_eq!(gateway.wait_for_exit().await.code(), Some(1));
    gateway.wait_for_log("with code 1").await;
    let log = gateway.log();
    assert!(log.lines().last().unwrap().contains("Z ERROR second signal: "), "{log}");
}
