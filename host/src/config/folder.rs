//! The plugins' folder: which files make which feeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::settings::{Mistake, Mistakes};

use super::findings::{Findings, parse_toml};

/// A feed's files. No `Debug`: the settings may hold a password.
#[derive(Default)]
pub(super) struct Files {
    /// Its settings, where it has a file with them; empty where that cannot be read.
    pub(super) settings: Option<toml::Table>,
    /// There is a component of its name.
    pub(super) component: bool,
}

impl Files {
    /// The component that the settings name, where they name one.
    pub(super) fn named_component(&self, dir: &Path) -> Option<PathBuf> {
        Some(dir.join(self.settings.as_ref()?.get("component")?.as_str()?))
    }
}

/// The files by feed. A component that another feed names, and that has no settings itself, is no feed of its own.
pub(super) fn scan(dir: &Path, is_explicit: bool, findings: &Findings) -> BTreeMap<String, Files> {
    let mut feeds: BTreeMap<String, Files> = BTreeMap::new();
    for name in file_names(dir, is_explicit, findings) {
        if let Some(stem) = name.strip_suffix(".wasm") {
            feeds.entry(stem.into()).or_default().component = true;
        } else if let Some(stem) = name.strip_suffix(".toml") {
            let settings = read_settings(dir, &name, &findings.plugins);
            feeds.entry(stem.into()).or_default().settings = settings;
        }
    }
    let shared: BTreeSet<_> = feeds.values().filter_map(|files| files.named_component(dir)).collect();
    feeds.retain(|name, files| files.settings.is_some() || !shared.contains(&dir.join(format!("{name}.wasm"))));
    feeds
}

fn file_names(dir: &Path, is_explicit: bool, findings: &Findings) -> Vec<String> {
    let cannot = |error: std::io::Error| {
        let mend = format!("the plugins' folder cannot be read: {error}");
        findings.plugins.add(Mistake::bare(dir.display().to_string(), mend));
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if is_explicit {
                findings
                    .note(format!("the plugins' folder {} does not exist; only the default feed runs", dir.display()));
            }
            return Vec::new();
        }
        Err(error) => {
            cannot(error);
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
                findings.plugins.add(Mistake::bare(name, "a file's name must be UTF-8; rename it"));
            }
            Err(error) => cannot(error),
        }
    }
    names.sort();
    names
}

fn read_settings(dir: &Path, name: &str, mistakes: &Mistakes) -> Option<toml::Table> {
    let text = std::fs::read_to_string(dir.join(name)).map_err(|error| {
        mistakes.add(Mistake::bare(name, format!("cannot be read: {error}")));
    });
    // An empty table: the name stays taken.
    Some(text.ok().and_then(|text| parse_toml(name, &text, mistakes)).unwrap_or_default())
}
