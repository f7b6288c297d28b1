//! What the demo's feeds do beside publishing: each that signs in, or is off, with the version of its plugin.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::printer::PrintLine;
use crate::health::{self, Answer};

/// Time between two looks at the report.
const PERIOD: Duration = Duration::from_millis(500);

/// Prints a line whenever a feed's plugin, connection or fault changes; ends only if a line cannot be printed.
pub(super) async fn announce(address: SocketAddr, print_line: PrintLine) -> anyhow::Result<()> {
    let mut shown = BTreeMap::new();
    loop {
        // A gateway that is starting does not answer yet.
        if let Ok(Answer::Report(report)) = health::ask(address).await {
            for (feed, line) in states(&report) {
                if shown.get(&feed) != Some(&line) {
                    print_line(&line)?;
                    shown.insert(feed, line);
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One line for each feed that is connected or off.
fn states(report: &str) -> Vec<(String, String)> {
    let Ok(report) = serde_json::from_str::<Value>(report) else { return Vec::new() };
    let state = |(name, feed): (&String, &Value)| {
        let text = |key: &str| feed.get(key).and_then(Value::as_str);
        let version = text("version").unwrap_or("not loaded");
        let line = match (text("off"), text("not_taken")) {
            (Some(reason), _) => format!("feed {name} is off: {reason}"),
            (None, Some(reason)) => format!("feed {name}: plugin {version} keeps running: {reason}"),
            _ if feed.get("connected") == Some(&Value::Bool(true)) => {
                format!("feed {name} signed in, plugin {version}")
            }
            _ => return None,
        };
        Some((name.clone(), line))
    };
    report.get("feeds").and_then(Value::as_object).into_iter().flatten().filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_announced_with_its_version_or_its_fault() {
        let report = r#"{"feeds":{
            "default":{"connected":true,"off":null,"not_taken":null,"version":"0a1b"},
            "acme":{"connected":false,"off":"waiting for acme.wasm","not_taken":null,"version":null},
            "beta":{"connected":true,"off":null,"not_taken":"does not fit","version":"2c3d"},
            "late":{"connected":false,"off":null,"not_taken":null,"version":"4e5f"}}}"#;
        let lines: Vec<_> = states(report).into_iter().map(|(_, line)| line).collect();
        let mut expected = [
            "feed default signed in, plugin 0a1b",
            "feed acme is off: waiting for acme.wasm",
            "feed beta: plugin 2c3d keeps running: does not fit",
        ];
        expected.sort_unstable();
        let mut found: Vec<_> = lines.iter().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(states("not JSON"), Vec::new());
    }
}
