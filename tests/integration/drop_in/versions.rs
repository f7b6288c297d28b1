//! New versions of a running feed: a version that works replaces the old one, any other is rejected with the reason.

use serde_json::{Value, json};

use super::echoing;
use crate::support::broker::Broker;
use crate::support::guests::{hostile, hostile_build};
use crate::support::site::{EchoStream, TestSite};

/// A gateway with a feed `acme` that echoes under the topic `acme`.
async fn acme(file: &[u8]) -> (TestSite, EchoStream) {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", file).file("plugins/acme.toml", echoing("acme", "1"))
    };
    let site = TestSite::with(with).await;
    let echoes = site.echoes("acme").await;
    (site, echoes)
}

/// Whether a feed's last update was rejected for this reason.
fn is_rejected(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |feed| feed["not_taken"].as_str().is_some_and(|error| error.contains(reason))
}

#[tokio::test]
async fn a_component_is_replaced_by_a_rename_or_in_place() {
    let (mut site, mut echoes) = acme(&hostile_build('A')).await;
    assert_eq!(echoes.next().await.build, "A");
    let first = site.feed("acme", |_| true).await;
    site.move_in("acme.wasm", hostile_build('B'));
    echoes.wait_for(|echo| echo.build == "B").await;
    let second = site.feed("acme", |feed| feed["version"] != first["version"]).await;
    site.write("acme.wasm", hostile_build('C'));
    echoes.wait_for(|echo| echo.build == "C").await;
    let third = site.feed("acme", |feed| feed["version"] != second["version"]).await;
    assert_eq!((&third["failures"], &third["not_taken"], &third["off"]), (&json!(0), &json!(null), &json!(null)));
    site.all_readings().await;
}

#[tokio::test]
async fn a_failing_component_does_not_replace_the_running_one() {
    let (mut site, mut echoes) = acme(&hostile_build('A')).await;
    echoes.receive(5).await;
    let invalid: [(Vec<u8>, &'static str); 4] = [
        (hostile_build('?'), "this build refuses every configuration"),
        (hostile_build('!'), "fails on an event that the old version processed: trapped"),
        (b"hello, world".to_vec(), "acme.wasm is a text file"),
        (hostile()[..5000].to_vec(), "acme.wasm is cut off after 5000 bytes"),
    ];
    let before = site.feed("acme", |_| true).await["version"].clone();
    for (wasm, reason) in invalid {
        site.move_in("acme.wasm", wasm);
        let feed = site.feed("acme", is_rejected(reason)).await;
        assert_eq!((&feed["version"], &feed["off"]), (&before, &json!(null)), "{feed}");
        echoes.receive(10).await;
    }
    site.move_in("acme.wasm", hostile_build('B'));
    let echo = echoes.wait_for(|echo| echo.build != "A").await;
    assert_eq!(echo.build, "B");
    site.feed("acme", |feed| feed["not_taken"].is_null() && feed["version"] != before).await;
    site.all_readings().await;
}

#[tokio::test]
async fn a_version_that_never_starts_is_rejected() {
    let (mut site, mut echoes) = acme(&hostile()).await;
    echoes.receive(5).await;
    site.write("acme.toml", "[config]\ndo = \"loop-at-configure\"\n");
    site.feed("acme", is_rejected("did not start within 5s")).await;
    let last = echoes.last.unwrap();
    echoes.wait_for(|echo| echo.sequence > last + 60).await;
    site.all_readings().await;
}

#[tokio::test]
async fn invalid_settings_are_rejected() {
    let (mut site, mut echoes) = acme(&hostile()).await;
    echoes.receive(5).await;
    let invalid = [
        ("[config", "acme.toml"),
        ("[confg]\n", "config"),
        ("[limits]\nmemory = \"much\"\n", "limits.memory"),
        ("[config]\ndo = \"good\"\n", "config.do: no good"),
        ("component = \"nowhere.wasm\"\n", "nowhere.wasm does not exist"),
    ];
    for (settings, reason) in invalid {
        site.write("acme.toml", settings);
        site.feed("acme", is_rejected(reason)).await;
        let last = echoes.last.unwrap();
        assert_eq!(echoes.wait_for(|echo| echo.sequence >= last + 10).await.version, "1");
    }
    site.write("acme.toml", echoing("acme", "2"));
    echoes.wait_for(|echo| echo.version == "2").await;
    site.feed("acme", |feed| feed["not_taken"].is_null()).await;
    site.all_readings().await;
}

#[tokio::test]
async fn restoring_the_running_settings_clears_the_error() {
    let (mut site, mut echoes) = acme(&hostile()).await;
    echoes.receive(5).await;
    site.write("acme.toml", "[config");
    site.feed("acme", is_rejected("acme.toml")).await;
    site.write("acme.toml", echoing("acme", "1"));
    let feed = site.feed("acme", |feed| feed["not_taken"].is_null()).await;
    assert_eq!(feed["starts"], json!(1), "the running settings are not applied again: {feed}");
    echoes.receive(10).await;
    site.all_readings().await;
}

#[tokio::test]
async fn a_new_broker_receives_the_events_after_the_change() {
    let (mut site, mut echoes) = acme(&hostile()).await;
    let other = Broker::start();
    let mut new_echoes = EchoStream::start(other.port, "acme").await;
    echoes.receive(10).await;
    site.write("acme.toml", format!("{}[broker]\nurl = \"{}\"\n", echoing("acme", "2"), other.url()));
    let first = new_echoes.next().await;
    assert_eq!(first.version, "2");
    while echoes.last != Some(first.sequence - 1) {
        assert_eq!(echoes.next().await.version, "1");
    }
    new_echoes.receive(10).await;
    site.all_readings().await;
}

#[tokio::test]
async fn versions_alternate_under_load_without_losing_events() {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", hostile_build('A')).with("WATCHDOG_TIMEOUT", "0.001")
    };
    let mut site = TestSite::with(with).await;
    let mut echoes = site.echoes("hostile").await;
    echoes.receive(500).await;
    for letter in ['B', 'A', 'B', 'A', 'B'] {
        site.move_in("acme.wasm", hostile_build(letter));
        echoes.wait_for(|echo| echo.build == letter.to_string()).await;
        echoes.receive(500).await;
    }
    let feed = site.feed("acme", |_| true).await;
    assert_eq!((&feed["failures"], &feed["set_aside"]), (&json!(0), &json!(0)), "{feed}");
    site.all_readings().await;
}
