//! A gateway whose broker is behind an HTTP proxy: the site's by a variable, a feed's by its file.

use std::collections::BTreeMap;

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::Authority;
use crate::support::device::Device;
use crate::support::free_port;
use crate::support::gateway::Setup;
use crate::support::http_proxy::{HttpProxy, ProxyRules};
use crate::support::subscriber::Subscriber;

/// A name that only the proxy knows.
const BROKER: &str = "broker.invalid";
/// The proxy's password, which nothing may show.
const PASSWORD: &str = "s3cr3t-never-shown";

fn proxy_to(port: u16) -> HttpProxy {
    let brokers = BTreeMap::from([(format!("{BROKER}:{port}"), port)]);
    HttpProxy::start(ProxyRules { login: Some(("plant", PASSWORD)), brokers, answer: None })
}

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_sites_broker_is_reached_through_a_proxy() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let proxy = proxy_to(broker.port);
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://{BROKER}:{}", broker.port));
    let setup =
        setup.with("MQTT_PROXY", format!("http://plant:{PASSWORD}@{}", proxy.name())).with("LOG_LEVEL", "TRACE");
    let route = format!("mqtt://{BROKER}:{} through the proxy {}", broker.port, proxy.name());
    let checked = setup.output(&["check"]);
    assert!(checked.status.success() && text(&checked).contains(&route), "{}", text(&checked));
    let tested = setup.output(&["broker", "test"]);
    let connected = format!("connected to {BROKER}:{} through the proxy {} at", broker.port, proxy.name());
    assert!(tested.status.success() && text(&tested).contains(&connected), "{}", text(&tested));
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = setup.run();
    subscriber.next("/telemetry").await;
    gateway.wait_for_log("received PUBACK").await;
    let shown = [text(&checked), text(&tested), gateway.log(), gateway.health().await.to_string()];
    assert!(shown.iter().all(|shown| !shown.contains(PASSWORD)), "{shown:?}");
}

#[tokio::test]
async fn a_feeds_broker_with_tls_is_reached_through_a_proxy() {
    let device = Device::huawei();
    let setup = Setup::new().device(device.port());
    let authority = Authority::new(setup.folder(), "ca");
    let certificate = authority.sign(BROKER);
    let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), ..BrokerSetup::default() });
    let proxy = proxy_to(broker.port);
    let url = format!("http://plant:{PASSWORD}@{}\n", proxy.name());
    let (ca, port) = (authority.pem.certificate.display(), broker.port);
    let feed =
        format!("[broker]\nurl = \"mqtts://{BROKER}:{port}\"\nca = \"{ca}\"\nproxy = {{ file = \"proxy-url\" }}\n");
    let setup = setup.file("plugins/proxy-url", url).file("plugins/default.toml", feed);
    let gateway = setup.run();
    gateway.wait_for_health("a message", |health| health["feeds"]["default"]["delivered"].as_u64() > Some(0)).await;
    assert!(!gateway.log().contains(PASSWORD), "{}", gateway.log());
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_in_the_log_and_health() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let proxy = proxy_to(broker.port);
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://{BROKER}:{}", broker.port));
    let setup = setup.with("MQTT_PROXY", format!("http://plant:wrong-{PASSWORD}@{}", proxy.name()));
    let tested = setup.output(&["broker", "test"]);
    let refused =
        format!("the proxy {} refused user \"plant\" (407); check user name and password in MQTT_PROXY", proxy.name());
    let not_there = format!("connected to the proxy {0} at {0}, and not to {BROKER}:{1}", proxy.name(), broker.port);
    assert_eq!(tested.status.code(), Some(1));
    assert!(text(&tested).contains(&refused) && text(&tested).contains(&not_there), "{}", text(&tested));
    let gateway = setup.run();
    gateway.wait_for_log(&refused).await;
    let is_shown = |health: &serde_json::Value| health["feeds"]["default"]["last_error"].to_string().contains("407");
    let health = gateway.wait_for_health("the error", is_shown).await;
    assert!(!health.to_string().contains(PASSWORD) && !gateway.log().contains(PASSWORD), "{}", gateway.log());
    let gone = format!("http://127.0.0.1:{}", free_port());
    let tested = gateway.stop_and_keep_setup().await.1.with("MQTT_PROXY", gone).output(&["broker", "test"]);
    assert!(text(&tested).contains("failed to connect to the proxy 127.0.0.1:"), "{}", text(&tested));
}
