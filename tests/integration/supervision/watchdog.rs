//! A main loop that does not respond: `/health` says so, and the process is aborted at the limit.

use std::os::unix::process::ExitStatusExt;

use crate::supervision::{faulty, inject, wait_for_report};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::subscriber::Subscriber;

#[tokio::test]
async fn a_stuck_main_loop_is_reported_until_it_responds_again() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = faulty(Setup::new()).device(device.port()).broker(broker.url()).run();
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
    inject(&gateway, "feed default", "stall 6000");
    let report = wait_for_report(&gateway, |report| report["status"] == "stuck").await;
    assert_eq!(gateway.health_command().await.status.code(), Some(1));
    // The rest is as the main loop saw it last.
    assert_eq!((&report["site_id"], &report["safety_status"]), (&"SITE-CL-001".into(), &"ok".into()));
    gateway.wait_for_log("; running: feed default").await;
    let report = wait_for_report(&gateway, |report| report["status"] == "healthy").await;
    assert!(report["loop_stall_max_ms"].as_f64().unwrap() >= 6000.0, "{report}");
    assert!(report["tasks"]["feed default"]["longest_poll_ms"].as_f64().unwrap() >= 6000.0, "{report}");
    gateway.wait_for_log("the main loop responds again").await;
    subscriber.next("/telemetry").await;
}

#[tokio::test]
async fn the_process_is_aborted_at_the_limit() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = faulty(Setup::new()).device(device.port()).broker(broker.url());
    let mut gateway = setup.file("bessai.toml", "[watchdog]\nabort_after = \"2s\"\n").run();
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
    inject(&gateway, "feed default", "stall 600000");
    let status = gateway.wait_for_exit().await;
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{}", gateway.log());
    gateway.wait_for_log("aborting, so that the service manager restarts the gateway").await;
}
