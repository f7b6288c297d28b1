//! The whole against a second broker, aedes, whose MQTT is of other authors than mosquitto's and than the gateway's own:
//! every topic arrives, and a kill, a forbidden topic or a refused password costs no reading.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::aedes::{Aedes, AedesSetup};
use crate::support::certificates::Authority;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::publisher::publish;
use crate::support::readings::DeliveredReadings;
use crate::support::subscriber::Subscriber;
use crate::support::{LIMIT, folder, guests, root, within};

/// The gateway's user and password.
const LOGIN: (&str, &str) = ("bessai_edge", "s3cr3t-never-shown");
/// The first device's readings.
const TELEMETRY: &str = "SITE-CL-001/telemetry";

/// A gateway that reads a counting device.
fn counting(device: &Device, broker: &Aedes) -> Setup {
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    Setup::new().device(device.port()).with("WATCHDOG_TIMEOUT", "0.03").broker(url)
}

/// What a broker has accepted on the topic of the first device's readings, in order: each reading, and none repeated more
/// often than allowed.
fn accepted(broker: &Aedes, redeliveries: usize) -> DeliveredReadings {
    let mut readings = DeliveredReadings::default();
    readings.allow_redeliveries(redeliveries);
    for message in broker.events("message").iter().filter(|message| message["topic"] == TELEMETRY) {
        let payload: Value = serde_json::from_str(message["payload"].as_str().unwrap()).unwrap();
        readings.add_message(&payload).unwrap();
    }
    readings
}

/// Waits until the broker has accepted all readings that the device has given so far, and five more.
async fn accepts_all(broker: &Aedes, device: &Device, gateway: &Gateway, redeliveries: usize) {
    let count = device.readings().wrapping_add(5);
    let waiting = async {
        while !accepted(broker, redeliveries).has_all_below(count) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let arrived = tokio::time::timeout(LIMIT, waiting).await;
    assert!(arrived.is_ok(), "readings are missing\n{}", gateway.log());
}

#[tokio::test]
async fn every_topic_arrives_after_a_sign_in_with_a_password() {
    let broker = Aedes::start(&AedesSetup { login: Some(LOGIN), ..AedesSetup::default() }).await;
    let (first, second) = (Device::huawei(), Device::huawei());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/#", Some(LOGIN)).await;
    let model = |name: &str| std::fs::read(root().join("models").join(name)).unwrap();
    let device = |name: &str, port: u16| {
        format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
    };
    let settings = format!(
        "{}{}[[model]]\nfile = \"models/dispatch.onnx\"\n",
        device("battery", first.port()),
        device("second", second.port())
    );
    let setup = Setup::new().broker(format!("mqtt://127.0.0.1:{}", broker.port)).file("bessai.toml", settings);
    let setup = setup.file("models/dispatch.onnx", model("dispatch.onnx"));
    let setup = setup.file("models/dispatch.toml", model("dispatch.toml"));
    let gateway = setup.with("MQTT_USERNAME", LOGIN.0).with("MQTT_PASSWORD", LOGIN.1).run();
    let topics = ["telemetry", "second/telemetry", "safety", "ai/dispatch", "system/heartbeat", "system/status"];
    let mut missing = BTreeSet::from(topics.map(|topic| format!("SITE-CL-001/{topic}")));
    while !missing.is_empty() {
        let message = subscriber.wait_for("", |message| missing.contains(&message.topic)).await;
        assert_eq!((message.qos, message.retain), (1, false), "{message:?}");
        missing.remove(&message.topic);
    }
    // Its answer to a client of MQTT 5 is that of MQTT 3.1.1.
    assert_eq!(broker.events("refused"), [json!("unacceptable protocol version")]);
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(subscriber.next("/system/status").await.payload, "offline");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_retried() {
    let broker = Aedes::start(&AedesSetup { login: Some(LOGIN), ..AedesSetup::default() }).await;
    let device = Device::counting();
    let setup = counting(&device, &broker).with("MQTT_USERNAME", LOGIN.0).with("MQTT_PASSWORD", "another");
    let gateway = setup.run();
    gateway.wait_for_log("refused user \"bessai_edge\"").await;
    broker.wait_for_events("sign_in", 2).await;
    assert_eq!(gateway.health().await["feeds"]["default"]["connected"], json!(false));
}

#[tokio::test]
async fn a_killed_gateway_is_announced_by_its_last_will() {
    let broker = Aedes::start(&AedesSetup::default()).await;
    let device = Device::counting();
    let status = async |expected: &str, retained: bool| {
        // A new subscriber each time: the broker keeps the status for it.
        let mut subscriber = Subscriber::with(broker.port, "+/system/status", None).await;
        subscriber.wait_for("", |message| message.payload == expected && (message.retain || !retained)).await;
    };
    let gateway = counting(&device, &broker).run();
    accepts_all(&broker, &device, &gateway, 0).await;
    status("online", true).await;
    let _setup = gateway.kill();
    status("offline", false).await;
    status("offline", true).await;
}

#[tokio::test]
async fn no_reading_is_lost_when_the_broker_is_killed() {
    const KILLS: usize = 3;
    let mut broker = Aedes::start(&AedesSetup::default()).await;
    let device = Device::counting();
    let gateway = counting(&device, &broker).run();
    for kill in 0..KILLS {
        accepts_all(&broker, &device, &gateway, kill).await;
        broker.kill();
        // Readings that only the journal has.
        let before = device.readings();
        within("readings during the outage", async {
            while device.readings().wrapping_sub(before) < 20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        broker.restart().await;
    }
    accepts_all(&broker, &device, &gateway, KILLS).await;
    let feed = gateway.health().await["feeds"]["default"].clone();
    assert_eq!((&feed["set_aside"], &feed["refused"]), (&json!(0), &json!(0)), "{feed}");
}

#[tokio::test]
async fn a_topic_over_which_the_broker_closes_is_quarantined_and_the_others_arrive() {
    let forbidden = "/system/heartbeat";
    let broker = Aedes::start(&AedesSetup { forbidden: Some(forbidden), ..AedesSetup::default() }).await;
    let device = Device::counting();
    let gateway = counting(&device, &broker).run();
    let is_learnt = |health: &Value| {
        let lessons = health["feeds"]["default"]["broker_refuses"].as_array().unwrap();
        lessons.iter().any(|lesson| lesson["topic"].as_str().is_some_and(|topic| topic.ends_with(forbidden)))
    };
    // Three that end sessions in which others are in flight, and one alone.
    broker.wait_for_events("forbidden", 4).await;
    let health = gateway.wait_for_health("what the broker refuses", |health| is_learnt(health)).await;
    assert_eq!(health["status"], json!("degraded"), "{health}");
    // Each tried heartbeat ended a session.
    let tried = broker.events("forbidden").len();
    accepts_all(&broker, &device, &gateway, tried).await;
    let entries = std::fs::read_dir(gateway.path("quarantine/default")).unwrap();
    for entry in entries {
        let entry: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        assert!(entry["topic"].as_str().unwrap().ends_with(forbidden), "{entry}");
        assert!(entry["set_aside"].as_str().unwrap().contains("connection closed by"), "{entry}");
    }
}

#[tokio::test]
async fn messages_from_the_broker_reach_the_plugin() {
    let broker = Aedes::start(&AedesSetup::default()).await;
    let device = Device::huawei();
    publish(broker.port, "acme/cmd/last", "kept", true).await;
    let mut customer = Subscriber::with(broker.port, "acme/answer", None).await;
    let feed = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[rights]\nsubscribe = [\"acme/cmd/#\"]\n[config]\ntopic = \"acme\"\n",
        broker.port
    );
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    let setup = setup.file("plugins/acme.toml", feed).file("plugins/acme.wasm", guests::commander());
    let gateway = setup.run();
    assert_eq!(customer.next("").await.payload, "1 acme/cmd/last kept retained");
    for number in 2..=5 {
        publish(broker.port, "acme/cmd/a", format!("hello-{number}"), false).await;
        assert_eq!(customer.next("").await.payload, format!("{number} acme/cmd/a hello-{number}"));
    }
    let feed = gateway.health().await["feeds"]["acme"]["commands"].clone();
    assert_eq!((&feed["received"], &feed["dropped"]), (&json!(5), &json!(0)), "{feed}");
}

#[tokio::test]
async fn tls_delivers_and_verifies_the_certificate() {
    let (folder, device) = (folder(), Device::counting());
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    let broker = Aedes::start(&AedesSetup { certificate: Some(&certificate), ..AedesSetup::default() }).await;
    let setup = |ca: &Authority| {
        let setup = counting(&device, &broker).broker(format!("mqtts://localhost:{}", broker.port));
        setup.with("MQTT_TLS_CA_CERT_PATH", ca.pem.certificate.display())
    };
    let untrusting = setup(&Authority::new(folder.path(), "other")).run();
    untrusting.wait_for_log("a CA that is not in MQTT_TLS_CA_CERT_PATH = ").await;
    assert!(broker.events("message").is_empty());
    drop(untrusting);
    // The first reading went to the gateway before.
    device.set("power_kw", 0.0);
    let gateway = setup(&authority).run();
    accepts_all(&broker, &device, &gateway, 0).await;
}
