//! The shipped plugin home-assistant at a real broker, held against Home Assistant's own schemas and tables; and sensors that
//! people write by hand.

mod schemas;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::publisher::publish;
use crate::support::subscriber::{ReceivedMessage, Subscriber};
use crate::support::{component, root};

/// The topic of the battery's description.
const DESCRIPTION: &str = "homeassistant/device/SITE-CL-001_battery/config";
/// The topics of the site.
const BASE: &str = "SITE-CL-001/home-assistant";
/// Marks the end of the retained messages of a broker.
const MARKER: &str = "marker";

/// The feed's file; `write`: the entries of its right to write.
fn feed(write: &[String]) -> String {
    format!("[rights]\nsubscribe = [\"homeassistant/status\", \"{BASE}/+/+/set\"]\nwrite = {}\n", json!(write))
}

/// A site with the plugin; `devices`: its `[[device]]` tables, `write`: the channels that may be set.
fn site(broker: &Broker, devices: &str, write: &[String]) -> Setup {
    let wasm = std::fs::read(component("home-assistant")).unwrap();
    let setup = Setup::new().broker(broker.url()).file("bessai.toml", devices);
    setup.file("plugins/home-assistant.toml", feed(write)).file("plugins/home-assistant.wasm", wasm)
}

fn device(name: &str, profile: &str, port: u16) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nprofile = \"{profile}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"200ms\"\n"
    )
}

/// The messages that the broker has retained, by their topics.
async fn retained(broker: &Broker) -> BTreeMap<String, ReceivedMessage> {
    let mut subscriber = Subscriber::start(broker.port).await;
    // mosquitto sends what it has retained before anything that is published after the subscription.
    publish(broker.port, MARKER, "", false).await;
    let mut messages = BTreeMap::new();
    loop {
        let message = subscriber.next("").await;
        match message.topic == MARKER {
            true => return messages,
            false => drop(messages.insert(message.topic.clone(), message)),
        }
    }
}

/// The next description of the battery.
async fn description(subscriber: &mut Subscriber) -> Value {
    subscriber.wait_for("", |message| message.topic == DESCRIPTION).await.json()
}

/// A battery of which three channels may be set, its gateway and Home Assistant's view of the broker.
struct Home {
    device: Device,
    broker: Broker,
    subscriber: Subscriber,
    gateway: Gateway,
}

impl Home {
    async fn start() -> Self {
        let (device, broker) = (Device::huawei(), Broker::start());
        let subscriber = Subscriber::start(broker.port).await;
        let write = ["battery/luna_working_mode".into(), "battery/luna_charge_target_soc".into()];
        let profile = std::fs::read_to_string(root().join("host/domain/profiles/huawei-sun2000.toml")).unwrap();
        let setup =
            site(&broker, &self::device("battery", "box", device.port()).replace("period", "unit = 1\nperiod"), &write);
        let gateway = setup.file("profiles/box.toml", profile).run();
        Self { device, broker, subscriber, gateway }
    }

    /// Waits until the broker has accepted the subscriptions.
    async fn subscribed(&self) {
        let topic = format!("{BASE}/+/+/set");
        let is_subscribed =
            |health: &Value| health["feeds"]["home-assistant"]["commands"]["subscriptions"][&topic] == json!("QoS 1");
        self.gateway.wait_for_health("the subscriptions", is_subscribed).await;
    }
}

#[test]
fn its_own_cases_pass_in_the_sandbox() {
    let (wasm, cases) = (component("home-assistant"), root().join("plugins/home-assistant/cases"));
    let output = Setup::new().output(&["plugin", "test", wasm.to_str().unwrap(), cases.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// In bytes: what a gateway has to keep in memory, and to compile on a small board.
#[test]
fn its_component_is_small() {
    let size = std::fs::metadata(component("home-assistant")).unwrap().len();
    assert!(size <= 300_000, "{size} bytes");
}

#[tokio::test]
async fn after_an_outage_a_source_that_did_not_change_has_its_last_reading() {
    let (device, mut broker) = (Device::huawei(), Broker::start());
    broker.kill();
    // One reading, and no further one, as nothing changes.
    let silent = "deadband = 1000000\nmax_silence = \"24h\"\n";
    let devices = self::device("battery", "huawei-sun2000", device.port()) + silent;
    let gateway = site(&broker, &devices, &[]).run();
    // What is older than 10 s belongs to the backlog.
    let is_old = |health: &Value| health["feeds"]["home-assistant"]["lag_s"].as_f64().is_some_and(|age| age > 12.0);
    gateway.wait_for_health("an old reading", is_old).await;
    broker.restart();
    let mut subscriber = Subscriber::start(broker.port).await;
    let state = subscriber.next("/home-assistant/battery/state").await;
    assert_eq!(state.json()["soc_pct"], 72.3);
    let availability = &retained(&broker).await[&format!("{BASE}/battery/availability")];
    assert_eq!(availability.payload, "online");
}

#[tokio::test]
async fn a_device_is_described_and_available_until_the_gateway_dies() {
    let mut home = Home::start().await;
    let described = description(&mut home.subscriber).await;
    assert_eq!(described["cmps"]["soc_pct"]["dev_cla"], "battery");
    home.subscriber.next("/home-assistant/battery/state").await;
    let before = retained(&home.broker).await;
    let payload = |messages: &BTreeMap<String, ReceivedMessage>, topic: &str| messages[topic].payload.clone();
    let (status, availability) = (format!("{BASE}/status"), format!("{BASE}/battery/availability"));
    assert_eq!((payload(&before, &status), payload(&before, &availability)), ("online".into(), "online".into()));
    assert_eq!(before[&format!("{BASE}/battery/state")].json()["soc_pct"], 72.3);
    assert_eq!(before[DESCRIPTION].json(), described);
    home.device.server.set_fault(Some(bessai_simulator::server::Fault::Silence));
    let is_offline = |message: &ReceivedMessage| message.topic == availability && message.payload == "offline";
    home.subscriber.wait_for("", is_offline).await;
    let _setup = home.gateway.kill();
    home.subscriber.wait_for("", |message| message.topic == status && message.payload == "offline").await;
    assert_eq!(payload(&retained(&home.broker).await, &status), "offline");
}

#[tokio::test]
async fn commands_are_refused_in_the_log_and_shown_by_the_state() {
    let mut home = Home::start().await;
    let described = description(&mut home.subscriber).await;
    let component = |key: &str| described["cmps"][key].clone();
    let (mode, target) = (component("luna_working_mode"), component("luna_charge_target_soc"));
    assert_eq!((&mode["p"], &target["p"]), (&json!("select"), &json!("number")));
    assert_eq!((&target["min"], &target["max"]), (&json!(0.0), &json!(100.0)));
    home.subscribed().await;
    let command = async |component: &Value, payload: &str| {
        publish(home.broker.port, component["cmd_t"].as_str().unwrap(), payload, false).await;
    };
    command(&target, "80").await;
    home.gateway
        .wait_for_log("command for battery luna_charge_target_soc is not carried out: [control] is off: ")
        .await;
    command(&target, "120").await;
    home.gateway.wait_for_log("luna_charge_target_soc is refused: 120 is not within 0 to 100").await;
    command(&mode, mode["options"][0].as_str().unwrap()).await;
    home.gateway.wait_for_log("command for battery luna_working_mode is not carried out: [control] is off: ").await;
    let health = home.gateway.health().await["feeds"]["home-assistant"].clone();
    assert_eq!((&health["commands"]["refused_writes"], &health["set_aside"]), (&json!(2), &json!(0)), "{health}");
    let state = home.subscriber.next("/home-assistant/battery/state").await.json();
    assert_eq!(state["luna_charge_target_soc"], 0.0);
}

#[tokio::test]
async fn everything_is_published_again_when_home_assistant_starts() {
    let mut home = Home::start().await;
    let first = description(&mut home.subscriber).await;
    home.subscriber.next("/home-assistant/battery/state").await;
    home.subscribed().await;
    home.subscriber.discard_received();
    publish(home.broker.port, "homeassistant/status", "online", false).await;
    assert_eq!(description(&mut home.subscriber).await, first);
    for (topic, payload) in [("/home-assistant/status", "online"), ("/battery/availability", "online")] {
        assert_eq!(home.subscriber.next(topic).await.payload, payload);
    }
    home.subscriber.next("/home-assistant/battery/state").await;
}

#[tokio::test]
async fn what_is_gone_from_the_site_is_removed() {
    let mut home = Home::start().await;
    let first = description(&mut home.subscriber).await;
    assert_eq!(first["cmps"]["luna_charge_target_soc"]["p"], "number");
    home.subscriber.next("/home-assistant/battery/state").await;
    let (status, setup) = home.gateway.stop_and_keep_setup().await;
    assert!(status.success());
    // A channel, and with it the right to set it.
    let profile = setup.folder().join("profiles/box.toml");
    let lines = std::fs::read_to_string(&profile).unwrap();
    let fewer: Vec<_> = lines.lines().filter(|line| !line.starts_with("luna_charge_target_soc")).collect();
    std::fs::write(&profile, fewer.join("\n")).unwrap();
    let gateway = setup.file("plugins/home-assistant.toml", feed(&[])).run();
    // The plugin starts with the description that its feed had reached: there the channel can no longer be set.
    let mut before = Value::Null;
    let removed = loop {
        let described = description(&mut home.subscriber).await;
        match &described["cmps"]["luna_charge_target_soc"] {
            Value::Null => break described,
            present => before = present.clone(),
        }
    };
    assert_eq!(before, json!({ "p": "sensor" }));
    assert_eq!(removed["cmps"]["luna_working_mode"]["p"], "sensor");
    home.subscriber.next("/home-assistant/battery/state").await;
    let (_, setup) = gateway.stop_and_keep_setup().await;
    // The device.
    let other = device("other", "box", home.device.port());
    let _gateway = setup.file("bessai.toml", other).run();
    home.subscriber.wait_for("", |message| message.topic == DESCRIPTION && message.payload.is_empty()).await;
    home.subscriber.next("/home-assistant/other/state").await;
    let left = retained(&home.broker).await;
    assert!(!left.keys().any(|topic| topic.contains("battery")), "{:?}", left.keys());
}
