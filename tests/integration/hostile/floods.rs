//! Plugins that write, keep or publish too much, or wrongly: bounded, counted, and otherwise served.

use serde_json::json;

use crate::support::guests::doing;
use crate::support::plant::Plant;

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_to_twenty_a_second() {
    let started = std::time::Instant::now();
    let settings = doing("log", "[limits]\ncall = \"30s\"\n");
    let mut plant = Plant::start(&[("log.toml", settings)]).await;
    let feed = plant.feed("log", |feed| feed["calls"].as_u64() >= Some(3) && feed["delivered"] != json!(0)).await;
    let shown = plant.gateway.said("of a flood");
    let most = 20 * (started.elapsed().as_secs() + 1);
    assert!(shown >= 20 && shown as u64 <= most, "{shown} lines of at most {most}");
    assert_eq!((&feed["off"], &feed["failures"]), (&json!(null), &json!(0)), "{feed}");
    plant.gateway.says("log lines of the plugin are not shown").await;
    plant.all_readings().await;
}

#[tokio::test]
async fn a_state_that_grows_is_refused_at_its_limit() {
    let mut plant = Plant::start(&[("state.toml", doing("state", ""))]).await;
    // 17 entries of 60,000 bytes and their keys have room in 1 MiB.
    for _ in 0..3 {
        assert_eq!(plant.customers.next("state").await.json(), json!({ "kept": 17 }));
    }
    plant.all_readings().await;
}

#[tokio::test]
async fn topics_that_are_wrong_or_not_allowed_are_refused_one_by_one() {
    let settings = doing("topics", "[rights]\ntopics = [\"topics/#\", \"wild/#\", \"odd/#\"]\n");
    let mut plant = Plant::start(&[("topics.toml", settings)]).await;
    for _ in 0..3 {
        plant.customers.wait("topics/good", |heard| heard.payload == "here").await;
    }
    let feed = plant.feed("topics", |feed| feed["delivered"].as_u64() >= Some(3)).await;
    // Eight in a call; what was delivered came from a call that was counted before.
    let (refused, delivered) = (feed["refused"].as_u64().unwrap(), feed["delivered"].as_u64().unwrap());
    assert!(refused >= 8 * delivered && refused % 8 == 0, "{feed}");
    assert_eq!((&feed["off"], &feed["failures"]), (&json!(null), &json!(0)), "{feed}");
    assert_eq!(plant.gateway.said("a message is not published"), 1, "{}", plant.gateway.log());
    plant.all_readings().await;
}

#[tokio::test]
async fn the_quality_of_service_is_lowered_to_what_the_feed_may_have() {
    let at = |qos: &str| format!("component = \"hostile.wasm\"\n[config]\ndo = \"qos2\"\ntopic = \"at/{qos}\"\n");
    let limited = |qos: &str| at(qos) + &format!("[limits]\nqos = {qos}\n");
    let mut plant =
        Plant::start(&[("zero.toml", limited("0")), ("default-limit.toml", at("1")), ("two.toml", limited("2"))]).await;
    for (topic, qos) in [("at/0", 0), ("at/1", 1), ("at/2", 2), ("at/0", 0), ("at/1", 1), ("at/2", 2)] {
        let heard = plant.customers.next(topic).await;
        assert_eq!(heard.qos, qos, "{heard:?}");
    }
    plant.all_readings().await;
}

#[tokio::test]
async fn a_plugin_that_wants_everything_later_only_lags() {
    let mut plant = Plant::start(&[("retry.toml", doing("retry", ""))]).await;
    let feed = plant.feed("retry", |feed| feed["lag"].as_u64() >= Some(20)).await;
    assert_eq!((&feed["calls"], &feed["set_aside"], &feed["failures"]), (&json!(0), &json!(0), &json!(0)), "{feed}");
    assert_eq!(feed["off"], json!(null), "it asks for time, it does not fail: {feed}");
    assert_eq!(plant.gateway.said("the plugin waits: not now, ERROR or ever"), 1, "{}", plant.gateway.log());
    assert_eq!(plant.gateway.said("the plugin waits"), 1, "{}", plant.gateway.log());
    plant.all_readings().await;
}
