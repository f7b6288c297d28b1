//! The plugin aws-iot-core at a broker with client certificates and AWS's limits, and the AWS SDK as the application.

use std::collections::BTreeMap;

use bessai_simulator::scripted::{ConnectReply, Script, ScriptedBroker};
use serde_json::{Value, json};

use crate::support::alpn_server::alpn_server;
use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::{Authority, Pem};
use crate::support::component;
use crate::support::device::Device;
use crate::support::folder;
use crate::support::gateway::Setup;
use crate::support::http_proxy::{HttpProxy, ProxyRules};
use crate::support::peer::Peer;
use crate::support::subscriber::Subscriber;
use crate::support::within;

/// The largest payload and the most slashes of a topic that AWS accepts.
const PAYLOAD_BYTES: u64 = 131_072;
const SLASHES: usize = 7;
/// The messages that AWS accepts in a second over a connection.
const MESSAGES_PER_S: u32 = 100;

/// The certificates of the broker, the thing and the application, all of one authority.
struct Identities {
    _folder: tempfile::TempDir,
    authority: Authority,
    broker: Pem,
    thing: Pem,
    app: Pem,
}

impl Identities {
    fn new() -> Self {
        let folder = folder();
        let authority = Authority::new(folder.path(), "ca");
        let (broker, thing, app) = (authority.sign("localhost"), authority.sign("edge-1"), authority.sign("app"));
        Self { _folder: folder, authority, broker, thing, app }
    }

    /// A broker that a thing may use as AWS's usual policy has it: its own topics, and those of its shadow.
    fn start_broker(&self) -> Broker {
        let rules = self._folder.path().join("rules");
        let text = "user app\ntopic readwrite #\ntopic readwrite $aws/#\n\
                    pattern write %u/#\npattern write $aws/rules/telemetry/%u/#\npattern readwrite $aws/things/%u/shadow/#\n";
        std::fs::write(&rules, text).unwrap();
        let acl = format!("acl_file {}", rules.display());
        let lines = ["use_identity_as_username true", "message_size_limit 131072", "max_qos 1", &acl];
        Broker::with(&BrokerSetup {
            certificate: Some(&self.broker),
            clients_ca: Some(&self.authority.pem),
            lines: &lines,
            ..BrokerSetup::default()
        })
    }

    async fn start_app(&self, port: u16) -> Peer {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let (ca, pem) = (path(&self.authority.pem.certificate), &self.app);
        let arguments = [port.to_string(), ca, path(&pem.certificate), path(&pem.key), "edge-1".into()];
        let mut app = Peer::start("aws", "aws_app.py", &arguments.each_ref().map(String::as_str));
        assert_eq!(app.next().await, json!({ "ready": true }));
        app
    }

    fn setup(&self, device: &Device, port: u16, config: &str) -> Setup {
        setup(device, &format!("url = \"mqtts://localhost:{port}\"\n{}", self.files()), config)
    }

    /// The lines of `[broker]` that name the thing's files.
    fn files(&self) -> String {
        let (ca, thing) = (&self.authority.pem.certificate, &self.thing);
        format!("ca = {ca:?}\ncert = {:?}\nkey = {:?}", thing.certificate, thing.key)
    }
}

/// A gateway that is the thing; `broker`: further lines of `[broker]`, `config`: of `[config]`.
fn setup(device: &Device, broker: &str, config: &str) -> Setup {
    let feed = format!(
        "[broker]\nkind = \"aws-iot\"\n{broker}\n[config]\nthing = \"edge-1\"\n{config}\n\
         [rights]\ntopics = [\"edge-1/#\", \"$aws/things/edge-1/shadow/#\", \"$aws/rules/telemetry/#\"]\n\
         subscribe = [\"$aws/things/edge-1/shadow/#\"]\n"
    );
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    let wasm = std::fs::read(component("aws-iot-core")).unwrap();
    setup.file("plugins/aws.toml", feed).file("plugins/aws.wasm", wasm)
}

/// The next message that meets a condition; each one before it keeps AWS's limits, too.
async fn next(app: &mut Peer, condition: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = app.next().await;
        if let Some(topic) = message["topic"].as_str() {
            let counted = topic.strip_prefix("$aws/rules/telemetry/").unwrap_or(topic);
            assert!(counted.matches('/').count() <= SLASHES && counted.len() <= 256, "{message}");
            assert!(message["size"].as_u64().unwrap() <= PAYLOAD_BYTES, "{message}");
            assert_eq!((message["qos"].as_u64() <= Some(1), &message["retain"]), (true, &json!(false)), "{message}");
        }
        if condition(&message) {
            return message;
        }
    }
}

#[tokio::test]
async fn the_aws_sdk_receives_telemetry_and_keeps_a_shadow() {
    let (device, identities) = (Device::huawei(), Identities::new());
    let broker = identities.start_broker();
    let mut app = identities.start_app(broker.port).await;
    let gateway = identities.setup(&device, broker.port, "shadow = true").run();
    let reading = next(&mut app, |message| message["topic"] == "edge-1/battery/telemetry").await["json"].clone();
    assert_eq!((&reading["soc_pct"], &reading["device"]), (&json!(72.3), &json!("battery")), "{reading}");
    assert!(broker.log().contains("as edge-1 (") && broker.log().contains("u'edge-1'"), "{}", broker.log());
    let is_reported = |message: &Value| message["json"]["state"]["reported"]["battery"]["soc_pct"].is_number();
    let reported = next(&mut app, is_reported).await;
    assert_eq!(reported["json"]["state"]["reported"]["battery"]["soc_pct"], 72.3);
    // Only what changed is reported the next time.
    device.set("soc_pct", 71.0);
    let changed = next(&mut app, |message| message["json"]["state"]["reported"].is_object()).await;
    let battery = &changed["json"]["state"]["reported"]["battery"];
    assert_eq!((&battery["soc_pct"], battery.get("temp_c")), (&json!(71.0), None), "{changed}");
    // What the application desires becomes a proposal, whose refusal is reported.
    app.send(r#"{"battery":{"luna_charge_target_soc":80}}"#);
    let delta = next(&mut app, |message| message["delta"].is_object()).await;
    assert_eq!(delta["delta"], json!({ "battery": { "luna_charge_target_soc": 80 } }));
    gateway.wait_for_log("the desired battery/luna_charge_target_soc was refused: [control] is off").await;
    let refused = next(&mut app, |message| message["json"]["state"]["reported"]["refused"].is_object()).await;
    let reason = &refused["json"]["state"]["reported"]["refused"]["battery/luna_charge_target_soc"];
    assert!(reason.as_str().unwrap().starts_with("[control] is off"), "{refused}");
}

#[tokio::test]
async fn basic_ingest_leads_to_the_rule() {
    let (device, identities) = (Device::huawei(), Identities::new());
    let broker = identities.start_broker();
    let mut app = identities.start_app(broker.port).await;
    let config = "basic_ingest = \"telemetry\"\ntopic = \"<thing>/b/c/d/e/f/g/<device>\"";
    let _gateway = identities.setup(&device, broker.port, config).run();
    let topic = "$aws/rules/telemetry/edge-1/b/c/d/e/f/g/battery";
    assert_eq!(next(&mut app, |message| message["topic"] == topic).await["json"]["soc_pct"], 72.3);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (device, mut identities) = (Device::huawei(), Identities::new());
    let broker = identities.start_broker();
    let others = folder();
    identities.thing = Authority::new(others.path(), "other").sign("edge-1");
    let gateway = identities.setup(&device, broker.port, "").run();
    gateway.wait_for_log("retrying in").await;
    assert!(!broker.log().contains("as edge-1 ("), "{}", broker.log());
}

#[tokio::test]
async fn the_backlog_of_an_outage_keeps_the_rate_of_aws() {
    let device = Device::huawei();
    let broker = ScriptedBroker::start(Script::with_connect_reply(ConnectReply::Close)).await.unwrap();
    let url = format!("url = \"mqtt://{}\"", broker.address());
    let gateway = setup(&device, &url, "shadow = true").with("WATCHDOG_TIMEOUT", "0.01").run();
    // More than AWS accepts in three seconds.
    let burst = u64::from(3 * MESSAGES_PER_S);
    gateway.wait_for_health("a backlog", |health| health["feeds"]["aws"]["lag"].as_u64() > Some(burst)).await;
    broker.set_script(Script { messages_per_s: Some(MESSAGES_PER_S), ..Script::default() });
    let is_over = |messages: usize| messages as u64 > burst;
    within(
        "the backlog",
        broker.wait_until(|recording| is_over(recording.messages.len()) || !recording.violations.is_empty()),
    )
    .await;
    broker.inspect(|recording| assert_eq!(recording.violations, Vec::<String>::new()));
}

#[tokio::test]
async fn port_443_is_asked_for_mqtt_by_alpn() {
    let (device, broker, identities) = (Device::huawei(), Broker::start(), Identities::new());
    let (port, mut requested) = alpn_server(&identities.broker, "x-amzn-mqtt-ca", broker.port).await;
    // The proxy leads to the server, which a test cannot start on port 443.
    let brokers = BTreeMap::from([("localhost:443".to_owned(), port)]);
    let proxy = HttpProxy::start(ProxyRules { brokers, ..ProxyRules::default() });
    let lines = format!("url = \"mqtts://localhost:443\"\nproxy = {{ file = \"proxy-url\" }}\n{}", identities.files());
    let mut app = Subscriber::with(broker.port, "edge-1/#", None).await;
    let setup = setup(&device, &lines, "").file("plugins/proxy-url", format!("http://{}\n", proxy.name()));
    let _gateway = setup.run();
    app.next("edge-1/battery/telemetry").await;
    assert_eq!(requested.recv().await.unwrap(), ("localhost".to_owned(), "x-amzn-mqtt-ca".to_owned()));
}
