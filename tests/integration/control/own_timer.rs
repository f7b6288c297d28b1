//! The device's own timer, which the gateway sets and renews: the battery is released when the gateway dies.

use std::time::Duration;

use bessai_simulator::registers::{Origin, WriteRecord};

use super::simulated_box::{MODE, SimulatedBox, assert_complete};
use crate::support::within;

/// The time of the device's own timer in s.
const SECONDS: u16 = 4;

fn count(log: &[WriteRecord], origin: Origin, address: u16) -> usize {
    log.iter().filter(|record| record.origin == origin && record.address == address).count()
}

#[tokio::test]
async fn the_timer_is_renewed_while_the_gateway_runs_and_releases_the_device_when_it_is_killed() {
    let site = SimulatedBox::with("", "", SECONDS).await;
    site.set("-2").await;
    let is_renewed = |log: &[WriteRecord]| count(log, Origin::Client, MODE) >= 4;
    let log = site.wait_for_writes("three renewals", is_renewed).await;
    assert_eq!(count(&log, Origin::Timer, MODE), 0, "{log:#?}");
    assert_complete(&log, &site.audit().await);

    let SimulatedBox { server, registers, gateway } = site;
    let setup = gateway.kill();
    let is_reverted = |record: &WriteRecord| record.origin == Origin::Timer && record.address == MODE;
    let reverted = async {
        while !registers.write_log().iter().any(is_reverted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the device to release itself", reverted).await;
    let log = registers.write_log();
    let last = log.iter().rfind(|record| record.origin == Origin::Client).unwrap();
    let reverted = log.iter().find(|record| is_reverted(record)).unwrap();
    assert_eq!(reverted.at - last.at, Duration::from_secs(SECONDS.into()), "its own time after the last write");
    // The next start has nothing to bring back.
    let site = SimulatedBox { server, registers, gateway: setup.run() };
    site.is_safe().await;
    assert_eq!(site.state(), [0, 0]);
    site.set("1").await;
}

#[tokio::test]
async fn a_device_is_released_at_a_stop_and_what_a_kill_has_left_is_released_by_the_next_start() {
    // The timer plays no part.
    let site = SimulatedBox::start().await;
    site.set("1").await;
    let site = site
        .restarted(async |gateway| {
            let (status, setup) = gateway.stop_and_keep_setup().await;
            assert!(status.success());
            setup
        })
        .await;
    assert_eq!(site.state(), [0, 0], "released before the process ended");
    site.is_safe().await;
    site.set("-1").await;
    // The journal is written every few milliseconds: what a kill leaves out of it is no matter here.
    let is_recorded =
        async { while site.audit().await.last().is_none_or(|event| event["outcome"]["verified"] != -1.0) {} };
    within("the event of the set-point", is_recorded).await;
    let site = site.restarted(async |gateway| gateway.kill()).await;
    assert_eq!(site.state()[1], 1, "still set");
    site.wait_for([0, 0]).await;
    site.is_safe().await;
    let log = site.registers.write_log();
    assert_eq!(count(&log, Origin::Timer, MODE), 0);
    assert_complete(&log, &site.audit().await);
}
