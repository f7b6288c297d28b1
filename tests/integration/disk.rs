//! A full disk as `/health` reports it.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::small_disk::SmallDisk;
use crate::support::subscriber::Subscriber;

#[tokio::test]
async fn a_full_disk_is_reported_in_health_and_readings_continue() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup = setup.file("bessai.toml", "[journal]\ndir = \"journal\"\nsync = \"20ms\"\n");
    let Some(disk) = SmallDisk::mount(&setup.folder().join("journal"), 1) else { return };
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = setup.run();
    subscriber.next("/telemetry").await;
    gateway.wait_for_health("a written journal", |health| health["journal"]["bytes"].as_u64() > Some(0)).await;
    disk.fill();
    let is_full = |health: &serde_json::Value| {
        health["journal"]["trouble"].as_str().is_some_and(|fault| fault.contains("is full"))
    };
    let health = gateway.wait_for_health("the full disk", is_full).await;
    assert_eq!(health["status"], "degraded");
    for _ in 0..10 {
        subscriber.next("/telemetry").await;
    }
    disk.free();
    let health = gateway.wait_for_health("the freed disk", |health| health["journal"]["trouble"].is_null()).await;
    assert_eq!((&health["journal"]["lost"], &health["feeds"]["default"]["lost"]), (&json!(0), &json!(0)));
    assert!(gateway.stop().await.success());
    drop(disk);
}
