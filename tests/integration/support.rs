//! Starts what the tests need: devices, brokers, subscribers and the gateway itself. Programs listen on free ports, each in a
//! folder of its own; tests wait for conditions within one generous limit.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub mod aedes;
pub mod alpn_server;
pub mod black_hole;
pub mod broker;
pub mod certificates;
pub mod cgroup;
pub mod device;
pub mod event_numbers;
pub mod gateway;
pub mod growth;
pub mod guests;
pub mod http_proxy;
pub mod hub;
pub mod packets;
pub mod peer;
pub mod publisher;
pub mod reading_subscriber;
pub mod readings;
pub mod site;
pub mod small_disk;
pub mod sni_front;
pub mod stalls;
pub mod subscriber;

/// How long a test waits for a condition: far longer than any takes, so that a loaded machine fails none.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Whether the long forms run: outages of a minute, hundreds of kills, the gateway's own time limits.
pub fn long_tests() -> bool {
    std::env::var_os("EDGE_LONG_TESTS").is_some_and(|value| value == "1")
}

/// Waits for a future; panics with `what` after [`LIMIT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out after {LIMIT:?} waiting for {what}"),
    }
}

/// The ports of [`free_port`]: below those that Linux gives to connections and to port 0 (`ip_local_port_range`), so that
/// nothing takes one between the call and its use, or while a test has stopped the program that uses it.
const PORTS: std::ops::Range<u32> = 10_240..32_000;

/// A free port, for programs that cannot pick one themselves; each is given out once.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run at the same time begin at different ports.
    let first = std::process::id().wrapping_mul(641) % count;
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < count, "no port is free");
        let port = u16::try_from(PORTS.start + (first + given) % count).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A temporary folder, removed when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    // At run time: a shared target folder may hold what was compiled in another checkout.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().unwrap().to_path_buf()
}

/// libfaketime, which Debian installs in a folder of the machine's architecture.
pub fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let libraries = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|path| path.is_file()).expect("libfaketime is missing: run scripts/setup")
}

/// A component built by scripts/build-guests or scripts/build-examples.
pub fn component(name: &str) -> PathBuf {
    let path = root().join(format!("dist/plugins/{name}.wasm"));
    let hint = "run scripts/build-guests and scripts/build-examples";
    assert!(path.is_file(), "{} is missing: {hint}", path.display());
    path
}

/// Where scripts/setup installs what the tests need from other registries.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map_or_else(home, PathBuf::from);
    cache.join("bessai-edge")
}
