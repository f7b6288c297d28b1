//! Anomaly detection with the model that ships: the gateway reads the simulated battery, whose measurements or replies become
//! unusual.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bessai_domain::profile;
use bessai_simulator::plant::{Distortion, Plant};
use bessai_simulator::registers::Registers;
use bessai_simulator::server::{Fault, Server, Transport};
use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;
use crate::support::{root, within};

/// The registers of host/simulator/examples/anomaly-readings.rs, on which the model was trained.
const PROFILE: &str = "timeout = \"5s\"
    [points]
    soc = { channel = \"soc_pct\", address = 0, type = \"uint16\", scale = 0.1, unit = \"%\" }
    power = { channel = \"power_kw\", address = 1, type = \"int32\", scale = 0.001, unit = \"kW\" }
    temperature = { channel = \"temp_c\", address = 3, type = \"int16\", scale = 0.1, unit = \"Cel\" }";
/// The model knows a day of 240 s that is read once a second; here both are five times as fast.
const DAY: Duration = Duration::from_secs(48);
const PERIOD: &str = "200ms";
const MANIFEST: &str = "kind = \"anomaly\"
inputs = [
    { channel = \"soc_pct\", window = 4 },
    { channel = \"power_kw\", window = 4 },
    { channel = \"temp_c\", window = 4 },
    { channel = \"interval_s\", window = 4, scale = 5.0 },
    \"exchange_failed\",
    \"exchange_irregular\",
]
output = { tensor = \"score\", range = [0.0, 1.0] }";
/// More than what a busy machine of the test adds to a reply by itself.
const SLOW: Duration = Duration::from_millis(800);
/// Usual readings before an anomaly: most of the simulated day.
const USUAL_READINGS: usize = 150;

/// A battery that follows its day, and a gateway that reads it.
struct Site {
    device: Server,
    /// Changes the measurements; the battery stops when this is dropped.
    distort: Sender<Option<Distortion>>,
    subscriber: Subscriber,
    gateway: Gateway,
    _broker: Broker,
}

impl Site {
    async fn start(settings: &str) -> Self {
        let registers = Registers::new();
        let profile = profile::toml::read("battery", PROFILE).unwrap();
        let mut plant = Plant::new(profile, registers.clone(), DAY);
        // Others may be on the bus behind an adapter.
        let transport = Transport::RtuOverTcp;
        let device = Server::start_with_transport(([127, 0, 0, 1], 0).into(), transport, registers).unwrap();
        let (distort, distortions) = channel();
        std::thread::spawn(move || {
            let mut last = Instant::now();
            loop {
                match distortions.recv_timeout(Duration::from_millis(2)) {
                    Ok(distortion) => plant.distort(distortion),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let now = Instant::now();
                plant.advance(now - last);
                last = now;
            }
        });
        let broker = Broker::start();
        let subscriber = Subscriber::start(broker.port).await;
        let model = std::fs::read(root().join("models/anomaly.onnx")).unwrap();
        let setup = Setup::new().broker(broker.url()).file("box.toml", PROFILE);
        let setup = setup.file("models/anomaly.onnx", model).file("models/anomaly.toml", MANIFEST);
        let settings = format!(
            "[[device]]\nname = \"battery\"\naddress = \"rtu+tcp://{}\"\nprofile = \"box.toml\"\nperiod = \"{PERIOD}\"\n\
             [[model]]\nname = \"anomaly\"\nfile = \"models/anomaly.onnx\"\n{settings}",
            device.address()
        );
        let gateway = setup.file("bessai.toml", settings).run();
        Self { device, distort, subscriber, gateway, _broker: broker }
    }

    async fn next(&mut self) -> Value {
        self.subscriber.next("/ai/ids").await.json()
    }

    /// The next message with an alarm.
    async fn alarm(&mut self, about: &str) -> Value {
        within(about, async {
            loop {
                let message = self.next().await;
                if message["status"] == "alarm" {
                    return message;
                }
            }
        })
        .await
    }
}

/// What the exchanges' own score adds depends on how busy the machine of the test is.
const VALUES_ONLY: &str = "timing_weight = 0.0\n";

#[tokio::test]
async fn a_usual_day_has_no_alert_and_wrong_measurements_have() {
    let mut site = Site::start(VALUES_ONLY).await;
    let mut message = Value::Null;
    for _ in 0..USUAL_READINGS {
        message = site.next().await;
        let keys: Vec<_> = message.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ts", "site_id", "score", "alert_count", "trained", "status"]);
        assert_eq!((&message["status"], &message["alert_count"]), (&"nominal".into(), &0.into()), "{message}");
    }
    assert_eq!(message["trained"], true);
    for distortion in [Distortion::TemperatureJump, Distortion::SocDrift] {
        site.distort.send(Some(distortion)).unwrap();
        let alarm = site.alarm(&format!("an alarm for {distortion:?}")).await;
        assert!(alarm["score"].as_f64().unwrap() > 0.7, "{alarm}");
        assert!(alarm["alert_count"].as_u64().unwrap() >= 1, "{alarm}");
        site.distort.send(None).unwrap();
        site.subscriber.wait_for("/ai/ids", |message| message.json()["score"].as_f64() < Some(0.4)).await;
    }
}

#[tokio::test]
async fn slow_replies_alarm_and_the_journal_has_their_figures() {
    let mut site = Site::start("").await;
    site.subscriber.wait_for("/ai/ids", |message| message.json()["trained"] == true).await;
    site.device.set_fault(Some(Fault::Slow(SLOW)));
    site.alarm("an alarm for slow replies").await;
    let journal = site.gateway.output_beside(&["journal", "export", "--last", "1h"]).await;
    let export = String::from_utf8(journal.stdout).unwrap();
    let events: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let replies = events.iter().filter_map(|event| event["anomaly"]["exchange"]["reply_ms"].as_f64());
    let slow_ms = SLOW.as_secs_f64() * 1000.0;
    assert!(replies.clone().any(|reply_ms| reply_ms >= slow_ms), "{export}");
    assert!(replies.clone().any(|reply_ms| reply_ms < slow_ms), "{export}");
}

#[tokio::test]
async fn frames_of_another_master_alarm() {
    let mut site = Site::start("").await;
    site.subscriber.wait_for("/ai/ids", |message| message.json()["trained"] == true).await;
    site.device.set_fault(Some(Fault::OtherMaster));
    site.alarm("an alarm for the other master").await;
    let health = site.gateway.health().await;
    assert!(health["devices"]["battery"]["framing"]["foreign_frames"].as_u64().unwrap() > 0, "{health}");
}
