//! Keeps events that a plugin cannot handle, and messages that a broker does not take: a file each, with the reason and all that is needed to run the event again.
//!
//! `<folder>/<feed>/<sequence>.jsonl` has two lines: the description of the site, and the event with the reason as its
//! note. `bessai-edge plugin replay` and `plugin test` read it as it is.
//!
//! A message that a broker does not take is kept as well: `<folder>/<feed>/<sequence>-<n>.json` has all of it, and why.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::message::{Message, Properties};
use bessai_domain::record;
use bessai_domain::site::Site;
use serde_json::{Value, json};

/// Files of one feed; the oldest go when there are more.
const FILES_PER_FEED: usize = 1000;
const ENDING: &str = "jsonl";
const MESSAGE_ENDING: &str = "json";

/// Why and where a message was set aside.
pub struct SetAside<'a> {
    /// The feed.
    pub feed: &'a str,
    /// The last event that it was made from.
    pub through: Sequence,
    /// Which of that call's messages it is.
    pub index: usize,
    /// Its size in bytes.
    pub size: usize,
    /// What the broker takes, in bytes.
    pub limit: usize,
    /// For a person.
    pub reason: &'a str,
}

/// Writes an event that was set aside, and says where.
pub fn keep(
    folder: &Path,
    feed: &str,
    site: Option<&Site>,
    event: &Event,
    reason: &str,
) -> Result<PathBuf, std::io::Error> {
    let folder = folder.join(feed);
    fs::create_dir_all(&folder)?;
    let mut lines = String::new();
    if let Some(site) = site {
        let site = EventBody::Site(std::sync::Arc::new(site.clone()));
        let before = Sequence(event.sequence.0.saturating_sub(1));
        let description = Event { sequence: before, at: event.at, body: site };
        lines = record::write_event(&description, Some("the description in force")) + "\n";
    }
    lines += &record::write_event(event, Some(&format!("set aside: {reason}")));
    lines += "\n";
    let path = folder.join(format!("{:020}.{ENDING}", event.sequence.0));
    write_whole(&path, lines.as_bytes(), true)?;
    bound(&folder)?;
    Ok(path)
}

/// Writes a message that was set aside, and says where.
pub fn keep_message(folder: &Path, aside: &SetAside<'_>, message: &Message) -> Result<PathBuf, std::io::Error> {
    let folder = folder.join(aside.feed);
    fs::create_dir_all(&folder)?;
    let (kind, payload) = match std::str::from_utf8(&message.payload) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(&message.payload)),
    };
    let value = json!({
        "set_aside": aside.reason,
        "size": aside.size,
        "limit": aside.limit,
        "through": aside.through.0,
        "topic": message.topic,
        "qos": message.qos.level(),
        "retain": message.retain,
        "properties": message.properties.as_ref().map(properties),
        kind: payload,
    });
    let path = folder.join(format!("{:020}-{}.{MESSAGE_ENDING}", aside.through.0, aside.index));
    // A plugin may make one of these with every call: waiting for the disk each time would hold up the other feeds.
    write_whole(&path, format!("{value:#}\n").as_bytes(), false)?;
    bound(&folder)?;
    Ok(path)
}

fn properties(properties: &Properties) -> Value {
    let data = properties.correlation_data.as_ref();
    json!({
        "content_type": properties.content_type,
        "expiry_s": properties.expiry_s,
        "response_topic": properties.response_topic,
        "correlation_data": data.map(|data| json!({ "base64": STANDARD.encode(data) })),
        "payload_utf8": properties.payload_utf8,
        "user": properties.user,
    })
}

fn write_whole(path: &Path, bytes: &[u8], synced: bool) -> Result<(), std::io::Error> {
    let unfinished = path.with_extension("part");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    if synced {
        file.sync_data()?;
    }
    fs::rename(&unfinished, path)
}

/// File names have the sequence in front, so the oldest come first.
fn bound(folder: &Path) -> Result<(), std::io::Error> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == ENDING || ending == MESSAGE_ENDING));
    files.sort();
    for path in files.iter().take(files.len().saturating_sub(FILES_PER_FEED)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::time::Timestamp;

    #[test]
    fn an_event_is_kept_with_its_reason_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let event = |sequence| Event {
            sequence: Sequence(sequence),
            at: Timestamp::from_nanos(1_740_151_200_000_000_000),
            body: EventBody::Heartbeat,
        };
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        let path = keep(folder.path(), "acme", Some(&site), &event(7), "trapped: unreachable").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("set aside: trapped: unreachable"), "{text}");
        let events = record::read_events(&text).unwrap();
        assert_eq!(events[1], event(7));
        for sequence in 8..=1008 {
            keep(folder.path(), "acme", None, &event(sequence), "again").unwrap();
        }
        let left = fs::read_dir(folder.path().join("acme")).unwrap().count();
        assert_eq!((left, path.exists()), (FILES_PER_FEED, false));
    }

    #[test]
    fn a_message_is_kept_whole_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let user = vec![("unit".to_owned(), "kW".to_owned())];
        let message = |payload: &[u8]| Message {
            topic: "a/b".into(),
            payload: payload.to_vec(),
            qos: bessai_domain::message::Qos::AtLeastOnce,
            retain: true,
            properties: Some(Properties { user: user.clone(), ..Properties::default() }),
        };
        let reason = "it has 5 bytes, and the broker takes 4";
        let mut aside = SetAside { feed: "acme", through: Sequence(7), index: 2, size: 5, limit: 4, reason };
        let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let path = keep_message(folder.path(), &aside, &message(b"hello")).unwrap();
        assert!(path.ends_with("acme/00000000000000000007-2.json"), "{}", path.display());
        let kept = read(&path);
        assert_eq!((&kept["topic"], &kept["text"], &kept["qos"]), (&json!("a/b"), &json!("hello"), &json!(1)));
        assert_eq!((&kept["set_aside"], &kept["limit"], &kept["through"]), (&json!(reason), &json!(4), &json!(7)));
        assert_eq!(kept["properties"]["user"], json!([["unit", "kW"]]));
        aside.index = 3;
        let binary = read(&keep_message(folder.path(), &aside, &message(&[0xff, 0])).unwrap());
        assert_eq!((&binary["base64"], binary.get("text")), (&json!("/wA="), None));
    }
}
