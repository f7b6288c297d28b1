//! What single requests of operators and customers end with.

use std::os::unix::net::UnixStream;

use bessai_simulator::registers::{Origin, WriteEffect, WriteRecord};
use serde_json::json;

use super::simulated_box::{MODE, SimulatedBox, TARGET, assert_complete};
use super::{CONTROL, Controlled, MODE as FORCIBLE_MODE, RIGHT};

#[tokio::test]
async fn a_value_that_is_no_number_is_refused() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    for payload in
        [r#"{"value": true, "ref": "a1"}"#, r#"{"value": "2", "ref": "a1"}"#, r#"{"value": [2], "ref": "a1"}"#]
    {
        let answer = site.command("set_point_kw", payload).await;
        assert_eq!((&answer["ref"], &answer["outcome"]), (&json!("a1"), &json!("refused")), "{payload}: {answer}");
    }
    let answer = site.command("set_point_kw", r#"{"value": true, "ref": "a2"}"#).await;
    let expected = "value is true: write a number in the channel's unit, or null to release it";
    assert_eq!(answer["reason"], json!(expected), "{answer}");
    assert_eq!((site.writes(), site.register(FORCIBLE_MODE)), (0, 0.0));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_refused_with_those_that_do() {
    let site = SimulatedBox::start().await;
    let (is_done, printed) = site.operator(&["reset-trip", "nothing"]).await;
    assert!(!is_done && printed.contains("the gateway has no device nothing; it has battery"), "{printed}");
    let (is_done, printed) = site.operator(&["reset-trip", "battery"]).await;
    assert!(is_done && printed.contains("nothing has tripped"), "{printed}");
}

#[tokio::test]
async fn idle_clients_do_not_keep_an_operator_out() {
    /// More than are served at the same time.
    const CLIENTS: usize = 200;
    let site = SimulatedBox::start().await;
    let idle: Vec<_> = (0..CLIENTS).map(|_| UnixStream::connect(site.gateway.path("control.sock")).unwrap()).collect();
    site.set("1").await;
    let (is_done, printed) = site.operator(&["status"]).await;
    assert!(is_done && printed.contains("battery/set_point_kw: 1 kW"), "{printed}");
    drop(idle);
}

#[tokio::test]
async fn a_set_point_beyond_the_budget_leaves_the_one_before() {
    // One set-point, another one, and its release.
    let site = SimulatedBox::with(", persistent = true", "writes_per_day = 3", 3600).await;
    site.set("1").await;
    site.set("2").await;
    let printed = site.set_fails("3").await;
    assert!(
        printed.contains("refused: target is kept in flash, and its 3 writes within 24 h are used up"),
        "{printed}"
    );
    site.wait_for_status("battery/set_point_kw: 2 kW\n  operator: 2 kW").await;
    assert_eq!(site.state(), [2000, 1]);
    site.operator(&["release", "battery"]).await;
    site.wait_for([0, 0]).await;
    assert_complete(&site.registers.write_log(), &site.audit().await);
}

#[tokio::test]
async fn a_release_goes_on_after_a_write_that_is_refused() {
    let site = SimulatedBox::start().await;
    site.set("1").await;
    site.on_write(MODE, Some(WriteEffect::Refused(4)));
    site.operator(&["release", "battery"]).await;
    // The mode comes first in the recipe.
    site.wait_for([0, 1]).await;
    let is_refused =
        |record: &WriteRecord| record.address == MODE && matches!(record.effect, Some(WriteEffect::Refused(_)));
    site.wait_for_writes("a second attempt", |log| log.iter().filter(|record| is_refused(record)).count() >= 2).await;
    site.gateway.wait_for_log("the release of battery is not complete, and is repeated").await;
    site.on_write(MODE, None);
    site.wait_for([0, 0]).await;
    let log = site.registers.write_log();
    let zeroes = log
        .iter()
        .filter(|record| record.origin == Origin::Client && (record.address, &record.words[..]) == (TARGET, &[0][..]));
    assert_eq!(zeroes.count(), 1, "what the device has taken is not written again: {log:#?}");
    let audit = site.audit().await;
    let reported = |event: &serde_json::Value| {
        let reason = event["outcome"]["failed"].as_str().unwrap_or_default();
        event["channel"] == "set_point_kw" && reason.starts_with("not released, repeated until it is")
    };
    assert_eq!(audit.iter().filter(|event| reported(event)).count(), 1, "{audit:#?}");
    assert_complete(&log, &audit);
}
