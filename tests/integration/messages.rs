//! The messages of the default feed: telemetry, safety, heartbeat, status and set-points.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::root;
use crate::support::subscriber::{ReceivedMessage, Subscriber};

fn keys(message: &ReceivedMessage) -> Vec<String> {
    message.json().as_object().unwrap().keys().cloned().collect()
}

fn unix_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn the_required_variables_are_enough_for_every_message() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let started = unix_seconds();
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();

    let telemetry = subscriber.next("SITE-CL-001/telemetry").await;
    let object = telemetry.json();
    let ts = object["ts"].as_f64().unwrap();
    assert!(ts >= started && ts <= unix_seconds(), "{ts}");
    let expected = format!(
        r#"{{"ts":{},"site_id":"SITE-CL-001","soc_pct":72.3,"power_kw":-85.5,"temp_c":28.1}}"#,
        // As written in the payload: parsing the number may change its last digit.
        telemetry.payload.trim_start_matches("{\"ts\":").split(',').next().unwrap()
    );
    assert_eq!(telemetry.payload, expected);
    assert!(!telemetry.retain);

    let safety = subscriber.next("SITE-CL-001/safety").await;
    assert_eq!(keys(&safety), ["ts", "site_id", "is_safe", "watchdog"]);
    assert_eq!((&safety.json()["is_safe"], &safety.json()["watchdog"]), (&json!(true), &json!("ok")));
    let heartbeat = subscriber.next("SITE-CL-001/system/heartbeat").await;
    assert_eq!(keys(&heartbeat), ["ts", "site_id"]);
    assert_eq!(gateway.health().await["status"], "healthy");
    assert!(broker.log().contains("bessai-SITE-CL-001 (p5, c1, k60)"), "{}", broker.log());

    assert_eq!(gateway.stop().await.code(), Some(0));
    let status = subscriber.next("SITE-CL-001/system/status").await;
    assert_eq!(status.payload, "offline");
}

#[tokio::test]
async fn the_status_topic_shows_online_and_offline() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    assert_eq!(subscriber.next("system/status").await.payload, "online");
    drop(gateway);
    assert_eq!(subscriber.next("system/status").await.payload, "offline");
}

#[tokio::test]
async fn heartbeat_and_safety_are_repeated() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let ts = |message: ReceivedMessage| message.json()["ts"].as_f64().unwrap();
    for topic in ["system/heartbeat", "/safety"] {
        let first = ts(subscriber.next(topic).await);
        let second = ts(subscriber.next(topic).await);
        assert!(second - first < 6.0, "{topic}: {first} {second}");
    }
}

#[tokio::test]
async fn safety_violations_and_their_ends_are_published() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    // Refused from 45 °C on; with the default limits set-points are only halved there.
    let settings = "[safety]\ntemp_c = { max = 45 }\n";
    let gateway = Setup::new().device(device.port()).broker(broker.url()).file("bessai.toml", settings).run();
    let is_safe = |message: &ReceivedMessage| message.json()["is_safe"].as_bool().unwrap();
    subscriber.wait_for("/safety", is_safe).await;
    for (channel, bad, good) in [("soc_pct", 99.0, 72.3), ("soc_pct", 5.0, 72.3), ("temp_c", 45.1, 45.0)] {
        device.set(channel, bad);
        subscriber.wait_for("/safety", |message| !is_safe(message)).await;
        subscriber.wait_for("/telemetry", |message| message.json()[channel] == json!(bad)).await;
        device.set(channel, good);
        subscriber.wait_for("/safety", is_safe).await;
    }
    gateway.wait_for_log("the battery is not safe: temp_c violates max").await;
}

#[tokio::test]
async fn a_hot_battery_is_derated_first_and_trips_until_it_is_reset_also_over_a_kill() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let is_safe = |message: &ReceivedMessage| message.json()["is_safe"].as_bool().unwrap();
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    subscriber.wait_for("/safety", is_safe).await;
    device.set("temp_c", 50.0);
    gateway.wait_for_log("set-points of battery are reduced: temp_c is 50, limit 45 (rule derate)").await;
    subscriber.wait_for("/safety", is_safe).await;
    device.set("temp_c", 60.5);
    gateway.wait_for_log("battery tripped: temp_c was 60.5, limit 60").await;
    subscriber.wait_for("/safety", |message| !is_safe(message)).await;
    device.set("temp_c", 25.0);
    subscriber.wait_for("/telemetry", |message| message.json()["temp_c"] == json!(25.0)).await;
    subscriber.wait_for("/safety", |message| !is_safe(message)).await;
    let gateway = gateway.kill().run();
    gateway.wait_for_log("battery tripped before the restart: temp_c was 60.5, limit 60").await;
    subscriber.wait_for("/telemetry", |message| message.json()["temp_c"] == json!(25.0)).await;
    assert_eq!(gateway.health().await["safety_status"], "BLOCKED");
}

#[tokio::test]
async fn safety_limits_are_configurable() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let settings = "[safety]\nsoc_pct = { min = 80, max = 95 }\n";
    let _gateway = Setup::new().device(device.port()).broker(broker.url()).file("bessai.toml", settings).run();
    subscriber.wait_for("/safety", |message| message.json()["is_safe"] == json!(false)).await;
}

#[tokio::test]
async fn a_profile_of_the_python_gateway_works_unchanged() {
    let (device, broker) = (Device::huawei(), Broker::start());
    device.registers.set(1, bessai_simulator::registers::Table::Holding, 0, &[72, 28, 0xde9a, 1, 50, 230, 0]);
    let register = |address: u16, kind: &str, unit: &str| json!({ "address": address, "count": 1, "type": kind, "access": "RO", "scale": 1, "unit": unit, "description": "" });
    let profile = json!({
        "profile_version": "2.0.0",
        "device": { "manufacturer": "M", "model": "Simulator", "protocol": "ModbusTCP" },
        "connection": { "byte_order": "BIG", "word_order": "BIG", "timeout_seconds": 3, "retries": 1 },
        "driver": { "protocol": "modbus_tcp", "endpoint": "localhost", "port": 5020, "slave_id": 1 },
        "registers": {
            "soc": register(0, "UINT16", "%"),
            "temp_c": register(1, "UINT16", "°C"),
            "active_power": register(2, "INT16", "W"),
        },
    });
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let _gateway =
        setup.file("registry/box.json", profile.to_string()).with("DRIVER_PROFILE_PATH", "registry/box.json").run();
    let mut telemetry = subscriber.next("/telemetry").await.json();
    telemetry.as_object_mut().unwrap().remove("ts");
    assert_eq!(telemetry, json!({"site_id": "SITE-CL-001", "soc_pct": 72.0, "power_kw": -8.55, "temp_c": 28.0}));
}

#[tokio::test]
async fn every_register_format_is_read_from_both_tables_and_two_units() {
    use bessai_simulator::registers::Table;
    let (device, broker) = (Device::huawei(), Broker::start());
    device.registers.set(1, Table::Input, 10, &[0xff9c, 0xfff0, 0x86a0, 0x0001, 0x0000, 0x4120, 0x2041, 0x0000]);
    device.registers.set(7, Table::Holding, 20, &[0xffff, 0xffff, 0xffff, 0xfffe, 0, 1, 0, 0, 0x4024, 0, 0, 0]);
    let profile = r#"
        table = "input"
        [points]
        a = { channel = "soc_pct", address = 10, type = "int16", scale = 0.1, offset = 60, unit = "%" }
        b = { address = 11, type = "uint16", scale = 1 }
        c = { address = 12, type = "uint32", word_order = "little", scale = 0.001 }
        d = { address = 14, type = "float32", word_order = "little", scale = 1 }
        e = { address = 16, type = "float32", byte_order = "little", scale = 1 }
        f = { address = 20, type = "int64", table = "holding", unit_id = 7, scale = 1 }
        g = { address = 24, type = "uint64", table = "holding", unit_id = 7, scale = 1 }
        h = { address = 28, type = "float64", table = "holding", unit_id = 7, scale = 0.5 }
        i = { address = 20, type = "int32", table = "holding", unit_id = 1, scale = 1 }
    "#;
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("box.toml", profile);
    let all = setup.file("plugins/default.toml", "[config]\nchannels = \"all\"\n");
    let _gateway = all.with("DRIVER_PROFILE_PATH", "box.toml").run();
    let telemetry = subscriber.next("/telemetry").await.json();
    let expected: [(&str, f64); 9] = [
        ("soc_pct", 50.0),
        ("b", 65520.0),
        ("c", 100.0),
        ("d", 10.0),
        ("e", 10.0),
        ("f", -2.0),
        ("g", 4_294_967_296.0),
        ("h", 5.0),
        ("i", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(telemetry[name].as_f64(), Some(value), "{name} of {telemetry}");
    }
}

#[tokio::test]
async fn a_model_proposes_a_set_point() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let model = |name: &str| std::fs::read(root().join("models").join(name)).unwrap();
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup =
        setup.file("models/dispatch.onnx", model("dispatch.onnx")).file("models/dispatch.toml", model("dispatch.toml"));
    let settings = "[[model]]\nname = \"dispatch\"\nfile = \"models/dispatch.onnx\"\n";
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = setup.file("bessai.toml", settings).run();
    let dispatch = subscriber.next("/ai/dispatch").await;
    assert_eq!(keys(&dispatch), ["ts", "site_id", "dispatch_kw", "inference_ms", "model", "shadow"]);
    // The model's formula counts charging as positive, the message counts discharging as positive.
    let charge = ((-2.0 * 72.3 + 0.25 * -85.5 + 110.0) / 60.0_f64).tanh() * 60.0;
    let target = dispatch.json()["dispatch_kw"].as_f64().unwrap();
    assert!((target + charge).abs() < 0.001, "{target} {charge}");
    let telemetry = subscriber.next("/telemetry").await;
    let same = subscriber.next("/ai/dispatch").await;
    assert_eq!(telemetry.json()["ts"], same.json()["ts"], "a set-point carries the time of its reading");
}

#[tokio::test]
async fn a_missing_or_invalid_model_is_logged_once_and_telemetry_continues() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let settings =
        "[[model]]\nname = \"gone\"\nfile = \"gone.onnx\"\n[[model]]\nname = \"text\"\nfile = \"text.onnx\"\n";
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("bessai.toml", settings);
    let gateway = setup.file("text.onnx", "not a model").run();
    for _ in 0..5 {
        subscriber.next("/telemetry").await;
    }
    gateway.wait_for_log("gone.onnx is disabled: ").await;
    gateway.wait_for_log("text.onnx is disabled: ").await;
    assert_eq!((gateway.log_count("gone.onnx is disabled: "), gateway.log_count("text.onnx is disabled: ")), (1, 1));
}

#[tokio::test]
async fn further_devices_publish_on_their_own_topics() {
    let (first, second, broker) = (Device::huawei(), Device::huawei(), Broker::start());
    second.set("soc_pct", 33.3);
    let device = |name: &str, port: u16| {
        format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
    };
    let settings = device("one", first.port()) + &device("two", second.port());
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = Setup::new().broker(broker.url()).file("bessai.toml", settings).run();
    let soc = |message: ReceivedMessage| -> Value { message.json()["soc_pct"].clone() };
    assert_eq!(soc(subscriber.next("SITE-CL-001/two/telemetry").await), json!(33.3));
    assert_eq!(soc(subscriber.next("SITE-CL-001/telemetry").await), json!(72.3));
}
