//! Brokers that are absent, restart, refuse the login or present a wrong certificate: the log names the fault without the
//! password, and the gateway retries.

use bessai_simulator::scripted::{OnV5, Script, ScriptedBroker};
use serde_json::json;

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::{Authority, Pem};
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::readings::count;
use crate::support::subscriber::{ReceivedMessage, Subscriber};
use crate::support::{folder, free_port, within};

/// The broker's password, which no log may contain.
const PASSWORD: &str = "s3cr3t-never-shown";

fn login() -> BrokerSetup<'static> {
    BrokerSetup { login: Some(("bessai_edge", PASSWORD)), ..BrokerSetup::default() }
}

#[tokio::test]
async fn the_gateway_connects_to_a_broker_that_starts_later() {
    let (device, port) = (Device::huawei(), free_port());
    let gateway = Setup::new().device(device.port()).broker(format!("mqtt://127.0.0.1:{port}")).run();
    gateway.wait_for_log(&format!("failed to connect to 127.0.0.1:{port}: ")).await;
    device.set("soc_pct", 61.0);
    gateway.health().await;
    let _broker = Broker::with(&BrokerSetup { port: Some(port), ..BrokerSetup::default() });
    let mut subscriber = Subscriber::start(port).await;
    subscriber.next("/telemetry").await;
    gateway.assert_logged_once("retrying in").await;
}

#[tokio::test]
async fn readings_stay_in_order_across_a_broker_restart() {
    let (device, mut broker) = (Device::huawei(), Broker::start());
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let mut subscriber = Subscriber::start(broker.port).await;
    let watts = |message: &ReceivedMessage| count(&message.json()).unwrap();
    let receive_up_to = async |count: u64, subscriber: &mut Subscriber, all: &mut Vec<u64>| {
        device.set("power_kw", f64::from(u32::try_from(count).unwrap()) / 1000.0);
        loop {
            let message = subscriber.next("/telemetry").await;
            all.push(watts(&message));
            if watts(&message) == count {
                return;
            }
        }
    };
    let mut all = Vec::new();
    for count in 1..=3 {
        receive_up_to(count, &mut subscriber, &mut all).await;
    }
    broker.kill();
    gateway.wait_for_log(&format!("connection closed by 127.0.0.1:{}", broker.port)).await;
    for count in 4..=6 {
        device.set("power_kw", f64::from(count) / 1000.0);
        let before = gateway.health().await["frames"].as_u64().unwrap();
        within("two readings of the value", async {
            while gateway.health().await["frames"].as_u64().unwrap() < before + 2 {}
        })
        .await;
    }
    broker.restart();
    let mut subscriber = Subscriber::start(broker.port).await;
    receive_up_to(7, &mut subscriber, &mut all).await;
    all.dedup();
    // The restarted broker forgot the subscription, so readings delivered before the new one are missing here.
    let last = all.last().copied();
    assert_eq!(last, Some(7));
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(gateway.health().await["feeds"]["default"]["connected"], json!(true));
}

#[tokio::test]
async fn a_refused_password_is_logged_without_the_password_and_retried() {
    let (device, port) = (Device::huawei(), free_port());
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://127.0.0.1:{port}"));
    let broker = Broker::with(&BrokerSetup {
        login: Some(("bessai_edge", "another")),
        port: Some(port),
        ..BrokerSetup::default()
    });
    let gateway =
        setup.with("MQTT_USERNAME", "bessai_edge").with("MQTT_PASSWORD", PASSWORD).with("LOG_LEVEL", "TRACE").run();
    gateway.wait_for_log("refused user \"bessai_edge\"").await;
    drop(broker);
    let _broker = Broker::with(&BrokerSetup { port: Some(port), ..login() });
    let mut subscriber = Subscriber::with(port, "#", Some(("bessai_edge", PASSWORD))).await;
    subscriber.next("/telemetry").await;
    gateway.wait_for_log("received PUBACK").await;
    assert!(!gateway.log().contains(PASSWORD), "{}", gateway.log());
}

#[tokio::test]
async fn a_password_in_the_url_is_decoded_and_not_logged() {
    let (device, broker) =
        (Device::huawei(), Broker::with(&BrokerSetup { login: Some(("u", "p/s:@")), ..BrokerSetup::default() }));
    let url = format!("mqtt://u:p%2Fs%3A%40@127.0.0.1:{}", broker.port);
    let gateway = Setup::new().device(device.port()).broker(url).with("LOG_LEVEL", "TRACE").run();
    let mut subscriber = Subscriber::with(broker.port, "#", Some(("u", "p/s:@"))).await;
    subscriber.next("/telemetry").await;
    gateway.wait_for_log("received PUBACK").await;
    assert!(!gateway.log().contains("p%2Fs") && !gateway.log().contains("p/s:@"), "{}", gateway.log());
}

/// A gateway that connects to this broker by TLS and trusts `ca`.
fn tls(broker: &Broker, device: &Device, ca: &Pem) -> Setup {
    let setup = Setup::new().device(device.port()).broker(format!("mqtts://localhost:{}", broker.port));
    setup.with("MQTT_TLS_CA_CERT_PATH", ca.certificate.display())
}

async fn wait_for_delivery(gateway: &Gateway) {
    within("a delivered message", async {
        while gateway.health().await["feeds"]["default"]["delivered"].as_u64().unwrap() == 0 {}
    })
    .await;
}

#[tokio::test]
async fn tls_with_a_trusted_authority_delivers_messages() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), ..BrokerSetup::default() });
    wait_for_delivery(&tls(&broker, &device, &authority.pem).run()).await;
}

#[tokio::test]
async fn a_websocket_with_tls_delivers_messages() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    let setup = BrokerSetup { certificate: Some(&certificate), websockets: true, ..BrokerSetup::default() };
    let broker = Broker::with(&setup);
    let setup = Setup::new().device(device.port()).broker(format!("wss://localhost:{}/mqtt", broker.port));
    wait_for_delivery(&setup.with("MQTT_TLS_CA_CERT_PATH", authority.pem.certificate.display()).run()).await;
}

#[tokio::test]
async fn each_untrusted_certificate_is_reported_with_its_reason() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    for (certificate, expected) in [
        (other.sign("localhost"), "a CA that is not in MQTT_TLS_CA_CERT_PATH = "),
        (authority.sign_expired("localhost"), "the broker's certificate expired on 2021-01-01T00:00:00Z"),
        (authority.sign("elsewhere.example"), "is for elsewhere.example, and not for \"localhost\""),
    ] {
        let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), ..BrokerSetup::default() });
        let gateway = tls(&broker, &device, &authority.pem).run();
        gateway.wait_for_log(expected).await;
    }
}

#[tokio::test]
async fn mutual_tls_requires_a_client_certificate() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let (certificate, client) = (authority.sign("localhost"), authority.sign("gateway"));
    let broker = Broker::with(&BrokerSetup {
        certificate: Some(&certificate),
        clients_ca: Some(&authority.pem),
        ..BrokerSetup::default()
    });
    let gateway = tls(&broker, &device, &authority.pem).run();
    gateway.wait_for_log("retrying in").await;
    assert!(gateway.log().contains("client certificate") || gateway.log().contains("closed"), "{}", gateway.log());
    drop(gateway);
    let with_identity = tls(&broker, &device, &authority.pem)
        .with("MQTT_TLS_CERTFILE", client.certificate.display())
        .with("MQTT_TLS_KEYFILE", client.key.display());
    wait_for_delivery(&with_identity.run()).await;
}

#[tokio::test]
async fn a_broker_without_mqtt_5_is_connected_with_3_1_1() {
    for on_v5 in [OnV5::Refuse, OnV5::RefuseAsV311, OnV5::Close] {
        let device = Device::huawei();
        let broker = ScriptedBroker::start(Script { on_v5, ..Script::default() }).await.unwrap();
        let _gateway = Setup::new().device(device.port()).broker(format!("mqtt://{}", broker.address())).run();
        within("an acknowledged message", broker.wait_until(|recording| recording.acknowledged > 0)).await;
        let levels =
            broker.inspect(|recording| recording.connects.iter().map(|connect| connect.level).collect::<Vec<_>>());
        // A refusal in either form says that MQTT 5 is not known; a closed connection may have another reason.
        let expected: &[u8] = if matches!(on_v5, OnV5::Close) { &[5, 5, 4] } else { &[5, 4] };
        assert_eq!(levels, expected, "{on_v5:?}");
    }
}
