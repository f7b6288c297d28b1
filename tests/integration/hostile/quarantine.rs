//! An event that a plugin fails on is quarantined and the events around it are delivered; a plugin that fails on every event
//! quarantines none.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::guests::{hostile_build, hostile_feed};
use crate::support::site::{Echo, TestSite};

/// The echoes up to the frame with this reading.
async fn echoes_through(site: &mut TestSite, topic: &str, reading: u16) -> Vec<Echo> {
    let mut echoes: Vec<Echo> = Vec::new();
    while echoes.last().is_none_or(|echo| echo.reading != Some(reading)) {
        echoes.push(site.echo(topic).await);
    }
    echoes
}

fn sequences(echoes: &[Echo]) -> Vec<u64> {
    echoes.iter().map(|echo| echo.sequence).collect()
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn only_the_poisonous_event_is_quarantined() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("trap-on", "value = 0.02"))]).await;
    let echoes = echoes_through(&mut site, "trap-on", 30).await;
    let sequences = sequences(&echoes);
    let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
    let missing: Vec<u64> = (first..=last).filter(|sequence| !sequences.contains(sequence)).collect();
    let [poisonous] = missing[..] else { panic!("missing: {missing:?} of {sequences:?}") };
    assert!(sequences.is_sorted() && sequences.len() as u64 == last - first, "{sequences:?}");

    let [file] = &files(site.gateway.path("quarantine/acme"))[..] else {
        panic!("not exactly one event is quarantined")
    };
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), format!("{poisonous:020}.jsonl"));
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "the site's description and the event: {text}");
    assert!(lines[0]["site"].is_object(), "{text}");
    assert!(lines[1]["frame"]["values"].as_array().unwrap().contains(&json!(0.02)), "{text}");
    assert!(lines[1]["note"].as_str().unwrap().contains("quarantined: trapped"), "{text}");

    let feed = site.feed("acme", |_| true).await;
    assert_eq!((&feed["set_aside"], &feed["off"]), (&json!(1), &json!(null)), "{feed}");
    assert!(feed["failures"].as_u64().unwrap() >= 2, "{feed}");
    site.undisturbed().await;
}

#[tokio::test]
async fn the_note_of_a_quarantined_event_says_what_the_plugin_said_and_where() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("panic-on", "value = 0.02"))]).await;
    echoes_through(&mut site, "panic-on", 30).await;
    let [file] = &files(site.gateway.path("quarantine/acme"))[..] else {
        panic!("not exactly one event is quarantined")
    };
    let text = std::fs::read_to_string(file).unwrap();
    for part in ["quarantined: trapped: panicked at ", "hostile/src/lib.rs:", "no such thing in event "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let logged = "the plugin failed: trapped: panicked at ";
    assert!(site.gateway.log().contains(logged), "{}", site.gateway.log());
    site.undisturbed().await;
}

#[tokio::test]
async fn an_event_that_a_fresh_instance_processes_is_not_quarantined() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("trap-on", "nth = 15"))]).await;
    let echoes = echoes_through(&mut site, "trap-on", 40).await;
    let sequences = sequences(&echoes);
    let expected: Vec<u64> = (sequences[0]..).take(sequences.len()).collect();
    assert_eq!(sequences, expected, "an event is missing or repeated");
    let feed = site.feed("acme", |_| true).await;
    assert_eq!((&feed["set_aside"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    assert!(feed["failures"].as_u64() >= Some(2) && feed["starts"].as_u64() >= Some(3), "{feed}");
    site.undisturbed().await;
}

#[tokio::test]
async fn a_fixed_build_receives_every_event_that_the_failing_one_did_not_process() {
    let mut site = TestSite::with(|setup| setup.file("plugins/acme.wasm", hostile_build('!'))).await;
    let off = site.off("acme").await;
    assert_eq!((&off["set_aside"], &off["delivered"], &off["calls"]), (&json!(0), &json!(0), &json!(0)), "{off}");
    site.undisturbed().await;
    std::fs::write(site.gateway.path("plugins/acme.wasm"), hostile_build('B')).unwrap();
    let reading = site.reading().await;
    let echoes = echoes_through(&mut site, "hostile", reading).await;
    assert!(echoes.iter().any(|echo| echo.reading == Some(0)), "the first reading is missing");
    let sequences = sequences(&echoes);
    let expected: Vec<u64> = (sequences[0]..).take(sequences.len()).collect();
    assert_eq!(sequences, expected);
    let feed = site.feed("acme", |feed| feed["off"].is_null()).await;
    assert_ne!(feed["version"], off["version"]);
    assert_eq!(feed["set_aside"], json!(0), "{feed}");
    site.undisturbed().await;
}

#[tokio::test]
async fn frames_that_a_plugin_fails_on_are_kept_for_its_fix() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("trap", ""))]).await;
    site.off("acme").await;
    site.undisturbed().await;
    std::fs::write(site.gateway.path("plugins/acme.toml"), hostile_feed("echo", "")).unwrap();
    let echoes = echoes_through(&mut site, "echo", 3).await;
    assert_eq!(echoes[0].reading, Some(0), "the first frame is missing: {echoes:?}");
    site.undisturbed().await;
}
