//! SIGHUP reloads the settings: what can be applied is applied, what is wrong changes nothing, the rest is named.

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;

/// A device in bessai.toml.
fn device(name: &str, device: &Device) -> String {
    let port = device.port();
    format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
}

/// Writes bessai.toml and reloads it; returns the reload's outcome in `/health`.
async fn reload(gateway: &Gateway, file: &str, content: &str) -> Value {
    let before = gateway.health().await["reload"]["count"].as_u64();
    std::fs::write(gateway.path(file), content).unwrap();
    gateway.hang_up();
    let outcome = |health: &Value| health["reload"]["count"].as_u64() > before;
    gateway.wait_for_health("the reload", outcome).await["reload"].clone()
}

async fn healthy(gateway: &Gateway) -> Value {
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await
}

#[tokio::test]
async fn devices_come_change_and_go() {
    let (first, second, broker) = (Device::huawei(), Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().broker(broker.url()).file("bessai.toml", device("one", &first)).run();
    assert_eq!(healthy(&gateway).await["reload"], Value::Null);
    subscriber.next("/telemetry").await;
    // In front of the known one, whose sources get other numbers.
    let both = device("two", &second) + &device("one", &first);
    let outcome = reload(&gateway, "bessai.toml", &both).await;
    assert_eq!((&outcome["applied"], &outcome["needs_restart"]), (&true.into(), &Vec::<Value>::new().into()));
    second.set("soc_pct", 33.0);
    // The first device has the topic without a name, the others have one with it.
    let first_device = |soc: f64| move |message: &Value| message["soc"] == soc || message["soc_pct"] == soc;
    let reading = subscriber.wait_for("SITE-CL-001/telemetry", |message| first_device(33.0)(&message.json())).await;
    assert!(reading.json()["soc"] == 33.0 || reading.json()["soc_pct"] == 33.0, "{reading:?}");
    subscriber.wait_for("SITE-CL-001/one/telemetry", |message| first_device(72.3)(&message.json())).await;
    let health = healthy(&gateway).await;
    assert_eq!(health["devices"].as_object().unwrap().keys().collect::<Vec<_>>(), ["one", "two"]);
    reload(&gateway, "bessai.toml", &device("two", &second)).await;
    let gone = |health: &Value| health["devices"]["one"].is_null() && health["devices"]["two"]["online"] == true;
    gateway.wait_for_health("the end of the first device", gone).await;
    subscriber.next("SITE-CL-001/telemetry").await;
}

#[tokio::test]
async fn safety_limits_apply_at_once() {
    let (battery, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().broker(broker.url()).file("bessai.toml", device("one", &battery)).run();
    healthy(&gateway).await;
    let limits = "[safety]\nsoc_pct = { min = 10, max = 50 }\n";
    assert_eq!(reload(&gateway, "bessai.toml", &(device("one", &battery) + limits)).await["applied"], true);
    subscriber.wait_for("/safety", |message| message.json()["is_safe"] == false).await;
    reload(&gateway, "bessai.toml", &device("one", &battery)).await;
    subscriber.wait_for("/safety", |message| message.json()["is_safe"] == true).await;
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_what_needs_a_restart_is_named() {
    let (battery, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().broker(broker.url()).file("bessai.toml", device("one", &battery)).run();
    healthy(&gateway).await;
    let wrong = device("one", &battery) + "[safety]\nsoc_pct = { max = 50 }\n[journal]\nmax_size = \"small\"\n";
    let outcome = reload(&gateway, "bessai.toml", &wrong).await;
    assert_eq!((&outcome["applied"], &outcome["mistakes"]), (&false.into(), &1.into()));
    assert!(gateway.log().contains("reload: journal.max_size"), "{}", gateway.log());
    let other = device("one", &battery) + "[journal]\nmax_size = \"2MiB\"\n";
    let outcome = reload(&gateway, "bessai.toml", &other).await;
    assert_eq!(outcome["needs_restart"], Value::from(vec!["[journal]"]));
    assert!(gateway.log().contains("[journal] has changed; restart the gateway to apply it"));
    assert_eq!(healthy(&gateway).await["safety_status"], "ok");
    subscriber.next("/telemetry").await;
}

#[tokio::test]
async fn the_site_s_broker_and_the_level_of_the_log_change() {
    let (battery, first, second) = (Device::huawei(), Broker::start(), Broker::start());
    let variables = |broker: &Broker, level: &str| format!("MQTT_BROKER_URL={}\nLOG_LEVEL={level}\n", broker.url());
    let setup = Setup::new().file("bessai.toml", device("one", &battery));
    let gateway = setup.file("config/.env", variables(&first, "INFO")).run();
    healthy(&gateway).await;
    let mut subscriber = Subscriber::start(second.port).await;
    std::fs::write(gateway.path("config/.env"), variables(&second, "ERROR")).unwrap();
    gateway.hang_up();
    gateway.wait_for_health("the reload", |health| health["reload"]["applied"] == true).await;
    subscriber.next("/telemetry").await;
    healthy(&gateway).await;
    assert!(!gateway.log().contains("the settings were reloaded"), "{}", gateway.log());
}
