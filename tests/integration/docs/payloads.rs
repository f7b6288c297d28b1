//! Samples of JSON and YAML against what the gateway really publishes and serves.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::docs::page::{Block, pages};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;
use crate::support::{root, within};

const SITE: &str = "SITE-CL-001";

fn samples(info: &str) -> Vec<Block> {
    let blocks: Vec<_> = pages().into_iter().flat_map(|page| page.blocks).filter(|block| block.info == info).collect();
    assert!(!blocks.is_empty(), "no page has a sample `{info}`");
    blocks
}

fn parsed(block: &Block) -> Value {
    serde_json::from_str(&block.body).unwrap_or_else(|error| panic!("{}:{}: {error}", block.page, block.line))
}

/// The paths of all members, such as `feeds.default.lag`.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        members(value, &path, found);
        found.insert(path);
    }
}

fn members_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    members(value, "", &mut found);
    found
}

/// A gateway with the documented model.
async fn with_model(device: &Device, broker: &Broker) -> (Gateway, Subscriber) {
    let manifest = samples("toml models/dispatch.toml").remove(0).body;
    let model = std::fs::read(root().join("models/dispatch.onnx")).unwrap();
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup = setup.file("models/dispatch.onnx", model).file("models/dispatch.toml", manifest);
    let subscriber = Subscriber::start(broker.port).await;
    (setup.file("bessai.toml", "[[model]]\nfile = \"models/dispatch.onnx\"\n").run(), subscriber)
}

#[tokio::test]
async fn payloads_have_the_documented_fields() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let (gateway, mut subscriber) = with_model(&device, &broker).await;
    for (info, topic) in [
        ("json telemetry", "telemetry"),
        ("json safety", "safety"),
        ("json dispatch", "ai/dispatch"),
        ("json heartbeat", "system/heartbeat"),
    ] {
        let heard = subscriber.next(&format!("{SITE}/{topic}")).await.json();
        for block in samples(info) {
            assert_eq!(members_of(&parsed(&block)), members_of(&heard), "{}:{}", block.page, block.line);
        }
    }
    assert_eq!(gateway.log_count("is not used"), 0, "{}", gateway.log());
}

#[tokio::test]
async fn a_score_has_the_documented_fields() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let model = std::fs::read(root().join("models/anomaly.onnx")).unwrap();
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("models/anomaly.onnx", model);
    let _gateway = setup.file("bessai.toml", "[[model]]\nfile = \"models/anomaly.onnx\"\n").run();
    let heard = subscriber.next(&format!("{SITE}/ai/ids")).await.json();
    for block in samples("json anomaly") {
        assert_eq!(members_of(&parsed(&block)), members_of(&heard), "{}:{}", block.page, block.line);
    }
}

#[tokio::test]
async fn health_has_the_documented_fields() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let (gateway, _subscriber) = with_model(&device, &broker).await;
    let mut health = gateway.wait_for_health("health", |health| health["status"] == "healthy").await;
    // One task stands for all in the sample.
    health["tasks"].as_object_mut().unwrap().retain(|task, _| task == "pipeline");
    for block in samples("json health") {
        assert_eq!(members_of(&parsed(&block)), members_of(&health), "{}:{}", block.page, block.line);
        let page = crate::docs::page::page(&block.page);
        let rows = page.tables_under("health").concat();
        let named: BTreeSet<_> = rows.iter().flat_map(|row| crate::docs::page::spans(&row[0])).collect();
        let named: BTreeSet<_> = named.iter().filter_map(|(_, name)| name.rsplit('.').next()).collect();
        let groups =
            ["devices", "battery", "journal", "log", "feeds", "default", "tasks", "pipeline", "models", "dispatch"];
        let fields: BTreeSet<_> = members_of(&health).iter().map(|path| last(path)).collect();
        let missing: Vec<_> = fields
            .iter()
            .filter(|field| !groups.contains(&field.as_str()) && !named.contains(field.as_str()))
            .collect();
        assert!(missing.is_empty(), "{}: no row for {missing:?}", block.page);
    }
}

fn last(path: &str) -> String {
    path.rsplit('.').next().unwrap_or_default().to_owned()
}

#[test]
fn the_policy_allows_what_the_gateway_does() {
    for block in samples("json policy") {
        let policy = parsed(&block);
        let statements = policy["Statement"].as_array().unwrap();
        let allows = |action: &str, resource: &str| {
            let of_action = statements.iter().filter(|statement| statement["Action"] == action);
            let mut patterns =
                of_action.map(|statement| statement["Resource"].as_str().unwrap().splitn(6, ':').last().unwrap());
            patterns.any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => resource.starts_with(beginning),
                None => resource == pattern,
            })
        };
        let id = client_id(&block);
        assert!(allows("iot:Connect", &format!("client/{id}")), "{}: client id {id}", block.page);
        for topic in ["telemetry", "meter/telemetry", "safety", "ai/dispatch", "system/heartbeat", "system/status"] {
            assert!(allows("iot:Publish", &format!("topic/{SITE}/{topic}")), "{}: {topic}", block.page);
        }
        assert!(allows("iot:RetainPublish", &format!("topic/{SITE}/system/status")), "{}", block.page);
    }
}

/// The client id of the page's next sample of variables.
fn client_id(policy: &Block) -> String {
    let page = crate::docs::page::page(&policy.page);
    let next = page.blocks.iter().find(|block| block.line > policy.line && block.info.starts_with("dotenv")).unwrap();
    let line = next.body.lines().find_map(|line| line.strip_prefix("MQTT_CLIENT_ID=")).unwrap();
    line.trim().to_owned()
}

#[tokio::test]
async fn home_assistant_reads_what_is_published() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let status = within("the status", subscriber.next("/system/status")).await;
    assert_eq!(status.payload, "online");
    let telemetry = subscriber.next(&format!("{SITE}/telemetry")).await.json();
    for block in samples("yaml configuration.yaml") {
        let values = |key: &str| -> Vec<_> {
            let beginning = format!("{key}: ");
            let lines =
                block.body.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(&beginning));
            lines.map(|value| value.trim_matches('"').to_owned()).collect()
        };
        assert_eq!(values("name").len(), 2, "{}", block.page);
        assert!(values("state_topic").iter().all(|topic| *topic == format!("{SITE}/telemetry")));
        assert!(values("availability_topic").iter().all(|topic| *topic == status.topic));
        for template in values("value_template") {
            let field = template.trim_start_matches("{{ value_json.").trim_end_matches(" }}");
            assert!(telemetry[field].is_number(), "{}: {template}: {telemetry}", block.page);
        }
    }
}

#[test]
fn the_compose_file_mounts_what_the_settings_name() {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    for block in samples("yaml docker-compose.yml") {
        for mounted in ["/var/lib/bessai", "/var/lib/bessai/config:ro", "/var/lib/bessai/plugins:ro", "/certs:ro"] {
            assert!(block.body.contains(&format!(":{mounted}\n")), "{}: {mounted}", block.page);
        }
        let port = block.body.lines().find_map(|line| line.trim().strip_prefix("- \"127.0.0.1:8000:")).unwrap();
        assert!(dockerfile.contains(&format!("EXPOSE {}", port.trim_end_matches('"'))), "{}", block.page);
        assert!(dockerfile.contains("VOLUME /var/lib/bessai"), "{}", block.page);
    }
}
