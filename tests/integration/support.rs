//! Starts what the tests need: devices, brokers, the gateway itself, listeners. Real programs on free ports, each with a
//! folder of its own; everything waits for the thing it wants, within one generous limit.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod broker;
pub mod certificates;
pub mod device;
pub mod gateway;
pub mod guests;
pub mod hub;
pub mod listener;
pub mod packets;
pub mod plant;
pub mod readings;
pub mod strict;
pub mod subscriber;

/// Nothing here takes long on an idle machine; a loaded one gets the benefit of the doubt.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Whether the long forms are wanted: outages of a minute, hundreds of kills, waits of the gateway's own full limits.
pub fn long_tests() -> bool {
    std::env::var_os("EDGE_LONG_TESTS").is_some_and(|value| value == "1")
}

/// Waits for a future, and says what was waited for when it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}

/// A port that was free a moment ago, for programs that cannot pick one themselves.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A folder of the test's own.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A component that scripts/build-guests or scripts/build-examples made.
pub fn component(name: &str) -> PathBuf {
    let path = root().join(format!("dist/plugins/{name}.wasm"));
    let mend = "run scripts/build-guests and scripts/build-examples";
    assert!(path.is_file(), "{} is missing: {mend}", path.display());
    path
}
