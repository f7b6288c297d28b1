//! The gateway on a real disk that is full.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::listener::Listener;

/// A file system of a mebibyte, until this goes; none where we may not mount one.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn on(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        eprintln!("NOT TESTED: a full disk needs the right to mount a tmpfs");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn a_full_disk_shows_in_health_and_stops_no_reading() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup = setup.file("bessai.toml", "[journal]\ndir = \"journal\"\nsync = \"20ms\"\n");
    let Some(disk) = Mounted::on(&setup.folder().join("journal")) else { return };
    let mut listener = Listener::start(broker.port).await;
    let gateway = setup.run();
    listener.next("/telemetry").await;
    gateway.until("a sound journal", |health| health["journal"]["bytes"].as_u64() > Some(0)).await;
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap_err();
    let is_full = |health: &serde_json::Value| {
        health["journal"]["trouble"].as_str().is_some_and(|trouble| trouble.contains("is full"))
    };
    let health = gateway.until("trouble", is_full).await;
    assert_eq!(health["status"], "degraded");
    for _ in 0..10 {
        listener.next("/telemetry").await;
    }
    std::fs::remove_file(ballast).unwrap();
    let health = gateway.until("no trouble", |health| health["journal"]["trouble"].is_null()).await;
    assert_eq!((&health["journal"]["lost"], &health["feeds"]["default"]["lost"]), (&json!(0), &json!(0)));
    assert!(gateway.stop().await.success());
    drop(disk);
}
