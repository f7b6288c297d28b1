//! One event that a plugin cannot bear is set aside, and those around it are delivered; a plugin that bears none of them
//! loses none.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::guests::{build, doing};
use crate::support::plant::{Echo, Plant};

/// Echoes up to the frame with this reading.
async fn through(plant: &mut Plant, topic: &str, reading: u16) -> Vec<Echo> {
    let mut echoes: Vec<Echo> = Vec::new();
    while echoes.last().is_none_or(|echo| echo.reading != Some(reading)) {
        echoes.push(plant.echo(topic).await);
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
async fn the_poisonous_event_alone_is_set_aside() {
    let mut plant = Plant::start(&[("acme.toml", doing("trap-on", "value = 20.0"))]).await;
    let echoes = through(&mut plant, "trap-on", 30).await;
    let sequences = sequences(&echoes);
    let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
    let missing: Vec<u64> = (first..=last).filter(|sequence| !sequences.contains(sequence)).collect();
    let [poisonous] = missing[..] else { panic!("missing: {missing:?} of {sequences:?}") };
    assert!(sequences.is_sorted() && sequences.len() as u64 == last - first, "{sequences:?}");

    let [file] = &files(plant.gateway.path("quarantine/acme"))[..] else { panic!("one event is set aside") };
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), format!("{poisonous:020}.jsonl"));
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "the site's description and the event: {text}");
    assert!(lines[0]["site"].is_object(), "{text}");
    assert!(lines[1]["frame"]["values"].as_array().unwrap().contains(&json!(20.0)), "{text}");
    assert!(lines[1]["note"].as_str().unwrap().contains("set aside: trapped"), "{text}");

    let feed = plant.feed("acme", |_| true).await;
    assert_eq!((&feed["set_aside"], &feed["off"]), (&json!(1), &json!(null)), "{feed}");
    assert!(feed["failures"].as_u64().unwrap() >= 2, "{feed}");
    plant.all_readings().await;
}

#[tokio::test]
async fn an_event_that_a_fresh_instance_bears_is_not_to_blame() {
    let mut plant = Plant::start(&[("acme.toml", doing("trap-on", "nth = 15"))]).await;
    let echoes = through(&mut plant, "trap-on", 40).await;
    let sequences = sequences(&echoes);
    let expected: Vec<u64> = (sequences[0]..).take(sequences.len()).collect();
    assert_eq!(sequences, expected, "none is missing, none comes twice");
    let feed = plant.feed("acme", |_| true).await;
    assert_eq!((&feed["set_aside"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    assert!(feed["failures"].as_u64() >= Some(2) && feed["starts"].as_u64() >= Some(3), "{feed}");
    plant.all_readings().await;
}

#[tokio::test]
async fn a_healthy_build_gets_every_event_that_the_failing_one_could_not_bear() {
    let mut plant = Plant::with(|setup| setup.file("plugins/acme.wasm", build('!'))).await;
    let off = plant.off("acme").await;
    assert_eq!((&off["set_aside"], &off["delivered"], &off["calls"]), (&json!(0), &json!(0), &json!(0)), "{off}");
    plant.all_readings().await;
    std::fs::write(plant.gateway.path("plugins/acme.wasm"), build('B')).unwrap();
    let reading = plant.reading().await;
    let echoes = through(&mut plant, "hostile", reading).await;
    assert!(echoes.iter().any(|echo| echo.reading == Some(0)), "the first reading is there");
    let sequences = sequences(&echoes);
    let expected: Vec<u64> = (sequences[0]..).take(sequences.len()).collect();
    assert_eq!(sequences, expected);
    let feed = plant.feed("acme", |feed| feed["off"].is_null()).await;
    assert_ne!(feed["version"], off["version"]);
    assert_eq!(feed["set_aside"], json!(0), "{feed}");
    plant.all_readings().await;
}

#[tokio::test]
async fn a_plugin_that_fails_on_frames_alone_does_not_eat_them() {
    let mut plant = Plant::start(&[("acme.toml", doing("trap", ""))]).await;
    plant.off("acme").await;
    plant.all_readings().await;
    std::fs::write(plant.gateway.path("plugins/acme.toml"), doing("echo", "")).unwrap();
    let echoes = through(&mut plant, "echo", 3).await;
    assert_eq!(echoes[0].reading, Some(0), "the first frame, which was the first to fail: {echoes:?}");
    plant.all_readings().await;
}
