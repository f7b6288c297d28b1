//! Customers' plugins beside the default feed.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::subscriber::Subscriber;
use crate::support::within;

/// The shipped component, used as a customer's plugin.
fn wasm() -> Vec<u8> {
    std::fs::read(component("bessai-json")).unwrap()
}

#[tokio::test]
async fn a_plugin_runs_beside_the_default_feed() {
    let (device, site_broker, customers_broker) = (Device::huawei(), Broker::start(), Broker::start());
    let settings = format!("[broker]\nurl = \"{}\"\n[config]\nchannels = \"all\"\n", customers_broker.url());
    let setup = Setup::new().device(device.port()).broker(site_broker.url());
    let setup = setup.file("plugins/acme.wasm", wasm()).file("plugins/acme.toml", settings);
    let mut site_subscriber = Subscriber::start(site_broker.port).await;
    let mut customer = Subscriber::start(customers_broker.port).await;
    let _gateway = setup.run();
    let standard = site_subscriber.next("/telemetry").await.json();
    assert!(standard.get("ac_voltage").is_none());
    let all = customer.next("/telemetry").await.json();
    assert_eq!(all["ac_voltage"], json!(0.0));
    assert!(customers_broker.log().contains("bessai-SITE-CL-001-acme"), "{}", customers_broker.log());
    assert!(!customers_broker.log().contains("system/status"), "only the default feed publishes the status topic");
}

#[tokio::test]
async fn a_feed_publishes_only_to_topics_in_its_rights() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let own = Broker::start();
    let settings = format!("[broker]\nurl = \"{}\"\n[rights]\ntopics = [\"SITE-CL-001/safety\"]\n", own.url());
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let mut subscriber = Subscriber::start(own.port).await;
    let gateway = setup.file("plugins/acme.wasm", wasm()).file("plugins/acme.toml", settings).run();
    let first = subscriber.next("").await;
    let second = subscriber.next("").await;
    assert_eq!((first.topic.as_str(), second.topic.as_str()), ("SITE-CL-001/safety", "SITE-CL-001/safety"));
    gateway.assert_logged_once("add it to [rights] topics").await;
}

#[tokio::test]
async fn a_feed_sees_only_the_devices_in_its_rights() {
    let (first, second, broker) = (Device::huawei(), Device::huawei(), Broker::start());
    second.set("soc_pct", 33.3);
    let device = |name: &str, port: u16| {
        format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
    };
    let settings = device("one", first.port()) + &device("two", second.port());
    let setup = Setup::new().broker(broker.url()).file("bessai.toml", settings);
    let setup = setup.file("plugins/default.toml", "[rights]\nread = [\"two\"]\n");
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = setup.run();
    // The feed's only device is its first, which publishes without a name in the topic.
    for _ in 0..5 {
        assert_eq!(subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"], json!(33.3));
    }
}

#[tokio::test]
async fn a_healthy_start_with_two_devices_raises_no_alarm() {
    let (first, second, broker) = (Device::huawei(), Device::huawei(), Broker::start());
    let device = |name: &str, port: u16| {
        format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
    };
    let settings = device("one", first.port()) + &device("two", second.port());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().broker(broker.url()).file("bessai.toml", settings).run();
    let is_healthy = |health: &serde_json::Value| health["status"] == "healthy" && health["frames"].as_u64() > Some(20);
    gateway.wait_for_health("a healthy site", is_healthy).await;
    assert_eq!(subscriber.next("SITE-CL-001/safety").await.json()["is_safe"], json!(true));
    // What a plugin for alarms gets: no verdict but the good one, and no device that does not respond.
    let output = gateway.output(&["journal", "export"]);
    let events = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<_> = events.iter().filter_map(|event| event.get("safety")).collect();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| verdict["is_safe"] == json!(true)), "{verdicts:?}");
    let devices: Vec<_> = events.iter().filter_map(|event| event.get("device")).collect();
    assert!(devices.iter().all(|device| device["online"] == json!(true)), "{devices:?}");
}

#[tokio::test]
async fn files_that_are_no_plugins_are_reported_and_the_default_feed_runs() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let truncated = wasm()[..5000].to_vec();
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup = setup.file("plugins/text.wasm", "hello, world").file("plugins/core.wasm", b"\0asm\x01\0\0\0");
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = setup.file("plugins/cut.wasm", truncated).run();
    subscriber.next("/telemetry").await;
    for reason in
        ["text.wasm is a text file", "core.wasm is a core WebAssembly module", "cut.wasm is cut off after 5000 bytes"]
    {
        gateway.wait_for_log(reason).await;
    }
}

#[tokio::test]
async fn a_plugin_that_refuses_its_settings_is_switched_off_with_the_reason() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("plugins/acme.wasm", wasm());
    let gateway = setup.file("plugins/acme.toml", "[config]\ncolour = \"blue\"\n").run();
    gateway.wait_for_log("config.colour is unknown: write channels").await;
    gateway.wait_for_log("switched off").await;
    let off = gateway.health().await["feeds"]["acme"]["off"].clone();
    assert!(off.as_str().unwrap().contains("colour"), "{off}");
}

#[tokio::test]
async fn the_start_position_applies_once_the_feed_file_is_valid() {
    let (device, broker) = (Device::huawei(), Broker::start());
    // No broker listens there, so the feed's lag counts all events.
    let absent_broker = format!("mqtt://127.0.0.1:{}", crate::support::free_port());
    let settings = |start: &str| {
        format!("component = \"../elsewhere/a.wasm\"\n{start} = \"oldest\"\n[broker]\nurl = \"{absent_broker}\"\n")
    };
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("elsewhere/a.wasm", wasm());
    let gateway = setup.file("plugins/default.toml", "").run();
    gateway.wait_for_health("a reading", |health| health["frames"].as_u64() > Some(0)).await;
    std::fs::write(gateway.path("plugins/a.toml"), settings("strat")).unwrap();
    gateway.wait_for_log("did you mean `start`").await;
    gateway.wait_for_health("a few readings", |health| health["frames"].as_u64() > Some(30)).await;
    std::fs::write(gateway.path("plugins/a.toml"), settings("start")).unwrap();
    // All events from the first on, although many were recorded before the file was valid.
    let has_all = |health: &serde_json::Value| health["feeds"]["a"]["lag"] == health["journal"]["newest"];
    let health = gateway.wait_for_health("the feed to start with the oldest event", has_all).await;
    assert_eq!(health["feeds"]["a"]["lost"], json!(0));
}

#[tokio::test]
async fn the_gateway_stops_while_a_plugin_file_is_being_read() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("plugins/slow.toml", "");
    // Reading it blocks for ever, as on a network drive that is disconnected.
    let pipe = setup.folder().join("plugins/slow.wasm");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = setup.run();
    within("telemetry of the default feed", subscriber.next("/telemetry")).await;
    assert!(gateway.stop().await.success());
}
