//! `[profiles]`: the folder of the site's own profiles, found by name.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::profile;
use bessai_domain::settings::Table;

use super::findings::Findings;

const DEFAULT_DIR: &str = "profiles";
/// The first wins where a name has both.
const ENDINGS: [&str; 2] = ["toml", "json"];

/// The files of the folder by the profile's name.
#[derive(Debug, Default)]
pub(super) struct OwnProfiles(BTreeMap<String, PathBuf>);

impl OwnProfiles {
    /// Those of the folder that the settings name, else of the one beside them, which need not exist.
    pub(super) fn read(table: &Table<'_>, folder: &Path, findings: &Findings) -> Self {
        let Some(table) = table.table("profiles") else {
            return Self::beside(folder);
        };
        let written = table.text("dir");
        let dir = folder.join(written.unwrap_or(DEFAULT_DIR));
        table.finish();
        match Self::list(&dir) {
            Ok(profiles) => profiles,
            Err(error) if written.is_none() && error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let mend = format!("{} cannot be read: {error}; write the folder of the profiles", dir.display());
                match written {
                    Some(_) => table.wrong("dir", mend),
                    None => findings.note(format!("the profiles' folder {mend}")),
                }
                Self::default()
            }
        }
    }

    /// Those of the usual folder, which need not exist.
    pub(super) fn beside(folder: &Path) -> Self {
        Self::list(&folder.join(DEFAULT_DIR)).unwrap_or_default()
    }

    fn list(dir: &Path) -> std::io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let part = |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
            let (Some(name), Some(ending)) = (part(path.file_stem()), part(path.extension())) else { continue };
            if name.starts_with(['.', '_']) || !ENDINGS.contains(&ending.as_str()) {
                continue;
            }
            let is_first_choice = ENDINGS.first() == Some(&ending.as_str());
            if is_first_choice || !files.contains_key(&name) {
                files.insert(name, path);
            }
        }
        Ok(Self(files))
    }

    /// The file of a profile's name; that it takes the place of a built-in one is said.
    pub(super) fn find(&self, name: &str, findings: &Findings) -> Option<&Path> {
        let path = self.0.get(name)?;
        if profile::built_in_names().any(|built_in| built_in == name) {
            findings.note(format!("profile {name}: {} is used, not the built-in one", path.display()));
        }
        Some(path)
    }

    /// All names that a device may give, the built-in ones too.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = profile::built_in_names().collect();
        let own = self.0.keys().map(String::as_str).filter(|own| profile::built_in_names().all(|name| name != *own));
        names.extend(own);
        names
    }
}
