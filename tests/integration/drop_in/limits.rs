//! `[limits]` in a feed's settings.

use std::time::{Duration, Instant};

use super::echoing;
use crate::support::guests::{hostile, hostile_build, hostile_feed};
use crate::support::site::TestSite;

#[tokio::test]
async fn a_feed_publishes_no_faster_than_its_rate() {
    let settings = echoing("acme", "1") + "[limits]\nrate = \"10/s\"\n";
    let with = |setup: crate::support::gateway::Setup| {
        let setup = setup.file("plugins/acme.wasm", hostile()).file("plugins/acme.toml", settings);
        setup.with("WATCHDOG_TIMEOUT", "0.01")
    };
    let mut site = TestSite::with(with).await;
    let mut echoes = site.echoes("acme").await;
    echoes.receive(1).await;
    let started = Instant::now();
    echoes.receive(25).await;
    // The first message may already use up a pause, and the broker may delay another one.
    assert!(started.elapsed() > Duration::from_millis(2200), "{:?}", started.elapsed());
    let feed = site.feed("acme", |feed| feed["lag"].as_u64() >= Some(100)).await;
    assert_eq!(feed["failures"], 0, "{feed}");
    site.write("acme.toml", echoing("acme", "2"));
    echoes.wait_for(|echo| echo.version == "2").await;
    site.all_readings().await;
}

#[tokio::test]
async fn events_older_than_max_age_are_skipped_and_counted() {
    let settings = echoing("acme", "1") + "[limits]\nmax_age = \"1s\"\n";
    let with = |setup: crate::support::gateway::Setup| {
        setup.file("plugins/acme.wasm", hostile_build('!')).file("plugins/acme.toml", settings)
    };
    let mut site = TestSite::with(with).await;
    let mut echoes = site.echoes("acme").await;
    site.off("acme").await;
    // Three seconds at ten readings a second.
    site.readings(30).await;
    site.write("acme.wasm", hostile_build('B'));
    let now = site.reading().await;
    let mut frames = 0;
    loop {
        let echo = echoes.next_after_gap().await;
        frames += usize::from(echo.reading.is_some());
        if echo.reading == Some(now) {
            break;
        }
    }
    let feed = site.feed("acme", |feed| feed["too_old"].as_u64() >= Some(10)).await;
    assert!(frames < 25, "{frames} frames, {feed}");
    assert_eq!((&feed["off"], &feed["set_aside"]), (&serde_json::Value::Null, &0.into()), "{feed}");
    site.all_readings().await;
}

#[tokio::test]
async fn the_memory_limit_follows_the_settings() {
    let mut site = TestSite::start(&[
        // The memory is used up before the time.
        ("small.toml", hostile_feed("allocate", "[limits]\nmemory = \"8MiB\"\ncall = \"10s\"\n")),
        ("large.toml", hostile_feed("allocate", "[limits]\nmemory = \"100MiB\"\ncall = \"10s\"\n")),
    ])
    .await;
    for (name, bytes) in [("small", 8 << 20), ("large", 100 << 20)] {
        let off = site.off(name).await["off"].clone();
        let reason = format!("requested more than {bytes} bytes of memory, the limit set by [limits] memory");
        assert!(off.as_str().unwrap().contains(&reason), "{off}");
    }
    site.all_readings().await;
}
