//! The plugins json-commands and spec-003 with mosquitto.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::publisher::publish;
use crate::support::subscriber::{ReceivedMessage, Subscriber};

/// A gateway whose only feed has this plugin and these tables.
fn setup(device: &Device, broker: &Broker, plugin: &str, tables: &str) -> Setup {
    let feed = format!("[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n{tables}", broker.port);
    let wasm = std::fs::read(component(plugin)).unwrap();
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    setup.file("plugins/customer.toml", feed).file("plugins/customer.wasm", wasm)
}

async fn subscribed(gateway: &Gateway) {
    let is_subscribed = |health: &Value| {
        health["feeds"]["customer"]["commands"]["subscriptions"]["SITE-CL-001/cmd/+/+"] == json!("QoS 1")
    };
    gateway.wait_for_health("the subscription", is_subscribed).await;
}

const COMMANDS: &str =
    "protocol = \"3.1.1\"\n[rights]\nsubscribe = [\"SITE-CL-001/cmd/#\"]\ntopics = [\"SITE-CL-001/answer/#\"]\n";

#[tokio::test]
async fn each_command_is_answered_with_its_reference_or_the_mistake() {
    let (device, broker) = (Device::huawei(), Broker::start());
    // Retained before the gateway subscribes.
    publish(broker.port, "SITE-CL-001/cmd/battery/power_kw", r#"{"value":1,"ref":"kept"}"#, true).await;
    let mut customer = Subscriber::with(broker.port, "SITE-CL-001/answer/#", None).await;
    let gateway = setup(&device, &broker, "json-commands", COMMANDS).run();
    subscribed(&gateway).await;
    let kept = customer.next("/battery/power_kw").await.json();
    assert_eq!((&kept["ref"], &kept["outcome"]), (&json!("kept"), &json!("refused")));
    assert!(kept["reason"].as_str().unwrap().contains("the command is retained, so it may be of any age"), "{kept}");
    for (topic, payload, reference, reason) in [
        ("battery/power_kw", r#"{"value": 20.0, "until_s": 60, "ref": "a1"}"#, json!("a1"), "[control] is off"),
        ("battery/power_kw", r#"{"value": 20.0}"#, Value::Null, "[control] is off"),
        ("battery/power_kw", r#"{"value": null, "ref": "a2"}"#, json!("a2"), "[control] is off"),
        ("battery/power_kw", r#"{"value": 20.0"#, Value::Null, "the payload is not JSON: invalid JSON at byte 14"),
        ("battery/power_kw", "20", Value::Null, "the payload is not a JSON object"),
        ("battery/power_kw", r#"{"ref":"a3"}"#, json!("a3"), "value is missing"),
        ("battery/power_kw", r#"{"value":1,"until":5,"ref":"a4"}"#, json!("a4"), "until is unknown"),
        (
            "battery/power_kw",
            r#"{"value":1,"until_s":0,"ref":"a5"}"#,
            json!("a5"),
            "until_s = 0: write seconds from now",
        ),
        ("battery/power_kw", r#"{"value":1,"until_s":1e9,"ref":"a6"}"#, json!("a6"), "at most 31536000"),
        ("battery/power_kw", r#"{"value":1,"ref":7}"#, Value::Null, "ref is not a text"),
        ("meter/power_kw", r#"{"value":1,"ref":"a7"}"#, json!("a7"), "the site has no device \"meter\""),
        ("battery/volume", r#"{"value":1,"ref":"a8"}"#, json!("a8"), "battery has no channel \"volume\""),
    ] {
        publish(broker.port, &format!("SITE-CL-001/cmd/{topic}"), payload, false).await;
        let answer = customer.next(topic).await.json();
        assert_eq!((&answer["ref"], &answer["outcome"]), (&reference, &json!("refused")), "{payload}: {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{payload}: {answer}");
    }
}

#[tokio::test]
async fn a_command_that_the_broker_kept_is_refused_as_old() {
    for session in ["protocol = \"3.1.1\"", "protocol = \"5\"\nsession_expiry = \"1h\""] {
        let (device, broker) = (Device::huawei(), Broker::start());
        let mut customer = Subscriber::with(broker.port, "SITE-CL-001/answer/#", None).await;
        let lines = COMMANDS.replace("protocol = \"3.1.1\"", &format!("{session}\nclean_start = false"));
        let gateway = setup(&device, &broker, "json-commands", &lines).run();
        subscribed(&gateway).await;
        let (status, setup) = gateway.stop_and_keep_setup().await;
        assert!(status.success());
        let topic = "SITE-CL-001/cmd/battery/power_kw";
        publish(broker.port, topic, r#"{"value": 20.0, "ref": "old"}"#, false).await;
        let gateway = setup.run();
        let answer = customer.next("/battery/power_kw").await.json();
        let reason = "the command is old: the broker or the gateway kept it for a while; publish it again";
        assert_eq!(answer, json!({ "ref": "old", "outcome": "refused", "reason": reason }), "{session}");
        gateway.wait_for_log(&format!("a command on {topic} is refused: the command is old")).await;
    }
}

#[tokio::test]
async fn telemetry_and_safety_events_have_the_envelope_of_spec_003() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut consumer = Subscriber::with(broker.port, "bessai/#", None).await;
    let limits = "[safety]\ntemp_c = { max = 45 }\n";
    let setup = setup(&device, &broker, "spec-003", "[rights]\ntopics = [\"bessai/#\"]\n").file("bessai.toml", limits);
    let _gateway = setup.run();
    let envelope = |message: &Value, message_type: &str| {
        let members: Vec<_> = message.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members.len(), 5, "{message}");
        assert_eq!(message["schema_version"], "1.0");
        assert_eq!(message["message_type"], message_type);
        assert_eq!(message["site_id"], "SITE-CL-001");
        let at = message["timestamp"].as_str().unwrap();
        assert!(at.len() >= 20 && at.contains('T') && at.ends_with('Z'), "{at}");
        message["payload"].clone()
    };
    let telemetry = consumer.next("bessai/SITE-CL-001/telemetry").await.json();
    let payload = envelope(&telemetry, "telemetry");
    for (name, expected) in [
        ("soc_pct", json!(72.3)),
        ("power_kw", json!(-85.5)),
        ("temperature_c", json!(28.1)),
        ("mode", json!(1)),
        ("driver_source", json!("battery")),
    ] {
        assert_eq!(payload[name], expected, "{name}: {payload}");
    }
    assert!(payload["alarm_code"].is_u64(), "{payload}");
    device.set("temp_c", 60.0);
    let message =
        consumer.wait_for("/safety_event", |message| message.json()["payload"]["event_type"] == "DISPATCH_BLOCKED");
    let message = message.await;
    assert_eq!(message.qos, 1);
    let payload = envelope(&message.json(), "safety_event");
    assert_eq!((&payload["temperature_c"], &payload["resolution_required"]), (&json!(60.0), &json!(true)), "{payload}");
    assert!(payload["trigger_condition"].as_str().unwrap().starts_with("battery temp_c max: 60, limit"), "{payload}");
    device.set("temp_c", 28.1);
    let cleared =
        consumer.wait_for("/safety_event", |message| message.json()["payload"]["event_type"] == "SAFE_STATE_CLEARED");
    assert_eq!(envelope(&cleared.await.json(), "safety_event")["resolution_required"], false);
    // A battery that was this hot stays tripped.
    device.set("temp_c", 61.0);
    let entered =
        consumer.wait_for("/safety_event", |message| message.json()["payload"]["event_type"] == "SAFE_STATE_ENTERED");
    let payload = envelope(&entered.await.json(), "safety_event");
    assert!(payload["trigger_condition"].as_str().unwrap().starts_with("battery temp_c max: 61, limit"), "{payload}");
}

/// What `control reset-trip` prints, and whether it succeeds.
async fn reset_trip(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let output = gateway.output_beside(&[&["control", "reset-trip"], arguments].concat()).await;
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn a_trip_is_published_until_an_operator_resets_it_once_the_battery_is_cool() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut consumer = Subscriber::with(broker.port, "#", None).await;
    let setup = setup(&device, &broker, "spec-003", "[rights]\ntopics = [\"bessai/#\"]\n");
    let default = format!("[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port);
    let gateway = setup.file("plugins/default.toml", default).run();
    let is_safe = |message: &ReceivedMessage| message.json()["is_safe"] == json!(true);
    consumer.wait_for("SITE-CL-001/safety", is_safe).await;
    assert_eq!(reset_trip(&gateway, &[]).await, (true, "nothing has tripped\n".into()));

    device.set("temp_c", 61.0);
    let entered = |message: &ReceivedMessage| message.json()["payload"]["event_type"] == "SAFE_STATE_ENTERED";
    let payload = consumer.wait_for("/safety_event", entered).await.json()["payload"].clone();
    assert_eq!(payload["trigger_condition"], "battery temp_c max: 61, limit 60");
    assert_eq!((&payload["temperature_c"], &payload["resolution_required"]), (&json!(61.0), &json!(true)), "{payload}");
    consumer.wait_for("SITE-CL-001/safety", |message| !is_safe(message)).await;
    let (is_done, printed) = reset_trip(&gateway, &["battery"]).await;
    assert!(!is_done && printed.contains("battery stays tripped: temp_c is 61, and the limit is 60"), "{printed}");

    device.set("temp_c", 25.0);
    consumer
        .wait_for("bessai/SITE-CL-001/telemetry", |message| message.json()["payload"]["temperature_c"] == 25.0)
        .await;
    consumer.wait_for("SITE-CL-001/safety", |message| !is_safe(message)).await;
    assert_eq!(gateway.health().await["safety_status"], "BLOCKED");
    let reset = "reset: trip: battery/temp_c value 61, limit 60\n";
    assert_eq!(reset_trip(&gateway, &["battery"]).await, (true, reset.into()));
    let cleared = |message: &ReceivedMessage| message.json()["payload"]["event_type"] == "SAFE_STATE_CLEARED";
    let payload = consumer.wait_for("/safety_event", cleared).await.json()["payload"].clone();
    assert_eq!(
        (&payload["temperature_c"], &payload["resolution_required"]),
        (&json!(25.0), &json!(false)),
        "{payload}"
    );
    consumer.wait_for("SITE-CL-001/safety", is_safe).await;
    assert_eq!(gateway.health().await["safety_status"], "ok");
    assert_eq!(reset_trip(&gateway, &[]).await, (true, "nothing has tripped\n".into()));
}
