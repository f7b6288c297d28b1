//! Plugins that fail on every event are switched off after ten failures, with the reason, and no event is lost.

use crate::support::guests::hostile_feed;
use crate::support::site::TestSite;

/// The behaviour of each plugin, and what its reason must contain.
const FAILING: [(&str, &str); 9] = [
    ("trap", "wasm `unreachable` instruction executed"),
    ("panic", "trapped: panicked at tests/guests/hostile/src/lib.rs:"),
    ("trap-at-configure", "failed to start: trapped"),
    ("allocate", "[limits] memory"),
    ("recurse", "call stack exhausted"),
    ("reject", "rejects the events: nothing is good enough"),
    ("messages", "returned 10000 messages"),
    ("bytes", "more than 4 MiB in one call"),
    ("alias", "more than 4 MiB in one call"),
];

/// A machine with much other work does not make the time limit the reason.
const PATIENT: &str = "[limits]\ncall = \"30s\"\n";

#[tokio::test]
async fn failing_plugins_are_switched_off_with_their_reason() {
    let files: Vec<_> =
        FAILING.iter().map(|(behaviour, _)| (format!("{behaviour}.toml"), hostile_feed(behaviour, PATIENT))).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    let mut site = TestSite::start(&files).await;
    for (behaviour, reason) in FAILING {
        let feed = site.off(behaviour).await;
        let off = feed["off"].as_str().unwrap();
        assert!(off.contains("failed 10 times in a row") && off.contains(reason), "{behaviour}: {off}");
        assert!(feed["failures"].as_u64().unwrap() >= 10, "{behaviour}: {feed}");
        assert!(feed["starts"].as_u64().unwrap() >= 1, "{behaviour}: {feed}");
        assert_eq!((&feed["set_aside"], &feed["delivered"]), (&0.into(), &0.into()), "{behaviour}: {feed}");
        assert_eq!(
            site.gateway.log_count(&format!("switched off until its file changes: {off} feed={behaviour}")),
            1,
            "{behaviour}"
        );
    }
    site.undisturbed().await;
    assert!(!site.gateway.path("quarantine").exists(), "a plugin that fails on every event quarantines none");
    let own = site.feed("default", |_| true).await;
    assert_eq!((&own["failures"], &own["refused"]), (&0.into(), &0.into()), "{own}");
    // About one line for each failure, and one when the plugin is switched off.
    let failures = site.gateway.log_count("the plugin failed");
    assert!(failures <= FAILING.len() * 14, "{}", site.gateway.log());
}

#[tokio::test]
async fn a_refused_configuration_is_tried_once_until_the_file_changes() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("refuse", ""))]).await;
    let feed = site.off("acme").await;
    let off = "the plugin refuses its configuration: the config is not the JSON that this plugin wants";
    assert_eq!((&feed["off"], &feed["failures"], &feed["starts"]), (&off.into(), &1.into(), &1.into()), "{feed}");
    std::fs::write(site.gateway.path("plugins/acme.toml"), hostile_feed("echo", "")).unwrap();
    assert_eq!(site.echo("echo").await.reading, None, "the site's description comes first");
    site.undisturbed().await;
}
