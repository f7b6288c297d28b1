//! Brokers that are absent, restart, refuse, or show the wrong certificate: a clear line, never the password, and retry.

use bessai_simulator::scripted::{Broker as Scripted, OnV5, Script};
use serde_json::json;

use crate::support::broker::{Broker, Setup as BrokerSetup};
use crate::support::certificates::{Authority, Pem};
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::listener::{Heard, Listener};
use crate::support::{folder, free_port, within};

const PASSWORD: &str = "s3cr3t-never-shown";

fn login() -> BrokerSetup<'static> {
    BrokerSetup { login: Some(("bessai_edge", PASSWORD)), ..BrokerSetup::default() }
}

#[tokio::test]
async fn a_broker_that_comes_later_gets_what_it_missed() {
    let (device, port) = (Device::huawei(), free_port());
    let gateway = Setup::new().device(device.port()).broker(format!("mqtt://127.0.0.1:{port}")).run();
    gateway.says("not signed in").await;
    device.set("soc_pct", 61.0);
    gateway.health().await;
    let _broker = Broker::with(&BrokerSetup { port: Some(port), ..BrokerSetup::default() });
    let mut listener = Listener::start(port).await;
    listener.next("/telemetry").await;
    assert_eq!(gateway.said("not signed in"), 1, "{}", gateway.log());
}

#[tokio::test]
async fn a_restarted_broker_loses_no_reading() {
    let (device, mut broker) = (Device::huawei(), Broker::start());
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let mut listener = Listener::start(broker.port).await;
    let cycles = |heard: &Heard| heard.json()["cycle_count"].as_u64().unwrap();
    let seen = async |count: u64, listener: &mut Listener, all: &mut Vec<u64>| {
        device.set("cycle_count", f64::from(u32::try_from(count).unwrap()));
        loop {
            let heard = listener.next("/telemetry").await;
            all.push(cycles(&heard));
            if cycles(&heard) == count {
                return;
            }
        }
    };
    let mut all = Vec::new();
    for count in 1..=3 {
        seen(count, &mut listener, &mut all).await;
    }
    broker.stop();
    gateway.says("the broker closed the connection").await;
    for count in 4..=6 {
        device.set("cycle_count", f64::from(count));
        let before = gateway.health().await["frames"].as_u64().unwrap();
        within("two readings of the value", async {
            while gateway.health().await["frames"].as_u64().unwrap() < before + 2 {}
        })
        .await;
    }
    broker.run();
    let mut listener = Listener::start(broker.port).await;
    seen(7, &mut listener, &mut all).await;
    all.dedup();
    // The new broker knows no old subscription: what was delivered before the listener came is not its fault.
    let last = all.last().copied();
    assert_eq!(last, Some(7));
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(gateway.health().await["feeds"]["default"]["connected"], json!(true));
}

#[tokio::test]
async fn a_refused_password_is_said_without_the_password_and_tried_again() {
    let (device, port) = (Device::huawei(), free_port());
    let setup = Setup::new().device(device.port()).broker(format!("mqtt://127.0.0.1:{port}"));
    let broker = Broker::with(&BrokerSetup {
        login: Some(("bessai_edge", "another")),
        port: Some(port),
        ..BrokerSetup::default()
    });
    let gateway =
        setup.with("MQTT_USERNAME", "bessai_edge").with("MQTT_PASSWORD", PASSWORD).with("LOG_LEVEL", "DEBUG").run();
    gateway.says("refuses user \"bessai_edge\"").await;
    drop(broker);
    let _broker = Broker::with(&BrokerSetup { port: Some(port), ..login() });
    let mut listener = Listener::with(port, "#", Some(("bessai_edge", PASSWORD))).await;
    listener.next("/telemetry").await;
    assert!(!gateway.log().contains(PASSWORD), "{}", gateway.log());
}

#[tokio::test]
async fn a_password_in_the_url_is_decoded_and_hidden() {
    let (device, broker) =
        (Device::huawei(), Broker::with(&BrokerSetup { login: Some(("u", "p/s:@")), ..BrokerSetup::default() }));
    let url = format!("mqtt://u:p%2Fs%3A%40@127.0.0.1:{}", broker.port);
    let gateway = Setup::new().device(device.port()).broker(url).run();
    let mut listener = Listener::with(broker.port, "#", Some(("u", "p/s:@"))).await;
    listener.next("/telemetry").await;
    assert!(!gateway.log().contains("p%2Fs"), "{}", gateway.log());
}

/// A broker with a certificate of its own, and a gateway that trusts `ca`.
fn tls(broker: &Broker, device: &Device, ca: &Pem) -> Setup {
    let setup = Setup::new().device(device.port()).broker(format!("mqtts://localhost:{}", broker.port));
    setup.with("MQTT_TLS_CA_CERT_PATH", ca.certificate.display())
}

async fn delivers(gateway: &Gateway) {
    within("a message to be delivered", async {
        while gateway.health().await["feeds"]["default"]["delivered"].as_u64().unwrap() == 0 {}
    })
    .await;
}

#[tokio::test]
async fn tls_with_the_right_authority() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), ..BrokerSetup::default() });
    delivers(&tls(&broker, &device, &authority.pem).run()).await;
}

#[tokio::test]
async fn through_a_websocket_with_tls() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    let setup = BrokerSetup { certificate: Some(&certificate), websockets: true, ..BrokerSetup::default() };
    let broker = Broker::with(&setup);
    let setup = Setup::new().device(device.port()).broker(format!("wss://localhost:{}/mqtt", broker.port));
    delivers(&setup.with("MQTT_TLS_CA_CERT_PATH", authority.pem.certificate.display()).run()).await;
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted_are_told_apart() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    for (certificate, expected) in [
        (other.sign("localhost"), "from a CA that is not trusted; check MQTT_TLS_CA_CERT_PATH"),
        (authority.sign_expired("localhost"), "has expired"),
        (authority.sign("elsewhere.example"), "is for another name"),
    ] {
        let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), ..BrokerSetup::default() });
        let gateway = tls(&broker, &device, &authority.pem).run();
        gateway.says(expected).await;
    }
}

#[tokio::test]
async fn mutual_tls() {
    let (folder, device) = (folder(), Device::huawei());
    let authority = Authority::new(folder.path(), "ca");
    let (certificate, client) = (authority.sign("localhost"), authority.sign("gateway"));
    let broker = Broker::with(&BrokerSetup {
        certificate: Some(&certificate),
        clients_ca: Some(&authority.pem),
        ..BrokerSetup::default()
    });
    let gateway = tls(&broker, &device, &authority.pem).run();
    gateway.says("not signed in").await;
    assert!(gateway.log().contains("client certificate") || gateway.log().contains("closed"), "{}", gateway.log());
    drop(gateway);
    let with_identity = tls(&broker, &device, &authority.pem)
        .with("MQTT_TLS_CERTFILE", client.certificate.display())
        .with("MQTT_TLS_KEYFILE", client.key.display());
    delivers(&with_identity.run()).await;
}

#[tokio::test]
async fn a_broker_without_mqtt_5_gets_3_1_1() {
    for on_v5 in [OnV5::Refuse, OnV5::RefuseInOldForm, OnV5::Close] {
        let device = Device::huawei();
        let broker = Scripted::start(Script { on_v5, ..Script::default() }).await.unwrap();
        let _gateway = Setup::new().device(device.port()).broker(format!("mqtt://{}", broker.address())).run();
        within("an acknowledged message", broker.until(|seen| seen.acknowledged > 0)).await;
        let levels = broker.look(|seen| seen.signed_in.iter().map(|sign_in| sign_in.level).collect::<Vec<_>>());
        // The client library takes an answer in the old form for an unfinished one, so the end of it is what counts.
        let expected: &[u8] = if matches!(on_v5, OnV5::Refuse) { &[5, 4] } else { &[5, 5, 4] };
        assert_eq!(levels, expected, "{on_v5:?}");
    }
}
