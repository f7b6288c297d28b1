//! All of them at once, beside the site's own feed and an honest customer's: both get every event.

use serde_json::json;

use crate::support::guests::doing;
use crate::support::plant::Plant;

const DEEDS: [&str; 17] = [
    "loop",
    "loop-at-configure",
    "allocate",
    "recurse",
    "trap",
    "trap-at-configure",
    "trap-on",
    "messages",
    "bytes",
    "alias",
    "log",
    "state",
    "topics",
    "qos2",
    "retry",
    "reject",
    "refuse",
];

#[tokio::test]
async fn an_honest_customer_among_hostile_ones_gets_every_event() {
    let mut files: Vec<_> = DEEDS.iter().map(|deed| (format!("{deed}.toml"), doing(deed, "nth = 3"))).collect();
    files.push(("honest.toml".into(), doing("echo", "")));
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    let mut plant = Plant::start(&files).await;
    let mut echoes = plant.echoes("echo").await;
    let failing = ["loop", "allocate", "recurse", "trap", "messages", "bytes", "alias", "reject", "refuse"];
    for deed in failing {
        plant.off(deed).await;
    }
    plant.all_readings().await;
    let now = plant.reading().await;
    echoes.until(|echo| echo.reading == Some(now)).await;
    for own in ["default", "honest"] {
        let feed = plant.feed(own, |_| true).await;
        assert_eq!((&feed["failures"], &feed["off"], &feed["starts"]), (&json!(0), &json!(null), &json!(1)), "{feed}");
    }
    // A flood of log lines may outlast its call on a busy machine; whoever fails on everything loses nothing at all.
    for feed in failing.into_iter().chain(["default", "honest"]) {
        assert!(!plant.gateway.path("quarantine").join(feed).exists(), "{feed}: {}", plant.gateway.log());
    }
}
