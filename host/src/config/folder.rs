//! Which files of the plugins folder belong to which feed, and why others belong to none.
//!
//! These functions block: they run in threads of their own while the gateway runs.

#![allow(clippy::disallowed_methods, reason = "the callers run these functions in threads of their own")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::Path;

use bessai_domain::settings::{Mistake, Mistakes};
use bessai_domain::text::is_visible;
use bessai_files::SETTINGS_BYTES;

use super::toml_file::parse_toml;

/// The ending of components.
const COMPONENT: &str = ".wasm";
/// The ending of feed files.
const SETTINGS: &str = ".toml";
/// What names of backups and of unfinished files end with.
const UNFINISHED: [&str; 9] = ["~", ".bak", ".orig", ".old", ".save", ".swp", ".tmp", ".part", ".filepart"];

/// The files of the folder with the name of a feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FeedFiles {
    pub(super) has_settings: bool,
    pub(super) has_component: bool,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) feeds: BTreeMap<String, FeedFiles>,
    /// Files that look like those of a feed and are not, each with the reason.
    pub(super) ignored: Vec<String>,
    pub(super) mistakes: Vec<Mistake>,
    /// False if there is no such folder.
    pub(super) exists: bool,
    /// False if it cannot be listed, so that feeds may be missing here.
    pub(super) is_readable: bool,
}

/// Lists the folder.
pub(super) fn list(dir: &Path) -> Listing {
    let mut listing = Listing { exists: true, is_readable: true, ..Listing::default() };
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by_key(|entry| entry.as_ref().map(DirEntry::file_name).unwrap_or_default());
            for entry in entries {
                match entry {
                    Ok(entry) => listing.add(&entry),
                    Err(error) => listing.report_unreadable(dir, &error),
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => listing.exists = false,
        Err(error) => listing.report_unreadable(dir, &error),
    }
    listing
}

impl Listing {
    fn report_unreadable(&mut self, dir: &Path, error: &std::io::Error) {
        let hint = format!("the plugins folder cannot be read: {error}");
        self.mistakes.push(Mistake::without_value(dir.display().to_string(), hint));
        self.is_readable = false;
    }

    fn add(&mut self, entry: &DirEntry) {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => return self.report_name(escaped(&name), "is not UTF-8"),
        };
        if let Some(reason) = why_ignored(&name, is_folder) {
            self.ignored.push(format!("{}: {reason}", bessai_domain::text::visible(&name)));
            return;
        }
        let feed_of = |ending| name.strip_suffix(ending).filter(|stem: &&str| !stem.starts_with(['.', '_']));
        let Some(feed) = feed_of(COMPONENT).or_else(|| feed_of(SETTINGS)) else { return };
        if !name.chars().all(is_visible) {
            return self.report_name(name, "contains characters that are not visible");
        }
        let files = self.feeds.entry(feed.to_owned()).or_default();
        match name.ends_with(COMPONENT) {
            true => files.has_component = true,
            false => files.has_settings = true,
        }
    }

    fn report_name(&mut self, name: String, what: &str) {
        self.mistakes.push(Mistake::without_value(name, format!("the file name {what}; rename the file")));
    }
}

/// A name that is not UTF-8.
fn escaped(name: &OsString) -> String {
    name.as_encoded_bytes().escape_ascii().to_string()
}

/// Why a file that somebody may have meant for a feed is none; none for a feed's file and for others, such as a key.
fn why_ignored(name: &str, is_folder: bool) -> Option<String> {
    let lower = name.to_lowercase();
    let is_of_feed = name.ends_with(COMPONENT) || name.ends_with(SETTINGS);
    if is_folder && !is_of_feed {
        // Kubernetes keeps the files themselves in hidden folders.
        let reason = "it is a folder; only files in the plugins folder itself are feeds";
        return (!name.starts_with('.')).then(|| reason.into());
    }
    let ending = [COMPONENT, SETTINGS].into_iter().find(|ending| lower.contains(ending))?;
    let start = lower.find(ending).unwrap_or_default();
    let stem = name.get(..start).unwrap_or_default();
    if let Some(first) = name.chars().next().filter(|first| ['.', '_'].contains(first)) {
        return Some(format!("its name begins with `{first}`"));
    }
    if is_of_feed {
        return None;
    }
    if UNFINISHED.iter().any(|ending| lower.ends_with(ending)) || name.starts_with('#') {
        return Some("it is a backup or an unfinished file".into());
    }
    if lower.ends_with(ending) {
        return Some(format!("the ending must be written `{ending}`; rename it to {stem}{ending}"));
    }
    Some(format!("its name does not end in `{ending}`; rename it to {stem}{ending} if it is meant for a feed"))
}

/// Reads the settings of a feed.
pub(super) fn read_settings(dir: &Path, feed: &str) -> Result<toml::Table, Vec<Mistake>> {
    let name = format!("{feed}{SETTINGS}");
    let text = bessai_files::read_text(&dir.join(&name), SETTINGS_BYTES)
        .map_err(|error| vec![Mistake::without_value(name.as_str(), format!("cannot be read: {error}"))])?;
    let mistakes = Mistakes::default();
    let table = parse_toml(&name, &text, &mistakes);
    table.ok_or_else(|| mistakes.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(why_ignored(name, false).as_deref(), expected, "{name}");
    }

    #[test]
    fn files_that_look_like_those_of_a_feed_are_named_with_the_reason() {
        for name in ["acme.wasm", "acme.toml", "a.b.wasm", "readme.md", "key.pem", "..data", ".gitignore"] {
            check(name, None);
        }
        check("ACME.WASM", Some("the ending must be written `.wasm`; rename it to ACME.wasm"));
        check(
            "delta.wasm.txt",
            Some("its name does not end in `.wasm`; rename it to delta.wasm if it is meant for a feed"),
        );
        check(".acme.toml", Some("its name begins with `.`"));
        check("_acme.wasm", Some("its name begins with `_`"));
        for name in ["acme.toml~", "acme.toml.bak", "acme.wasm.part", "#acme.toml#"] {
            check(name, Some("it is a backup or an unfinished file"));
        }
        let folder = "it is a folder; only files in the plugins folder itself are feeds";
        assert_eq!(why_ignored("acme", true).as_deref(), Some(folder));
        assert_eq!((why_ignored("..2026_01", true), why_ignored("acme.wasm", true)), (None, None));
    }
}
