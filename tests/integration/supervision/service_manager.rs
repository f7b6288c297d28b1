//! What the service manager that starts the gateway is told.

use std::os::unix::net::UnixDatagram;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::{LIMIT, folder};

/// Waits for a message that starts with a text.
fn wait_for(socket: &UnixDatagram, start: &str) -> String {
    let mut buffer = [0; 500];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("waiting for {start}: {error}"));
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if message.starts_with(start) {
            return message;
        }
    }
}

#[tokio::test]
async fn it_learns_of_the_start_the_signs_of_life_the_reload_and_the_stop() {
    let (device, broker, folder) = (Device::huawei(), Broker::start(), folder());
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let setup = Setup::new().device(device.port()).broker(broker.url()).with("NOTIFY_SOCKET", path.display());
    let mut gateway = setup.with("WATCHDOG_USEC", 400_000).run();
    wait_for(&socket, "READY=1");
    wait_for(&socket, "WATCHDOG=1");
    wait_for(&socket, "WATCHDOG=1");
    gateway.hang_up();
    let reloading = wait_for(&socket, "RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    wait_for(&socket, "READY=1");
    gateway.terminate();
    wait_for(&socket, "STOPPING=1");
    assert!(gateway.wait_for_exit().await.success());
}
