//! `[profiles]`: the folder of the site's own profiles.

#![allow(
    clippy::disallowed_methods,
    reason = "the folder is read before the gateway starts and by commands, which wait for it"
)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::profile;
use bessai_domain::settings::SettingsTable;

use super::findings::Findings;

/// The folder if the section does not name one.
const DEFAULT_DIR: &str = "profiles";
/// Extensions of profiles; of two files with the same name the first extension is used.
const EXTENSIONS: [&str; 2] = ["toml", "json"];

/// The files of the folder by the profile's name.
#[derive(Debug, Default)]
pub(super) struct SiteProfiles(BTreeMap<String, PathBuf>);

impl SiteProfiles {
    /// Lists the folder that the section names, which must exist, else the default one in `folder`, which need not.
    pub(super) fn read(table: &SettingsTable<'_>, folder: &Path, findings: &Findings) -> Self {
        let Some(table) = table.table("profiles") else {
            return Self::in_default_dir(folder);
        };
        let configured = table.text("dir");
        let dir = folder.join(configured.unwrap_or(DEFAULT_DIR));
        table.report_unknown_keys();
        match Self::list(&dir) {
            Ok(profiles) => profiles,
            Err(error) if configured.is_none() && error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let hint = format!("{} cannot be read: {error}; write the folder of the profiles", dir.display());
                match configured {
                    Some(_) => table.add_mistake("dir", hint),
                    None => findings.note(format!("the profiles folder {hint}")),
                }
                Self::default()
            }
        }
    }

    /// Lists the default folder in `folder`; one that cannot be read has no profiles.
    pub(super) fn in_default_dir(folder: &Path) -> Self {
        Self::list(&folder.join(DEFAULT_DIR)).unwrap_or_default()
    }

    fn list(dir: &Path) -> std::io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let part = |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
            let (Some(name), Some(extension)) = (part(path.file_stem()), part(path.extension())) else { continue };
            if name.starts_with(['.', '_']) || !EXTENSIONS.contains(&extension.as_str()) {
                continue;
            }
            let is_preferred = EXTENSIONS.first() == Some(&extension.as_str());
            if is_preferred || !files.contains_key(&name) {
                files.insert(name, path);
            }
        }
        Ok(Self(files))
    }

    /// The file of a profile. One with the name of a built-in profile replaces it, which is noted.
    pub(super) fn find(&self, name: &str, findings: &Findings) -> Option<&Path> {
        let path = self.0.get(name)?;
        if profile::built_in_names().any(|built_in| built_in == name) {
            findings.note(format!("profile {name}: using {} instead of the built-in profile", path.display()));
        }
        Some(path)
    }

    /// The names of all profiles, the built-in ones first.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = profile::built_in_names().collect();
        let own = self.0.keys().map(String::as_str).filter(|own| profile::built_in_names().all(|name| name != *own));
        names.extend(own);
        names
    }
}
