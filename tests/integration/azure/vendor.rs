//! Microsoft's own SDK for devices: it would send the same tokens and topics as the plugin, and the hub of these tests
//! takes it as it takes the gateway.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::*;
use crate::support::hub::provisioning::{Enrolment, Provisioning, derived_key};
use crate::support::{cache, root};

/// The script that runs the SDK, with the interpreter that scripts/setup installs.
fn sdk(arguments: &[&str]) -> Child {
    let python = cache().join("azure-iot-device/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/azure_iot_device_peer.py")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Fails unless the SDK makes the same of each entry.
fn sdk_agrees(sent: &[Value]) {
    let mut child = sdk(&["check"]);
    child.stdin.take().unwrap().write_all(json!(sent).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), format!("{} checks", sent.len()), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The filters of an event.
fn filters(event: CloudEvent) -> Option<Vec<String>> {
    match event {
        CloudEvent::Subscribed(filters) => Some(filters),
        _ => None,
    }
}

#[tokio::test]
async fn the_sdk_would_send_the_same_token_and_topics_to_a_hub() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = cloud.hub(Credential::Key(KEY.to_vec()), Clock::new(1.0)).await;
    let properties = json!({ "plant": "north & south", "a+b": "100 % #1/é" });
    let config = "properties = { plant = \"north & south\", \"a+b\" = \"100 % #1/é\" }";
    let _gateway = setup(&device, &cloud.feed(hub.port, config), KEY).run();
    let signed_in = hub.find("a sign-in", connect).await;
    let resource = format!("{HUB}/devices/{DEVICE}");
    let mut sent = vec![
        json!({ "check": "token", "token": signed_in.password, "key": encoded(KEY), "resource": resource }),
        json!({ "check": "hub_filters", "device": DEVICE, "filters": hub.find("subscriptions", filters).await }),
    ];
    for (method, resource) in [("GET", "/"), ("PATCH", "/properties/reported/")] {
        let beginning = format!("$iothub/twin/{method}");
        let find = |event| message(event).filter(|message| message.topic.starts_with(&beginning));
        let topic = hub.find(&beginning, find).await.topic;
        sent.push(json!({ "check": "twin", "method": method, "resource": resource, "topic": topic }));
    }
    let find = |event| message(event).filter(|message| reading(message).is_some());
    let telemetry = hub.find("a reading", find).await.topic;
    sent.push(json!({ "check": "telemetry", "device": DEVICE, "topic": telemetry, "properties": properties }));
    for (name, encoded_name, status) in [("status", "status", 200), ("re boot", "re%20boot", 404)] {
        let request = format!("$iothub/methods/POST/{encoded_name}/?$rid=1a");
        hub.send(DEVICE, &request, "{}", 0);
        let find = |event| message(event).filter(|message| message.topic.starts_with("$iothub/methods/res/"));
        let response = hub.find("a response", find).await.topic;
        sent.push(
            json!({ "check": "method", "name": name, "request": request, "response": response, "status": status }),
        );
    }
    let to = format!("devices/{DEVICE}/messages/devicebound/%24.mid=order%201");
    hub.send(DEVICE, &to, r#"{"device":"battery","channel":"power_kw","value":20.0}"#, 1);
    let find = |event| message(event).filter(|message| message.topic.contains("cid="));
    let topic = hub.find("an answer", find).await.topic;
    sent.push(json!({ "check": "telemetry", "device": DEVICE, "topic": topic, "properties": properties,
        "correlation_id": "order 1" }));
    sdk_agrees(&sent);
}

#[tokio::test]
async fn the_sdk_would_send_the_same_token_and_topics_to_the_provisioning_service() {
    let (device, cloud) = (Device::huawei(), Cloud::new());
    let group = b"the key of an enrolment group";
    let service = Provisioning::new("0ne1", Enrolment::Group(group.to_vec()), "hub.example.com", DEVICE);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut service = cloud.serve("localhost", address, Clock::new(1.0), service).await.unwrap();
    let feed = format!(
        "{}[secrets]\ngroup-key = {{ file = \"key\", encoding = \"base64\" }}\n\
         [config.provisioning]\nid_scope = \"0ne1\"\nregistration_id = \"site-1\"\n\
         [rights]\ntopics = [\"$dps/#\"]\nsubscribe = [\"$dps/registrations/res/#\"]\n",
        cloud.broker(service.port, "")
    );
    let _gateway = setup(&device, &feed, group).run();
    let signed_in = service.find("a sign-in", connect).await;
    let filters = service.find("subscriptions", filters).await;
    let register = service.find("a registration", message).await.topic;
    let query = service.find("a question", message).await.topic;
    let operation = query.split_once("&operationId=").unwrap().1;
    let key = encoded(&derived_key(group, "site-1"));
    sdk_agrees(&[
        json!({ "check": "token", "token": signed_in.password, "key": key,
            "resource": "0ne1/registrations/site-1", "policy": "registration" }),
        json!({ "check": "provisioning", "filters": filters, "register": register, "query": query,
            "operation": operation }),
    ]);
}

/// The SDK as a client; ends when dropped.
struct Client {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut child = sdk(arguments);
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// What it says next under this key.
    async fn says(&mut self, key: &str) -> Value {
        let waiting = async {
            loop {
                match self.lines.try_recv() {
                    Ok(line) => return serde_json::from_str::<Value>(&line).unwrap(),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        };
        let said = crate::support::within(&format!("{key} of the SDK"), waiting).await;
        said.get(key).unwrap_or_else(|| panic!("{said} instead of {key}")).clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_hub_of_these_tests_takes_the_sdk() {
    let cloud = Cloud::new();
    let mut hub = cloud.hub(Credential::Key(KEY.to_vec()), Clock::new(1.0)).await;
    let (port, ca) = (hub.port.to_string(), cloud.authority.pem.certificate.display().to_string());
    let mut client = Client::start(&["client", &port, &ca, &encoded(KEY), HUB, DEVICE]);
    assert_eq!(client.says("twin").await["desired"]["$version"], json!(1));
    client.says("sent").await;
    assert_eq!(hub.service.reported()["firmware"], json!("1.2"));
    let find = |event| message(event).filter(|message| message.topic.starts_with("devices/"));
    let telemetry = hub.find("a message", find).await;
    assert!(telemetry.topic.ends_with("&plant=north%20%26%20south"), "{telemetry:?}");
    hub.send(DEVICE, "$iothub/methods/POST/re%20boot/?$rid=1a", r#"{"in":5}"#, 0);
    assert_eq!(client.says("method").await, json!(["re boot", { "in": 5 }]));
    let find = |event| message(event).filter(|message| message.topic.starts_with("$iothub/methods/res/200/?$rid=1a"));
    assert_eq!(hub.find("a response", find).await.payload, br#"{"done": "re boot"}"#);
    hub.send(DEVICE, &format!("devices/{DEVICE}/messages/devicebound/%24.mid=m%201"), "hello", 1);
    assert_eq!(client.says("message").await, json!(["m 1", "hello"]));
    let (topic, payload) = hub.service.desire(&json!({ "interval": "5s" }));
    hub.send(DEVICE, &topic, payload, 1);
    assert_eq!(client.says("desired").await["interval"], json!("5s"));
    drop(client.child.stdin.take());
    let end = |event| match event {
        CloudEvent::Ended(end) => Some(end),
        _ => None,
    };
    assert_eq!(hub.find("the end", end).await, End::Disconnect);
}

#[tokio::test]
async fn the_provisioning_service_of_these_tests_takes_the_sdk() {
    let cloud = Cloud::new();
    let group = b"the key of an enrolment group";
    let service = Provisioning::new("0ne1", Enrolment::Group(group.to_vec()), "hub.example.com", DEVICE);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = cloud.serve("localhost", address, Clock::new(1.0), service).await.unwrap();
    let (port, ca) = (service.port.to_string(), cloud.authority.pem.certificate.display().to_string());
    let key = encoded(&derived_key(group, "site-1"));
    let mut client = Client::start(&["register", &port, &ca, &key, "0ne1", "site-1"]);
    assert_eq!(client.says("assigned").await, json!(["assigned", "hub.example.com", DEVICE]));
}
