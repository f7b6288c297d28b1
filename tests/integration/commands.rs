//! Plugins that receive messages from a real broker: subscriptions and their rights, answers, retained and queued messages,
//! messages that the plugin fails on, sign-ins that a message asks for, and signatures with keys in PEM.

mod cases;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::guests;
use crate::support::hub::{self, Hub, HubEvent};
use crate::support::publisher::publish;
use crate::support::subscriber::Subscriber;

/// A gateway whose only feed is the commander's, and its customer, who sees every message.
struct Commanded {
    _device: Device,
    broker: Broker,
    gateway: Gateway,
    customer: Subscriber,
}

/// The feed's file; `broker`: further lines of `[broker]`, `config`: further lines of `[config]`, then further tables.
fn feed(port: u16, broker: &str, config: &str) -> String {
    format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n{broker}\n[rights]\nsubscribe = [\"acme/cmd/#\"]\n\
         [config]\ntopic = \"acme\"\n{config}\n"
    )
}

impl Commanded {
    async fn start(broker: &str, config: &str) -> Self {
        Self::with(Broker::start(), broker, config, |setup| setup).await
    }

    async fn with(broker: Broker, lines: &str, config: &str, extend: impl FnOnce(Setup) -> Setup) -> Self {
        let (device, customer) = (Device::huawei(), Subscriber::start(broker.port).await);
        let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
        let setup = setup.file("plugins/commander.toml", feed(broker.port, lines, config));
        let gateway = extend(setup.file("plugins/commander.wasm", guests::commander())).run();
        Self { _device: device, broker, gateway, customer }
    }

    async fn publish(&self, topic: &str, payload: &str) {
        publish(self.broker.port, topic, payload, false).await;
    }

    /// Waits until the broker has accepted the subscription.
    async fn subscribed(&self) {
        self.feed(|feed| feed["commands"]["subscriptions"]["acme/cmd/#"] == json!("QoS 1")).await;
    }

    /// The feed's entry in `/health`, once it is as wanted.
    async fn feed(&self, condition: impl Fn(&Value) -> bool) -> Value {
        let health =
            self.gateway.wait_for_health("the feed's state", |health| condition(&health["feeds"]["commander"]));
        health.await["feeds"]["commander"].clone()
    }

    /// The events `write` of the journal.
    fn exported_writes(&self) -> Vec<Value> {
        let output = self.gateway.output(&["journal", "export", "--last", "1h", "--out", "events.jsonl"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let exported = std::fs::read_to_string(self.gateway.path("events.jsonl")).unwrap();
        let events = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["write"].is_object()).collect()
    }

    async fn answer(&mut self) -> String {
        self.customer.next("acme/answer").await.payload
    }
}

#[tokio::test]
async fn messages_are_answered_in_both_versions_of_mqtt() {
    for protocol in ["3.1.1", "5"] {
        let mut acme = Commanded::start(&format!("protocol = \"{protocol}\""), "").await;
        acme.subscribed().await;
        for number in 1..=5 {
            acme.publish("acme/cmd/a", &format!("hello-{number}")).await;
            assert_eq!(acme.answer().await, format!("{number} acme/cmd/a hello-{number}"), "MQTT {protocol}");
        }
        acme.publish("acme/cmd/b", "write a1").await;
        assert_eq!(acme.answer().await, "a1 Outcome::Refused(\"[control] is off: this gateway writes no set-points\")");
        let feed = acme.feed(|feed| feed["commands"]["received"] == json!(6)).await;
        assert_eq!(
            (&feed["commands"]["dropped"], &feed["commands"]["refused_writes"]),
            (&json!(0), &json!(1)),
            "{feed}"
        );
        // The plugin counts its frames in a metric.
        let metrics = acme.feed(|feed| feed["metrics"][0]["value"].as_f64() >= Some(1.0)).await["metrics"].clone();
        assert_eq!(metrics[0]["name"], json!("frames_total"));
        assert_eq!((&metrics[0]["kind"], &metrics[0]["labels"]), (&json!("counter"), &json!({ "topic": "acme" })));
    }
}

#[tokio::test]
async fn a_proposal_and_its_refusal_are_events_of_every_feed() {
    let broker = Broker::start();
    let mut auditor = Subscriber::with(broker.port, "auditor/#", None).await;
    let feed = format!(
        "component = \"commander.wasm\"\n[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[rights]\nread = [\"battery\"]\n\
         subscribe = [\"auditor/cmd\"]\n[config]\ntopic = \"auditor\"\nfilters = \"auditor/cmd\"\n",
        broker.port
    );
    let mut acme = Commanded::with(broker, "", "", |setup| setup.file("plugins/auditor.toml", feed)).await;
    acme.subscribed().await;
    auditor.next("/frame").await;
    acme.publish("acme/cmd/a", "write a1").await;
    let proposal = "feed/commander battery/power_kw Some(Value::Number(20.0)) kW a1";
    let refused = "Some(Outcome::Refused(\"[control] is off: this gateway writes no set-points\"))";
    for expected in [format!("made {proposal} None"), format!("1 {proposal} {refused}")] {
        assert_eq!(auditor.next("/write").await.payload, expected);
        assert_eq!(acme.customer.next("acme/write").await.payload, expected);
    }
    let exported = acme.exported_writes();
    let [made, outcome] = &exported[..] else { panic!("{exported:?}") };
    let step = json!({
        "proposer": "feed/commander", "device": "battery", "channel": "power_kw", "value": 20.0, "unit": "kW", "reference": "a1",
    });
    assert_eq!(made["write"], step);
    assert_eq!(outcome["write"]["proposed"], made["sequence"]);
    assert_eq!(
        outcome["write"]["outcome"],
        json!({ "refused": "[control] is off: this gateway writes no set-points" })
    );
}

#[tokio::test]
async fn a_subscription_needs_the_right() {
    let mut acme = Commanded::start("", "filters = \"acme/cmd/#,acme/other/#,acme/#/x\"").await;
    acme.subscribed().await;
    let subscriptions = acme.feed(|_| true).await["commands"]["subscriptions"].clone();
    let refusal = "refused: the feed has no right to it: add it to [rights] subscribe, subscribe = [\"acme/other/#\"]";
    assert_eq!(subscriptions["acme/other/#"], json!(refusal), "{subscriptions}");
    let invalid = "refused: the filter has a `#` that is not its last level";
    assert_eq!(subscriptions["acme/#/x"], json!(invalid), "{subscriptions}");
    acme.publish("acme/other/a", "not for it").await;
    acme.publish("acme/cmd/a", "for it").await;
    assert_eq!(acme.answer().await, "1 acme/cmd/a for it");
}

#[tokio::test]
async fn retained_and_queued_messages_are_marked() {
    let broker = Broker::start();
    publish(broker.port, "acme/cmd/last", "kept", true).await;
    let mut acme = Commanded::with(broker, "protocol = \"5\"", "resumes = \"yes\"", |setup| setup).await;
    assert_eq!(acme.answer().await, "1 acme/cmd/last kept retained");
    acme.publish("acme/cmd/a", "live").await;
    assert_eq!(acme.answer().await, "2 acme/cmd/a live");
    // While the gateway is away, the broker keeps what is published.
    let (status, setup) = acme.gateway.stop_and_keep_setup().await;
    assert!(status.success());
    publish(acme.broker.port, "acme/cmd/a", "queued", false).await;
    acme.customer.discard_received();
    acme.gateway = setup.run();
    let answers = [acme.answer().await, acme.answer().await];
    assert!(answers.iter().any(|answer| answer.ends_with("acme/cmd/a queued historical")), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.ends_with("acme/cmd/last kept retained")), "{answers:?}");
}

#[tokio::test]
async fn a_message_that_the_plugin_fails_on_is_dropped_and_the_next_one_follows() {
    let mut acme = Commanded::start("", "").await;
    acme.subscribed().await;
    for payload in ["trap", "reject", "fine"] {
        acme.publish("acme/cmd/a", payload).await;
    }
    // What failed calls counted in the state is not kept.
    assert_eq!(acme.answer().await, "1 acme/cmd/a fine");
    let feed = acme.feed(|feed| feed["commands"]["dropped"] == json!(2)).await;
    assert_eq!((&feed["failures"], &feed["off"], &feed["commands"]["received"]), (&json!(3), &json!(null), &json!(1)));
    let last = "the plugin rejects the events: a message that it never takes";
    assert_eq!(feed["commands"]["last_dropped"], json!({ "topic": "acme/cmd/a", "reason": last }));
    acme.gateway.wait_for_log("dropped a message to acme/cmd/a: the plugin trapped").await;
    acme.publish("acme/cmd/a", &"x".repeat((128 << 10) + 1)).await;
    let feed = acme.feed(|feed| feed["commands"]["dropped"] == json!(3)).await;
    let reason = feed["commands"]["last_dropped"]["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reason, "its payload has 131073 bytes, and a plugin receives at most 131072");
}

#[tokio::test]
async fn a_message_is_not_acknowledged_before_it_is_handled() {
    let mut acme = Commanded::start("protocol = \"5\"", "resumes = \"yes\"").await;
    acme.subscribed().await;
    acme.publish("acme/cmd/a", "retry").await;
    acme.feed(|feed| feed["calls"].as_u64() > Some(0)).await;
    // A kill while the plugin still wants the message later: the broker has it.
    let setup = acme.gateway.kill();
    acme.gateway = setup.run();
    // It is sent again, marked as such, and is not acknowledged while the plugin wants it later.
    acme.feed(|_| acme.broker.log().contains("(d1, q1, r0")).await;
    assert!(!acme.broker.log().contains("Received PUBACK from bessai"), "{}", acme.broker.log());
    let waits = acme.feed(|feed| feed["connected"] == json!(true)).await;
    assert_eq!((&waits["commands"]["received"], &waits["commands"]["dropped"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_plugin_is_provisioned_before_it_gets_events() {
    let mut acme = Commanded::start("", "provision = \"yes\"").await;
    acme.subscribed().await;
    let birth = acme.customer.next("acme/birth").await;
    assert_eq!(birth.payload, "");
    let lag = acme.feed(|feed| feed["lag"].as_u64() >= Some(2)).await;
    assert_eq!(lag["delivered"], json!(0), "no event is handed over");
    acme.publish("acme/cmd/assigned", "assign hub-7").await;
    let next = acme.customer.wait_for("", |message| message.topic != "acme/cmd/assigned").await;
    assert_eq!((next.topic.as_str(), next.payload.as_str()), ("acme/birth", "hub-7"));
    acme.customer.next("acme/frame").await;
    acme.feed(|feed| feed["sign_ins"] == json!(2)).await;
}

#[tokio::test]
async fn keys_in_pem_sign_without_being_seen() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    let made = Command::new("openssl").args(["ecparam", "-name", "prime256v1", "-genkey", "-out"]).arg(&key).status();
    assert!(made.unwrap().success());
    let pem = std::fs::read(&key).unwrap();
    let config = "[secrets]\npem = { file = \"key.pem\" }";
    let extend = |setup: Setup| setup.file("plugins/key.pem", &pem);
    let mut acme = Commanded::with(Broker::start(), "", config, extend).await;
    acme.subscribed().await;
    acme.publish("acme/cmd/a", "sign es256").await;
    assert_eq!(acme.answer().await, "64 bytes");
    acme.publish("acme/cmd/a", "sign rs256").await;
    let refused = acme.answer().await;
    assert!(refused.contains("the secret holds a key `EC PRIVATE KEY`, and RS256 needs an RSA key"), "{refused}");
}

#[tokio::test]
async fn a_plugin_that_was_built_for_0_1_delivers_as_before() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let key = hub::encoded(hub::KEY);
    let feed = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n\
         [config]\nhub = \"{}\"\n",
        hub.port,
        hub::NAME
    );
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    let setup = setup.file("plugins/key", key).file("plugins/signer.toml", feed);
    let gateway = setup.file("plugins/signer.wasm", guests::signer_of_0_1()).run();
    assert!(matches!(hub.next().await, HubEvent::Connect { .. }));
    assert_eq!(hub.message().await, json!({ "says": "birth", "sign_ins": 1 }));
    for _ in 0..5 {
        assert!(hub.message().await["sequence"].is_u64());
    }
    assert!(gateway.stop().await.success());
}
