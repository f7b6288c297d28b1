//! Brokers that refuse a sign-in or break it off, at the first one or at a later one, each with a feed of its own.

use bessai_simulator::scripted::{ConnectReply, Script};

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
