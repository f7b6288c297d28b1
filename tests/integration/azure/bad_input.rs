//! What people get wrong, and a hub without capacity: each has a sentence of its own, and nothing is lost.

use serde_json::json;

use super::*;

/// A hub that knows the device by its key.
async fn hub(cloud: &Cloud) -> Server<IotHub> {
    cloud.hub(Credential::Key(KEY.to_vec()), Clock::new(1.0)).await
}

#[tokio::test]
async fn a_wrong_key_is_named_and_its_correction_loses_no_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = hub(&cloud).await;
    let gateway = setup(&device, &cloud.feed(hub.port, ""), b"the key of another device").run();
    let refused =
        |event| matches!(event, CloudEvent::Refused(reason) if reason == "another key has signed").then_some(());
    hub.find("a refused sign-in", refused).await;
    gateway.wait_for_log("(0x05 not authorized)").await;
    std::fs::write(gateway.path("plugins/key"), encoded(KEY)).unwrap();
    hub.find("a sign-in", connect).await;
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
}

#[tokio::test]
async fn a_key_that_is_not_base64_is_named_and_nothing_is_sent() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = hub(&cloud).await;
    let setup = setup(&device, &cloud.feed(hub.port, ""), KEY).file("plugins/key", "not a key");
    let gateway = setup.run();
    gateway.wait_for_log("the secret device-key cannot sign").await;
    gateway.wait_for_log("base64").await;
    assert_eq!(gateway.log_count("not a key"), 0, "{}", gateway.log());
    let health = health(&gateway).await;
    assert_eq!(health["sign_ins"], json!(0), "{health}");
    std::fs::write(gateway.path("plugins/key"), encoded(KEY)).unwrap();
    hub.find("a sign-in", connect).await;
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
}

#[tokio::test]
async fn a_hub_that_throttles_costs_no_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let mut hub = hub(&cloud).await;
    let gateway = setup(&device, &cloud.feed(hub.port, ""), KEY).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    watch.all_readings(&device, |_| false).await;
    watch.hub.service.throttle(true);
    for _ in 0..4 {
        while watch.next(|end| *end == End::Throttled).await != CloudEvent::Ended(End::Throttled) {}
    }
    gateway.wait_for_log("connection closed by localhost").await;
    watch.hub.service.throttle(false);
    watch.readings.allow_redeliveries(100);
    watch.all_readings(&device, |end| *end == End::Throttled).await;
    let health = health(&gateway).await;
    assert_eq!((&health["set_aside"], &health["refused"]), (&json!(0), &json!(0)), "{health}");
}

#[tokio::test]
async fn wrong_settings_are_named_and_the_feed_waits() {
    let (device, cloud) = (Device::huawei(), Cloud::new());
    for (config, expected) in [
        ("device_id = \"site+001\"", "config.device_id = \"site+001\": '+' is a wildcard in MQTT topics"),
        ("device_id = \"a/b\"", "IoT Hub allows no '/' in a device id"),
        ("device_id = \"d\"\ntoken = \"1h\"", "config.token is unknown"),
        ("device_id = \"d\"\nbatch_bytes = 300000", "config.batch_bytes = 300000: write 512 to 262144"),
        ("", "config.device_id is missing"),
    ] {
        let feed = format!("{}{RIGHTS}[config]\n{config}\n", cloud.broker(1, ""));
        let gateway = setup(&device, &feed, KEY).run();
        gateway.wait_for_log(expected).await;
        assert_eq!(health(&gateway).await["sign_ins"], json!(0));
    }
}
