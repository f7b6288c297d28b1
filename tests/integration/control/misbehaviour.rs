//! Devices that refuse, clamp, delay, ignore and forget set-points, and other masters: each is reported as what it is, and what
//! holds is written again.

use std::time::Duration;

use bessai_simulator::registers::{Interference, Origin, Table, WriteEffect, WriteRecord};
use serde_json::Value;

use super::simulated_box::{MODE, SimulatedBox, TARGET, assert_complete};

/// How many writes of a register have an origin.
fn count(log: &[WriteRecord], origin: Origin, address: u16) -> usize {
    log.iter().filter(|record| record.origin == origin && record.address == address).count()
}

/// The outcomes of set-points, as texts.
fn outcomes(audit: &[Value]) -> Vec<String> {
    let of_set_point = audit.iter().filter(|event| event["channel"] == "set_point_kw" && !event["outcome"].is_null());
    of_set_point.map(|event| event["outcome"].to_string()).collect()
}

#[tokio::test]
async fn what_a_device_makes_of_a_write_is_named_and_the_device_is_released() {
    let site = SimulatedBox::start().await;
    for (effect, expected) in [
        (WriteEffect::Refused(3), "exception 3"),
        (WriteEffect::Refused(4), "exception 4"),
        (WriteEffect::Ignored, "failed: target is not set to 1500 W: acknowledged, still 0 W after 1s"),
        (WriteEffect::Clamped(1000), "failed: target is not set to 1500 W: acknowledged, but it reads 1000 W after 1s"),
        (WriteEffect::Replaced(7), "failed: target is not set to 1500 W: acknowledged, but it reads 7 W after 1s"),
    ] {
        site.on_write(TARGET, Some(effect));
        let printed = site.set_fails("1.5").await;
        assert!(printed.contains(expected), "{effect:?}: {printed}");
        site.on_write(TARGET, None);
        site.released().await;
    }
    // A device that ignores the mode has the power, but does not use it.
    site.on_write(MODE, Some(WriteEffect::Ignored));
    let printed = site.set_fails("-1.5").await;
    assert!(printed.contains("failed: mode is not set to 1: acknowledged, still 0 after 1s"), "{printed}");
    site.on_write(MODE, None);
    site.released().await;
    site.set("-1.5").await;
    assert_eq!(site.state(), [(-1500_i16).cast_unsigned(), 1]);
    let log = site.registers.write_log();
    assert_complete(&log, &site.audit().await);
}

#[tokio::test]
async fn a_device_that_shows_a_value_late_has_taken_it() {
    let site = SimulatedBox::start().await;
    site.on_write(TARGET, Some(WriteEffect::After(Duration::from_millis(600))));
    site.set("1.5").await;
    assert_eq!(site.state(), [1500, 1]);
    let log = site.registers.write_log();
    assert_eq!(count(&log, Origin::Client, TARGET), 1, "it is written once");
    assert_complete(&log, &site.audit().await);
}

#[tokio::test]
async fn what_another_master_changes_is_reported_and_written_again() {
    let site = SimulatedBox::start().await;
    site.set("1.5").await;
    let every = Duration::from_millis(300);
    let (unit, table, words) = (1, Table::Holding, vec![0]);
    site.registers.interfere(Some(Interference { unit, table, address: MODE, words, every }));
    let is_applied_again = |log: &[WriteRecord]| count(log, Origin::Client, MODE) >= 2;
    let log = site.wait_for_writes("the mode to be written again", is_applied_again).await;
    assert!(count(&log, Origin::OtherMaster, MODE) > 0);
    site.registers.interfere(None);
    site.wait_for([1500, 1]).await;
    site.wait_for_status("battery/set_point_kw: 1.5 kW").await;
    let (log, audit) = (site.registers.write_log(), site.audit().await);
    assert_complete(&log, &audit);
    let reported = outcomes(&audit).iter().filter(|outcome| outcome.contains("mode was changed to 0")).count();
    assert!(reported >= 1, "{audit:#?}");
}

#[tokio::test]
async fn a_device_that_has_forgotten_its_set_point_at_a_reboot_gets_it_again() {
    let site = SimulatedBox::start().await;
    site.set("-2").await;
    site.server.reboot();
    assert_eq!(site.state(), [0, 0]);
    site.wait_for([(-2000_i16).cast_unsigned(), 1]).await;
    site.wait_for_status("battery/set_point_kw: -2 kW").await;
    assert_complete(&site.registers.write_log(), &site.audit().await);
}

#[tokio::test]
async fn a_requester_that_chatters_cannot_exceed_the_budget_of_a_point_in_flash() {
    /// Writes of the power that the settings allow in 24 h.
    const BUDGET: usize = 6;
    let settings = format!("writes_per_day = {BUDGET}");
    let site = SimulatedBox::with(", persistent = true", &settings, 3600).await;
    let chatter = async |site: &SimulatedBox| {
        let mut refusals = Vec::new();
        for tenth in 0..10 {
            let (is_done, printed) = site.operator(&["set", "battery", &format!("1.{tenth}"), "--for", "10m"]).await;
            if !is_done {
                refusals.push(printed);
            }
        }
        refusals
    };
    let refusals = chatter(&site).await;
    assert!(!refusals.is_empty());
    let expected = format!("refused: target is kept in flash, and its {BUDGET} writes within 24 h are used up");
    assert!(refusals.iter().all(|printed| printed.contains(&expected)), "{refusals:#?}");
    // A refused set-point ends the one before, and what it takes to release the device was kept back.
    site.operator(&["release", "battery"]).await;
    site.wait_for([0, 0]).await;
    let written = |site: &SimulatedBox| count(&site.registers.write_log(), Origin::Client, TARGET);
    assert!((2..=BUDGET).contains(&written(&site)), "{}", written(&site));
    let site = site
        .restarted(async |gateway| {
            let (status, setup) = gateway.stop_and_keep_setup().await;
            assert!(status.success());
            setup
        })
        .await;
    site.is_safe().await;
    chatter(&site).await;
    assert!(written(&site) <= BUDGET, "a restart does not renew the budget: {}", written(&site));
    assert_complete(&site.registers.write_log(), &site.audit().await);
}
