//! Tokens that expire, a hub that ends sessions, and certificates: every reading arrives.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::docs::page::page;

/// A device that signs in with its key.
fn by_key() -> Credential {
    Credential::Key(KEY.to_vec())
}

#[tokio::test]
async fn the_documented_settings_deliver() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = cloud.hub(by_key(), Clock::new(1.0)).await;
    let sample = page("docs/plugins/azure-iot-hub.md").blocks.into_iter().find(|block| block.info.starts_with("toml"));
    let sample = sample.unwrap().body;
    let ca = format!("url = \"mqtts://{HUB}:{}\"\nca = \"{}\"", hub.port, cloud.authority.pem.certificate.display());
    let feed = sample.replace("url  = \"mqtts://hub.azure-devices.net:8883\"", &ca);
    assert_ne!(feed, sample);
    let feed = feed.replace("/run/secrets/site001-key", "key");
    let gateway = setup(&device, &feed, KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
    assert_eq!(health(&gateway).await["set_aside"], json!(0));
}

#[tokio::test]
async fn token_renewals_lose_and_repeat_no_reading() {
    // Sessions after the first one.
    const RENEWALS: usize = 3;
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = cloud.hub(by_key(), Clock::new(1.0)).await;
    let gateway = setup(&device, &cloud.feed(hub.port, "token_lifetime = \"5s\""), KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    let (mut ended, mut longest) = (None, Duration::ZERO);
    while watch.sessions <= RENEWALS {
        match watch.next(|end| *end == End::Disconnect).await {
            CloudEvent::Ended(_) => ended = Some(Instant::now()),
            CloudEvent::Connected(connect) => {
                assert!(!connect.is_clean && connect.will.is_none(), "{connect:?}");
                longest = longest.max(ended.take().map_or(Duration::ZERO, |ended| ended.elapsed()));
            }
            _ => {}
        }
    }
    watch.all_readings(&device, |end| *end == End::Disconnect).await;
    println!("{RENEWALS} renewals interrupted delivery for {} ms at most", longest.as_millis());
    assert_eq!(watch.readings.redeliveries(), 0);
    let health = health(&gateway).await;
    assert_eq!((&health["failed_sign_ins"], &health["set_aside"]), (&json!(0), &json!(0)), "{health}");
    assert_eq!((gateway.log_count("SharedAccessSignature"), gateway.log_count(&encoded(KEY))), (0, 0));
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_session_that_the_hub_cuts_at_expiry_loses_no_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    // Tokens live for 7 s, are renewed after 6 s, and expire after 4 s by the hub's clock.
    let mut hub = cloud.hub(by_key(), Clock::ahead(3.0)).await;
    let gateway = setup(&device, &cloud.feed(hub.port, "token_lifetime = \"7s\""), KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.readings.allow_redeliveries(2);
    while watch.sessions < 3 {
        watch.next(|end| *end == End::Expired).await;
    }
    watch.readings.allow_redeliveries(100);
    watch.all_readings(&device, |end| *end == End::Expired).await;
    assert_eq!(health(&gateway).await["set_aside"], json!(0));
}

#[tokio::test]
async fn another_client_of_the_same_identity_costs_no_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = cloud.hub(by_key(), Clock::new(1.0)).await;
    let gateway = setup(&device, &cloud.feed(hub.port, ""), KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
    let other = setup(&Device::huawei(), &cloud.feed(watch.hub.port, ""), KEY).run();
    while watch.next(|end| *end == End::Replaced).await != CloudEvent::Ended(End::Replaced) {}
    // The gateway that was replaced does not fight for the identity at once.
    other.wait_for_health("a sign-in", |health| health["feeds"]["azure"]["sign_ins"].as_u64() >= Some(1)).await;
    let _setup = other.kill();
    watch.readings.allow_redeliveries(100);
    watch.all_readings(&device, |_| true).await;
}

#[tokio::test]
async fn a_certificate_signs_in_without_a_token() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let client = cloud.authority.sign(DEVICE);
    let mut hub = cloud.hub(Credential::Certificate(der(&client.certificate)), Clock::new(1.0)).await;
    let identity = format!("cert = \"{}\"\nkey = \"{}\"", client.certificate.display(), client.key.display());
    let broker = cloud.broker(hub.port, &identity);
    let feed = format!("{broker}{RIGHTS}[config]\ndevice_id = \"{DEVICE}\"\n");
    let gateway = setup(&device, &feed, KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
    gateway.assert_logged_once("signing in with the client certificate of [broker]").await;
}

/// The DER of a certificate in PEM.
pub(super) fn der(pem: &std::path::Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_file(pem).unwrap().to_vec()
}

#[tokio::test]
async fn batches_contain_every_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = cloud.hub(by_key(), Clock::new(1.0)).await;
    let config = "format = \"batch\"\nbatch_bytes = 2500\nproperties = { plant = \"north\" }";
    let gateway = setup(&device, &cloud.feed(hub.port, config), KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    let (mut readings, mut batches) = (DeliveredReadings::default(), 0);
    while batches < 5 {
        let CloudEvent::Message(message) = watch.next(|_| false).await else { continue };
        let batch: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let Some(columns) = batch["columns"].as_array() else { continue };
        let at = columns.iter().position(|column| column == "power_kw").unwrap();
        for row in batch["readings"].as_array().unwrap() {
            readings.add(count(&row[at])).unwrap();
        }
        let bag = message.topic.rsplit('/').next().unwrap();
        assert!(bag.ends_with("&plant=north"), "{bag}");
        assert!((2000..=2500).contains(&(message.payload.len() + bag.len())), "{batch}");
        batches += 1;
    }
    assert!(readings.highest() >= Some(10), "{readings:?}");
}
