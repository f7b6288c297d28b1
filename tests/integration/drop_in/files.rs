//! Which feeds run, by the files that exist and are complete.

use std::fs::File;
use std::io::Write;

use serde_json::json;

use super::{echoing, shared};
use crate::support::guests::{hostile, hostile_build};
use crate::support::site::{Echo, TestSite};

/// Readings after which an unchanged file counts as complete unless it is open for writing.
const COMPLETE_AFTER: usize = 30;

#[tokio::test]
async fn a_restored_component_continues_where_it_was_removed() {
    let mut site = TestSite::with(|setup| setup).await;
    let mut echoes = site.echoes("hostile").await;
    // The gateway may still be starting and must load the file all the same.
    site.write("acme.wasm", hostile());
    echoes.receive(10).await;
    let feed = site.feed("acme", |feed| feed["delivered"].as_u64() >= Some(10)).await;
    assert_eq!((&feed["connected"], &feed["off"], &feed["not_taken"]), (&json!(true), &json!(null), &json!(null)));
    std::fs::remove_file(site.plugin_file("acme.wasm")).unwrap();
    site.feed("acme", |feed| feed.is_null()).await;
    site.gateway.wait_for_log("the feed's files were removed").await;
    site.readings(10).await;
    site.write("acme.wasm", hostile());
    let published = echoes.last.unwrap() + 30;
    echoes.wait_for(|echo| echo.sequence >= published).await;
    site.all_readings().await;
}

#[tokio::test]
async fn a_component_is_not_loaded_while_it_is_being_written() {
    let mut site = TestSite::with(|setup| setup.file("plugins/acme.wasm", hostile())).await;
    let (mut old, mut late) = (site.echoes("hostile").await, site.echoes("late").await);
    let wasm = hostile_build('B');
    let (first, second) = wasm.split_at(wasm.len() / 2);
    old.receive(5).await;
    let before = site.feed("acme", |_| true).await;
    let (mut in_place, mut new) =
        (File::create(site.plugin_file("acme.wasm")).unwrap(), File::create(site.plugin_file("late.wasm")).unwrap());
    site.write("late.toml", echoing("late", "1"));
    for file in [&mut in_place, &mut new] {
        file.write_all(first).unwrap();
        file.sync_all().unwrap();
    }
    site.readings(COMPLETE_AFTER).await;
    let during = site.feed("acme", |_| true).await;
    assert_eq!((&during["version"], &during["not_taken"]), (&before["version"], &json!(null)), "{during}");
    assert!(site.feed("late", |_| true).await.is_null(), "{}", site.gateway.log());
    for mut file in [in_place, new] {
        file.write_all(second).unwrap();
    }
    old.wait_for(|echo| echo.build == "B").await;
    late.wait_for(|echo| echo.build == "B").await;
    assert_eq!(site.gateway.log_count("late.wasm is cut off"), 0, "{}", site.gateway.log());
}

#[tokio::test]
async fn settings_are_not_applied_while_they_are_being_written() {
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", echoing("acme", "1"))
    };
    let mut site = TestSite::with(with).await;
    let mut echoes = site.echoes("acme").await;
    echoes.receive(5).await;
    let mut file = File::create(site.plugin_file("acme.toml")).unwrap();
    // Valid TOML, but not complete.
    file.write_all(b"[config]\ntopic = \"acme\"\n").unwrap();
    file.sync_all().unwrap();
    site.readings(COMPLETE_AFTER).await;
    let starts = site.feed("acme", |_| true).await["starts"].clone();
    file.write_all(b"version = \"2\"\n").unwrap();
    drop(file);
    echoes.wait_for(|echo| echo.version == "2").await;
    assert_eq!(starts, json!(1), "incomplete settings were applied");
    site.gateway.assert_logged_once("the new version runs").await;
}

#[tokio::test]
async fn a_renamed_component_is_a_new_feed() {
    let mut site = TestSite::with(|setup| setup.file("plugins/acme.wasm", hostile())).await;
    let mut echoes = site.echoes("hostile").await;
    let first = echoes.next().await.sequence;
    echoes.receive(10).await;
    std::fs::rename(site.plugin_file("acme.wasm"), site.plugin_file("beta.wasm")).unwrap();
    site.feed("acme", |feed| feed.is_null()).await;
    site.feed("beta", |feed| feed["delivered"].as_u64() >= Some(10)).await;
    assert!(site.broker.log().contains("bessai-SITE-CL-001-beta"), "{}", site.broker.log());
    // The new feed starts with the newest event and repeats none of the old feed's.
    let mut published = Vec::new();
    while published.last().is_none_or(|sequence| *sequence < echoes.last.unwrap() + 20) {
        published.push(site.echo("hostile").await.sequence);
    }
    assert_eq!(published.iter().filter(|sequence| **sequence == first).count(), 1, "{published:?}");
    site.all_readings().await;
}

#[tokio::test]
async fn three_feeds_share_a_component() {
    let mut site = TestSite::with(|setup| setup).await;
    let topics = ["one", "two", "three"];
    // Without their component, the feeds are refused at a start; a running gateway waits for the file.
    site.reading().await;
    let mut echoes = Vec::new();
    for topic in topics {
        echoes.push(site.echoes(topic).await);
        site.write(&format!("{topic}.toml"), shared(topic, "1"));
        let off = site.off(topic).await["off"].clone();
        assert!(off.as_str().unwrap().contains("shared.wasm does not exist"), "{off}");
    }
    site.move_in("shared.wasm", hostile_build('A'));
    for echoes in &mut echoes {
        assert_eq!(echoes.next().await.build, "A");
    }
    site.move_in("shared.wasm", hostile_build('B'));
    for echoes in &mut echoes {
        echoes.wait_for(|echo| echo.build == "B").await;
    }
    site.write("two.toml", shared("two", "2"));
    echoes[1].wait_for(|echo| echo.version == "2").await;
    echoes[2].receive(5).await;
    std::fs::remove_file(site.plugin_file("one.toml")).unwrap();
    site.feed("one", |feed| feed.is_null()).await;
    assert!(site.feed("shared", |_| true).await.is_null(), "a component named by other feeds is no feed itself");
    echoes[1].receive(5).await;
    site.all_readings().await;
}

#[tokio::test]
async fn settings_switch_a_feed_off_and_on() {
    let site = TestSite::with(|setup| {
        setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", echoing("acme", "1"))
    });
    let mut site = site.await;
    let mut echoes = site.echoes("acme").await;
    echoes.receive(5).await;
    site.write("acme.toml", "enabled = false\n".to_owned() + &echoing("acme", "1"));
    site.feed("acme", |feed| feed.is_null()).await;
    site.readings(10).await;
    site.write("acme.toml", echoing("acme", "2"));
    let is_second = |echo: &Echo| echo.version == "2";
    echoes.wait_for(is_second).await;
    site.all_readings().await;
}

#[tokio::test]
async fn settings_that_come_first_wait_for_their_component() {
    let mut site = TestSite::with(|setup| setup).await;
    site.readings(1).await;
    site.write("acme.toml", "[config]\ndo = \"echo\"\ntopic = \"acme\"\n");
    site.gateway.wait_for_log("waiting for acme.wasm").await;
    let off = site.off("acme").await;
    assert!(off["off"].as_str().unwrap().starts_with("waiting for acme.wasm: "), "{off}");
    assert_eq!(site.gateway.log_count("feed is off"), 0, "{}", site.gateway.log());
    site.move_in("acme.wasm", hostile());
    site.echo("acme").await;
    site.feed("acme", |feed| feed["off"].is_null()).await;
    site.undisturbed().await;
}

#[tokio::test]
async fn compiling_a_language_runtime_is_logged() {
    let mut site = TestSite::with(|setup| setup).await;
    site.readings(1).await;
    let mut wasm = std::fs::read(crate::support::component("example-python")).unwrap();
    // A custom section that no earlier component had, so that the cache does not know it.
    let unique =
        site.broker.port.to_be_bytes().iter().chain(&std::process::id().to_be_bytes()).copied().collect::<Vec<_>>();
    wasm.extend([0, 3 + u8::try_from(unique.len()).unwrap(), 2, b'i', b'd']);
    wasm.extend(unique);
    site.move_in("acme.wasm", wasm);
    site.gateway.wait_for_log("acme.wasm (18 MB), which can take a minute").await;
    site.all_readings().await;
}
