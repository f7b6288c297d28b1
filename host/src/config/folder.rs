//! Which files of the plugins folder belong to which feed.

#![allow(
    clippy::disallowed_methods,
    reason = "the folder is read before the gateway starts and, each time it changes, on the main loop by \
              app/feeds.rs while the gateway runs; its files are small and local"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::settings::{Mistake, Mistakes};

use super::findings::Findings;
use super::toml_file::parse_toml;

/// A feed's files. No `Debug`: the settings may contain a password.
#[derive(Default)]
pub(super) struct FeedFiles {
    /// Its settings, if there is a file with them; empty if it cannot be read.
    pub(super) settings: Option<toml::Table>,
    /// Whether there is a component with its name.
    pub(super) has_component: bool,
}

impl FeedFiles {
    /// The component that the settings name.
    fn named_component(&self, dir: &Path) -> Option<PathBuf> {
        Some(dir.join(self.settings.as_ref()?.get("component")?.as_str()?))
    }
}

/// The files by feed. A component without settings is not a feed if another feed names it.
pub(super) fn scan(dir: &Path, is_explicit: bool, findings: &Findings) -> BTreeMap<String, FeedFiles> {
    let mut feeds: BTreeMap<String, FeedFiles> = BTreeMap::new();
    for name in file_names(dir, is_explicit, findings) {
        if let Some(stem) = name.strip_suffix(".wasm") {
            feeds.entry(stem.into()).or_default().has_component = true;
        } else if let Some(stem) = name.strip_suffix(".toml") {
            let settings = read_settings(dir, &name, &findings.plugins);
            feeds.entry(stem.into()).or_default().settings = Some(settings);
        }
    }
    let shared: BTreeSet<_> = feeds.values().filter_map(|files| files.named_component(dir)).collect();
    feeds.retain(|name, files| files.settings.is_some() || !shared.contains(&dir.join(format!("{name}.wasm"))));
    feeds
}

/// Whether the folder can be listed; a missing one has no files.
pub(super) fn is_readable(dir: &Path) -> bool {
    !dir.exists() || std::fs::read_dir(dir).is_ok()
}

fn file_names(dir: &Path, is_explicit: bool, findings: &Findings) -> Vec<String> {
    let unreadable = |error: std::io::Error| {
        let hint = format!("the plugins folder cannot be read: {error}");
        findings.plugins.add(Mistake::without_value(dir.display().to_string(), hint));
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if is_explicit {
                findings
                    .note(format!("the plugins folder {} does not exist; only the default feed runs", dir.display()));
            }
            return Vec::new();
        }
        Err(error) => {
            unreadable(error);
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry.map(|entry| entry.file_name().into_string()) {
            Ok(Ok(name)) if !name.starts_with(['.', '_']) => names.push(name),
            Ok(Ok(_)) => {}
            Ok(Err(name)) => {
                let name = name.to_string_lossy();
                findings.plugins.add(Mistake::without_value(name, "the file name is not UTF-8; rename the file"));
            }
            Err(error) => unreadable(error),
        }
    }
    names.sort();
    names
}

/// Empty if the file cannot be read: its name still belongs to the feed.
fn read_settings(dir: &Path, name: &str, mistakes: &Mistakes) -> toml::Table {
    match std::fs::read_to_string(dir.join(name)) {
        Ok(text) => parse_toml(name, &text, mistakes).unwrap_or_default(),
        Err(error) => {
            mistakes.add(Mistake::without_value(name, format!("cannot be read: {error}")));
            toml::Table::new()
        }
    }
}
