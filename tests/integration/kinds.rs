//! A gateway at a broker of a known kind, which the scripted broker stands in for.

use bessai_simulator::scripted::{Script, ScriptedBroker};

use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::guests;
use crate::support::within;

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The settings of a feed of the shipped plugin at this broker.
fn feed(kind: &str, port: u16, more: &str) -> String {
    format!("[broker]\nkind = \"{kind}\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{more}\n")
}

#[tokio::test]
async fn an_iot_hub_gets_no_topic_of_the_site_and_no_will() {
    let (device, broker) = (Device::huawei(), ScriptedBroker::start(Script::default()).await.unwrap());
    let file = feed("azure-iot-hub", broker.address().port(), "client_id = \"site001\"");
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", file);
    let checked = setup.output(&["check"]);
    let shown = text(&checked);
    assert!(checked.status.success(), "{shown}");
    for expected in [
        "limits of Azure IoT Hub (kind = \"azure-iot-hub\"): payloads up to 262144 bytes, QoS up to 1, nothing retained, its own \
         topics only, 16 messages in flight, keep_alive up to 1177 s, MQTT 3.1.1",
        "so all of them go to the quarantine; write `enabled = false` in default.toml",
        "Azure IoT Hub accepts TLS only",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    let gateway = setup.run();
    let is_apart = |health: &serde_json::Value| health["feeds"]["default"]["set_aside"].as_u64() > Some(2);
    gateway.wait_for_health("messages in the quarantine", is_apart).await;
    gateway
        .wait_for_log("Azure IoT Hub takes messages to its own topics only, such as devices/+/messages/events/")
        .await;
    broker.inspect(|recording| {
        assert!(recording.messages.is_empty() && recording.violations.is_empty(), "{recording:?}");
        let connect = &recording.connects[0];
        assert_eq!((connect.level, connect.will.clone(), connect.client_id.as_str()), (4, None, "site001"));
        assert_eq!(recording.connects.len(), 1);
    });
}

#[tokio::test]
async fn a_plugin_signs_in_and_publishes_within_the_limits_of_its_kind() {
    let (device, broker) = (Device::huawei(), ScriptedBroker::start(Script::default()).await.unwrap());
    let port = broker.address().port();
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://127.0.0.1:{port}"));
    let key = "c2VjcmV0";
    let file = format!(
        "{}[secrets]\ndevice-key = \"{key}\"\n[config]\nhub = \"127.0.0.1\"\ndevice = \"site001\"\n",
        feed("azure-iot-hub", port, "")
    );
    let file =
        file.replace(&format!("device-key = \"{key}\""), "device-key = { file = \"key\", encoding = \"base64\" }");
    let setup = setup.file("plugins/key", key).file("plugins/default.toml", "enabled = false");
    let gateway = setup.file("plugins/azure.toml", file).file("plugins/azure.wasm", guests::signer()).run();
    within("a message", broker.wait_until(|recording| recording.messages.len() > 1)).await;
    broker.inspect(|recording| {
        let topics: Vec<_> = recording.messages.iter().map(|message| message.topic.as_str()).collect();
        assert!(topics.iter().all(|topic| topic.starts_with("devices/site001/messages/events/")), "{topics:?}");
    });
    assert_eq!(gateway.health().await["feeds"]["azure"]["set_aside"], 0, "{}", gateway.log());
}
