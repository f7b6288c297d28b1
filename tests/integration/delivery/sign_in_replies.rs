//! Brokers that refuse a sign-in or break it off, at the first one or at a later one, each with a feed of its own.

use bessai_domain::refusal::reason_codes::{CONNACK, CONNACK_V311, Effect, ReasonCode};
use bessai_simulator::scripted::{ConnectReply, Script};
use serde_json::Value;

use super::scripted::{DELAYED, ScriptedFeeds};

/// Reason code of CONNACK (MQTT 5.0 §3.2.2.2): bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;
/// Not authorized.
const NOT_AUTHORIZED: u8 = 0x87;
/// Server unavailable.
const SERVER_UNAVAILABLE: u8 = 0x88;
/// Server busy.
const SERVER_BUSY: u8 = 0x89;

/// Replies to CONNECT after which the client must connect again.
const BAD_REPLIES: [(&str, ConnectReply); 7] = [
    ("credentials", ConnectReply::Refuse(BAD_CREDENTIALS)),
    ("unauthorized", ConnectReply::Refuse(NOT_AUTHORIZED)),
    ("unavailable", ConnectReply::Refuse(SERVER_UNAVAILABLE)),
    ("busy", ConnectReply::Refuse(SERVER_BUSY)),
    ("closing", ConnectReply::Close),
    ("accepting-and-closing", ConnectReply::AcceptThenClose),
    ("garbage", ConnectReply::AcceptThenGarbage),
];

/// A script for every bad reply in both versions.
fn bad_scripts() -> Vec<(String, Script)> {
    let both = |(name, reply): (&str, ConnectReply)| {
        ["5", "3.1.1"]
            .map(|version| (format!("{name}-{}", version.replace('.', "")), Script::with_connect_reply(reply)))
    };
    BAD_REPLIES.into_iter().flat_map(both).collect()
}

#[tokio::test]
async fn feeds_recover_from_bad_replies_to_the_first_sign_in() {
    let mut feeds = ScriptedFeeds::start(bad_scripts()).await;
    feeds.wait_until(|recording| recording.connections >= 2).await;
    feeds.set_script(&Script::default());
    feeds.check_all().await;
}

#[tokio::test]
async fn feeds_recover_from_bad_replies_to_a_later_sign_in() {
    let scripts = bad_scripts();
    let mut feeds = ScriptedFeeds::start(
        scripts.iter().map(|(name, _)| (name.clone(), Script::with_acknowledgements(DELAYED))).collect(),
    )
    .await;
    feeds.check_all().await;
    for (broker, (_, script)) in feeds.brokers().zip(&scripts) {
        broker.set_script(script.clone());
        broker.close_connections();
    }
    feeds.wait_until(|recording| recording.connections >= 2).await;
    feeds.set_script(&Script::default());
    feeds.check_all().await;
}

/// Every code of CONNACK that refuses, with the name of its feed.
fn refusing_codes() -> Vec<(String, &'static ReasonCode)> {
    let of = |table: &'static [ReasonCode], version: &'static str| {
        let refusing = table.iter().filter(|entry| entry.effect != Effect::Accepted);
        refusing.map(move |entry| (format!("c{:02x}-{version}", entry.code), entry))
    };
    of(&CONNACK, "5").chain(of(&CONNACK_V311, "311")).collect()
}

/// What log and `/health` say about a sign-in that was refused with a code.
fn sentence(feed: &str, entry: &ReasonCode) -> String {
    let (label, setting) = (entry.label(), |key: &str| format!("{feed}.toml: broker.{key}"));
    match entry.code {
        0x84 | 0x01 => "does not speak this MQTT version; set protocol = \"auto\"".into(),
        0x85 | 0x02 => format!("client identifier not valid); set {}", setting("client_id")),
        0x86 | 0x04 => format!("({label}); check {} and {}", setting("username"), setting("password")),
        0x87 | 0x05 | 0x07 => format!("({label}); check user name, password and the broker's policy"),
        0x9a | 0x9b => format!("({label}); write false in {}", setting("will")),
        _ => format!("refused the connection ({label}); {}", entry.hint.unwrap()),
    }
}

#[tokio::test]
async fn every_code_of_a_refused_sign_in_is_explained_and_tried_again() {
    let codes = refusing_codes();
    assert_eq!(codes.len(), 27);
    let script = |code| Script::with_connect_reply(ConnectReply::Refuse(code));
    let scripts = codes.iter().map(|(name, entry)| (name.clone(), script(entry.code))).collect();
    let mut feeds = ScriptedFeeds::start_with("will = \"site/lost\"", scripts).await;
    for (name, entry) in &codes {
        let expected = sentence(name, entry);
        let is_shown = |health: &Value| {
            let feed = &health["feeds"][name];
            let error = feed["last_error"].as_str().unwrap_or_default();
            error.contains(&expected) && feed["connected"] == false && feed["off"].is_null()
        };
        feeds.gateway().wait_for_health(&format!("{name}: {expected}"), is_shown).await;
        feeds.gateway().wait_for_log(&expected).await;
    }
    feeds.wait_until(|recording| recording.connections >= 2).await;
    feeds.set_script(&Script::default());
    feeds.check_all().await;
}
