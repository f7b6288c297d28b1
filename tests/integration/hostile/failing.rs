//! Plugins that fail on everything are switched off after ten failures, with the reason, and eat no data.

use crate::support::guests::doing;
use crate::support::plant::Plant;

/// What they do, and what the reason must say.
const FAILING: [(&str, &str); 9] = [
    ("trap", "wasm `unreachable` instruction executed"),
    ("trap-at-configure", "failed to start: trapped"),
    ("refuse", "refuses its configuration: the config is not the JSON"),
    ("allocate", "[limits] memory"),
    ("recurse", "call stack exhausted"),
    ("reject", "rejects the events: nothing is good enough"),
    ("messages", "returned 10000 messages"),
    ("bytes", "trapped"),
    ("alias", "trapped"),
];

#[tokio::test]
async fn each_is_switched_off_with_its_reason_and_harms_nobody() {
    let files: Vec<_> = FAILING.iter().map(|(deed, _)| (format!("{deed}.toml"), doing(deed, ""))).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    let mut plant = Plant::start(&files).await;
    for (deed, reason) in FAILING {
        let feed = plant.off(deed).await;
        let off = feed["off"].as_str().unwrap();
        assert!(off.contains("failed 10 times in a row") && off.contains(reason), "{deed}: {off}");
        assert!(feed["failures"].as_u64().unwrap() >= 10, "{deed}: {feed}");
        assert!(feed["starts"].as_u64().unwrap() >= 1, "{deed}: {feed}");
        assert_eq!((&feed["set_aside"], &feed["delivered"]), (&0.into(), &0.into()), "{deed}: {feed}");
        assert_eq!(plant.gateway.said(&format!("switched off until its file changes: {off} feed={deed}")), 1, "{deed}");
    }
    plant.all_readings().await;
    assert!(!plant.gateway.path("quarantine").exists(), "a plugin that fails on everything sets nothing aside");
    let own = plant.feed("default", |_| true).await;
    assert_eq!((&own["failures"], &own["refused"]), (&0.into(), &0.into()), "{own}");
    // One line for a failure, one for the end.
    let failures = plant.gateway.said("the plugin failed");
    assert!(failures <= FAILING.len() * 14, "{}", plant.gateway.log());
}
