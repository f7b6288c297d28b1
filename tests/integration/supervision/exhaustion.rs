//! No thread and no descriptor is left for the gateway: it goes on as soon as there are some again.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;
use crate::support::within;

/// Changes a limit of the running gateway; returns the one before.
fn limit(gateway: &Gateway, resource: Resource, current: u64) -> Rlimit {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    // The gateway has inherited the maximum of this process.
    let before = prlimit(pid, resource, Rlimit { current: Some(current), ..getrlimit(resource) });
    before.unwrap_or_else(|error| panic!("{resource:?}: {error}"))
}

#[tokio::test]
async fn without_new_threads_names_are_still_resolved_and_connections_come_back() {
    if !geteuid().is_root() {
        eprintln!("NOT TESTED: the limit of threads is per user, and only root may run the gateway as another one");
        return;
    }
    // A user without other processes: the limit counts all of them.
    let user = 1_000_000 + std::process::id();
    let (device, mut broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    // Resolving a name takes a thread.
    let setup = Setup::new().run_as(user).device(device.port()).with("INVERTER_IP", "localhost");
    let setup = setup.broker(format!("mqtt://localhost:{}", broker.port));
    let cache = setup.folder().join("cache");
    let gateway = setup.with("XDG_CACHE_HOME", cache.display()).run();
    subscriber.next("/telemetry").await;
    // A process of root may not change the limits of another user's.
    let pid = gateway.pid().to_string();
    let mut limited = Command::new("prlimit");
    limited.args(["--nproc=1:", "--pid", &pid]).uid(user);
    assert!(limited.status().unwrap().success());
    broker.kill();
    device.server.drop_connections();
    let failed = |health: &serde_json::Value| health["feeds"]["default"]["failed_sign_ins"].as_u64() >= Some(2);
    gateway.wait_for_health("failed attempts", failed).await;
    broker.restart();
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    subscriber.next("/telemetry").await;
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
}

#[tokio::test]
async fn without_a_free_descriptor_health_answers_and_the_gateway_goes_on_when_there_are_some_again() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    subscriber.next("/telemetry").await;
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
    // No number above the highest one that is in use, and silent clients for those below.
    let used = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    let highest = used.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).max();
    let before = limit(&gateway, Resource::Nofile, highest.unwrap_or(0_u64) + 1);
    let address = gateway.health_address().await;
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in 0..5 {
        gateway.health().await;
    }
    broker.kill();
    within("a failed attempt", async {
        while gateway.health().await["feeds"]["default"]["failed_sign_ins"] == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    limit(&gateway, Resource::Nofile, before.current.unwrap());
    drop(silent);
    broker.restart();
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    subscriber.next("/telemetry").await;
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
}
