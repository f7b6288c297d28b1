//! Keeps events that a plugin cannot handle: a file each, with the reason and all that is needed to run the event again.
//!
//! `<folder>/<feed>/<sequence>.jsonl` has two lines: the description of the site, and the event with the reason as its
//! note. `bessai-edge plugin replay` and `plugin test` read it as it is.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::record;
use bessai_domain::site::Site;

/// Files of one feed; the oldest go when there are more.
const FILES_PER_FEED: usize = 1000;
const ENDING: &str = "jsonl";

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
        // The numbers of a recording rise, and this line comes before the event's.
        let sequence = Sequence(event.sequence.0.saturating_sub(1));
        let description = Event { sequence, at: event.at, body: site };
        lines = record::write_event(&description, Some("the description in force")) + "\n";
    }
    lines += &record::write_event(event, Some(&format!("set aside: {reason}")));
    lines += "\n";
    let path = folder.join(format!("{:020}.{ENDING}", event.sequence.0));
    let unfinished = path.with_extension("part");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()?;
    fs::rename(&unfinished, &path)?;
    bound(&folder)?;
    Ok(path)
}

/// File names have the sequence in front, so the oldest come first.
fn bound(folder: &Path) -> Result<(), std::io::Error> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
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
}
