//! Every sample of docs/brokers.md signs in to a broker that is set up as the page says, and delivers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::docs::page::{Block, page};
use crate::docs::session::built_plugin;
use crate::docs::settings::{moved, with_files};
use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::Authority;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::hub::{self, Hub, HubEvent};

const PAGE: &str = "docs/brokers.md";
/// The host of the page's hub, and the device whose key the test's hub has.
const AZURE: &str = "hub.azure-devices.net";

fn samples(info: &str) -> Vec<Block> {
    page(PAGE).blocks.into_iter().filter(|block| block.info == info).collect()
}

/// A value in a sample, by the text before it.
fn value<'a>(body: &'a str, before: &str) -> Option<&'a str> {
    body.lines().find_map(|line| line.strip_prefix(before)).map(str::trim)
}

async fn delivers(gateway: &Gateway, feed: &str, what: &str) {
    let is_delivered = |health: &serde_json::Value| health["feeds"][feed]["delivered"].as_u64() > Some(0);
    gateway.wait_for_health(what, is_delivered).await;
}

/// The broker that a sample describes, on this machine.
fn broker(setup: &Setup, body: &str, is_tls: bool) -> Broker {
    let folder = setup.folder().join("certs");
    let authority = Authority::new(&folder, "of-the-broker");
    // Both the CA that a sample names and, for those that name none, the system's.
    for name in ["ca.crt", "root-CA.crt", "system.pem"] {
        std::fs::copy(&authority.pem.certificate, folder.join(name)).unwrap();
    }
    let certificate = is_tls.then(|| authority.sign("localhost"));
    let client = authority.sign("gateway");
    std::fs::copy(&client.certificate, folder.join("cert.pem")).unwrap();
    std::fs::copy(&client.key, folder.join("private.key")).unwrap();
    let login = value(body, "MQTT_USERNAME=").zip(value(body, "MQTT_PASSWORD="));
    Broker::with(&BrokerSetup {
        login,
        certificate: certificate.as_ref(),
        clients_ca: body.contains("cert.pem").then_some(&authority.pem),
        websockets: body.contains("wss://") || body.contains("ws://"),
        ..BrokerSetup::default()
    })
}

/// The sample's URL, with a host and port of this machine.
fn rewritten(body: &str, url: &str, port: u16) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    body.replace(url, &format!("{scheme}://localhost:{port}{path}"))
}

#[tokio::test]
async fn samples_of_variables_deliver() {
    let samples = samples("dotenv config/.env");
    assert!(samples.len() >= 6, "{}", samples.len());
    for block in samples {
        let device = Device::huawei();
        let setup = with_files(Setup::new().device(device.port()).with("SITE_ID", ""), &block.body);
        let url = value(&block.body, "MQTT_BROKER_URL=").unwrap();
        let is_tls = url.starts_with("mqtts") || url.starts_with("wss");
        let broker = broker(&setup, &block.body, is_tls);
        let body = rewritten(&moved(&setup, &block.body), url, broker.port);
        let system = setup.folder().join("certs/system.pem");
        let gateway = setup.with("SSL_CERT_FILE", system.display()).file("config/.env", body).run();
        delivers(&gateway, "default", &format!("{PAGE}:{}", block.line)).await;
        if let Some(client_id) = value(&block.body, "MQTT_CLIENT_ID=") {
            assert!(broker.log().contains(client_id), "{}", broker.log());
        }
    }
}

#[tokio::test]
async fn the_sample_with_alpn_delivers() {
    let block = samples("toml bessai.toml").remove(0);
    let device = Device::huawei();
    let setup = with_files(Setup::new().device(device.port()), &block.body);
    let broker = broker(&setup, &block.body, true);
    let url = block.body.lines().find_map(|line| line.split_once("url ")).unwrap().1.split('"').nth(1).unwrap();
    let body = rewritten(&moved(&setup, &block.body), url, broker.port);
    // mosquitto's own name for MQTT, where the cloud has another.
    let body = body.replace("x-amzn-mqtt-ca", "mqtt");
    let gateway = setup.file("bessai.toml", body).run();
    delivers(&gateway, "default", "a message through TLS with ALPN").await;
}

/// A feed's sample, to be run against a hub on this machine.
fn at_hub(body: &str, port: u16) -> String {
    let body = body.replace(&format!("mqtts://{AZURE}:8883"), &format!("mqtt://127.0.0.1:{port}"));
    body.replace(AZURE, hub::NAME)
}

fn feed(file: &str) -> Block {
    samples(&format!("toml plugins/{file}")).remove(0)
}

#[tokio::test]
async fn a_static_token_signs_in_to_an_iot_hub() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let block = feed("acme.toml");
    let resource = format!("{}%2Fdevices%2Fsite001", hub::NAME);
    let expiry_s = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600)).as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA256, hub::KEY);
    let signature = STANDARD.encode(hmac::sign(&key, format!("{resource}\n{expiry_s}").as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let token = format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry_s}\n");
    let setup = with_files(Setup::new().device(device.port()), &block.body).file("secrets/site001-sas", token);
    let setup = setup.file("plugins/default.toml", &feed("default.toml").body);
    let body = at_hub(&moved(&setup, &block.body), hub.port);
    let setup = setup.file("plugins/acme.toml", body).file("plugins/acme.wasm", built_plugin());
    let gateway = setup.run();
    assert_eq!(hub.next().await, HubEvent::Connect { device: "site001".into(), will: None }, "{}", gateway.log());
    let message = hub.message().await;
    assert!(message["power_kw"].is_number(), "{message}");
}

/// The tests of the plugin run the sample of its own page against a hub.
#[test]
fn the_sample_of_the_azure_plugin_is_that_of_its_page() {
    let of_plugin = page("docs/plugins/azure-iot-hub.md").blocks;
    let sample = feed("azure-iot-hub.toml");
    assert_eq!(of_plugin.iter().find(|block| block.info == sample.info).unwrap().body, sample.body);
}
