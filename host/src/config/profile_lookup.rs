//! Finds a profile by its name or path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::profile::{self, Profile};
use bessai_domain::settings::{Mistake, most_similar};
use bessai_files::SETTINGS_BYTES;

use super::findings::{Findings, Sourced};
use super::profiles::SiteProfiles;

/// The name or path of a profile, and the file that it refers to if it is a path.
#[derive(Clone, PartialEq)]
pub(super) struct ProfileReference {
    pub(super) name_or_path: String,
    pub(super) path: PathBuf,
}

/// The profiles read so far: devices with the same profile share it.
pub(super) struct ProfileCache {
    site_profiles: SiteProfiles,
    read: Vec<(ProfileReference, Arc<Profile>)>,
}

impl ProfileCache {
    pub(super) fn new(site_profiles: SiteProfiles) -> Self {
        Self { site_profiles, read: Vec::new() }
    }

    /// The profile, read at the first call; none if it cannot be read, which is a mistake.
    pub(super) fn find(
        &mut self,
        reference: &Sourced<'_, ProfileReference>,
        findings: &Findings,
    ) -> Option<Arc<Profile>> {
        if let Some((_, profile)) = self.read.iter().find(|(known, _)| *known == reference.value) {
            return Some(Arc::clone(profile));
        }
        let profile = Arc::new(find(reference, &self.site_profiles, findings)?);
        self.read.push((reference.value.clone(), Arc::clone(&profile)));
        Some(profile)
    }
}

/// Finds the profile that `--profile` names; the site's own profiles are in the working folder's `profiles`.
pub(crate) fn profile(name_or_path: &str) -> Result<Profile, Vec<Mistake>> {
    let findings = Findings::default();
    let value = ProfileReference { name_or_path: name_or_path.into(), path: PathBuf::from(name_or_path) };
    let reference = Sourced { key: "--profile".into(), value, mistakes: &findings.environment };
    let profile = find(&reference, &SiteProfiles::in_default_dir(Path::new("")), &findings);
    profile.ok_or_else(|| findings.finish().mistakes)
}

/// Tries, in this order: the site's own profile of this name, the built-in one, the file, and the built-in profile that
/// the file's name stands for.
fn find(
    reference: &Sourced<'_, ProfileReference>,
    site_profiles: &SiteProfiles,
    findings: &Findings,
) -> Option<Profile> {
    let ProfileReference { name_or_path, path } = &reference.value;
    let own_path = site_profiles.find(name_or_path, findings);
    let path = own_path.unwrap_or(path);
    if own_path.is_none() && profile::built_in_names().any(|name| name == name_or_path) {
        return profile::built_in(name_or_path);
    }
    let error = match bessai_files::read_text(path, SETTINGS_BYTES) {
        Ok(text) => return parse(path, &text, findings),
        Err(error) => error,
    };
    if let Some(profile) = profile::built_in(name_or_path).filter(|_| error.is_missing()) {
        let (key, name) = (&reference.key, &profile.name);
        findings.note(format!("{key} = {name_or_path}: no such file; using the built-in profile `{name}`"));
        return Some(profile);
    }
    let looks_like_path = name_or_path.contains(['/', '\\', '.']);
    let hint = match most_similar(name_or_path, site_profiles.names().into_iter()).filter(|_| !looks_like_path) {
        Some(name) => format!("is not a profile; did you mean `{name}`?"),
        None => {
            let names = site_profiles.names().join(", ");
            format!("{} cannot be read: {error}; write a path or one of {names}", path.display())
        }
    };
    reference.reject(name_or_path, hint);
    None
}

fn parse(path: &Path, text: &str, findings: &Findings) -> Option<Profile> {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    match profile::read(&part(path.file_stem()), &part(path.file_name()), text) {
        Ok(profile) => Some(profile),
        Err(mistakes) => {
            mistakes.into_iter().for_each(|mistake| findings.profiles.add(mistake));
            None
        }
    }
}
