//! The documentation against the program: every sample runs, every key is documented, every link leads somewhere.

mod brokers;
mod commands;
mod keys;
mod kinds;
mod languages;
mod links;
pub mod page;
mod payloads;
mod quotations;
mod reason_codes;
mod session;
mod settings;

use page::{Block, pages};

/// Languages and names that a fenced block may have, and what checks it; `*` stands for one name.
const RULES: [(&str, &str); 26] = [
    ("c excerpt *", "quotations"),
    ("dotenv config/.env", "settings"),
    ("ini /etc/systemd/system/bessai-edge.service", "commands"),
    ("js excerpt *", "quotations"),
    ("json anomaly", "payloads"),
    ("json dispatch", "payloads"),
    ("json events.jsonl", "settings"),
    ("json expected-session.jsonl", "settings"),
    ("json expected.jsonl", "settings"),
    ("json health", "payloads"),
    ("json heartbeat", "payloads"),
    ("json policy", "payloads"),
    ("json safety", "payloads"),
    ("json session.jsonl", "settings"),
    ("json telemetry", "payloads"),
    ("python excerpt *", "quotations"),
    ("rust excerpt *", "quotations"),
    ("rust src/lib.rs", "session"),
    ("sh", "session"),
    ("sh checkout", "session"),
    ("sh openssl", "the tests of TLS"),
    ("sh parse-only", "commands"),
    ("text output", "session"),
    ("toml *", "settings"),
    ("yaml configuration.yaml", "payloads"),
    ("yaml docker-compose.yml", "payloads"),
];

/// Blocks that claim nothing a machine could check: a picture, and output that depends on a bug or on what is set at the moment.
const UNCHECKED: [&str; 2] = ["text diagram", "text example"];

#[test]
fn every_block_is_checked_by_something() {
    for Block { page, line, info, .. } in pages().iter().flat_map(|page| &page.blocks) {
        let is_known = UNCHECKED.contains(&info.as_str()) || RULES.iter().any(|(rule, _)| fits(rule, info));
        assert!(is_known, "{page}:{line}: nothing checks a block `{info}`");
    }
}

fn fits(rule: &str, info: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(beginning) => info.strip_prefix(beginning).is_some_and(|name| !name.is_empty() && !name.contains(' ')),
        None => rule == info,
    }
}
