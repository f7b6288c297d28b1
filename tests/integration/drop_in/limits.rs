//! `[limits]` in a feed's settings.

use std::time::{Duration, Instant};

use super::echoing;
use crate::support::guests::{build, doing, hostile};
use crate::support::plant::Plant;

#[tokio::test]
async fn a_feed_publishes_no_faster_than_its_rate() {
    let settings = echoing("acme", "1") + "[limits]\nrate = \"10/s\"\n";
    let with = |setup: crate::support::gateway::Setup| {
        let setup = setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", settings);
        setup.with("WATCHDOG_TIMEOUT", "0.01")
    };
    let mut plant = Plant::with(with).await;
    let mut echoes = plant.echoes("acme").await;
    echoes.some(1).await;
    let started = Instant::now();
    echoes.some(25).await;
    // One may have waited for its turn before the first was heard, and the broker may hold one up.
    assert!(started.elapsed() > Duration::from_millis(2200), "{:?}", started.elapsed());
    let feed = plant.feed("acme", |feed| feed["lag"].as_u64() >= Some(100)).await;
    assert_eq!(feed["failures"], 0, "{feed}");
    plant.write("acme.toml", echoing("acme", "2"));
    echoes.until(|echo| echo.version == "2").await;
    plant.all_readings().await;
}

#[tokio::test]
async fn events_older_than_the_feed_wants_them_are_passed_over_and_counted() {
    let settings = echoing("acme", "1") + "[limits]\nmax_age = \"1s\"\n";
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", build('!')).file("plugins/acme.toml", settings)
    };
    let mut plant = Plant::with(with).await;
    let mut echoes = plant.echoes("acme").await;
    plant.off("acme").await;
    // Three seconds of the site.
    plant.readings(30).await;
    plant.write("acme.wasm", build('B'));
    let now = plant.reading().await;
    let mut frames = 0;
    loop {
        let echo = echoes.any().await;
        frames += usize::from(echo.reading.is_some());
        if echo.reading == Some(now) {
            break;
        }
    }
    let feed = plant.feed("acme", |feed| feed["too_old"].as_u64() >= Some(10)).await;
    assert!(frames < 25, "{frames} frames, {feed}");
    assert_eq!((&feed["off"], &feed["set_aside"]), (&serde_json::Value::Null, &0.into()), "{feed}");
    plant.all_readings().await;
}

#[tokio::test]
async fn memory_is_what_the_settings_say() {
    let mut plant = Plant::start(&[
        ("small.toml", doing("allocate", "[limits]\nmemory = \"8MiB\"\n")),
        ("large.toml", doing("allocate", "[limits]\nmemory = \"100MiB\"\n")),
    ])
    .await;
    for (name, bytes) in [("small", 8 << 20), ("large", 100 << 20)] {
        let off = plant.off(name).await["off"].clone();
        let reason = format!("refused more than {bytes} bytes of memory, which [limits] memory sets");
        assert!(off.as_str().unwrap().contains(&reason), "{off}");
    }
    plant.all_readings().await;
}
