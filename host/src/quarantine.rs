//! Stores quarantined events and messages, a file each, with the reason and everything that a replay needs.
//!
//! `<folder>/<feed>/<sequence>.jsonl` has two lines: the site's description, and the event with the reason as its note.
//! `bessai-edge plugin replay` and `plugin test` read it unchanged.
//!
//! A message that its broker does not take is stored whole in `<folder>/<feed>/<sequence>-<n>.json`, with the reason.

#![allow(
    clippy::disallowed_methods,
    reason = "a feed writes one small file for each event or message that is quarantined, on the main loop"
)]

use std::fs;
use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::message::Properties;
use bessai_domain::record;
use bessai_feed::{Quarantine, QuarantinedEvent, QuarantinedMessage};
use serde_json::{Value, json};

/// Files kept for each feed; the oldest are deleted when there are more.
const FILES_PER_FEED: usize = 1000;
/// Extension of an event's file.
const EVENT_EXTENSION: &str = "jsonl";
/// Extension of a message's file.
const MESSAGE_EXTENSION: &str = "json";

/// The folder that holds the quarantine of all feeds.
pub(crate) struct QuarantineFolder(PathBuf);

impl QuarantineFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn feed_folder(&self, feed: &str) -> Result<PathBuf, Error> {
        let folder = self.0.join(feed);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn write_event(&self, quarantined: &QuarantinedEvent<'_>) -> Result<PathBuf, Error> {
        let QuarantinedEvent { feed, site, event, reason } = *quarantined;
        let folder = self.feed_folder(feed)?;
        let mut lines = String::new();
        if let Some(site) = site {
            let before = Sequence(event.sequence.0.saturating_sub(1));
            let description = Event { sequence: before, at: event.at, body: EventBody::Site(Arc::new(site.clone())) };
            lines = record::write_event(&description, Some("the description in force")) + "\n";
        }
        lines += &record::write_event(event, Some(&format!("quarantined: {reason}")));
        lines += "\n";
        let path = folder.join(format!("{:020}.{EVENT_EXTENSION}", event.sequence.0));
        write_file(&path, lines.as_bytes(), Durability::Synced)?;
        delete_oldest(&folder)?;
        Ok(path)
    }

    fn write_message(&self, quarantined: &QuarantinedMessage<'_>) -> Result<PathBuf, Error> {
        let QuarantinedMessage { feed, through, index, message, size, limit } = *quarantined;
        let folder = self.feed_folder(feed)?;
        let (kind, payload) = match std::str::from_utf8(&message.payload) {
            Ok(text) => ("text", text.to_owned()),
            Err(_) => ("base64", STANDARD.encode(&message.payload)),
        };
        let value = json!({
            "set_aside": format!("it has {size} bytes, and the broker takes {limit}"),
            "size": size,
            "limit": limit,
            "through": through.0,
            "topic": message.topic,
            "qos": message.qos.level(),
            "retain": message.retain,
            "properties": message.properties.as_ref().map(properties),
            kind: payload,
        });
        let path = folder.join(format!("{:020}-{index}.{MESSAGE_EXTENSION}", through.0));
        // A plugin may cause one of these with every call; syncing each would delay the other feeds.
        write_file(&path, format!("{value:#}\n").as_bytes(), Durability::Buffered)?;
        delete_oldest(&folder)?;
        Ok(path)
    }
}

impl Quarantine for QuarantineFolder {
    fn store_event(&self, event: &QuarantinedEvent<'_>) -> Result<String, String> {
        self.write_event(event).map(|path| path.display().to_string()).map_err(|error| error.to_string())
    }

    fn store_message(&self, message: &QuarantinedMessage<'_>) -> Result<String, String> {
        self.write_message(message).map(|path| path.display().to_string()).map_err(|error| error.to_string())
    }
}

/// Whether a file is on disk when writing it returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Synced,
    Buffered,
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

/// Writes a file under a temporary name first, so that nobody reads it half-written.
fn write_file(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), Error> {
    let unfinished = path.with_extension("part");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    if durability == Durability::Synced {
        file.sync_data()?;
    }
    fs::rename(&unfinished, path)
}

/// File names start with the sequence, so the oldest sort first.
fn delete_oldest(folder: &Path) -> Result<(), Error> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    let is_stored = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == EVENT_EXTENSION || extension == MESSAGE_EXTENSION)
    };
    files.retain(is_stored);
    files.sort();
    for path in files.iter().take(files.len().saturating_sub(FILES_PER_FEED)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::message::Message;
    use bessai_domain::site::Site;
    use bessai_domain::time::Timestamp;

    #[test]
    fn an_event_is_stored_with_its_reason_and_the_oldest_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let event = |sequence| Event {
            sequence: Sequence(sequence),
            at: Timestamp::from_nanos(1_740_151_200_000_000_000),
            body: EventBody::Heartbeat,
        };
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        let quarantine = QuarantineFolder::new(folder.path());
        let write = |site, event: &Event, reason| {
            quarantine.write_event(&QuarantinedEvent { feed: "acme", site, event, reason }).unwrap()
        };
        let path = write(Some(&site), &event(7), "trapped: unreachable");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("quarantined: trapped: unreachable"), "{text}");
        let events = record::read_events(&text).unwrap();
        assert_eq!(events[1], event(7));
        for sequence in 8..=1008 {
            write(None, &event(sequence), "again");
        }
        let left = fs::read_dir(folder.path().join("acme")).unwrap().count();
        assert_eq!((left, path.exists()), (FILES_PER_FEED, false));
    }

    #[test]
    fn a_message_is_stored_whole_with_its_reason() {
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
        let quarantine = QuarantineFolder::new(folder.path());
        let write = |index, message: &Message| {
            let through = Sequence(7);
            let quarantined = QuarantinedMessage { feed: "acme", through, index, message, size: 5, limit: 4 };
            quarantine.write_message(&quarantined).unwrap()
        };
        let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let path = write(2, &message(b"hello"));
        assert!(path.ends_with("acme/00000000000000000007-2.json"), "{}", path.display());
        let kept = read(&path);
        assert_eq!((&kept["topic"], &kept["text"], &kept["qos"]), (&json!("a/b"), &json!("hello"), &json!(1)));
        assert_eq!((&kept["set_aside"], &kept["limit"], &kept["through"]), (&json!(reason), &json!(4), &json!(7)));
        assert_eq!(kept["properties"]["user"], json!([["unit", "kW"]]));
        let binary = read(&write(3, &message(&[0xff, 0])));
        assert_eq!((&binary["base64"], binary.get("text")), (&json!("/wA="), None));
    }
}
