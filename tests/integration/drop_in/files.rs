//! Which feeds run follows from which files are there, and whole.

use std::fs::File;
use std::io::Write;

use serde_json::json;

use super::{echoing, shared};
use crate::support::guests::{build, hostile};
use crate::support::plant::{Echo, Plant};

/// Readings after which a file that nobody touches would count as whole, were it not open.
const LONG: usize = 30;

#[tokio::test]
async fn a_component_that_comes_runs_goes_and_comes_back_where_it_was() {
    let mut plant = Plant::with(|setup| setup).await;
    let mut echoes = plant.echoes("hostile").await;
    // Maybe while the gateway still starts: it must see the file all the same.
    plant.write("acme.wasm", hostile());
    echoes.some(10).await;
    let feed = plant.feed("acme", |feed| feed["delivered"].as_u64() >= Some(10)).await;
    assert_eq!((&feed["connected"], &feed["off"], &feed["not_taken"]), (&json!(true), &json!(null), &json!(null)));
    std::fs::remove_file(plant.plugin_file("acme.wasm")).unwrap();
    plant.feed("acme", |feed| feed.is_null()).await;
    plant.gateway.says("the feed's file is gone").await;
    plant.readings(10).await;
    plant.write("acme.wasm", hostile());
    let published = echoes.last.unwrap() + 30;
    echoes.until(|echo| echo.sequence >= published).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn a_file_that_is_still_written_is_left_alone() {
    let mut plant = Plant::with(|setup| setup.file("plugins/acme.wasm", hostile())).await;
    let (mut old, mut late) = (plant.echoes("hostile").await, plant.echoes("late").await);
    let wasm = build('B');
    let (first, second) = wasm.split_at(wasm.len() / 2);
    old.some(5).await;
    let before = plant.feed("acme", |_| true).await;
    let (mut in_place, mut new) =
        (File::create(plant.plugin_file("acme.wasm")).unwrap(), File::create(plant.plugin_file("late.wasm")).unwrap());
    plant.write("late.toml", echoing("late", "1"));
    for file in [&mut in_place, &mut new] {
        file.write_all(first).unwrap();
        file.sync_all().unwrap();
    }
    plant.readings(LONG).await;
    let during = plant.feed("acme", |_| true).await;
    assert_eq!((&during["version"], &during["not_taken"]), (&before["version"], &json!(null)), "{during}");
    assert!(plant.feed("late", |_| true).await.is_null(), "{}", plant.gateway.log());
    for mut file in [in_place, new] {
        file.write_all(second).unwrap();
    }
    old.until(|echo| echo.build == "B").await;
    late.until(|echo| echo.build == "B").await;
    assert_eq!(plant.gateway.said("late.wasm is cut off"), 0, "{}", plant.gateway.log());
}

#[tokio::test]
async fn settings_that_are_still_written_are_left_alone() {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", echoing("acme", "1"))
    };
    let mut plant = Plant::with(with).await;
    let mut echoes = plant.echoes("acme").await;
    echoes.some(5).await;
    let mut file = File::create(plant.plugin_file("acme.toml")).unwrap();
    // Sound as far as it goes: only the writer knows that it is not the end.
    file.write_all(b"[config]\ntopic = \"acme\"\n").unwrap();
    file.sync_all().unwrap();
    plant.readings(LONG).await;
    let starts = plant.feed("acme", |_| true).await["starts"].clone();
    file.write_all(b"version = \"2\"\n").unwrap();
    drop(file);
    echoes.until(|echo| echo.version == "2").await;
    assert_eq!(starts, json!(1), "half of the settings were taken");
    assert_eq!(plant.gateway.said("the new version runs"), 1, "{}", plant.gateway.log());
}

#[tokio::test]
async fn a_renamed_component_is_a_new_feed() {
    let mut plant = Plant::with(|setup| setup.file("plugins/acme.wasm", hostile())).await;
    let mut echoes = plant.echoes("hostile").await;
    let first = echoes.next().await.sequence;
    echoes.some(10).await;
    std::fs::rename(plant.plugin_file("acme.wasm"), plant.plugin_file("beta.wasm")).unwrap();
    plant.feed("acme", |feed| feed.is_null()).await;
    plant.feed("beta", |feed| feed["delivered"].as_u64() >= Some(10)).await;
    assert!(plant.broker.log().contains("bessai-SITE-CL-001-beta"), "{}", plant.broker.log());
    // It begins with the present: what the old one has published does not come again.
    let mut heard = Vec::new();
    while heard.last().is_none_or(|sequence| *sequence < echoes.last.unwrap() + 20) {
        heard.push(plant.echo("hostile").await.sequence);
    }
    assert_eq!(heard.iter().filter(|sequence| **sequence == first).count(), 1, "{heard:?}");
    plant.all_readings().await;
}

#[tokio::test]
async fn three_feeds_share_a_component() {
    let mut plant = Plant::with(|setup| setup).await;
    let topics = ["one", "two", "three"];
    // A gateway that starts would refuse them; one that runs waits for their component.
    plant.reading().await;
    let mut echoes = Vec::new();
    for topic in topics {
        echoes.push(plant.echoes(topic).await);
        plant.write(&format!("{topic}.toml"), shared(topic, "1"));
        let off = plant.off(topic).await["off"].clone();
        assert!(off.as_str().unwrap().contains("shared.wasm is not there"), "{off}");
    }
    plant.move_in("shared.wasm", build('A'));
    for echoes in &mut echoes {
        assert_eq!(echoes.next().await.build, "A");
    }
    plant.move_in("shared.wasm", build('B'));
    for echoes in &mut echoes {
        echoes.until(|echo| echo.build == "B").await;
    }
    plant.write("two.toml", shared("two", "2"));
    echoes[1].until(|echo| echo.version == "2").await;
    echoes[2].some(5).await;
    std::fs::remove_file(plant.plugin_file("one.toml")).unwrap();
    plant.feed("one", |feed| feed.is_null()).await;
    assert!(plant.feed("shared", |_| true).await.is_null(), "a component that others name is no feed of its own");
    echoes[1].some(5).await;
    plant.all_readings().await;
}

#[tokio::test]
async fn a_feed_is_switched_off_and_on_by_its_settings() {
    let plant =
        Plant::with(|setup| setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", echoing("acme", "1")));
    let mut plant = plant.await;
    let mut echoes = plant.echoes("acme").await;
    echoes.some(5).await;
    plant.write("acme.toml", "enabled = false\n".to_owned() + &echoing("acme", "1"));
    plant.feed("acme", |feed| feed.is_null()).await;
    plant.readings(10).await;
    plant.write("acme.toml", echoing("acme", "2"));
    let is_second = |echo: &Echo| echo.version == "2";
    echoes.until(is_second).await;
    plant.all_readings().await;
}
