//! The device's own timer, which the gateway sets and renews: the battery is released when the gateway dies.

use std::time::Duration;

use bessai_simulator::registers::{Origin, WriteRecord};
use serde_json::Value;

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
    let site = site.restarted(async |gateway| gateway.kill()).await;
    assert_eq!(site.state()[1], 1, "still set");
    site.wait_for([0, 0]).await;
    site.is_safe().await;
    let log = site.registers.write_log();
    assert_eq!(count(&log, Origin::Timer, MODE), 0);
    assert_complete(&log, &site.audit().await);
}

#[tokio::test]
async fn a_kill_right_after_a_register_write_leaves_no_write_without_event() {
    let mut site = SimulatedBox::start().await;
    // A set-point takes three writes: each of them is the last one of a run, in turn.
    for run in 0..6 {
        let before = count_of_clients(&site.registers.write_log());
        let set = site.begin_set(&format!("{}", run + 1));
        let wanted = before + 1 + run % 3;
        while count_of_clients(&site.registers.write_log()) < wanted {
            assert!(!set.is_finished(), "{:?}\n{}", set.await.unwrap(), site.gateway.log());
            tokio::task::yield_now().await;
        }
        site = site.restarted(async |gateway| gateway.kill()).await;
        set.await.unwrap();
        // What it has left is released.
        site.is_safe().await;
        site.released().await;
    }
    let (log, audit) = (site.registers.write_log(), site.audit().await);
    assert_complete(&log, &audit);
    let ended_before = |event: &&Value| {
        let reason = event["outcome"]["failed"].as_str();
        reason.is_some_and(|reason| reason.contains("the gateway ended before the outcome was known"))
    };
    assert!(audit.iter().any(|event| ended_before(&event)), "{audit:#?}");
}

fn count_of_clients(log: &[WriteRecord]) -> usize {
    log.iter().filter(|record| record.origin == Origin::Client).count()
}
