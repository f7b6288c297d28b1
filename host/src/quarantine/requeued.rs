//! Files of the quarantine that are to be delivered after all.

#![allow(clippy::disallowed_methods, reason = "the quarantine's thread and commands call it")]

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bessai_domain::event::Sequence;
use bessai_feed::RequeuedEntry;

use super::QUARANTINE;
use super::entry::{self, EVENT_EXTENSION, MESSAGE_EXTENSION};
use super::folder::FOLDER_MODE;

/// The folder of the requeued files in the data folder.
const REQUEUED: &str = "requeued";

/// A file of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuarantinedFile {
    /// Its name, which begins with the number of the event.
    pub(crate) name: String,
    /// The number of the event, or of the last event of the batch that a message was made of.
    pub(crate) sequence: Sequence,
    /// Whether it is a message.
    pub(crate) is_message: bool,
    /// Why it was quarantined.
    pub(crate) reason: String,
}

/// Why files cannot be requeued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequeueError {
    /// The file system refuses it.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The feeds that have requeued files.
pub(super) fn requeued_feeds(data: &Path) -> Vec<String> {
    feeds_in(&data.join(REQUEUED))
}

/// The feeds that have quarantined files.
pub(crate) fn feeds(data: &Path) -> Vec<String> {
    feeds_in(&data.join(QUARANTINE))
}

fn feeds_in(folder: &Path) -> Vec<String> {
    let Ok(feeds) = fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut feeds: Vec<_> = feeds.filter_map(name).filter(|feed| !names(&folder.join(feed)).is_empty()).collect();
    feeds.sort();
    feeds
}

/// The names of a folder's entries, oldest first; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_entry = |name: &String| {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some(EVENT_EXTENSION | MESSAGE_EXTENSION))
    };
    // A pipe or a link would be read for ever, or shown.
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(is_entry).collect();
    names.sort_by_key(|name| (sequence(name), name.clone()));
    names
}

fn sequence(name: &str) -> Option<u64> {
    name.split(['-', '.']).next()?.parse().ok()
}

/// Lists a feed's quarantine, oldest first.
pub(crate) fn list(data: &Path, feed: &str) -> Vec<QuarantinedFile> {
    let folder = data.join(QUARANTINE).join(feed);
    let file = |name: String| {
        let sequence = Sequence(sequence(&name)?);
        let is_message = Path::new(&name).extension().is_some_and(|extension| extension == MESSAGE_EXTENSION);
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        let reason = entry::reason(&text, is_message).unwrap_or_else(|| "unknown".into());
        Some(QuarantinedFile { name, sequence, is_message, reason })
    };
    names(&folder).into_iter().filter_map(file).collect()
}

/// Moves a feed's entries from this event on to the requeued ones; returns how many.
pub(crate) fn requeue(data: &Path, feed: &str, from: Sequence) -> Result<usize, RequeueError> {
    let (quarantine, requeued) = (data.join(QUARANTINE).join(feed), data.join(REQUEUED).join(feed));
    let of = |path: &Path| {
        let path = path.to_owned();
        move |error| RequeueError::Io { path, error }
    };
    let mut count = 0;
    for name in names(&quarantine) {
        if sequence(&name).is_none_or(|sequence| sequence < from.0) {
            continue;
        }
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&requeued).map_err(of(&requeued))?;
        let file = quarantine.join(&name);
        match fs::rename(&file, requeued.join(&name)) {
            // The quarantine has deleted it meanwhile, or another command has moved it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => {
                moved.map_err(of(&file))?;
                count += 1;
            }
        }
    }
    if count > 0 {
        // The gateway that delivers them may run as another user than root.
        give_to_owner_of(data, &requeued);
    }
    Ok(count)
}

/// Gives folders that root has created to the user who owns the data folder.
fn give_to_owner_of(data: &Path, requeued: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    let Ok(owner) = fs::metadata(data) else { return };
    for folder in requeued.parent().into_iter().chain([requeued]) {
        // Only root may; for any other user they are right already.
        let _ = chown(folder, Some(owner.uid()), Some(owner.gid()));
    }
}

/// A feed's requeued files.
pub(super) struct RequeuedFolder {
    feed: String,
    path: PathBuf,
    quarantine: PathBuf,
}

impl RequeuedFolder {
    pub(super) fn new(data: &Path, feed: &str) -> Self {
        let (path, quarantine) = (data.join(REQUEUED).join(feed), data.join(QUARANTINE).join(feed));
        Self { feed: feed.to_owned(), path, quarantine }
    }

    /// Reads the oldest entry. What cannot be read goes back to the quarantine.
    pub(super) fn read(&self) -> Option<RequeuedEntry> {
        for name in names(&self.path) {
            let path = self.path.join(&name);
            let read = match fs::read(&path) {
                Ok(content) => entry::read(&name, &content),
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(content) => return Some(RequeuedEntry { name, content }),
                Err(error) => {
                    let feed = &self.feed;
                    tracing::error!(%feed, "the requeued {name} cannot be read: {error}; it is back in the quarantine");
                    // If that fails too, it is tried again with the next entry.
                    let _ = fs::create_dir_all(&self.quarantine);
                    let _ = fs::rename(&path, self.quarantine.join(&name));
                }
            }
        }
        // The folder itself goes with its last file.
        let _ = fs::remove_dir(&self.path);
        None
    }

    pub(super) fn delete(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path.join(name))
            && error.kind() != ErrorKind::NotFound
        {
            let feed = &self.feed;
            tracing::error!(%feed, "failed to delete the requeued {name}, which is delivered: {error}; it is delivered again");
        }
    }
}
