//! What a running gateway creates is for its user alone, whatever the process inherited.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::guests::{hostile, hostile_feed};

/// Files and folders below a folder that the group or others may use.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if path.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

#[tokio::test]
async fn journal_quarantine_and_cache_are_private() {
    let (device, broker) = (Device::counting(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url()).with("BESSAI_DATA", "data");
    let plugins = setup.folder().join("plugins");
    let setup = setup.with("BESSAI_PLUGINS", plugins.display());
    let setup = setup.file("plugins/hostile.wasm", hostile());
    let gateway = setup.file("plugins/traps.toml", hostile_feed("trap-on", "value = 0.02")).run();
    gateway.wait_for_log("quarantined event").await;
    let data = gateway.path("data");
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    for part in ["journal", "quarantine/traps", "cache/components"] {
        assert!(data.join(part).is_dir(), "{part}: {}", gateway.log());
    }
    assert_eq!(open_to_others(&data), Vec::<String>::new());
}
