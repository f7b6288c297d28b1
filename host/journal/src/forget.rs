//! Deletes what a journal keeps of a feed that was removed for good.

use std::path::Path;

use crate::cursors::{self, CursorFile, CursorFileCondition};
use crate::disk::SystemDisk;
use crate::error::OpenError;
use crate::lock;

/// Why a feed is not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The folder is locked, or cannot be read or written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal has no cursor of that name; these are the names that it has.
    #[error("the journal keeps nothing of a feed of that name; it has {}", names(.0))]
    Unknown(Vec<String>),
    /// The file with the cursors is damaged. A start handles that, and then the feeds that lost their cursors must still be
    /// known as such.
    #[error("the file with the feeds' cursors is damaged; start the gateway once, which repairs it, then try again")]
    Damaged,
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Deletes the cursor of a feed and the state of its plugin. Fails while a gateway uses the folder: it would write them again.
pub fn forget(folder: &Path, feed: &str) -> Result<(), ForgetError> {
    // Nothing is created in a folder that is no journal.
    let disk = &SystemDisk;
    let known = cursors::load(disk, folder)?.cursors;
    if !known.contains_key(feed) {
        return Err(ForgetError::Unknown(known.into_keys().collect()));
    }
    let _lock = lock::acquire(disk, folder)?;
    let mut loaded = cursors::load(disk, folder)?;
    if loaded.condition != CursorFileCondition::Intact {
        return Err(ForgetError::Damaged);
    }
    let mut file = CursorFile::open(disk, folder, &loaded);
    loaded.cursors.retain(|key, _| cursors::feed_of(key) != feed);
    file.rewrite(disk, &loaded.cursors).map_err(OpenError::io(&folder.join(cursors::FILE_NAME)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursors::{FeedCursor, FeedCursors};
    use crate::is_in_use;
    use bessai_domain::event::Sequence;

    fn folder_with(feeds: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let cursor = |feed: &&str| ((*feed).to_owned(), FeedCursor { delivered: Sequence(7), ..FeedCursor::default() });
        let cursors: FeedCursors = feeds.iter().map(cursor).collect();
        let loaded = cursors::load(&SystemDisk, folder.path()).unwrap();
        CursorFile::open(&SystemDisk, folder.path(), &loaded).rewrite(&SystemDisk, &cursors).unwrap();
        folder
    }

    #[test]
    fn a_feed_is_forgotten_and_the_others_are_kept() {
        let folder = folder_with(&["acme", "default"]);
        forget(folder.path(), "acme").unwrap();
        let left = cursors::load(&SystemDisk, folder.path()).unwrap().cursors;
        assert_eq!(left.keys().collect::<Vec<_>>(), ["default"]);
        let error = forget(folder.path(), "acme").unwrap_err();
        assert!(error.to_string().ends_with("of that name; it has default"), "{error}");
        forget(folder.path(), "default").unwrap();
        assert!(matches!(forget(folder.path(), "default"), Err(ForgetError::Unknown(names)) if names.is_empty()));
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let folder = folder_with(&["acme"]);
        assert!(!is_in_use(folder.path()).unwrap());
        let lock = lock::acquire(&SystemDisk, folder.path()).unwrap();
        assert!(is_in_use(folder.path()).unwrap());
        assert!(matches!(forget(folder.path(), "acme"), Err(ForgetError::Open(OpenError::InUse(_)))));
        drop(lock);
        assert!(!is_in_use(folder.path()).unwrap());
        assert!(cursors::load(&SystemDisk, folder.path()).unwrap().cursors.contains_key("acme"));
    }

    #[test]
    fn a_damaged_file_is_left_to_the_next_start() {
        let folder = folder_with(&["acme"]);
        let path = folder.path().join(cursors::FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.push(1);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(forget(folder.path(), "acme"), Err(ForgetError::Damaged)));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
