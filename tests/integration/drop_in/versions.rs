//! A running feed gets a new version: taken when it works, and else the old one runs on, with the reason shown.

use serde_json::{Value, json};

use super::echoing;
use crate::support::broker::Broker;
use crate::support::guests::{build, hostile};
use crate::support::plant::{Echoes, Plant};

/// A feed `acme` that echoes under `acme`.
async fn acme(file: &[u8]) -> (Plant, Echoes) {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", file).file("plugins/acme.toml", echoing("acme", "1"))
    };
    let plant = Plant::with(with).await;
    let echoes = plant.echoes("acme").await;
    (plant, echoes)
}

fn says(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |feed| feed["not_taken"].as_str().is_some_and(|not_taken| not_taken.contains(reason))
}

#[tokio::test]
async fn a_component_is_replaced_by_a_move_or_in_place() {
    let (mut plant, mut echoes) = acme(&build('A')).await;
    assert_eq!(echoes.next().await.build, "A");
    let first = plant.feed("acme", |_| true).await;
    plant.move_in("acme.wasm", build('B'));
    echoes.until(|echo| echo.build == "B").await;
    let second = plant.feed("acme", |feed| feed["version"] != first["version"]).await;
    plant.write("acme.wasm", build('C'));
    echoes.until(|echo| echo.build == "C").await;
    let third = plant.feed("acme", |feed| feed["version"] != second["version"]).await;
    assert_eq!((&third["failures"], &third["not_taken"], &third["off"]), (&json!(0), &json!(null), &json!(null)));
    plant.all_readings().await;
}

#[tokio::test]
async fn a_component_that_does_not_work_is_not_taken() {
    let (mut plant, mut echoes) = acme(&build('A')).await;
    echoes.some(5).await;
    let bad: [(Vec<u8>, &'static str); 4] = [
        (build('?'), "this build refuses every configuration"),
        (build('!'), "fails on an event that the old version passed: trapped"),
        (b"hello, world".to_vec(), "acme.wasm is a text file"),
        (hostile()[..5000].to_vec(), "acme.wasm is cut off after 5000 bytes"),
    ];
    let before = plant.feed("acme", |_| true).await["version"].clone();
    for (wasm, reason) in bad {
        plant.move_in("acme.wasm", wasm);
        let feed = plant.feed("acme", says(reason)).await;
        assert_eq!((&feed["version"], &feed["off"]), (&before, &json!(null)), "{feed}");
        echoes.some(10).await;
    }
    plant.move_in("acme.wasm", build('B'));
    let echo = echoes.until(|echo| echo.build != "A").await;
    assert_eq!(echo.build, "B");
    plant.feed("acme", |feed| feed["not_taken"].is_null() && feed["version"] != before).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn a_new_version_that_never_starts_is_not_taken() {
    let (mut plant, mut echoes) = acme(&hostile()).await;
    echoes.some(5).await;
    plant.write("acme.toml", "[config]\ndo = \"loop-at-configure\"\n");
    plant.feed("acme", says("did not start within 5s")).await;
    let last = echoes.last.unwrap();
    echoes.until(|echo| echo.sequence > last + 60).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn settings_that_are_wrong_are_not_taken() {
    let (mut plant, mut echoes) = acme(&hostile()).await;
    echoes.some(5).await;
    let bad = [
        ("[config", "acme.toml"),
        ("[confg]\n", "config"),
        ("[limits]\nmemory = \"much\"\n", "limits.memory"),
        ("[config]\ndo = \"good\"\n", "config.do: no good"),
        ("component = \"nowhere.wasm\"\n", "nowhere.wasm is not there"),
    ];
    for (settings, reason) in bad {
        plant.write("acme.toml", settings);
        plant.feed("acme", says(reason)).await;
        let last = echoes.last.unwrap();
        assert_eq!(echoes.until(|echo| echo.sequence >= last + 10).await.version, "1");
    }
    plant.write("acme.toml", echoing("acme", "2"));
    echoes.until(|echo| echo.version == "2").await;
    plant.feed("acme", |feed| feed["not_taken"].is_null()).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn settings_that_go_back_to_what_runs_clear_the_complaint() {
    let (mut plant, mut echoes) = acme(&hostile()).await;
    echoes.some(5).await;
    plant.write("acme.toml", "[config");
    plant.feed("acme", says("acme.toml")).await;
    plant.write("acme.toml", echoing("acme", "1"));
    let feed = plant.feed("acme", |feed| feed["not_taken"].is_null()).await;
    assert_eq!(feed["starts"], json!(1), "what runs is what is wanted: {feed}");
    echoes.some(10).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn a_changed_broker_gets_the_events_from_there_on() {
    let (mut plant, mut echoes) = acme(&hostile()).await;
    let other = Broker::start();
    let mut moved = Echoes::start(other.port, "acme").await;
    echoes.some(10).await;
    plant.write("acme.toml", format!("{}[broker]\nurl = \"{}\"\n", echoing("acme", "2"), other.url()));
    let first = moved.next().await;
    assert_eq!(first.version, "2");
    while echoes.last != Some(first.sequence - 1) {
        assert_eq!(echoes.next().await.version, "1");
    }
    moved.some(10).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn versions_change_back_and_forth_under_load() {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", build('A')).with("WATCHDOG_TIMEOUT", "0.001")
    };
    let mut plant = Plant::with(with).await;
    let mut echoes = plant.echoes("hostile").await;
    echoes.some(500).await;
    for letter in ['B', 'A', 'B', 'A', 'B'] {
        plant.move_in("acme.wasm", build(letter));
        echoes.until(|echo| echo.build == letter.to_string()).await;
        echoes.some(500).await;
    }
    let feed = plant.feed("acme", |_| true).await;
    assert_eq!((&feed["failures"], &feed["set_aside"]), (&json!(0), &json!(0)), "{feed}");
    plant.all_readings().await;
}
