//! Plugins that log, store or publish too much, or invalid messages: the excess is refused and counted, the rest is served.

use serde_json::json;

use crate::support::guests::hostile_feed;
use crate::support::site::TestSite;

#[tokio::test]
async fn log_lines_are_limited_to_twenty_a_second() {
    let started = std::time::Instant::now();
    let settings = hostile_feed("log", "[limits]\ncall = \"30s\"\n");
    let mut site = TestSite::start(&[("log.toml", settings)]).await;
    let feed = site.feed("log", |feed| feed["calls"].as_u64() >= Some(3) && feed["delivered"] != json!(0)).await;
    let logged = site.gateway.log_count("of a flood");
    let most = 20 * (started.elapsed().as_secs() + 1);
    assert!(logged >= 20 && logged as u64 <= most, "{logged} lines of at most {most}");
    assert_eq!((&feed["off"], &feed["failures"]), (&json!(null), &json!(0)), "{feed}");
    site.gateway.wait_for_log("log lines of the plugin are not shown").await;
    site.undisturbed().await;
}

#[tokio::test]
async fn state_beyond_its_limit_is_refused() {
    let mut site = TestSite::start(&[("state.toml", hostile_feed("state", ""))]).await;
    // 17 entries of 60,000 bytes with their keys fit into 1 MiB.
    for _ in 0..3 {
        assert_eq!(site.customers.next("state").await.json(), json!({ "kept": 17 }));
    }
    site.undisturbed().await;
}

#[tokio::test]
async fn invalid_and_forbidden_topics_are_refused_one_by_one() {
    let settings = hostile_feed("topics", "[rights]\ntopics = [\"topics/#\", \"wild/#\", \"odd/#\"]\n");
    let mut site = TestSite::start(&[("topics.toml", settings)]).await;
    for _ in 0..3 {
        site.customers.wait_for("topics/good", |message| message.payload == "here").await;
    }
    let feed = site.feed("topics", |feed| feed["delivered"].as_u64() >= Some(3)).await;
    // Each call publishes eight refused messages, which are counted before its valid one is delivered.
    let (refused, delivered) = (feed["refused"].as_u64().unwrap(), feed["delivered"].as_u64().unwrap());
    assert!(refused >= 8 * delivered && refused % 8 == 0, "{feed}");
    assert_eq!((&feed["off"], &feed["failures"]), (&json!(null), &json!(0)), "{feed}");
    site.gateway.assert_logged_once("a message is not published").await;
    site.undisturbed().await;
}

#[tokio::test]
async fn the_qos_is_lowered_to_the_feeds_limit() {
    let at = |qos: &str| format!("component = \"hostile.wasm\"\n[config]\ndo = \"qos2\"\ntopic = \"at/{qos}\"\n");
    let limited = |qos: &str| at(qos) + &format!("[limits]\nqos = {qos}\n");
    let mut site =
        TestSite::start(&[("zero.toml", limited("0")), ("default-limit.toml", at("1")), ("two.toml", limited("2"))])
            .await;
    for (topic, qos) in [("at/0", 0), ("at/1", 1), ("at/2", 2), ("at/0", 0), ("at/1", 1), ("at/2", 2)] {
        let message = site.customers.next(topic).await;
        assert_eq!(message.qos, qos, "{message:?}");
    }
    site.undisturbed().await;
}

#[tokio::test]
async fn a_plugin_that_always_asks_to_retry_only_lags() {
    let mut site = TestSite::start(&[("retry.toml", hostile_feed("retry", ""))]).await;
    let feed = site.feed("retry", |feed| feed["lag"].as_u64() >= Some(20)).await;
    assert_eq!((&feed["calls"], &feed["set_aside"], &feed["failures"]), (&json!(0), &json!(0), &json!(0)), "{feed}");
    assert_eq!(feed["off"], json!(null), "asking to retry is no failure: {feed}");
    site.gateway.assert_logged_once("the plugin is not ready: not now, ERROR or ever").await;
    site.gateway.assert_logged_once("the plugin is not ready").await;
    site.undisturbed().await;
}
